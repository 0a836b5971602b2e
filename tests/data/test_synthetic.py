from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from skimage.color import rgb2gray
from skimage.filters import gaussian, threshold_otsu

from sqp.data import find_cases, read_image, read_mask
from sqp.data.split_files import check_splits
from sqp.data.splits import make_splits
from sqp.data.synthetic import Traits, sample_traits, synthetic_lesion, write_synthetic
from sqp.metrics.overlap import dice

SIZE = (96, 128)


def otsu_dice(lesion):
    grey = gaussian(rgb2gray(lesion.image), 2)
    return dice(grey < threshold_otsu(grey), lesion.mask)


def lesion(seed=0, **traits):
    return synthetic_lesion(np.random.default_rng(seed), SIZE, Traits(**traits))


def test_seeded_and_well_formed():
    one, two, other = (synthetic_lesion(np.random.default_rng(k), SIZE) for k in (3, 3, 4))
    assert np.array_equal(one.image, two.image)
    assert np.array_equal(one.mask, two.mask)
    assert one.traits == two.traits
    assert not np.array_equal(one.image, other.image)
    assert one.image.shape == (*SIZE, 3)
    assert one.image.dtype == np.uint8
    assert one.mask.dtype == bool


@pytest.mark.parametrize("seed", range(12))
def test_the_mask_is_a_lesion(seed):
    made = synthetic_lesion(np.random.default_rng(seed), SIZE)
    _, parts = ndimage.label(made.mask)
    assert 0.02 < made.mask.mean() < 0.6
    assert 1 <= parts <= made.traits.foci
    assert np.array_equal(ndimage.binary_fill_holes(made.mask), made.mask)


def test_the_lesion_is_darker_than_the_skin():
    for seed in range(6):
        made = lesion(seed, tone=seed / 5)
        assert made.image[made.mask].mean() < made.image[~made.mask].mean() - 15


def test_traits_do_what_they_say():
    assert lesion(extent=0.9).mask.sum() > 1.5 * lesion(extent=0.1).mask.sum()
    assert ndimage.label(lesion(2, foci=3, extent=0.1).mask)[1] == 3
    corner = (slice(0, 8), slice(0, 8))
    assert lesion(vignette=1.0).image[corner].mean() < 0.4 * lesion().image[corner].mean()
    assert lesion(tone=1.0).image.mean() < lesion(tone=0.0).image.mean() - 30


@pytest.mark.parametrize("artefact", [{"hairs": 20}, {"ruler": True}])
def test_hair_and_ruler_are_thin_and_dark(artefact):
    def share(made):
        return np.mean(ndimage.black_tophat(rgb2gray(made.image), size=5) > 0.12)

    for seed in range(4):
        assert share(lesion(seed)) < 0.001 < share(lesion(seed, **artefact)) < 0.05


def test_moderately_hard():
    """Otsu finds most lesions and fails on those that are meant to be hard."""
    easy = [otsu_dice(lesion(k, contrast=0.8)) for k in range(8)]
    faint = [otsu_dice(lesion(k, contrast=0.25, shading=0.5)) for k in range(8)]
    rimmed = [otsu_dice(lesion(k, vignette=0.95)) for k in range(8)]
    assert np.median(easy) > 0.9
    assert np.mean(faint) < np.mean(easy) - 0.1
    assert np.mean(rimmed) < np.mean(easy) - 0.3


def test_sampled_traits_cover_the_hard_ones():
    traits = [sample_traits(np.random.default_rng(k)) for k in range(300)]
    assert 0.1 < np.mean([t.contrast < 0.4 for t in traits]) < 0.25
    assert 0.1 < np.mean([t.foci > 1 for t in traits]) < 0.25
    assert 0.15 < np.mean([t.hard for t in traits]) < 0.4
    assert replace(traits[0], contrast=0.3).hard


def test_written_set_is_a_data_set(tmp_path):
    cases = find_cases(write_synthetic(tmp_path / "toy", 24, seed=1, size=(48, 64)))
    assert len(cases) == 24
    assert cases.without_truth == ()
    groups = {case.group for case in cases}
    assert 16 <= len(groups) < 24
    assert {case.split for case in cases} == {"train", "calibration", "val", "test"}
    check_splits(make_splits(cases, seed=1), cases)
    split_of = {}
    for case in cases:
        assert split_of.setdefault(case.group, case.split) == case.split
        assert read_image(case.image_path).shape == (48, 64, 3)
        assert read_mask(case.truth_paths[0]).any()
    table = pd.read_csv(tmp_path / "toy" / "labels.csv")
    assert {"image_id", "group", "split", "licence", "contrast"} <= set(table.columns)


def test_written_in_other_fractions(tmp_path):
    fractions = {"train": 0.5, "calibration": 0.25, "val": 0.1, "test": 0.15}
    cases = find_cases(write_synthetic(tmp_path, 24, size=(32, 32), fractions=fractions))
    counts = {name: sum(case.split == name for case in cases) for name in fractions}
    assert all(abs(counts[name] - 24 * share) <= 2 for name, share in fractions.items())


def test_two_photographs_of_a_lesion_differ_but_show_the_same(tmp_path):
    cases = find_cases(write_synthetic(tmp_path, 24, seed=1, size=(48, 64)))
    pairs = [(a, b) for a, b in pairwise(cases) if a.group == b.group]
    assert pairs
    for a, b in pairs:
        first, second = (read_mask(case.truth_paths[0]) for case in (a, b))
        assert first.sum() == second.sum()
        assert not np.array_equal(read_image(a.image_path), read_image(b.image_path))


def test_writing_is_seeded_and_a_longer_set_begins_alike(tmp_path):
    short, long = (
        write_synthetic(tmp_path / "a", 3, size=(48, 64)),
        write_synthetic(tmp_path / "b", 6, size=(48, 64)),
    )
    for file in sorted((short / "images").iterdir()):
        assert file.read_bytes() == (long / "images" / file.name).read_bytes()
