from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqp.core.errors import ConfigError
from sqp.data import CORRUPTIONS, corrupt, corrupt_to_dice
from sqp.data.synthetic import Traits, synthetic_lesion
from sqp.metrics.overlap import dice

MASKS = [synthetic_lesion(np.random.default_rng(k), (120, 160), Traits(extent=0.4)).mask for k in range(6)]
DONOR = synthetic_lesion(np.random.default_rng(99), (200, 150), Traits(extent=0.1)).mask
STEERABLE = [name for name in CORRUPTIONS if name != "swap"]


def rng(key=0):
    return np.random.default_rng(key)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_contract(name):
    mask = MASKS[0]
    before = mask.copy()
    first, again = (corrupt(name, mask, 0.4, rng(5), DONOR) for _ in range(2))
    assert first.dtype == bool
    assert first.shape == mask.shape
    assert np.array_equal(first, again)
    assert np.array_equal(mask, before)
    assert not np.array_equal(first, mask)
    first[:] = False  # the result is the caller's own
    assert np.array_equal(mask, before)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_mean_dice_falls_with_severity(name):
    levels = (0.0, 0.15, 0.35, 0.6, 1.0)
    means = [np.mean([dice(corrupt(name, m, s, rng(k), DONOR), m) for m in MASKS for k in range(5)]) for s in levels]
    assert all(a > b for a, b in pairwise(means)), means


@pytest.mark.parametrize("name", STEERABLE)
def test_severity_zero_changes_nothing(name):
    assert np.array_equal(corrupt(name, MASKS[1], 0, rng(), DONOR), MASKS[1])


@pytest.mark.parametrize(
    ("name", "keeps"), [("erosion", -1), ("blob_cut", -1), ("dropout", -1), ("dilation", 1), ("blob_add", 1)]
)
@pytest.mark.parametrize("severity", [0.2, 0.9])
def test_what_only_removes_and_what_only_adds(name, keeps, severity):
    out, mask = corrupt(name, MASKS[2], severity, rng(1)), MASKS[2]
    smaller, larger = (out, mask) if keeps < 0 else (mask, out)
    assert not (smaller & ~larger).any()
    assert smaller.sum() < larger.sum()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_empty_masks(name):
    out = corrupt(name, np.zeros((40, 50), bool), 0.8, rng(2), DONOR)
    assert out.any() == (name in ("blob_add", "swap"))


@pytest.mark.parametrize("name", CORRUPTIONS)
@given(
    severity=st.floats(0, 1),
    seed=st.integers(0, 99),
    kind=st.sampled_from(["full", "pixel", "line", "corner"]),
)
@settings(deadline=None, max_examples=15)
def test_odd_masks_are_survived(name, severity, seed, kind):
    mask = np.full((400, 37), kind == "full")
    if kind != "full":
        place = {
            "pixel": (slice(7, 8), slice(9, 10)),
            "line": (slice(3, 390), 5),
            "corner": (slice(0, 9), slice(0, 9)),
        }
        mask[place[kind]] = True
    out = corrupt(name, mask, severity, rng(seed), DONOR)
    assert out.shape == mask.shape
    assert out.dtype == bool


def test_shift_moves_and_does_not_deform():
    mask = np.zeros((200, 200), bool)
    mask[90:110, 85:115] = True
    out = corrupt("shift", mask, 0.5, rng(3))
    assert out.sum() == mask.sum()
    assert dice(corrupt("shift", mask, 1.0, rng(3)), mask) == 0


def test_swap_brings_the_donor():
    mask = np.zeros((100, 100), bool)
    mask[25:35, 25:35] = True
    donor = np.zeros((50, 50), bool)
    donor[20:30, 30:40] = True
    assert np.array_equal(corrupt("swap", mask, 1.0, rng(), donor), np.kron(donor, np.ones((2, 2), bool)))
    centred = np.argwhere(corrupt("swap", mask, 0.0, rng(), donor)).mean(axis=0)
    assert centred == pytest.approx([29.5, 29.5], abs=0.6) or centred.max() < 13  # clipped by the image's border
    with pytest.raises(ValueError, match="donor"):
        corrupt("swap", mask, 1.0, rng())


@pytest.mark.parametrize("name", STEERABLE)
@pytest.mark.parametrize("target", [0.9, 0.75, 0.6])
def test_the_wanted_dice_is_met(name, target):
    found = []
    for k, mask in enumerate(MASKS):
        out, severity = corrupt_to_dice(name, mask, mask, target, rng(k))
        assert 0 <= severity <= 1
        found.append(abs(dice(out, mask) - target))
    assert np.median(found) < 0.02


def test_the_severity_found_is_reproducible_and_nearest_counts():
    mask, truth = corrupt("erosion", MASKS[3], 0.4, rng()), MASKS[3]
    start = dice(mask, truth)
    out, severity = corrupt_to_dice("erosion", mask, truth, 0.99, rng())
    assert severity == 0  # eroding further cannot help
    assert dice(out, truth) == start
    one, two = (corrupt_to_dice("elastic", truth, truth, 0.7, rng(8)) for _ in range(2))
    assert one[1] == two[1]
    assert np.array_equal(one[0], two[0])


def test_bad_arguments():
    with pytest.raises(ConfigError, match="did you mean 'erosion'"):
        corrupt("erosoin", MASKS[0], 0.5, rng())
    with pytest.raises(ValueError, match="severity"):
        corrupt("erosion", MASKS[0], 1.5, rng())
