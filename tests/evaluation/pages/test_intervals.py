"""Coverage by kind and by level, and intervals calibrated for each kind apart."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sqp.evaluation.evidence import known
from sqp.evaluation.pages.intervals import Calibrated, intervals_page, labelled
from sqp.quality.judging.conformal import Conformal


def kinds(n: int = 400, seed: int = 0) -> pd.DataFrame:
    """Two kinds of record, one with errors four times the other's, the same scale for both."""
    rng = np.random.default_rng(seed)
    kind = np.where(np.arange(n) % 2, "easy", "hard")
    dice = rng.uniform(0.3, 0.7, n)
    error = rng.normal(0, np.where(kind == "easy", 0.02, 0.08))
    return pd.DataFrame(
        {"dice": dice, "predicted_dice": dice + error, "scale": 0.05, "group": np.arange(n), "diagnosis": kind}
        | {"calibrates": True, "area": rng.random(n)}
    )


def test_mondrian_covers_within_each_kind_where_the_pooled_one_does_not():
    """Expected coverage 0.9 in each kind; SE over 2,000 test rows a kind 0.007, of calibration 0.02."""
    held, test = kinds(), kinds(4000, seed=1)
    hard = (test["diagnosis"] == "hard").to_numpy()
    shares = {}
    for by in ("", "diagnosis"):
        low, high = Calibrated(held, by).interval(test, 0.1)
        inside = (low <= test["dice"]) & (test["dice"] <= high)
        shares[by] = inside[hard].mean(), inside[~hard].mean()
    assert shares[""][0] < 0.85 and shares[""][1] > 0.97
    assert shares["diagnosis"] == pytest.approx((0.9, 0.9), abs=0.05)


def test_pooled_is_what_the_bundle_does():
    held, test = kinds(), kinds(50, seed=1)
    expected = Conformal.fit(held["predicted_dice"], held["scale"], held["dice"], held["group"].tolist(), 0.2)
    got = Calibrated(held, "").interval(test, 0.2)
    np.testing.assert_array_equal(got, expected.interval(test["predicted_dice"], test["scale"]))
    half = held.assign(calibrates=held["diagnosis"] == "easy")
    narrow = Calibrated(half, "").interval(test, 0.2)
    assert (narrow[1] - narrow[0]).mean() < (got[1] - got[0]).mean()


def test_a_kind_with_too_few_groups_is_pooled_and_said():
    held = kinds(40)
    held = held[(held["diagnosis"] == "easy") | (held.index < 6)]
    apart = Calibrated(held, "diagnosis")
    assert apart.note(0.1) == "hard: too few calibration groups, pooled"
    test = kinds(20, seed=1)
    hard = (test["diagnosis"] == "hard").to_numpy()
    np.testing.assert_array_equal(
        np.array(apart.interval(test, 0.1))[:, hard], np.array(Calibrated(held, "").interval(test, 0.1))[:, hard]
    )


def test_without_calibration_predictions_everything_is_nan_with_a_reason():
    held, test = kinds().assign(predicted_dice=np.nan), kinds(5)
    for rows in (held, held.drop(columns="scale"), held.head(0)):
        one = Calibrated(rows, "area")
        assert np.isnan(one.interval(test, 0.1)).all()
        assert one.note(0.1) == "no calibration rows with predictions: nothing to calibrate on"
    assert Calibrated(kinds(5), "").note(0.01) == "too few calibration groups for this level"
    assert (
        Calibrated(kinds().drop(columns="diagnosis"), "diagnosis").note(0.1) == "these rows have no diagnosis: pooled"
    )


def test_areas_are_thirds_of_the_calibration_rows():
    held = kinds(300)
    counts = labelled(held, "area", held).value_counts()
    assert sorted(counts) == [100, 100, 100]
    assert labelled(held, "segmenter", held) is None


def test_a_row_without_a_kind_is_of_none():
    held = kinds(4).assign(diagnosis=["easy", None, "", np.nan], area=[0.1, 0.2, 0.3, np.nan])
    assert labelled(held, "diagnosis", held).tolist() == ["easy", "(none)", "(none)", "(none)"]
    assert labelled(held, "area", held).tolist()[-1] == "(none)"


def test_the_page_by_kind_and_level(evidence):
    made = evidence(mondrian="area")
    page = intervals_page(made)
    table = page.tables["intervals"][0]
    rows = known(made.parts[0].test)
    inside = (rows["low"] <= rows["dice"]) & (rows["dice"] <= rows["high"])
    assert table.loc[0, "coverage"] == pytest.approx(inside.mean())
    assert table.loc[0, "width"] == pytest.approx((rows["high"] - rows["low"]).mean())
    assert set(table["by"]) == {"all", "area", "diagnosis", "segmenter", "prompter"}
    assert table.groupby("by")["n"].sum().tolist() == [12] * 5
    assert table.loc[0, "coverage_change"] == pytest.approx(table.loc[0, "coverage_apart"] - table.loc[0, "coverage"])
    levels = page.tables["coverage_by_level"][0]
    assert levels["level"].tolist() == [0.5, 0.6, 0.7, 0.8, 0.9, 0.95]
    assert levels["width"].dropna().is_monotonic_increasing
    assert levels["coverage"].isna().tolist() == [False] * 5 + [True]  # 12 groups: too few for 95 %
    assert levels["note"].iloc[-1] == "too few calibration groups for this level"


def test_without_mondrian_there_are_no_such_columns(evidence):
    page = intervals_page(evidence(mondrian=""))
    assert "coverage_apart" not in page.tables["intervals"][0]
    assert "not asked for" in page.text()
