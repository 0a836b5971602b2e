"""What runs on a GPU alone: batches of encodings through pinned memory give what single ones give on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from plain_networks import write_checkpoint
from tiny_sam import tiny_sam

import sqp
from sqp.core.seeding import torch_generator
from sqp.core.types import Prompt
from sqp.data.synthetic import synthetic_lesion
from sqp.networks.inputs import to_device
from sqp.segmenters import build_segmenter
from sqp.segmenters.sam import PromptableSegmenter, standardise
from sqp.uncertainty.noise import noise

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
IMAGES = [synthetic_lesion(np.random.default_rng(seed), (48 + 8 * seed, 64)) for seed in range(5)]
WHOLE = Prompt(box=(0.0, 0.0, 64.0, 48.0), prompter="whole_image")


def near(found: torch.Tensor, wanted: torch.Tensor) -> None:
    """As two devices round."""
    torch.testing.assert_close(found.cpu(), wanted.cpu(), rtol=1e-2, atol=1e-2)


def test_pinned_memory_keeps_the_values():
    x = torch.rand(3, 5)
    moved = to_device(x, "cuda")
    assert moved.is_cuda and torch.equal(moved.cpu(), x) and to_device(moved, "cuda") is moved


def test_a_batch_of_encodings():
    on_gpu, on_cpu = (PromptableSegmenter("sam", tiny_sam(), standardise, device=d) for d in ("cuda", "cpu"))
    assert on_gpu.chunk > len(IMAGES)
    for found, one in zip(on_gpu.encode_many([lesion.image for lesion in IMAGES]), IMAGES, strict=True):
        wanted = on_cpu.encode(one.image)
        near(found.features, wanted.features)
        near(on_gpu.decode(found, [WHOLE]).logits, on_cpu.decode(wanted, [WHOLE]).logits)


def test_samples_of_noisy_images():
    both = [PromptableSegmenter("sam", tiny_sam(), standardise, device=device) for device in ("cuda", "cpu")]
    by = [noise(segmenter, IMAGES[0].image, [WHOLE], 6, [torch_generator(0, "image")]) for segmenter in both]
    near(by[0][0].logits, by[1][0].logits)


def test_a_plain_network(tmp_path):
    file = write_checkpoint(tmp_path / "w.safetensors", "fpn")
    by = [build_segmenter("fpn", file, device=device) for device in ("cuda", "cpu")]
    one, other = (s.decode(s.encode(IMAGES[0].image), [WHOLE]) for s in by)
    near(one.logits, other.logits)
    near(one.tokens, other.tokens)


def test_the_bundle_that_comes_with_sqp():
    images, masks = [lesion.image for lesion in IMAGES], [lesion.mask for lesion in IMAGES]
    by = [sqp.to_frame(sqp.load("fast", device=device).judge(images, masks)) for device in ("cuda", "cpu")]
    np.testing.assert_allclose(by[0]["predicted_dice"], by[1]["predicted_dice"], atol=1e-2)
