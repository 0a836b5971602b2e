"""Encoders and plain networks by OpenVINO: the same as by PyTorch, at every size of image, and dropout still drops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from plain_networks import write_checkpoint
from tiny_sam import tiny_sam

from sqp.core.types import Prompt
from sqp.data.synthetic import synthetic_lesion
from sqp.records.encodings import encoded
from sqp.segmenters import build_segmenter
from sqp.segmenters.dropout import injected_dropout
from sqp.segmenters.sam import PromptableSegmenter, standardise

pytest.importorskip("openvino")
WHOLE = Prompt(box=(0.0, 0.0, 40.0, 30.0), prompter="whole_image")


@pytest.fixture(params=["unet", "fpn", "swin_unet", "sam"])
def pair(request, tmp_path) -> list:
    """The same segmenter twice, by PyTorch and by OpenVINO."""
    if request.param == "sam":
        both = [PromptableSegmenter("sam", tiny_sam(), standardise) for _ in range(2)]
        both[1].use_openvino()
        return both
    file = write_checkpoint(tmp_path / "w.safetensors", request.param)
    return [build_segmenter(request.param, file, runtime=runtime) for runtime in ("torch", "openvino")]


def test_the_same_logits_and_tokens(pair, recwarn):
    for seed, size in enumerate([(30, 40), (40, 30), (64, 64)]):
        image = synthetic_lesion(np.random.default_rng(seed), size).image
        one, other = (segmenter.decode(segmenter.encode(image), [WHOLE]) for segmenter in pair)
        torch.testing.assert_close(other.logits, one.logits, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(other.tokens, one.tokens, rtol=1e-3, atol=1e-4)
    assert all(found is not None for found in pair[1].accelerated._compiled.values())
    assert not recwarn.list


def test_dropout_drops(tmp_path):
    segmenter = build_segmenter("unet", write_checkpoint(tmp_path / "w.safetensors", "unet"), runtime="openvino")
    embedding = segmenter.encode(synthetic_lesion(np.random.default_rng(0), (32, 32)).image)
    plain = segmenter.decode(embedding, [WHOLE]).logits
    with injected_dropout(segmenter.network) as dropout, dropout.drawing([torch.Generator().manual_seed(0)]):
        assert not torch.allclose(segmenter.decode(embedding, [WHOLE]).logits, plain, atol=1e-3)
    assert torch.equal(segmenter.decode(embedding, [WHOLE]).logits, plain)


def test_encodings_of_both_are_kept_apart(tmp_path):
    image = np.zeros((32, 32, 3), np.uint8)
    for by_openvino in (False, True):
        segmenter = PromptableSegmenter("sam", tiny_sam(), standardise)
        if by_openvino:
            segmenter.use_openvino()
        encoded(segmenter, image, tmp_path)
    assert len(list(tmp_path.glob("*.npy"))) == 2
