"""Decoding one image many times: the same values, and nothing of the shortcut stays."""

import numpy as np
import pytest
import torch
from tiny_sam import tiny_sam
from torch import nn

from sqp.core.seeding import torch_generator
from sqp.core.types import Prompt
from sqp.segmenters.one_image import one_image
from sqp.segmenters.sam import PromptableSegmenter, standardise
from sqp.uncertainty import sample

PROMPTS = [Prompt(box=(18, 10, 46, 38)), Prompt(box=(2, 3, 30, 40)), Prompt(box=(0, 0, 64, 48))]


@pytest.fixture
def tiny():
    return PromptableSegmenter("tiny", tiny_sam(), standardise, multimask=True)


@pytest.mark.parametrize("chunk", [1, 2, 3])  # 2: a last batch of another size
def test_the_same_values_for_less(tiny, image, chunk):
    tiny.chunk = chunk
    embedding = tiny.encode(image)
    expected = tiny.decode(embedding, PROMPTS)
    projection = tiny.sam.mask_decoder.transformer.layers[0].cross_attn_token_to_image.k_proj
    calls = []
    projection.register_forward_hook(lambda _module, args, _output: calls.append(args[0]))
    run = type(projection).forward
    counted = []
    projection.__class__ = type(
        "Counted", (type(projection),), {"forward": lambda s, x: counted.append(1) or run(s, x)}
    )
    with one_image(tiny.sam):
        found = tiny.decode(embedding, PROMPTS)
    assert len(calls) == -(-3 // chunk) and len(counted) == (2 if chunk == 2 else 1)
    for name in ("logits", "iou", "tokens"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), atol=1e-5, rtol=1e-5)


def test_another_image_comes_out_right_afterwards(tiny, image):
    other = np.ascontiguousarray(255 - image)
    expected = tiny.decode(tiny.encode(other), PROMPTS)
    with pytest.raises(RuntimeError), one_image(tiny.sam):
        tiny.decode(tiny.encode(image), PROMPTS)
        raise RuntimeError
    assert torch.equal(tiny.decode(tiny.encode(other), PROMPTS).logits, expected.logits)
    assert not any("forward" in module.__dict__ or module._forward_pre_hooks for module in tiny.sam.modules())


def test_a_plain_network_is_left_alone():
    network = nn.Sequential(nn.Conv2d(1, 1, 1))
    with one_image(network):
        assert "forward" not in network[0].__dict__
    with one_image(None):
        pass


def test_jittered_prompts_take_the_shortcut(tiny, image):
    """Projections of the image once for five boxes, and the values of five decodings."""
    tiny.chunk, counted = 1, []
    projection = tiny.sam.mask_decoder.transformer.layers[0].cross_attn_token_to_image.k_proj
    run = type(projection).forward
    projection.__class__ = type(
        "Counted", (type(projection),), {"forward": lambda s, x: counted.append(1) or run(s, x)}
    )
    samples = sample(tiny, image, PROMPTS[0], 5, torch_generator(0))
    assert len(counted) == 1
    torch.testing.assert_close(samples.logits[0], tiny.decode(tiny.encode(image), PROMPTS[:1]).best().logits[0, 0])


def test_litemedsam(litemedsam, lite_embedding):
    expected = litemedsam.decode(lite_embedding, PROMPTS[:2])
    with one_image(litemedsam.sam):
        found = litemedsam.decode(lite_embedding, PROMPTS[:2])
    torch.testing.assert_close(found.logits, expected.logits, atol=1e-3, rtol=1e-4)
