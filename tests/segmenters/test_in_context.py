"""What every in-context segmenter of the table must do."""

from __future__ import annotations

from typing import get_type_hints

import numpy as np
import pytest
import torch
from tiny_sam import tiny_sam
from tiny_universeg import write_universeg

from sqp.config.referee import IN_CONTEXT, OWN_WEIGHTS
from sqp.core.types import InContextSegmenter
from sqp.segmenters import IN_CONTEXT_SEGMENTERS, SEGMENTERS
from sqp.segmenters.sam import PromptableSegmenter, min_max


@pytest.fixture(scope="module")
def base():
    torch.manual_seed(0)
    return PromptableSegmenter("tiny", tiny_sam(), min_max, weights_sha256="t")


@pytest.fixture(params=IN_CONTEXT_SEGMENTERS)
def segmenter(request, base, tmp_path):
    """Each name of the table, with small random weights."""
    file = write_universeg(tmp_path / "w.safetensors") if request.param in OWN_WEIGHTS else None
    return IN_CONTEXT_SEGMENTERS[request.param](base, file)


def test_config_and_tables_name_the_same_segmenters():
    assert tuple(IN_CONTEXT_SEGMENTERS) == IN_CONTEXT
    assert set(IN_CONTEXT_SEGMENTERS) < set(SEGMENTERS)


def test_it_draws_an_image_by_the_masks_of_others(segmenter):
    """Features, then masks -> probability over the image; their order changes nothing."""
    assert segmenter.name in IN_CONTEXT and segmenter.weights_sha256
    assert get_type_hints(InContextSegmenter.transfer).keys() == get_type_hints(type(segmenter).transfer).keys()
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((40, 56), (56, 40), (40, 40))]
    query, *supports = [segmenter.features(image) for image in images]
    masks = [np.zeros(image.shape[:2], bool) for image in images[1:]]
    masks[0][10:30, 5:25] = True
    drawn = segmenter.transfer(query, supports)(masks)
    assert drawn.dtype == torch.float32 and ((drawn >= 0) & (drawn <= 1)).all() and drawn.std() > 0
    h, w = drawn.shape
    assert w / h == pytest.approx(56 / 40, rel=0.1)
    assert torch.allclose(drawn, segmenter.transfer(query, supports[::-1])(masks[::-1]), atol=1e-5)
    assert not torch.allclose(drawn, segmenter.transfer(query, supports)([~mask for mask in masks]), atol=1e-3)


def test_the_first_set_of_references_is_all_of_them(segmenter):
    for k in (1, 2, 7, 8, 32):
        first, *more = segmenter.support_sets(k)
        assert first == list(range(k))
        assert sorted(i for some in more for i in some) == (first if more else [])


def test_summaries_tell_images_apart(segmenter):
    one, other = (np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8) for seed in (0, 1))
    first, again, far = [segmenter.summary(segmenter.features(image)) for image in (one, one, other)]
    assert first.ndim == 1 and torch.equal(first, again)
    assert torch.cosine_similarity(first, far, dim=0) < 0.99999
