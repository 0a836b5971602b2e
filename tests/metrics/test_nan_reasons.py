from __future__ import annotations

import pytest

from sqp.metrics.nan_reasons import agreement_note, rows_note

NAN = float("nan")


@pytest.mark.parametrize(
    ("predicted", "true", "note"),
    [
        ([0.1, 0.2], [0.3, 0.1], ""),
        ([], [], "no rows"),
        ([NAN], [0.5], "undefined for every row"),
        ([0.5], [0.4], "one row: no correlation, R2 or limits"),
        ([0.5, NAN], [0.4, 0.4], "1 of 2 rows undefined; one row: no correlation, R2 or limits"),
        ([0.5, 0.5], [0.4, 0.3], "constant prediction: no correlation"),
        ([0.5, 0.5], [0.4, 0.4], "constant prediction: no correlation; constant truth: no correlation, no R2"),
        ([0.5, 0.6], [0.4, 0.4], "constant truth: no correlation, no R2"),
    ],
)
def test_agreement_note(predicted: list, true: list, note: str) -> None:
    assert agreement_note(predicted, true) == note


def test_infinity_is_undefined_too() -> None:
    assert rows_note([float("inf"), 1.0, 2.0], [1.0, NAN, 2.0]) == "2 of 3 rows undefined"
