from __future__ import annotations

import numpy as np
import pytest

from sqp.metrics import failures, selective
from sqp.metrics.selective import selective_row

NAN = float("nan")


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    dice = rng.beta(5, 2, 100)
    return np.clip(dice + rng.normal(0, 0.1, 100), 0, 1).round(2), dice


def test_row_holds_every_number() -> None:
    score, dice = data()
    row = selective_row(score, dice)
    assert row["n"] == 100 and row["note"] == ""
    assert row["aurc"] == selective.aurc(score, 1 - dice) and row["augrc"] == selective.augrc(score, 1 - dice)
    assert row["excess_aurc"] == selective.excess_aurc(score, 1 - dice)
    assert row["risk_at_80"] == selective.risk_at_coverage(score, 1 - dice, 0.8)
    for name, failed in (("70", dice < 0.7), ("80", dice < 0.8)):
        assert row[f"n_failed_{name}"] == failed.sum()
        assert row[f"auroc_{name}"] == failures.failure_auroc(score, failed)
        assert row[f"auprc_{name}"] == failures.failure_auprc(score, failed)
        assert row[f"fpr_at_tpr_{name}"] == failures.fpr_at_tpr(score, failed)
        assert row[f"review_share_{name}"] == failures.review_share(score, failed)


def test_bounds_and_shares_are_options() -> None:
    score, dice = data()
    row = selective_row(score, dice, failed_below=[0.5], coverage=0.9, caught=0.5)
    assert row["risk_at_90"] == selective.risk_at_coverage(score, 1 - dice, 0.9)
    assert row["review_share_50"] == failures.review_share(score, dice < 0.5, 0.5)
    assert row["fpr_at_tpr_50"] == failures.fpr_at_tpr(score, dice < 0.5, 0.5)
    assert "auroc_70" not in row


@pytest.mark.parametrize(
    ("score", "dice", "defined", "note"),
    [
        ([], [], {"n", "n_failed_70", "n_failed_80"}, "no rows"),
        ([0.4, 0.5], [NAN, NAN], {"n", "n_failed_70", "n_failed_80"}, "undefined for every row"),
        (
            [0.9, 0.8],
            [0.9, 0.75],
            {
                *("n", "aurc", "excess_aurc", "augrc", "risk_at_80", "n_failed_70", "n_failed_80"),
                *("auroc_80", "auprc_80", "fpr_at_tpr_80", "review_share_80"),
            },
            "Dice < 0.7: no failures: nothing to find",
        ),
    ],
)
def test_what_is_nan_has_its_reason(score: list, dice: list, defined: set[str], note: str) -> None:
    row = selective_row(score, dice)
    assert row.pop("note") == note
    assert {name for name, value in row.items() if not np.isnan(value)} == defined


def test_one_row_and_all_ties() -> None:
    assert "all scores tie: no order" in selective_row([0.5], [0.6])["note"]
    tied = selective_row([0.5, 0.5, 0.5], [0.9, 0.6, 0.75])
    assert tied["auroc_70"] == 0.5 and tied["note"].count("all scores tie: no order") == 2
    assert selective_row([0.5, NAN], [0.6, 0.7])["note"].startswith("1 of 2 rows undefined")
