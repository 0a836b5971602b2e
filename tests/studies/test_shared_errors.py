"""One wrong image, and predictors that err with or against the model, by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sqp.evaluation.comparison import with_aggregates
from studies.comparisons import shared_errors, which_aggregate


def test_the_worst_images_and_the_models_company() -> None:
    dice = np.linspace(0.2, 0.9, 200)
    rows = pd.DataFrame({"dice": dice, "image_id": np.arange(200).astype(str), "predicted_dice": dice + 0.01})
    rows.loc[7, "predicted_dice"] += 0.5  # one of the two worst
    rows["peer"] = dice - 2 * (rows["predicted_dice"] - dice)
    rows["area"] = np.where(np.arange(200) == 3, np.nan, dice)
    rows["absent"] = np.nan
    calibration = pd.DataFrame({"dice": [0.2, 0.4], "area": [0.2, 0.4], "absent": np.nan, "image_id": ["a", "b"]})
    predictors = {"quality_model": "predicted_dice", "peer": "peer"}
    found = shared_errors(rows, calibration, predictors, ["area", "absent"]).set_index("method")
    assert found.loc["quality_model", "worst"] == pytest.approx((0.51**2 + 1e-4) / (0.51**2 + 199e-4))
    assert found.loc["peer", "worst"] == pytest.approx(found.loc["quality_model", "worst"])
    assert found["with_model"][["quality_model", "peer"]].tolist() == pytest.approx([1, -1])
    assert found.loc["area", "n"] == 199 and "absent" not in found.index


def test_which_aggregate_ranks_better_against_scipy() -> None:
    rng = np.random.default_rng(0)
    dice = rng.uniform(0, 1, 60)
    rows = pd.DataFrame({"dice": dice, "group": np.arange(60), "good": dice + rng.normal(0, 0.05, 60)})
    rows["noise"] = rng.uniform(0, 1, 60)
    test, calibration = rows.iloc[:30].reset_index(drop=True), rows.iloc[30:].reset_index(drop=True)
    found = which_aggregate(test, calibration, ["good", "noise"], 200)
    made, _, _ = with_aggregates(test, calibration, ["good", "noise"])
    each = [stats.spearmanr(made[name], made["dice"]).statistic for name in ("rank_average", "nonneg_regression")]
    assert [found["rank_average"], found["nonneg_regression"]] == pytest.approx(each)
    assert found["difference"] == pytest.approx(each[1] - each[0]) and found["n"] == 30
    assert 0 < found["difference_low"] < found["difference"] < found["difference_high"]  # noise is dropped
