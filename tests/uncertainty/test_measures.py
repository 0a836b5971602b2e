"""Measures against a double loop in float64, closed forms, and properties."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import entr, expit, log_expit

from sqp.core.errors import ConfigError
from sqp.uncertainty import MEASURES, Moments, all_maps
from sqp.uncertainty.measures import epkl
from sqp.uncertainty.moments import by_slabs

STACKS = (
    st.integers(1, 6)
    .flatmap(lambda s: st.lists(st.lists(st.floats(-60, 60, width=32), min_size=s, max_size=s), min_size=1, max_size=8))
    .map(lambda rows: torch.tensor(rows, dtype=torch.float32).T.contiguous())
)


def reference(logits):
    """Every measure in float64, KL by log-space and a double loop over pairs."""
    x = logits.double().numpy()
    p, q, log_p, log_q = expit(x), expit(-x), log_expit(x), log_expit(-x)
    mean_p, mean_q = p.mean(0), q.mean(0)
    total = (entr(mean_p) + entr(mean_q)) / np.log(2)
    aleatoric = (-(p * log_p + q * log_q)).mean(0) / np.log(2)
    kl = np.zeros_like(mean_p)
    for i in range(len(x)):
        for j in range(len(x)):
            kl += p[i] * (log_p[i] - log_p[j]) + q[i] * (log_q[i] - log_q[j])
    return {
        "certainty": np.abs(mean_p - mean_q),
        "entropy": total,
        "mutual_information": total - aleatoric,
        "epkl": kl / len(x) ** 2 / np.log(2),
        "variance": p.var(0),
    }


@given(logits=STACKS)
@settings(deadline=None, max_examples=25)
def test_measures_agree_with_float64(logits):
    for name, expected in reference(logits).items():
        found = MEASURES[name](logits)
        assert found.dtype == torch.float32 and found.shape == logits.shape[1:]
        error = np.abs(found.double().numpy() - expected)
        assert (error <= 1e-5 + 1e-5 * np.abs(expected)).all(), name


@pytest.mark.parametrize("scale", [0.01, 1, 5, 20, 60])
@pytest.mark.parametrize("centre", [-60, -10, 0, 10, 60])
def test_measures_agree_with_float64_in_saturated_cells(scale, centre):
    generator = torch.Generator().manual_seed(0)
    logits = (centre + scale * torch.randn(8, 500, generator=generator)).clamp(-60, 60)
    for name, expected in reference(logits).items():
        np.testing.assert_allclose(MEASURES[name](logits).numpy(), expected, rtol=1e-5, atol=1e-5, err_msg=name)


@given(logits=STACKS)
@settings(deadline=None, max_examples=25)
def test_ranges_order_and_sign_symmetry(logits):
    maps = all_maps(logits)
    assert (maps["mutual_information"] >= 0).all() and (maps["variance"] >= 0).all()
    assert (maps["epkl"] >= maps["mutual_information"] - 1e-5).all()
    assert (maps["mutual_information"] <= maps["entropy"] + 1e-6).all()
    for name in ("certainty", "entropy", "mutual_information"):
        assert ((maps[name] >= 0) & (maps[name] <= 1 + 1e-6)).all()
    flipped, shuffled = all_maps(-logits), all_maps(logits.flip(0))
    for name, values in maps.items():
        torch.testing.assert_close(flipped[name], values, rtol=1e-5, atol=1e-5)  # lesion <-> skin
        torch.testing.assert_close(shuffled[name], values, rtol=1e-5, atol=1e-5)  # order of samples


def test_closed_forms():
    disagree, agree = torch.tensor([[60.0], [-60.0]]), torch.tensor([[60.0], [60.0]])
    found = {name: [float(measure(x)) for x in (disagree, agree)] for name, measure in MEASURES.items()}
    assert found["mutual_information"] == pytest.approx([1, 0], abs=1e-6)
    assert found["entropy"] == pytest.approx([1, 0], abs=1e-6)
    assert found["variance"] == pytest.approx([0.25, 0], abs=1e-6)
    assert found["certainty"] == pytest.approx([0, 1], abs=1e-6)
    assert found["epkl"] == pytest.approx([30 / np.log(2), 0], abs=1e-5)  # cov(p, l) = 0.5 * 60


@pytest.mark.parametrize("name", ["mutual_information", "epkl", "variance"])
def test_one_sample_and_equal_samples_do_not_disagree(name):
    logits = torch.linspace(-60, 60, 101)[None]
    assert (MEASURES[name](logits) == 0).all()
    torch.testing.assert_close(MEASURES[name](logits.repeat(5, 1)), torch.zeros(101), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", MEASURES)
def test_sign_on_a_sure_and_an_unsure_stack(name):
    generator = torch.Generator().manual_seed(0)
    sure = torch.where(torch.arange(64) < 32, 8.0, -8.0) + 0.1 * torch.randn(8, 64, generator=generator)
    unsure = 2 * torch.randn(8, 64, generator=generator)
    good, bad = float(MEASURES[name](sure).mean()), float(MEASURES[name](unsure).mean())
    assert good > bad if name == "certainty" else good < bad


def test_all_maps_equal_single_measures_on_volumes_of_half_precision_too():
    logits = torch.randn(4, 2, 3, 5, generator=torch.Generator().manual_seed(0)).half()
    for name, found in all_maps(logits).items():
        assert found.shape == (2, 3, 5) and found.dtype == torch.float32
        assert torch.equal(found, MEASURES[name](logits))
    assert Moments.of(moments := Moments.of(logits)) is moments


def test_an_unknown_measure_is_named():
    with pytest.raises(ConfigError, match="did you mean 'entropy'"):
        all_maps(torch.zeros(1, 2, 2), ["entrop"])


@pytest.mark.parametrize("sign", [1, -1])
def test_epkl_keeps_its_digits_where_every_sample_is_sure(sign):
    """p is 1 in float32 from a logit of 17 on, and so are differences of p: those of 1 - p are not lost."""
    logits = torch.tensor([[20.0], [22.0], [25.0]])
    q, wide = torch.sigmoid(-logits.double()), logits.double()
    expected = -((q - q.mean()) * (wide - wide.mean())).mean() / math.log(2)
    assert float(epkl(sign * logits)[0]) == pytest.approx(float(expected), rel=1e-4)


def test_slabs_are_made_of_volumes_alone():
    seen = []

    def cellwise(part):
        seen.append(part)
        return Moments.of(part).mean_p

    image, volume = (
        torch.randn(2, *grid, generator=torch.Generator().manual_seed(0)) for grid in ((40, 3), (40, 3, 2))
    )
    assert torch.equal(by_slabs(cellwise, image), Moments.of(image).mean_p) and len(seen) == 1
    held = Moments.of(volume)
    assert torch.equal(by_slabs(cellwise, held), held.mean_p) and seen[1] is held
    assert torch.allclose(by_slabs(cellwise, volume), held.mean_p) and len(seen) > 3
