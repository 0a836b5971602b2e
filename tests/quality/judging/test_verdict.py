from __future__ import annotations

import pandas as pd
import pytest

from sqp.core.errors import ConfigError
from sqp.quality.judging.verdict import VERDICTS, abstention, judged, verdict

NAN = float("nan")


@pytest.mark.parametrize(
    ("low", "high", "predicted", "empty", "ood", "expected"),
    [
        (0.80, 0.95, 0.9, False, False, "accept"),
        (0.79, 0.95, 0.9, False, False, "review"),
        (0.40, 0.69, 0.5, False, False, "reject"),
        (0.40, 0.70, 0.5, False, False, "review"),
        (0.10, 1.00, 0.5, False, False, "review"),
        (0.90, 0.95, 0.9, True, False, "abstain"),
        (0.90, 0.95, 0.9, False, True, "abstain"),
        (NAN, NAN, NAN, False, False, "abstain"),
        (NAN, 0.95, 0.9, False, False, "abstain"),
    ],
)
def test_the_table(low: float, high: float, predicted: float, empty: bool, ood: bool, expected: str) -> None:
    assert verdict(low, high, predicted, empty, ood) == expected
    assert expected in VERDICTS
    if not (low != low and predicted == predicted):  # an interval that fails alone has no reason of its own
        assert bool(abstention(predicted, empty, ood)) == (expected == "abstain")


def test_thresholds_are_options() -> None:
    assert verdict(0.6, 0.7, 0.65, accept=0.6, reject=0.5) == "accept"
    assert verdict(0.6, 0.7, 0.65, accept=0.95, reject=0.9) == "reject"
    with pytest.raises(ConfigError, match="reject must not be above accept"):
        verdict(0.6, 0.7, 0.65, accept=0.6, reject=0.8)


def test_a_whole_table() -> None:
    table = pd.DataFrame(
        {
            "predicted_dice": [0.9, 0.4, 0.8, 0.9, NAN, 0.9, NAN],
            "low": [0.85, 0.3, 0.6, 0.85, NAN, 0.85, NAN],
            "high": [1, 0.5, 0.9, 1, NAN, 1, NAN],
            "area": [0.1, 0.1, 0.1, 0.0, 0.1, 0.1, 0.1],
            "ood": [False] * 5 + [True, True],
            "unreadable": [False] * 6 + [True],
            "reason": ["old"] * 6 + ["no file"],
        }
    )
    out = judged(table)
    assert out.verdict.tolist() == ["accept", "reject", "review", *["abstain"] * 4]
    assert out.reason.tolist()[:5] == ["", "", "", "empty mask", "no prediction (NaN in the maps)"]
    assert out.reason.tolist()[5:] == ["out of distribution", "no file"]
    assert judged(table.assign(mask_empty=False)).verdict[3] == "accept"


def test_without_marks_and_area_the_interval_alone_decides() -> None:
    table = pd.DataFrame({"predicted_dice": [0.9, 0.4, 0.8], "low": [0.85, 0.3, 0.6], "high": [1, 0.5, 0.9]})
    out = judged(table)
    assert out.verdict.tolist() == ["accept", "reject", "review"] and out.reason.tolist() == ["", "", ""]


@pytest.mark.parametrize("thresholds", [{"accept": 1.2}, {"reject": -0.1}, {"accept": NAN}])
def test_thresholds_outside_of_dice(thresholds: dict) -> None:
    with pytest.raises(ConfigError, match="must lie between 0 and 1"):
        verdict(0.6, 0.7, 0.65, **thresholds)


def test_an_image_unlike_all_references_is_abstained_from_whatever_is_predicted() -> None:
    numbers = {"low": 0.0, "high": 0.1, "predicted_dice": 0.05, "ood": [False, False, False, True]}
    table = judged(pd.DataFrame(numbers | {"references_likeness": [0.1, 0.9, NAN, 0.9]}))
    assert list(table["verdict"]) == ["abstain", "reject", "reject", "abstain"]
    assert list(table["ood"]) == [True, False, False, True]
    assert list(table["reason"]) == ["unlike all references", "", "", "out of distribution"]
