from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from sqp.metrics import FAILURES
from sqp.metrics.failures import failure_auprc, failure_auroc, fpr_at_tpr, review_share
from sqp.metrics.nan_reasons import failures_note

NAN = float("nan")
ROWS = st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=25)

# torch-uncertainty 0.13.0, FPR95(pos_label=1) of metrics/classification/fpr.py on `data()`, as in test_selective.py:
#   m.update(torch.tensor(-score), torch.tensor(failed)); m.compute()   # and on scores rounded to 0.1
FPR95, FPR95_TIED = 0.3333333432674408, 0.5


def data() -> tuple[np.ndarray, np.ndarray]:
    """40 rows, 10 of them failed, the more often the lower their score."""
    rng = np.random.default_rng(20)
    score = 0.5 + rng.permutation(40) / 100
    failed = rng.random(40) < 0.9 - score
    return score + 1e-3, failed


def plain(score: np.ndarray, failed: np.ndarray, share: float) -> tuple[float, float]:
    """(FPR, share to review) by trying every threshold from below."""
    for t in np.unique(score):
        flagged = score <= t
        if flagged[failed].mean() >= share:
            return float(flagged[~failed].mean()) if (~failed).any() else NAN, float(flagged.mean())
    raise AssertionError("the last threshold flags everything")


@settings(deadline=None, max_examples=50)
@given(ROWS)
def test_equals_scikit_learn(rows: list[tuple[int, bool]]) -> None:
    score, failed = (np.array(column) for column in zip(*rows, strict=True))
    if 0 < failed.sum() < len(failed):
        assert failure_auroc(score, failed) == pytest.approx(roc_auc_score(failed, -score), abs=1e-12)
        assert failure_auprc(score, failed) == pytest.approx(average_precision_score(failed, -score), abs=1e-12)
        fpr, tpr, _ = roc_curve(failed, -score, drop_intermediate=False)
        assert fpr_at_tpr(score, failed) == pytest.approx(fpr[tpr >= 0.95].min(), abs=1e-12)


@settings(deadline=None, max_examples=50)
@given(ROWS, st.sampled_from([0.5, 0.95, 1.0]))
def test_equals_every_threshold_tried(rows: list[tuple[int, bool]], share: float) -> None:
    score, failed = (np.array(column) for column in zip(*rows, strict=True))
    if failed.any():
        fpr, share_reviewed = plain(score, failed, share)
        assert fpr_at_tpr(score, failed, share) == pytest.approx(fpr, abs=1e-12, nan_ok=True)
        assert review_share(score, failed, share) == pytest.approx(share_reviewed, abs=1e-12)


def test_equals_torch_uncertainty() -> None:
    score, failed = data()
    assert fpr_at_tpr(score, failed) == pytest.approx(FPR95, abs=1e-6)
    assert fpr_at_tpr(np.round(score, 1), failed) == pytest.approx(FPR95_TIED, abs=1e-6)


def test_auroc_counts_pairs() -> None:
    rng = np.random.default_rng(1)
    score, failed = rng.integers(0, 6, 60), rng.random(60) < 0.3
    bad, good = score[failed][:, None], score[~failed][None]
    expected = np.mean((bad < good) + 0.5 * (bad == good))
    assert failure_auroc(score, failed) == pytest.approx(expected)
    assert failure_auroc(-score, failed) == pytest.approx(1 - expected)


def test_review_by_hand() -> None:
    score = np.arange(20, 0, -1)  # the worst row is the last
    failed = np.zeros(20, bool)
    failed[[19, 18, 10]] = True
    assert review_share(score, failed, 2 / 3) == 0.1  # the two worst rows
    assert review_share(score, failed) == 0.5  # 95 % of three failures are three
    assert fpr_at_tpr(score, failed) == pytest.approx(7 / 17)
    assert review_share(np.ones(20), failed) == 1  # what ties is reviewed together
    all_failed = np.ones(20, bool)
    assert review_share(score, all_failed) == 0.95  # 0.95 · 20 is 19, whatever rounding says


@pytest.mark.parametrize(
    ("score", "failed", "undefined", "note"),
    [
        ([0.1, 0.2], [False, False], set(FAILURES), "no failures: nothing to find"),
        ([0.1, 0.2], [True, True], set(FAILURES) - {"review_share"}, "only failures: no AUROC, AUPRC or FPR"),
        ([0.1], [True], set(FAILURES) - {"review_share"}, "only failures: no AUROC, AUPRC or FPR; all scores tie"),
        ([NAN, 0.2], [True, False], set(FAILURES), "1 of 2 rows undefined; no failures"),
        ([], [], set(FAILURES), "no rows"),
        ([0.5, 0.5], [True, False], set(), "all scores tie: no order"),
    ],
)
def test_degenerate_is_nan_with_a_reason(score: list, failed: list, undefined: set[str], note: str) -> None:
    values = {name: statistic(score, failed) for name, statistic in FAILURES.items()}
    assert {name for name, value in values.items() if np.isnan(value)} == undefined
    assert failures_note(score, failed).startswith(note)


def test_all_ties_are_chance() -> None:
    failed = np.arange(10) < 3
    assert failure_auroc(np.ones(10), failed) == 0.5
    assert failure_auprc(np.ones(10), failed) == pytest.approx(0.3)
    assert fpr_at_tpr(np.ones(10), failed) == 1
