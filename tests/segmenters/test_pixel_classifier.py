"""A forest that references train: what it draws, what it says of itself, and the ridge regression behind it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from tiny_sam import tiny_sam

from sqp.metrics.overlap import dice
from sqp.segmenters.personalised import halves_of, shares_of
from sqp.segmenters.pixel_classifier import RIDGE, Ridges, _in_context_of, build_pixel_classifier
from sqp.segmenters.pixel_features import SIDE, filters
from sqp.segmenters.sam import PromptableSegmenter, min_max


@pytest.fixture(scope="module")
def segmenter():
    torch.manual_seed(0)
    return build_pixel_classifier(PromptableSegmenter("tiny", tiny_sam(), min_max, weights_sha256="t"))


def disc(seed: int, side: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """A bright disc on a dark noisy ground, somewhere, and its mask."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    cy, cx, radius = *rng.integers(20, side - 20, 2), rng.integers(8, 14)
    mask = np.hypot(y - cy, x - cx) < radius
    grey = np.where(mask, 170, 60) + rng.normal(0, 12, mask.shape)
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, 2), mask


def shown(segmenter, *seeds: int):
    """References of these seeds, taught."""
    images, masks = zip(*(disc(seed) for seed in seeds), strict=True)
    return segmenter.taught([segmenter.features(image) for image in images], masks)


@pytest.mark.parametrize("references", [1, 4])
def test_it_draws_what_the_references_show(segmenter, references):
    taught = shown(segmenter, *range(references))
    for seed in (10, 11):
        image, mask = disc(seed)
        drawn = taught(segmenter.features(image))
        assert drawn.shape == (64, 64) and drawn.dtype == torch.float32
        assert dice((drawn >= 0.5).numpy(), mask) > 0.9


def test_it_says_how_well_each_reference_is_drawn_by_the_others(segmenter):
    """Near 1 where all show the same, near 0 for the one whose mask is of the ground; nothing of a single one."""
    assert shown(segmenter, 0).reached == []
    assert min(shown(segmenter, *range(4)).reached) > 0.9
    images, masks = zip(*(disc(seed) for seed in range(5)), strict=True)
    features = [segmenter.features(image) for image in images]
    reached = segmenter.taught(features, [*masks[:4], ~masks[4]]).reached
    assert min(reached[:4]) > 0.7 and reached[4] < 0.3


def test_its_answer_is_cut_where_the_references_are_drawn_best(segmenter):
    """0.5 of the answer is the cut of what forest and coarse answers say together."""
    taught = shown(segmenter, *range(4))
    drawn = taught(segmenter.features(disc(10)[0]))
    taught.cut = min(0.9, taught.cut + 0.2)
    assert (taught(segmenter.features(disc(10)[0])) < drawn).all()


def test_the_same_references_give_the_same_answer_twice(segmenter):
    query = segmenter.features(disc(10)[0])
    assert torch.equal(shown(segmenter, 0, 1, 2)(query), shown(segmenter, 0, 1, 2)(query))


def test_a_mask_that_fills_its_image_teaches_that_all_is_drawn(segmenter):
    image, _ = disc(0)
    features = segmenter.features(image)
    drawn = segmenter.taught([features, features], [np.ones((64, 64), bool)] * 2)(segmenter.features(disc(1)[0]))
    assert (drawn > 0.5).all()


def test_the_ridge_regression_is_that_of_scikit_learn_with_all_and_without_one():
    generator = torch.Generator().manual_seed(0)
    encodings = [torch.rand(6, 8, 8, generator=generator) for _ in range(3)]
    masks = [(torch.rand(16, 16, generator=generator) > 0.5).numpy() for _ in range(3)]
    ridges = Ridges(encodings, masks)
    for left_out in ((), (1,)):
        some = [i for i in range(3) if i not in left_out]
        rows = torch.cat([_in_context_of(encodings[i]).flatten(1) for i in some], 1).T.numpy()
        target = torch.cat([shares_of(masks[i], (8, 8)).flatten() for i in some]).numpy()
        judge = Ridge(alpha=RIDGE, fit_intercept=False).fit(rows, target)
        expected = judge.predict(_in_context_of(encodings[1]).flatten(1).T.numpy())
        assert ridges.drawn(encodings[1], left_out).flatten().numpy() == pytest.approx(expected, abs=1e-4)


def test_filters_are_of_the_image_at_its_size_or_smaller_and_do_not_depend_on_brightness():
    rng = np.random.default_rng(0)
    image = rng.integers(40, 120, (300, 200, 3), dtype=np.uint8)
    planes = filters(image)
    assert planes.shape[1:] == (SIDE, round(SIDE * 200 / 300)) and planes.isfinite().all()
    assert filters(image[:50, :40]).shape[1:] == (50, 40)
    assert torch.allclose(planes, filters(image + np.uint8(60)), atol=1e-3)
    assert filters(np.full((20, 20, 3), 7, np.uint8)).isfinite().all()


def test_a_mask_smaller_than_a_patch_is_kept():
    mask = np.zeros((64, 64), bool)
    mask[3, 3] = True
    assert halves_of(mask, (8, 8)).sum() == 1 and not halves_of(np.zeros_like(mask), (8, 8)).any()


def test_what_is_said_of_a_reference_comes_from_other_groups(segmenter):
    """Two slices of a volume, which are the same: without groups each would draw the other all but perfectly."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (40, 56, 3), dtype=np.uint8) for _ in range(2)]
    supports = [segmenter.features(images[i]) for i in (0, 0, 1)]
    masks = [rng.random((40, 56)) < share for share in (0.3, 0.3, 0.3)]
    masks[1] = masks[0]
    alone = segmenter.taught(supports, masks)
    grouped = segmenter.taught(supports, masks, ["a", "a", "b"])
    assert len(alone.reached) == len(grouped.reached) == 3
    assert grouped.reached[0] < alone.reached[0]
    assert segmenter.taught(supports[:2], masks[:2], ["a", "a"]).reached == []
