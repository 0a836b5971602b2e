"""Masks and maps of records measured at the image's size, and what is kept for the next run."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from recordsets import make_record_set
from skimage.transform import resize

from sqp.core.errors import CaseError
from sqp.data.masks import read_mask
from sqp.evaluation import pixels as module
from sqp.evaluation.pixels import FILE, NUMBERS, STEP, measured, read_pixels
from sqp.metrics.segmentation import segmentation_row
from sqp.records import RecordSet, read_record_sets


@pytest.fixture
def rows(tmp_path) -> pd.DataFrame:
    return read_record_sets([make_record_set(tmp_path / "records", {"test": 4}, variants=("natural",))])


def test_the_numbers_are_those_of_metrics_and_of_the_record(rows, tmp_path):
    table = measured(rows, tmp_path / "out")
    np.testing.assert_allclose(table["dice"], rows["dice"], atol=1e-12)
    np.testing.assert_allclose(table["iou"], rows["iou"], atol=1e-12)
    records = RecordSet(rows["record_set"][0])
    one = read_pixels(records, rows.iloc[1].to_dict())
    expected = segmentation_row(one.mask, read_mask(rows["truth_path"][1][0]), one.probability)
    found = table.loc[1, list(NUMBERS)].astype(float).to_dict()
    assert np.isnan(found.pop("worst_slice"))  # an image has none
    assert found == pytest.approx({name: expected[name] for name in found})
    assert set(table["unit"]) == {"px"} and set(table["note"]) == {""}


def test_the_map_comes_to_the_image_as_scikit_image_brings_it(rows):
    """Both bilinear, pixel centres aligned; they differ at the border alone. float16 and float32: abs 1e-5."""
    records, name = RecordSet(rows["record_set"][0]), rows["record_id"][0]
    got = read_pixels(records, rows.iloc[0].to_dict()).probability
    grid = records.maps(name, ["self/probability"])["self/probability"].astype(np.float64)
    expected = resize(grid, got.shape, order=1, mode="edge", anti_aliasing=False).clip(STEP, 1 - STEP)
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_a_second_run_measures_nothing_and_a_changed_mask_only_itself(rows, tmp_path, monkeypatch):
    first = measured(rows, tmp_path / "out")
    calls = []
    real = module.read_pixels
    monkeypatch.setattr(module, "read_pixels", lambda *a: calls.append(a[1]["record_id"]) or real(*a))
    pd.testing.assert_frame_equal(measured(rows, tmp_path / "out"), first)
    assert not calls
    name = rows["record_id"][2]
    mask = tmp_path / "records" / "masks" / f"{name}.png"
    Image.fromarray(np.zeros((48, 64), np.uint8)).save(mask)
    again = measured(rows, tmp_path / "out")
    assert calls == [name]
    assert again.loc[2, "dice"] == 0 and np.isnan(again.loc[2, "hd95"])
    assert again.loc[2, "note"] == "empty prediction: no surface distance"


def test_several_truths_are_averaged(rows, tmp_path):
    empty = tmp_path / "empty.png"
    Image.fromarray(np.zeros((48, 64), np.uint8)).save(empty)
    both = rows.assign(truth_path=[[*paths, str(empty)] for paths in rows["truth_path"]])
    single, double = measured(rows, tmp_path / "a"), measured(both, tmp_path / "b")
    np.testing.assert_allclose(double["dice"], single["dice"] / 2)
    assert double["masd"].isna().all() and set(double["note"]) == {"empty truth: no surface distance"}


def test_without_surface_or_maps_these_are_nan_and_the_rest_is_there(rows, tmp_path):
    table = measured(rows, tmp_path / "out", probability=False, surface=False)
    assert table[["hd95", "masd", "hausdorff", "ece", "nll"]].isna().all(axis=None)
    assert table["dice"].notna().all()
    assert set(table["note"]) == {"no probability map: no calibration of pixels"}


def test_what_cannot_be_read_is_nan_with_the_reason(rows, tmp_path):
    (tmp_path / "records" / "masks" / f"{rows['record_id'][0]}.png").unlink()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / FILE).write_text("not,ours\n1,2\n")
    other = rows.assign(record_set=[*rows["record_set"][:3], str(tmp_path / "gone")])
    table = measured(other, tmp_path / "out")
    assert table["dice"].isna().tolist() == [True, False, False, True]
    assert table["note"][0].startswith("cannot be measured: ") and "is no record set" in table["note"][3]


def test_a_truth_of_another_size_is_one_sentence(rows, tmp_path):
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(tmp_path / "small.png")
    row = rows.iloc[0].to_dict() | {"truth_path": [str(tmp_path / "small.png")]}
    with pytest.raises(CaseError, match="differ in size"):
        read_pixels(RecordSet(row["record_set"]), row)
