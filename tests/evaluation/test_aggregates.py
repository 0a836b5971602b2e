from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import percentileofscore

from sqp.evaluation.comparison import with_aggregates
from sqp.metrics.aggregation import AGGREGATES


def rows(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    dice = rng.uniform(size=n)
    scores = {"good": dice + rng.normal(0, 0.2, n), "fair": dice + rng.normal(0, 0.5, n)}
    return pd.DataFrame({"dice": dice, "area": rng.uniform(size=n), **scores})


def test_columns_beside_the_scores_without_area() -> None:
    test, calibration, names = with_aggregates(rows(20, 0), rows(50, 1), ["good", "fair", "area"])
    assert names == ["good", "fair", "area", *AGGREGATES]
    reference = rows(50, 1)
    expected = [percentileofscore(reference[name], test[name], "mean") / 100 for name in ("good", "fair")]
    np.testing.assert_allclose(test["rank_average"], np.mean(expected, axis=0))
    assert set(AGGREGATES) <= set(calibration)
    again, _, same_names = with_aggregates(test, calibration, names)
    assert same_names == names and again["nonneg_regression"].equals(test["nonneg_regression"])


def test_test_rows_are_scored_one_by_one_and_their_dice_is_not_read() -> None:
    blind = rows(20, 0).assign(dice=np.nan)
    test, _, _ = with_aggregates(rows(20, 0), rows(50, 1), ["good", "fair"])
    one, _, _ = with_aggregates(blind.iloc[[3]], rows(50, 1), ["good", "fair"])
    for name in AGGREGATES:
        assert np.isclose(one[name].iloc[0], test[name].iloc[3])


def test_calibration_rows_without_truth_fit_nothing() -> None:
    test, _, _ = with_aggregates(rows(20, 0), rows(50, 1).assign(dice=np.nan), ["good", "fair"])
    assert test[list(AGGREGATES)].isna().all(axis=None)
