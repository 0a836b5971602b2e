"""The segmentation page: means by image, pixel calibration before and after a temperature."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, jaccard_score, log_loss

from sqp.data.masks import read_mask
from sqp.evaluation.evidence import known
from sqp.evaluation.pages.segmentation import scaled, segmentation_page
from sqp.evaluation.pixels import read_pixels
from sqp.records import RecordSet


def test_the_tables_against_scikit_learn(evidence):
    made = evidence()
    page = segmentation_page(made)
    table = page.tables["segmentation"][0].set_index("quantity")
    rows = known(made.natural()[0].test)
    records = RecordSet(rows["record_set"][0])
    masks = [records.mask(name).ravel() for name in rows["record_id"]]
    truths = [read_mask(paths[0]).ravel() for paths in rows["truth_path"]]
    iou = np.array([jaccard_score(t, m) for t, m in zip(truths, masks, strict=True)])
    assert table.loc["IoU", ["n", "mean", "sd"]].tolist() == pytest.approx([12, iou.mean(), iou.std(ddof=1)])
    official = table.loc["ISIC 2018 score (IoU, 0 below 0.65)", "mean"]
    assert official == pytest.approx(np.where(iou < 0.65, 0, iou).mean())
    maps = [read_pixels(records, row).probability.ravel().astype(float) for row in rows.to_dict("records")]
    nll = np.array([log_loss(t, p) for t, p in zip(truths, maps, strict=True)])
    brier = np.array([brier_score_loss(t, p) for t, p in zip(truths, maps, strict=True)])
    assert table.loc[["NLL (nats)", "Brier"], "mean"].tolist() == pytest.approx([nll.mean(), brier.mean()], rel=1e-6)
    assert table.loc["MASD", "unit"] == "px" and (table["mean_low"] <= table["mean_high"]).all()
    dice = page.tables["pixel_calibration_dice"][0].set_index("quantity")
    assert dice.loc["Brier", "spearman"] == pytest.approx(stats.spearmanr(brier, rows["dice"]).statistic)


def test_the_temperature_equals_a_logistic_regression_on_the_logits(evidence):
    """One slope, no intercept, no penalty: 1 / T of scikit-learn; bins of 0.01 in the logit: rel 1e-3."""
    made = evidence()
    part = made.natural()[0]
    rows, held = known(part.test), known(part.calibration)
    (one,) = scaled(rows, held, made.resamples(rows))
    records = RecordSet(rows["record_set"][0])
    read = [read_pixels(records, row) for row in held.to_dict("records")]
    p = np.concatenate([pixels.probability.ravel() for pixels in read]).astype(float)
    t = np.concatenate([pixels.truths[0].ravel() for pixels in read])
    fit = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-8).fit(np.log(p / (1 - p))[:, None], t)
    assert one.fit.value == pytest.approx(1 / fit.coef_[0, 0], rel=1e-3)
    assert one.after.nll < one.before.nll
    assert one.before.n_maps == one.after.n_maps == 12 and one.fit.n_maps == 12


def test_before_is_the_number_of_the_first_table(evidence):
    page = segmentation_page(evidence())
    first = page.tables["segmentation"][0].set_index("quantity")["mean"]
    table = page.tables["temperature"][0].set_index("quantity")
    assert table["before"].tolist() == pytest.approx(first[["ECE of the pixels", "Brier", "NLL (nats)"]].tolist())
    assert table["change"].tolist() == pytest.approx((table["after"] - table["before"]).tolist())


def test_without_calibration_rows_there_is_no_temperature_and_the_reason_stands_there(evidence):
    made = evidence(lambda t: t[(t["split"] == "test") | (t["variant"] != "natural")])
    page = segmentation_page(made)
    table = page.tables["temperature"][0]
    assert table["temperature"].isna().all() and table["after"].isna().all() and table["before"].notna().all()
    assert set(table["note"]) == {"no maps: no temperature"}


def test_one_row_says_why_there_is_no_correlation(evidence):
    page = segmentation_page(
        evidence(
            lambda t: t[(t["split"] == "calibration") | ((t["image_id"] == "test000") & (t["variant"] == "natural"))]
        )
    )
    table = page.tables["pixel_calibration_dice"][0]
    assert table["pearson"].isna().all() and table["note"].str.contains("one row").all()
    assert page.tables["segmentation"][0]["sd"].isna().all()


def test_surface_false_leaves_the_distances_out(evidence):
    quantities = segmentation_page(evidence(surface=False)).tables["segmentation"][0]["quantity"].tolist()
    assert "HD95" not in quantities and "Dice" in quantities


def test_without_the_record_sets_the_page_says_so(evidence):
    page = segmentation_page(evidence(lambda table: table.drop(columns="record_set")))
    assert "give the record sets with --records" in page.text() and not page.tables
