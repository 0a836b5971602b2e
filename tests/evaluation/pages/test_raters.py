"""Several truths an image: simulated raters on disk, the mean row by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_erosion
from sklearn.metrics import f1_score
from tiny_volumes import SPACING, write_nifti
from volumesets import make_volume_set

from sqp.data.masks import read_mask
from sqp.data.volumes import read_structure
from sqp.evaluation.pages.raters import by_image, raters_page
from sqp.metrics.raters import area_crps
from sqp.records import RecordSet, read_record_sets


@pytest.fixture
def two_raters(evidence, tmp_path):
    """The natural test rows; a second rater draws the lesion smaller, by one pixel more an image."""
    made = evidence()
    rows = made.natural()[0].test
    paths = []
    for i, (first, *_) in enumerate(rows["truth_path"]):
        smaller = binary_erosion(read_mask(first), iterations=1 + i % 3) if i else read_mask(first)
        second = tmp_path / f"second{i}.png"
        Image.fromarray(smaller.astype(np.uint8) * 255).save(second)
        paths.append([first, str(second)])
    return dataclasses.replace(made, raters=rows.assign(truth_path=paths))


def test_means_against_scikit_learn(two_raters):
    page = raters_page(two_raters)
    table = page.tables["raters"][0].set_index("quantity")
    images = page.tables["raters_images"][0]
    rows = two_raters.raters
    records = RecordSet(rows["record_set"].iloc[0])
    masks = [records.mask(name).ravel() for name in rows["record_id"]]
    truths = [[read_mask(path).ravel() for path in paths] for paths in rows["truth_path"]]
    between = np.array([f1_score(a, b) for a, b in truths])
    own = np.array([np.mean([f1_score(t, m) for t in pair]) for pair, m in zip(truths, masks, strict=True)])
    np.testing.assert_allclose(images["disagreement"], 1 - between)
    np.testing.assert_allclose(images["dice_mean"], own)
    np.testing.assert_allclose(images["error"], np.abs(rows["predicted_dice"] - own))
    inside = (rows["low"].to_numpy() <= own) & (own <= rows["high"].to_numpy())
    assert table.loc["the model's interval holds the mean Dice", "mean"] == pytest.approx(inside.mean())
    assert table.loc["Dice of the raters with each other", "mean"] == pytest.approx(between.mean())


def test_the_area_of_a_volume_is_in_cubic_millimetres(tmp_path):
    folder = make_volume_set(tmp_path / "records", {"test": 3})
    rows = read_record_sets([folder])
    rows = rows[rows["natural"]].reset_index(drop=True).assign(predicted_dice=0.8, low=0.7, high=0.9)
    both = []
    for i, (path,) in enumerate(rows["truth_path"]):
        second = write_nifti(tmp_path / f"second{i}.nii.gz", binary_erosion(read_structure(path)[0]))
        both.append([path, str(second)])
    found = by_image(rows.assign(truth_path=both))
    records, cell = RecordSet(folder), np.prod(SPACING)
    for row, name, paths in zip(found.itertuples(), rows["record_id"], both, strict=True):
        volumes = np.array([cell * read_structure(path)[0].sum() for path in paths])
        p = records.maps(name)["self/probability"].astype(float).sum() * cell
        assert row.area_crps == pytest.approx(area_crps(p, volumes), rel=2e-3)  # maps are kept off 0 and 1
        assert row.area_crps_share == pytest.approx(row.area_crps / volumes.mean())


def test_where_the_raters_agree_there_is_no_dissensus_and_it_is_said(two_raters):
    table = raters_page(two_raters).tables["raters"][0].set_index("quantity")
    row = table.loc["Dice where they do not"]
    assert row["n"] == 11
    assert row["note"] == "1 of 12: the raters agree on every pixel: no dissensus"


def test_correlations_with_disagreement(two_raters):
    table = raters_page(two_raters).tables["raters_correlations"][0]
    assert table["n"].tolist() == [12] * 4 and table["spearman"].between(-1, 1).all()


def test_no_several_truths_or_a_lost_file_are_said(evidence, two_raters):
    page = raters_page(evidence())
    assert "No natural record of the test split or of the split 'raters'" in page.text() and not page.tables
    gone = two_raters.raters.assign(truth_path=[["/gone.png", "/gone.png"]] * 12)
    page = raters_page(dataclasses.replace(two_raters, raters=gone))
    table = page.tables["raters"][0]
    assert table["mean"].isna().all() and table["note"].str.contains("12 of 12: .*gone.png").all()


def test_one_image_without_a_prediction(two_raters):
    one = two_raters.raters.head(1).assign(predicted_dice=np.nan)
    page = raters_page(dataclasses.replace(two_raters, raters=one))
    table = page.tables["raters"][0].set_index("quantity")
    error = table.loc["|predicted - mean true Dice| of the quality model"]
    assert np.isnan(error["mean"]) and error["note"].startswith("1 of 1")
    assert page.tables["raters_correlations"][0]["pearson"].isna().all()
