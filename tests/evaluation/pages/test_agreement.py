"""Agreement for each target, against scipy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_absolute_error

from sqp.data.masks import read_mask
from sqp.evaluation.comparison import MEAN, MODEL
from sqp.evaluation.evidence import known
from sqp.evaluation.pages.agreement import agreement_page
from sqp.metrics.segmentation import surface_distances
from sqp.records import RecordSet


def rows_of(page, target: str, subset: str = "all") -> pd.DataFrame:
    table = pd.concat(page.tables["agreement"])
    return table[(table["target"] == target) & (table["subset"] == subset)].set_index("method")


def distances(rows: pd.DataFrame) -> np.ndarray:
    records = RecordSet(rows["record_set"].iloc[0])
    pairs = zip(rows["record_id"], rows["truth_path"], strict=True)
    return np.array([surface_distances(records.mask(name), read_mask(paths[0])).hd95 for name, paths in pairs])


def test_dice_has_every_statistic(evidence):
    made = evidence()
    row = rows_of(agreement_page(made), "dice").loc[MODEL]
    rows = known(made.parts[-1].test)
    x, y = rows["predicted_dice"], rows["dice"]
    assert row["kendall"] == pytest.approx(stats.kendalltau(x, y).statistic)
    error = x - y
    assert row["bias"] == pytest.approx(error.mean())
    assert row["limit_high"] == pytest.approx(error.mean() + 1.96 * error.std(ddof=1))
    assert row["sd"] == pytest.approx(y.std(ddof=0))
    assert 0 < row["ece"] < 0.1


def test_the_constants_and_the_signed_rank_test(evidence):
    made = evidence()
    table, rows = rows_of(agreement_page(made), "dice", "natural"), known(made.natural()[0].test)
    mean = made.natural()[0].calibration["dice"].mean()
    assert table.loc[MEAN, "rmse"] == pytest.approx(np.sqrt(((rows["dice"] - mean) ** 2).mean()))
    errors = (rows["predicted_dice"] - rows["dice"]).abs(), (mean - rows["dice"]).abs()
    assert table.loc[MEAN, "p"] == pytest.approx(stats.wilcoxon(*errors).pvalue)
    assert (table["p_holm"].dropna() >= table["p"].dropna()).all()


def test_iou_follows_from_dice_and_so_does_the_interval(evidence):
    made = evidence(target=["iou"])
    page = agreement_page(made)
    row, dice = rows_of(page, "iou").loc[MODEL], made.compared["all"].set_index("method").loc[MODEL]
    rows = known(made.parts[-1].test)
    predicted = rows["predicted_dice"] / (2 - rows["predicted_dice"])
    assert row["mae"] == pytest.approx(mean_absolute_error(rows["iou"], predicted))
    assert row["spearman"] == pytest.approx(dice["spearman"])  # a growing function keeps the order
    assert row["coverage"] == pytest.approx(dice["coverage"])


def test_a_distance_is_measured_and_correlates_with_its_negative(evidence):
    made = evidence(target=["hd95"])
    page = agreement_page(made)
    table, part = rows_of(page, "hd95"), made.parts[-1]
    truth, held = distances(part.test), distances(part.calibration)
    assert table.loc[MODEL, "spearman"] == pytest.approx(stats.spearmanr(part.test["predicted_dice"], -truth).statistic)
    line = LinearRegression().fit(part.calibration[["predicted_dice"]], held)
    predicted = line.predict(part.test[["predicted_dice"]]).clip(0)
    assert table.loc[MODEL, "mae"] == pytest.approx(mean_absolute_error(truth, predicted))
    assert "coverage" not in table and "ece" not in table
    assert "In px. 0 of 36 rows have no distance" in page.text()
    assert (made.config.out / "pixels.csv").exists()


def test_empty_masks_have_no_distance_and_without_record_sets_it_is_said(evidence):
    page = agreement_page(evidence(lambda t: t.drop(columns="record_set"), target=["masd"]))
    assert "give --records" in page.text() and "agreement" not in page.tables
    gone = agreement_page(evidence(lambda t: t.assign(truth_path=[["/gone.png"]] * len(t)), target=["masd"]))
    table = gone.tables["agreement"][0]
    assert (table["n"] == 0).all() and set(table["note"]) == {"no row has a true MASD"}


def test_the_bins_hold_all_rows(evidence):
    made = evidence()
    table = pd.concat(agreement_page(made).tables["calibration"])
    assert table.groupby("subset", sort=False)["n"].sum().tolist() == [12, 12, 12]
