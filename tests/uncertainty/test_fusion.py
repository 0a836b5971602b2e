"""Fusion against plain weights in float64, its limits, and properties."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, log_expit

from sqp.core.errors import ConfigError
from sqp.uncertainty.fusion import FUSIONS, LEAST, check_fusion, fuse
from sqp.uncertainty.learned_fusion import LearnedFusion
from sqp.uncertainty.moments import SLAB

OWN = {"mean": {}, "inverse": {}, "exponential": {"lam": 3.0}, "power_law": {"alpha": 2.0}}
STACKS = (
    st.integers(1, 6)
    .flatmap(lambda s: st.lists(st.lists(st.floats(-60, 60, width=32), min_size=s, max_size=s), min_size=1, max_size=8))
    .map(lambda rows: torch.tensor(rows, dtype=torch.float32).T.contiguous())
)


def reference(logits, rule):
    """Weights divided plainly, in float64."""
    x = logits.double().numpy()
    p = expit(x)
    u = np.clip(-(p * log_expit(x) + expit(-x) * log_expit(-x)) / np.log(2), LEAST, None)
    w = {"mean": u**0, "inverse": 1 / u, "exponential": np.exp(-3 * u), "power_law": u**-2.0}[rule]
    return (w / w.sum(0) * p).sum(0)


LEARNED = {"model": LearnedFusion((0.5, -0.3, 0.2, -0.1, 1.2), 0.3, (0.1,) * 5, (1.5,) * 5, 100)}


@pytest.mark.parametrize(("rule", "options"), [*OWN.items(), ("learned", LEARNED)])
def test_a_volume_is_fused_slab_by_slab_as_if_at_once(rule, options, monkeypatch):
    logits = 6 * torch.randn(4, 2 * SLAB + 5, 6, 7, generator=torch.Generator().manual_seed(0))
    whole = FUSIONS[rule](logits, **options)
    seen, at_once = [], FUSIONS[rule]
    monkeypatch.setitem(FUSIONS, rule, lambda slab, **told: seen.append(slab.shape[1]) or at_once(slab, **told))
    torch.testing.assert_close(fuse(logits, rule, **options), whole, atol=1e-6, rtol=0)
    assert seen == [SLAB, SLAB, 5]


@pytest.mark.parametrize("rule", OWN)
@given(logits=STACKS)
@settings(deadline=None, max_examples=25)
def test_fused_maps_agree_with_float64(rule, logits):
    found = fuse(logits, rule, **OWN[rule])
    assert found.dtype == torch.float32 and found.shape == logits.shape[1:]
    np.testing.assert_allclose(found.numpy(), reference(logits, rule), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rule", OWN)
@given(logits=STACKS)
@settings(deadline=None, max_examples=25)
def test_a_fused_map_lies_between_its_samples_and_forgets_their_order(rule, logits):
    found, p = fuse(logits, rule, **OWN[rule]), torch.sigmoid(logits)
    assert (found >= p.amin(0) - 1e-6).all() and (found <= p.amax(0) + 1e-6).all()
    torch.testing.assert_close(fuse(logits.flip(0), rule, **OWN[rule]), found, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(fuse(-logits, rule, **OWN[rule]), 1 - found, rtol=1e-5, atol=1e-5)


@given(logits=STACKS)
@settings(deadline=None, max_examples=10)
def test_the_rules_meet_where_their_formulas_do(logits):
    torch.testing.assert_close(fuse(logits, "power_law", alpha=1.0), fuse(logits, "inverse"))
    for rule, options in (("power_law", {"alpha": 0.0}), ("exponential", {"lam": 0.0})):
        torch.testing.assert_close(fuse(logits, rule, **options), fuse(logits, "mean"))


@pytest.mark.parametrize("rule", ["inverse", "exponential", "power_law"])
def test_the_surer_sample_weighs_more(rule):
    logits = torch.tensor([[4.0, -4.0], [0.2, 0.2]])
    found, plain = fuse(logits, rule), fuse(logits, "mean")
    assert found[0] > plain[0] and found[1] < plain[1]


def test_by_hand():
    logits = torch.tensor([[0.0], [np.log(3)]], dtype=torch.float32)  # p 0.5, 0.75; u 1, 0.8113 bits
    u = 2 - 0.75 * np.log2(3)
    assert float(fuse(logits, "inverse")) == pytest.approx((0.5 + 0.75 / u) / (1 + 1 / u), abs=1e-6)
    expected = (0.5 * np.exp(-2) + 0.75 * np.exp(-2 * u)) / (np.exp(-2) + np.exp(-2 * u))
    assert float(fuse(logits, "exponential", lam=2.0)) == pytest.approx(expected, abs=1e-6)


def test_saturated_samples_are_equally_sure():
    logits = torch.tensor([[60.0, 60.0], [-60.0, 40.0]])
    for alpha in (1.0, 2.0, 50.0):
        found = fuse(logits, "power_law", alpha=alpha)
        assert found.tolist() == pytest.approx([0.5, 1.0], abs=1e-6)  # u is LEAST for all: no sample wins by rounding


def test_wrong_names_and_numbers_are_told():
    with pytest.raises(ConfigError, match="did you mean 'power_law'"):
        fuse(torch.zeros(2, 1), "powerlaw")
    for rule, options in (("power_law", {"alpha": -1.0}), ("exponential", {"lam": float("nan")})):
        with pytest.raises(ConfigError, match="at least 0"):
            fuse(torch.zeros(2, 1), rule, **options)
    assert set(OWN) | {"learned"} == set(FUSIONS)
    for rule, options in OWN.items():
        check_fusion(rule, options)
    for rule, options, message in (
        ("power_law", {"alhpa": 2}, "did you mean 'alpha'"),
        ("inverse", {"alpha": 2}, "has no options, but alpha is given"),
        ("power_law", {"alpha": "two"}, "cannot use the options"),
        ("learned", {}, "needs the option model"),
        ("learned", {"model": "nowhere.json"}, r"nowhere\.json is no learned fusion"),
    ):
        with pytest.raises(ConfigError, match=message):
            check_fusion(rule, options)


def test_options_that_are_left_out_are_the_documented_ones():
    logits = torch.tensor([[2.0, -1.0], [0.5, 0.3], [-3.0, 4.0]])
    assert torch.equal(fuse(logits, "exponential"), fuse(logits, "exponential", lam=1.0))
    assert torch.equal(fuse(logits, "power_law"), fuse(logits, "power_law", alpha=2.0))
