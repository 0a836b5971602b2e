from __future__ import annotations

import numpy as np
import pytest

from sqp.metrics import OVERLAP, calibration
from sqp.metrics.segmentation import segmentation_row, surface_distances

EMPTY = np.zeros((20, 30), bool)
SQUARE, MOVED = EMPTY.copy(), EMPTY.copy()
SQUARE[5:10, 5:10], MOVED[5:10, 7:12] = True, True


def test_row_holds_every_number() -> None:
    probability = np.where(SQUARE, 0.8, 0.1)
    row = segmentation_row(SQUARE, MOVED, probability, spacing=(0.5, 0.5))
    assert {name: row[name] for name in OVERLAP} == {name: f(SQUARE, MOVED) for name, f in OVERLAP.items()}
    assert (row["dice"], row["iou"]) == pytest.approx((0.6, 15 / 35))
    assert (row["hausdorff"], row["hd95"], row["unit"]) == (1, 1, "mm")
    assert row["masd"] == surface_distances(SQUARE, MOVED, (0.5, 0.5)).masd
    assert row["ece"] == pytest.approx(calibration.pixel_ece(probability, MOVED), abs=1e-12)
    assert row["brier"] == pytest.approx(calibration.brier(probability, MOVED), abs=1e-12)
    assert row["nll"] == pytest.approx(calibration.nll(probability, MOVED), abs=1e-12)
    assert row["note"] == ""


@pytest.mark.parametrize("spacing", [None, (), []])
def test_without_spacing_it_is_pixels(spacing: list | None) -> None:
    row = segmentation_row(SQUARE, MOVED, spacing=spacing)
    assert (row["hausdorff"], row["unit"]) == (2, "px")


@pytest.mark.parametrize(
    ("prediction", "truth", "probability", "missing", "note"),
    [
        (SQUARE, MOVED, None, {"ece", "brier", "nll"}, "no probability map: no calibration of pixels"),
        (EMPTY, SQUARE, SQUARE * 0.4, {"hausdorff", "hd95", "masd"}, "empty prediction: no surface distance"),
        (EMPTY, EMPTY, EMPTY * 1.0, {"hausdorff", "hd95", "masd"}, "both masks empty: no surface distance"),
        (SQUARE, SQUARE, SQUARE * np.nan, {"ece", "brier", "nll"}, "1 of 1 probability maps hold a NaN: left out"),
    ],
)
def test_what_is_nan_has_its_reason(
    prediction: np.ndarray, truth: np.ndarray, probability: np.ndarray | None, missing: set[str], note: str
) -> None:
    row = segmentation_row(prediction, truth, probability)
    assert {name for name, value in row.items() if isinstance(value, float) and np.isnan(value)} == missing
    assert row["note"] == note


def test_two_empty_masks_agree() -> None:
    row = segmentation_row(EMPTY, EMPTY)
    assert [row[name] for name in OVERLAP] == [1] * len(OVERLAP)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        segmentation_row(SQUARE, MOVED, np.zeros((3, 3)))


def test_without_surface_there_is_no_distance_and_no_word_of_it() -> None:
    row = segmentation_row(np.zeros((4, 4), bool), np.eye(4, dtype=bool), np.full((4, 4), 0.5), surface=False)
    assert np.isnan([row["hausdorff"], row["hd95"], row["masd"]]).all() and row["note"] == ""
    assert row["dice"] == 0


def test_a_volume_has_its_worst_slice():
    truth = np.zeros((4, 5, 6), bool)
    truth[1:3, 1:4, 1:4] = True
    mask = truth.copy()
    mask[2] = False
    row = segmentation_row(mask, truth, spacing=(3.0, 1.0, 1.0))
    assert row["worst_slice"] == 0 and row["dice"] == pytest.approx(2 / 3) and row["unit"] == "mm"
    assert row["hausdorff"] == 3.0
    assert "worst_slice" not in segmentation_row(mask[1], truth[1])
