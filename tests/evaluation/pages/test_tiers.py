"""Tiers and the quality flag, against metrics and by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sqp.evaluation.comparison import MODEL
from sqp.evaluation.evidence import known
from sqp.evaluation.pages.tiers import thresholds, tiers_page
from sqp.metrics.tiers import rank_sum_p


def of(page, name: str, method: str, subset: str = "all") -> pd.DataFrame:
    table = pd.concat(page.tables[name])
    return table[(table["subset"] == subset) & (table["method"] == method)]


def test_tiers_of_the_model_by_hand(evidence):
    made = evidence()
    page = tiers_page(made)
    rows = known(made.parts[-1].test)
    score, dice = rows["predicted_dice"], rows["dice"]
    inside = {"high": score >= 0.8, "moderate": (score >= 0.5) & (score < 0.8), "low": score < 0.5}
    table = of(page, "tiers", MODEL).set_index("tier")
    for name, mask in inside.items():
        assert table.loc[name, "n"] == mask.sum()
        expected = [mask.mean(), dice[mask].mean(), rows["iou"][mask].mean(), dice[mask].std()]
        assert table.loc[name, ["share", "dice", "iou", "dice_sd"]].tolist() == pytest.approx(expected, nan_ok=True)
    assert table["share"].sum() == pytest.approx(1)
    assert (table["share_low"] <= table["share"]).all() and (table["share"] <= table["share_high"]).all()
    pair = of(page, "tier_pairs", MODEL).set_index(["a", "b"]).loc[("high", "moderate")]
    x, y = ((dice[inside[name]], rows["group"][inside[name]]) for name in ("high", "moderate"))
    assert pair["p"] == rank_sum_p(x[0], y[0], x[1], y[1])  # by group, not by mask
    assert pair["n_groups"] == len({*x[1], *y[1]})
    assert pair["cohens_d"] > 0
    other = of(page, "tiers", "c_lesion").set_index("tier")
    assert other.loc["high", "dice_difference"] == pytest.approx(table.loc["high", "dice"] - other.loc["high", "dice"])


def test_the_flag_parts_all_masks(evidence):
    made = evidence()
    table = tiers_page(made).tables["quality_flag"][-1].set_index("flag")
    rows = known(made.parts[-1].test)
    assert table["n"].sum() == len(rows) and table["share"].sum() == pytest.approx(1)
    accepted = rows[rows["verdict"] == "accept"]
    assert table.loc["accept", "dice"] == pytest.approx(accepted["dice"].mean())
    assert table.loc["accept", "failed_80"] == pytest.approx((accepted["dice"] < 0.8).mean())
    assert table.loc["abstain", "n"] == 0 and np.isnan(table.loc["abstain", "dice"])


def test_thresholds_by_calibrated_risk_keep_it_on_the_calibration_rows(evidence):
    made = evidence(tier_risk=[0.3, 0.15])
    part = made.parts[-1]
    low, high = thresholds(made.config, part.calibration, MODEL)
    held = part.calibration
    assert low < high
    for start, limit in ((low, 0.3), (high, 0.15)):
        kept = held["predicted_dice"] >= start
        assert (1 - held["dice"][kept]).mean() <= limit
    assert set(of(tiers_page(made), "tiers", MODEL)["threshold"].dropna()) == {low, high}


def test_a_risk_that_no_threshold_keeps_is_said(evidence):
    table = tiers_page(evidence(tier_risk=[0.002, 0.001])).tables["tiers"][0]
    assert table["note"].str.contains("no tiers").all()


def test_an_empty_tier_and_equal_dice_are_nan_with_a_reason(evidence):
    page = tiers_page(evidence(lambda t: t.assign(dice=0.9, iou=0.8, predicted_dice=0.9)))
    table = of(page, "tiers", MODEL).set_index("tier")
    assert np.isnan(table.loc["low", "dice"]) and "no rows in tier low" in table.loc["low", "note"]
    pairs = of(page, "tier_pairs", MODEL)
    assert pairs[["p", "cohens_d"]].isna().all(axis=None) and (pairs["note"] != "").all()


def test_rows_without_iou_have_no_tiers(evidence):
    assert not tiers_page(evidence(lambda t: t.drop(columns="iou"))).tables
