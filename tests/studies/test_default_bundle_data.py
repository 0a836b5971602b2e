"""What the recipe of the bundles makes of images before anything is segmented: classical masks, other cameras."""

from __future__ import annotations

import numpy as np
import pytest

from sqp.data import find_cases, read_image
from sqp.metrics.overlap import dice
from studies import classical, other_cameras


@pytest.mark.parametrize("method", classical.METHODS)
def test_a_method_finds_some_of_a_clear_lesion_at_the_images_size(method):
    y, x = np.mgrid[:150, :200]
    truth = (y - 75) ** 2 + (x - 100) ** 2 < 40**2
    image = np.where(truth[..., None], [90, 60, 50], [210, 170, 150]) + np.random.default_rng(0).normal(
        0, 4, (150, 200, 3)
    )
    drawn = classical.drawn(image.clip(0, 255).astype(np.uint8), method)
    assert drawn.shape == truth.shape and drawn.dtype == bool
    assert dice(drawn, truth) > 0.8


@pytest.mark.parametrize("method", classical.METHODS)
@pytest.mark.parametrize("shape", [(3, 4), (64, 64), (200, 10)])
def test_an_even_image_of_any_size_is_no_error(method, shape):
    assert classical.drawn(np.full((*shape, 3), 127, np.uint8), method).shape == shape


def test_masks_and_copies_are_cases_of_the_same_groups(lesions, tmp_path):
    cases = list(find_cases(lesions).cases)[:6]
    masks = find_cases(classical.masks(cases, tmp_path / "masks")).cases
    copies = find_cases(other_cameras.copies(cases, tmp_path / "copies")).cases
    by_image = {case.image_id: case for case in cases}
    for made in (masks, copies):
        assert len(made) == len(cases)
        for case in made:
            source = by_image[case.image_id.removesuffix("-camera")]
            assert (case.group, case.split, case.licence) == (source.group, source.split, source.licence)
            assert [path.samefile(other) for path, other in zip(case.truth_paths, source.truth_paths, strict=True)]
    assert {case.mask_path.exists() for case in masks} == {True}
    for case in copies:
        image, source = (
            read_image(case.image_path),
            read_image(by_image[case.image_id.removesuffix("-camera")].image_path),
        )
        assert image.shape == source.shape
    assert copies[0].image_path.read_bytes() == _again(cases, tmp_path).image_path.read_bytes()


def _again(cases, tmp_path):
    return find_cases(other_cameras.copies(cases, tmp_path / "again")).cases[0]
