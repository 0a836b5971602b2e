from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from sqp.explain.permutation import (
    WHOLE,
    Input,
    donors,
    importance_table,
    inputs_of,
    no_gradient_predict,
    permuted_predictions,
)
from sqp.metrics.stats import Resamples

CHANNELS = ("image", "mask", "self/entropy")
N = 40


def dice_of(planes: torch.Tensor, scores: torch.Tensor | None) -> np.ndarray:
    """Reads the mask plane a lot, the first score a little, the image not at all."""
    assert scores is not None
    return (0.6 * planes[:, 3].mean(dim=(1, 2)) + 0.3 * scores[:, 0]).numpy()


@pytest.fixture(scope="module")
def data() -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    generator = torch.Generator().manual_seed(0)
    level = torch.rand(N, 5, 1, 1, generator=generator)
    planes = (level + 0.1 * torch.rand(N, 5, 4, 4, generator=generator)).half()
    scores = torch.cat([torch.rand(N, 2, generator=generator), torch.zeros(N, 2)], dim=1)
    return planes, scores, dice_of(planes.float(), scores).astype(float)


def test_every_input_and_the_sets():
    found = {one.name: one for one in inputs_of(CHANNELS, ("area", "c_lesion"))}
    assert found["image"] == Input("image", "channel", (0, 1, 2))
    assert found["c_lesion"] == Input("c_lesion", "score", scores=(1,))
    assert found["uncertainty"] == Input("uncertainty", "set", (4,), (0, 1))
    assert found["mask only"] == Input("mask only", "only", (0, 1, 2, 4), (0, 1))
    assert found["uncertainty only"] == Input("uncertainty only", "only", (0, 1, 2, 3))
    assert "all maps" not in found and found["all scores"].scores == (0, 1)


def test_a_vector_of_the_segmenters_features_is_one_input():
    scores = ("area", "features/mask_token/0", "features/mask_token/1", "features/embedding/0")
    found = {one.name: one for one in inputs_of(("mask",), scores)}
    assert found["features/mask_token"] == Input("features/mask_token", "features", scores=(1, 2))
    assert found["features/embedding"].scores == (3,) and "features/mask_token/0" not in found


def test_a_model_of_one_input_has_no_sets():
    assert [one.name for one in inputs_of(("mask",), ())] == ["mask"]


def test_donors_are_others_of_the_same_stratum():
    strata = np.array([True] * 5 + [False] * 7)
    found = donors(strata, 1)
    assert sorted(found) == list(range(12)) and (found != np.arange(12)).all()
    assert (strata[found] == strata).all() and (found == donors(strata, 1)).all()
    assert donors(np.array([True, False])).tolist() == [0, 1]


def test_only_what_is_named_is_taken_from_the_donor(data):
    planes, scores, dice = data
    donor = donors(np.ones(N, bool))
    inputs = [Input("mask", "channel", (3,)), Input("area", "score", scores=(0,)), Input("image", "channel", (0, 1, 2))]
    predict = no_gradient_predict(dice_of, N, batch_size=7)
    before = planes.clone(), scores.clone()
    found = permuted_predictions(predict, planes, scores, inputs, donor)
    assert torch.equal(planes, before[0]) and torch.equal(scores, before[1])
    assert found[WHOLE] == pytest.approx(dice, abs=1e-6) and found["image"] == pytest.approx(dice, abs=1e-6)
    mask = planes[:, 3].float().mean(dim=(1, 2)).numpy()
    first = scores[:, 0].numpy()
    assert found["mask"] == pytest.approx(0.6 * mask[donor] + 0.3 * first, abs=1e-6)
    assert found["area"] == pytest.approx(0.6 * mask + 0.3 * first[donor], abs=1e-6)


def test_the_table_says_what_is_needed(data):
    planes, scores, dice = data
    inputs = inputs_of(CHANNELS, ("area", "c_lesion"))
    found = permuted_predictions(no_gradient_predict(dice_of, N, 16), planes, scores, inputs, donors(np.ones(N, bool)))
    keep = np.arange(N) < 30
    table = importance_table(found, inputs, dice, keep, Resamples.draw(np.arange(N), 300, 0)).set_index("taken_away")
    assert (table["n"] == 30).all() and table.loc[WHOLE, "spearman"] == 1 and table.loc[WHOLE, "note"] == ""
    assert table.loc["mask", "note"] == "needed (order and error)" == table.loc["uncertainty", "note"]
    assert table.loc["image", "note"] == "no loss that the interval shows" and table.loc["image", "mae_rise"] == 0
    expected = 1 - spearmanr(found["mask"][keep], dice[keep]).statistic
    assert table.loc["mask", "spearman_loss"] == pytest.approx(expected)
    assert table.loc["mask", "spearman_loss_low"] <= expected <= table.loc["mask", "spearman_loss_high"]
    assert table.loc["mask only", "note"] == ""
