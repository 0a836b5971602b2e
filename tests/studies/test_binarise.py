"""Thresholds against numpy and skimage, and what they do to maps without contrast."""

import numpy as np
import pytest
import torch
from skimage.filters import threshold_otsu

from sqp.core.errors import ConfigError
from studies.binarise import BINARISERS, binarise, filter_uncertain


@pytest.fixture
def two_hills():
    g = torch.Generator().manual_seed(0)
    low, high = 0.2 + 0.05 * torch.randn(300, generator=g), 0.8 + 0.05 * torch.randn(100, generator=g)
    return torch.cat([low, high]).clamp(0, 1).view(20, 20)


def test_thresholds_are_those_of_the_libraries(two_hills):
    array = two_hills.double().numpy()
    expected = {
        "fixed": 0.5,
        "otsu": threshold_otsu(array),
        "percentile": np.percentile(array, 90),
        "mean_std": array.mean() + array.std(),
    }
    assert {name: rule(two_hills) for name, rule in BINARISERS.items()} == pytest.approx(expected, abs=1e-9)
    assert BINARISERS["fixed"](two_hills, at=0.7) == 0.7
    assert BINARISERS["percentile"](two_hills, q=75) == pytest.approx(np.percentile(array, 75))
    assert BINARISERS["mean_std"](two_hills, k=-1) == pytest.approx(array.mean() - array.std())


@pytest.mark.parametrize("rule", ["fixed", "otsu", "mean_std"])
def test_two_hills_are_told_apart(rule, two_hills):
    assert int(binarise(two_hills, rule).sum()) == pytest.approx(100, abs=1)  # Otsu cuts at a bin of the histogram


def test_the_upper_share_by_percentile(two_hills):
    assert float(binarise(two_hills, "percentile", q=75).float().mean()) == pytest.approx(0.25, abs=0.01)


def test_a_constant_map_falls_back_to_one_half_and_flags_nothing():
    for value in (0.1, 0.5, 0.9):
        flat = torch.full((4, 4), value)
        assert binarise(flat, "otsu").all() == (value >= 0.5)
        kept, flagged = filter_uncertain(torch.ones(4, 4, dtype=torch.bool), flat, "otsu")
        assert kept.all() and not flagged.any()


@pytest.mark.parametrize("rule", BINARISERS)
def test_the_filter_takes_uncertain_pixels_out_and_adds_none(rule, two_hills):
    mask = torch.arange(400).view(20, 20) % 3 > 0
    kept, flagged = filter_uncertain(mask, two_hills, rule)
    assert torch.equal(kept, mask & ~flagged) and flagged.any() and not flagged.all()
    assert two_hills[flagged].min() > two_hills[~flagged].max()


def test_wrong_names_and_numbers_are_told(two_hills):
    with pytest.raises(ConfigError, match="did you mean 'otsu'"):
        binarise(two_hills, "otzu")
    with pytest.raises(ConfigError, match="q is 101"):
        binarise(two_hills, "percentile", q=101)
