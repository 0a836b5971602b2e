import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sqp.core.errors import ConfigError
from sqp.core.frame import Frame
from sqp.core.types import Samples
from sqp.metrics.overlap import dice
from sqp.uncertainty import SCORES, Moments, scores
from sqp.uncertainty.scores import area

SEEDS = st.integers(0, 2**31)


def logits_of(seed, s=5, size=16, scale=3.0):
    return scale * torch.randn(s, size, size, generator=torch.Generator().manual_seed(seed))


def disc(size=32, radius=9.0):
    axis = torch.arange(size) - size / 2 + 0.5
    return radius - torch.hypot(axis[:, None], axis[None])


def samples_of(logits, iou):
    return Samples(logits, torch.full((len(logits),), iou), Frame(tuple(logits.shape[1:]), logits.shape[-1]))


@given(seed=SEEDS)
@settings(deadline=None, max_examples=25)
def test_c_lesion_is_the_raw_mean_probability_over_its_own_mask(seed):
    logits = logits_of(seed)
    p = torch.sigmoid(logits).mean(0)
    mask = p >= 0.5
    assert scores(logits, mask)["c_lesion"] == pytest.approx(2 * float(p[mask].double().mean()) - 1, abs=1e-6)


def test_formulas_in_float64():
    logits = logits_of(0)
    p = torch.sigmoid(logits.double()).mean(0).numpy()
    h = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
    mask = torch.rand(16, 16, generator=torch.Generator().manual_seed(1)) > 0.6
    m = mask.numpy()
    stacks = (logits >= 0).numpy()
    low, high = (logits[0] > -1).sum(), (logits[0] > 1).sum()
    expected = {
        "c_lesion": np.abs(2 * p - 1)[m].mean(),
        "pairwise_dice": np.mean([dice(a, b) for a, b in itertools.combinations(stacks, 2)]),
        "soft_dice_confidence": 2 * p[m].sum() / (p.sum() + m.sum()),
        "predicted_iou": 1.07,  # raw, not clipped
        "stability": float(high / low),
        "mean_entropy": 1 - h[m].mean(),
        "max_confidence": p.max(),
        "mean_probability": p.mean(),
    }
    found = scores(samples_of(logits, 1.07), mask)
    assert list(found) == list(SCORES) and set(found) == set(expected)
    assert found == pytest.approx(expected, abs=1e-6)


@given(seed=SEEDS, order=st.permutations(range(5)))
@settings(deadline=None, max_examples=25)
def test_the_order_of_samples_does_not_matter(seed, order):
    logits = logits_of(seed)
    mask = logits.mean(0) > 0
    names = set(SCORES) - {"predicted_iou", "stability"}  # these look at sample 0 alone
    found = scores(logits[list(order)], mask, names=names)
    assert found == pytest.approx(scores(logits, mask, names=names), abs=1e-6)


@pytest.mark.parametrize("name", sorted(set(SCORES) - {"mean_probability"}))
def test_higher_is_better(name):
    """Good: sure samples that agree. Bad: shallow, noisy samples that do not."""
    generator = torch.Generator().manual_seed(0)
    shape = disc()
    good = samples_of(2 * shape + 0.1 * torch.randn(6, 32, 32, generator=generator), 0.95)
    bad = samples_of(0.1 * shape + 0.8 * torch.randn(6, 32, 32, generator=generator), 0.4)
    high, low = (scores(x, torch.sigmoid(x.logits).mean(0) >= 0.5, names=[name])[name] for x in (good, bad))
    assert high > low


def test_mean_probability_sees_how_sure_a_mask_of_given_size_is():
    mask = disc() >= 0
    sure, unsure = (torch.where(mask, level, -6.0)[None] for level in (4.0, 0.2))
    assert scores(sure, mask)["mean_probability"] > scores(unsure, mask)["mean_probability"]


def test_soft_dice_confidence_falls_when_the_mask_leaves_the_map():
    logits = (2 * disc())[None]
    mask = disc() >= 0
    found = [scores(logits, mask.roll(shift, 1))["soft_dice_confidence"] for shift in (0, 4, 8, 16)]
    assert found == sorted(found, reverse=True) and found[0] > 0.9 > 0.3 > found[-1]


def test_empty_mask():
    found = scores(samples_of(logits_of(0), 0.9), torch.zeros(16, 16, dtype=torch.bool))
    empty = {name for name, value in found.items() if math.isnan(value)}
    assert empty == {"c_lesion", "mean_entropy"}
    assert found["soft_dice_confidence"] == 0


def test_the_segmenters_own_scores_are_nan_for_a_mask_it_did_not_make():
    logits = logits_of(0)
    found = scores(samples_of(logits, 0.9), logits[0] > 0, own=False)
    assert {name for name, value in found.items() if math.isnan(value)} == {"predicted_iou", "stability"}


def test_one_sample_has_no_pairs_and_bare_logits_no_predicted_iou():
    logits = logits_of(0, s=1)
    found = scores(logits, logits[0] > 0)
    assert {name for name, value in found.items() if math.isnan(value)} == {"pairwise_dice", "predicted_iou"}


def test_stability_of_an_empty_output_is_nan():
    assert math.isnan(scores(torch.full((2, 4, 4), -9.0), torch.ones(4, 4, dtype=torch.bool))["stability"])


def test_given_moments_are_used():
    logits, other = logits_of(0), logits_of(1)
    mask = logits[0] > 0
    assert scores(logits, mask, moments=Moments.of(other)) == pytest.approx(scores(other, mask), nan_ok=True)


def test_a_mask_off_the_grid_and_an_unknown_name_are_refused():
    with pytest.raises(ValueError, match=r"\(8, 8\).*\(16, 16\)"):
        scores(logits_of(0), torch.ones(8, 8, dtype=torch.bool))
    with pytest.raises(ConfigError, match="did you mean 'c_lesion'"):
        scores(logits_of(0), torch.ones(16, 16, dtype=torch.bool), names=["c_lesio"])


def test_predicted_iou_and_stability_are_those_of_the_undisturbed_sample():
    """Sample 0; the others are disturbed on purpose, so neither their mean nor their best says how good the mask is."""
    logits = logits_of(0)
    samples = Samples(logits, torch.tensor([0.5, 0.9, 0.1, 0.8, 0.95]), Frame((16, 16), 16))
    found, alone = (scores(s, logits[0] > 0) for s in (samples, Samples(logits[:1], samples.iou[:1], samples.frame)))
    assert found["predicted_iou"] == pytest.approx(0.5)
    assert found["stability"] == alone["stability"]


def test_no_two_scores_are_the_same_number():
    rows = [scores(samples_of(logits_of(seed), 0.9), logits_of(seed).mean(0) > 0.2) for seed in range(8)]
    columns = {name: np.array([row[name] for row in rows]) for name in set(SCORES) - {"predicted_iou"}}
    for one, other in itertools.combinations(columns, 2):
        assert not np.allclose(columns[one], columns[other], atol=1e-9), (one, other)


def test_the_area_is_a_share_of_the_image():
    mask = np.zeros((3, 7), bool)
    mask[1, 2:5] = True
    assert area(mask) == 3 / 21 and area(np.zeros((2, 3, 4), bool)) == 0 and area(np.ones((2, 3, 4), bool)) == 1
