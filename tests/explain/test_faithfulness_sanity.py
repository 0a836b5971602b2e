from __future__ import annotations

import numpy as np
import pytest
import torch
from explain.conftest import network
from scipy.stats import spearmanr

from sqp.explain.faithfulness import likeness, sanity_table, shuffled_weights
from sqp.metrics.stats import Resamples


def test_entries_are_the_same_in_another_order_and_the_model_is_untouched(model, planes):
    before = {k: v.clone() for k, v in model.state_dict().items()}
    other = shuffled_weights(model, 3)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    for (name, one), two in zip(model.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(one.flatten().sort().values, two.flatten().sort().values), name
    assert not torch.equal(model(planes).dice, other(planes).dice)
    again = shuffled_weights(network(), 3)
    assert torch.equal(other(planes).dice, again(planes).dice)


def test_likeness_is_scipys_and_nan_for_a_constant_map():
    rng = np.random.default_rng(0)
    one, other = rng.random((2, 3, 8, 8))
    other[2] = 1.0
    found = likeness(one, other)
    assert found[0] == pytest.approx(spearmanr(one[0].ravel(), other[0].ravel()).statistic)
    assert np.isnan(found[2])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([0.9, 0.95, 0.92, 0.9], "fails: the map hardly depends on what was learned"),
        ([0.1, 0.0, np.nan, -0.1], "passes: the map depends on what was learned; 1 constant maps left out"),
        ([0.1, 0.9, 0.1, 0.9], "undecided: the interval holds 0.5"),
        ([np.nan] * 4, "no map to compare: with shuffled weights or without, all are constant"),
    ],
)
def test_what_is_told(values, words):
    table = sanity_table({"cam": np.array(values)}, Resamples.draw(np.arange(4), 200, 0))
    assert table["note"].tolist() == [words]
