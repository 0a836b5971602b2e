"""The page of selective use, against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from sqp.evaluation.comparison import MEDIAN, MODEL
from sqp.evaluation.evidence import known
from sqp.evaluation.pages.selective import ordered_scores, selective_page


def by_method(page, subset: str = "all") -> pd.DataFrame:
    table = pd.concat(page.tables["selective"])
    return table[table["subset"] == subset].set_index("method")


def test_every_column_against_scikit_learn_and_by_hand(evidence):
    made = evidence(lambda t: t.assign(predicted_dice=t["dice"] * np.linspace(0.7, 1, len(t))))  # no ties
    table = by_method(selective_page(made))
    rows = known(made.parts[-1].test)
    score, risk = rows["predicted_dice"].to_numpy(), 1 - rows["dice"].to_numpy()
    row, order = table.loc[MODEL], np.argsort(-score)
    curve = np.cumsum(risk[order]) / np.arange(1, len(risk) + 1)
    best = np.cumsum(np.sort(risk)) / np.arange(1, len(risk) + 1)
    assert row["aurc"] == pytest.approx(curve.mean())
    assert row["excess_aurc"] == pytest.approx(curve.mean() - best.mean())
    assert row["augrc"] == pytest.approx((np.cumsum(risk[order]) / len(risk)).mean())
    assert row["risk_at_80"] == pytest.approx(curve[int(np.ceil(0.8 * len(risk))) - 1])
    for bound in (0.7, 0.8):
        failed, end = risk > 1 - bound, f"_{bound * 100:.0f}"
        assert row["n_failed" + end] == failed.sum()
        assert row["auroc" + end] == pytest.approx(roc_auc_score(failed, -score))
        assert row["auprc" + end] == pytest.approx(average_precision_score(failed, -score))
        reviewed = np.cumsum(failed[order[::-1]]) >= 0.95 * failed.sum()
        assert row["review_share" + end] == pytest.approx((reviewed.argmax() + 1) / len(risk))


def test_a_constant_has_the_mean_risk_and_differences_are_model_less_method(evidence):
    made = evidence()
    table = by_method(selective_page(made))
    risk = 1 - made.parts[-1].test["dice"].mean()
    assert table.loc[MEDIAN, ["aurc", "risk_at_80"]].tolist() == pytest.approx([risk, risk])
    assert table.loc[MEDIAN, "auroc_80"] == 0.5 and table.loc[MEDIAN, "review_share_80"] == 1
    assert "all scores tie" in table.loc[MEDIAN, "note"]
    difference = table.loc[MODEL, "aurc"] - table.loc[MEDIAN, "aurc"]
    assert table.loc[MEDIAN, "aurc_difference"] == pytest.approx(difference)
    assert table.loc[MEDIAN, "aurc_difference_high"] < 0
    gaps = table.loc["predicted_iou"]  # of natural masks alone
    assert gaps["n"] == gaps["n_paired"] == 12 and "24 of 36 rows undefined" in gaps["note"]


def test_the_area_takes_its_direction_from_the_calibration_rows(evidence):
    part = evidence().natural()[0]
    falling = part.calibration.assign(area=1 - part.calibration["dice"])
    scores = ordered_scores(part.test, falling, ["area"])
    np.testing.assert_array_equal(scores["area"], -part.test["area"])
    np.testing.assert_array_equal(ordered_scores(part.test, falling.head(0), ["area"])["area"], part.test["area"])


@pytest.mark.parametrize("dice", [1.0, 0.2], ids=["no failures", "only failures"])
def test_without_good_or_failed_masks_the_finding_is_nan_with_a_reason(evidence, dice):
    table = by_method(selective_page(evidence(lambda t: t.assign(dice=dice))))
    assert table["auroc_80"].isna().all() and table["aurc"].notna().all()
    assert table["note"].str.contains("no failures: nothing to find" if dice == 1 else "only failures").all()


def test_one_row(evidence):
    page = selective_page(
        evidence(
            lambda t: t[(t["split"] == "calibration") | ((t["image_id"] == "test000") & (t["variant"] == "natural"))]
        )
    )
    table = page.tables["selective"][0]
    assert set(table["n"]) <= {0, 1} and table["auroc_70"].isna().all() and (table["note"] != "").all()


def test_a_model_without_predictions_still_makes_the_page(evidence):
    table = by_method(selective_page(evidence(lambda t: t.assign(predicted_dice=np.nan))))
    assert table.loc[MODEL, "n"] == 0 and np.isnan(table.loc[MODEL, "aurc"])
    assert "undefined for every row" in table.loc[MODEL, "note"]
    assert table.loc["c_lesion", "aurc"] > 0 and np.isnan(table.loc["c_lesion", "aurc_difference"])
