from __future__ import annotations

import pytest

from sqp.errors import ConfigError
from sqp.quality.verdict import VERDICTS, abstention, verdict

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
