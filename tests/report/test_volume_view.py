"""Volumes as a reader sees them: the slice to look at first, three orthogonal views, a bounded number of slices."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tiny_volumes import ellipsoid
from volumesets import make_volume_set

from sqp.records import RecordSet
from sqp.report import page
from sqp.report.page import as_json, gallery_cases
from sqp.report.scan import GAP, SIDE, Scan, ThreeViews, cuts_of, load_scan, load_view, point_of

SHAPE = (10, 20, 30)


def scan(mask, truth=None, spacing=(2.0, 1.0, 1.0), **more):
    image = np.zeros(mask.shape, np.uint8)
    return Scan(image, mask, truth, spacing, None, "", 1.0, True, **more)


def block(low, high):
    mask = np.zeros(SHAPE, bool)
    mask[low:high, 5:10, 5:15] = True
    return mask


def test_the_slice_of_most_wrong_voxels_comes_first():
    truth = block(2, 8)
    mask = truth.copy()
    mask[6, :3] = True
    assert scan(mask, truth).key == 6
    assert scan(block(3, 8), truth).key != 2  # there is no mask to be seen there
    mask = block(2, 4)
    mask[3, 12:] = True
    assert scan(mask).key == 3
    assert scan(np.zeros(SHAPE, bool), truth).key in range(2, 8)
    assert scan(np.zeros(SHAPE, bool)).key == 5


def test_slices_cover_mask_and_truth_and_hold_the_key():
    one = scan(block(2, 4), block(3, 8))
    assert one.chosen(24) == list(range(1, 9))
    few = one.chosen(3)
    assert len(few) <= 3 and one.key in few and few == sorted(few)
    assert scan(np.zeros(SHAPE, bool)).chosen(2)[-1] == 5


def test_a_slice_is_drawn_in_mm():
    view = scan(block(2, 4), spacing=(5.0, 3.0, 1.0)).slice(3, 100)
    assert view.mask.shape == (100, 50) and view.place == "slice 4 of 10"
    assert view.mask.mean() == pytest.approx(50 / 600, rel=0.1) and view.lacks() == []
    assert scan(block(2, 4)).slice(9, 40).lacks() == []  # empty here, but not elsewhere
    assert scan(np.zeros(SHAPE, bool)).slice(3, 40).lacks() == ["empty mask"]


def test_maps_of_another_grid_follow_the_slices():
    error = np.zeros((5, 4, 4), np.float32)
    error[2] = 1
    drawn = [scan(block(2, 4), error=error).slice(z, 30).error.max() for z in range(10)]
    assert [z for z, most in enumerate(drawn) if most > 0.9] == [4, 5]


def test_three_views_meet_in_the_point_and_have_the_head_up():
    values = np.zeros(SHAPE, np.float32)
    values[7, 4, 25] = 1
    one = scan(values > 0)
    views = ThreeViews(one, point_of(values, one.mask))
    flat = views(values)
    d, h, w = (round(side * SIDE / 30) for side in (20, 20, 30))
    assert flat.shape == views.view().mask.shape == (max(d, h), 2 * w + h + 2 * GAP)
    axial, coronal, sagittal = flat[:, :w], flat[:, w + GAP : 2 * w + GAP], flat[:, 2 * w + 2 * GAP :]
    expected = ((4.5 / 20 * h, 25.5 / 30 * w), (2.5 / 10 * d, 25.5 / 30 * w), (2.5 / 10 * d, 4.5 / 20 * h))
    for part, place in zip((axial, coronal, sagittal), expected, strict=True):
        assert np.unravel_index(part.argmax(), part.shape) == pytest.approx(place, abs=SIDE / 30)
    kinds = np.full(SHAPE, 2, np.uint8)
    assert set(np.unique(views(kinds))) == {0, 2}  # nothing between, and the gaps


def test_where_a_map_is_empty_the_middle_of_the_mask_is_cut():
    mask = ellipsoid()
    assert point_of(np.zeros((4, 4, 4)), mask) == pytest.approx((0.45, 0.55, 0.4), abs=0.06)
    assert point_of(np.zeros((4, 4, 4)), np.zeros(SHAPE, bool)) == (0.5, 0.5, 0.5)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return RecordSet(make_volume_set(tmp_path_factory.mktemp("views") / "records", {"test": 2}))


def test_a_page_holds_slices_of_volumes(records, monkeypatch):
    rows = records.table.assign(
        record_set=str(records.folder), predicted_dice=0.5, low=0.4, high=0.6, verdict="review", reason=""
    )
    cases = gallery_cases(rows)
    assert json.loads(as_json(cases)) == cases
    for one in cases:
        assert 3 <= len(one["slices"]) <= 24 and one["slices"][one["slice"]]["mask"]
        assert all(part["image"].startswith("data:image/webp") and part["truth"] is not None for part in one["slices"])
        assert "image" not in one and one["remarks"] == []
    monkeypatch.setattr(page, "ALL_SLICES", 4 * len(rows))
    assert max(len(one["slices"]) for one in gallery_cases(rows)) == 4


def test_what_is_gone_is_told(records):
    row = records.table.iloc[0].to_dict()
    lost = load_scan(records, {**row, "image_path": "/nowhere.nii.gz", "truth_path": ["/nowhere.nii.gz"]})
    assert lost.image is None and lost.truth is None and lost.mask.any() and lost.uncertainty is not None
    assert load_view(records, {**row, "record_id": "gone"}, 40).lacks() == ["mask not readable", "image not readable"]
    view, cut = cuts_of(records, row, np.zeros((4, 4, 4)))
    assert cut(np.ones((4, 4, 4), np.float32)).shape == view.mask.shape
