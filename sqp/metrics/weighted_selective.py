"""Selective risk and failure detection with rows counted by weight, for many weightings at once.

The companion of `weighted`: weights are whole numbers `[b, n]`, one resample a row; score, risk and failed are finite
`[n]`. Only sums over ties are needed, since the order inside a tie means nothing. What is undefined is NaN.
"""

from __future__ import annotations

import numpy as np

from sqp.metrics.weighted import divide

_SLACK = 1e-9  # 0.95 · 20 rows are 19, whatever rounding says


def _ties(weights: np.ndarray, key: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(rows, sum of value) `[b, ties]` of each tie, highest key first, whatever the order of the rows."""
    order = np.lexsort((value, -key))  # by value inside a tie: even the rounding does not depend on the order of rows
    starts = np.flatnonzero(np.r_[True, np.diff(key[order]) != 0])
    drawn = weights[:, order]
    return np.add.reduceat(drawn, starts, axis=1), np.add.reduceat(drawn * value[order], starts, axis=1)


def _nan(weights: np.ndarray) -> np.ndarray:
    return np.full(len(weights), np.nan)


def _first(reached: np.ndarray) -> np.ndarray:
    """Index `[b, 1]` of the first True in each row."""
    return reached.argmax(axis=1)[:, None]


def _pick(values: np.ndarray, index: np.ndarray) -> np.ndarray:
    return np.take_along_axis(values, index, axis=1)[:, 0]


def risk_statistics(
    weights: np.ndarray, score: np.ndarray, risk: np.ndarray, coverage: float = 0.8
) -> dict[str, np.ndarray]:
    """aurc, excess_aurc, augrc and risk_at_coverage `[b]` at once: the rows are ordered once."""
    if not len(score):
        return dict.fromkeys(("aurc", "excess_aurc", "augrc", "risk_at_coverage"), _nan(weights))
    rows, risks = _ties(weights, score, risk)
    area = _aurc(rows, risks)
    return {
        "aurc": area,
        "excess_aurc": area - _aurc(*_ties(weights, -risk, risk)),
        "augrc": _augrc(rows, risks),
        "risk_at_coverage": _risk_at_coverage(rows, risks, coverage),
    }


def failure_statistics(
    weights: np.ndarray, score: np.ndarray, failed: np.ndarray, caught: float = 0.95
) -> dict[str, np.ndarray]:
    """auroc, auprc, fpr_at_tpr and review_share `[b]` at once: the rows are ordered once."""
    if not len(score):
        return dict.fromkeys(("auroc", "auprc", "fpr_at_tpr", "review_share"), _nan(weights))
    rows, bad = _failures(weights, score, failed)
    return {
        "auroc": _auroc(rows, bad),
        "auprc": _auprc(rows, bad),
        "fpr_at_tpr": _fpr_at_tpr(rows, bad, caught),
        "review_share": _review_share(rows, bad, caught),
    }


def _aurc(rows: np.ndarray, risks: np.ndarray) -> np.ndarray:
    """Of ties `[b, ties]`, best first.

    A tie of m rows with mean risk μ after a rows with the total risk A adds Σ (A + jμ) / (a + j), j = 1 … m, which is
    mμ + (A - aμ)(H(a + m) - H(a)) with the harmonic numbers H.
    """
    mean = np.divide(risks, rows, out=np.zeros_like(risks), where=rows > 0)
    after = np.cumsum(rows, axis=1)
    before = after - rows
    harmonic = np.r_[0, np.cumsum(1 / np.arange(1, int(after[:, -1].max(initial=0)) + 1))]
    steps = harmonic[after.astype(np.intp)] - harmonic[before.astype(np.intp)]
    excess = np.cumsum(risks, axis=1) - risks - before * mean
    return divide((risks + excess * steps).sum(axis=1), after[:, -1])


def _augrc(rows: np.ndarray, risks: np.ndarray) -> np.ndarray:
    before = np.cumsum(risks, axis=1) - risks
    total = rows.sum(axis=1)
    return divide((rows * before + risks * (rows + 1) / 2).sum(axis=1), total**2)


def _risk_at_coverage(rows: np.ndarray, risks: np.ndarray, coverage: float) -> np.ndarray:
    after, risks_after = np.cumsum(rows, axis=1), np.cumsum(risks, axis=1)
    need = np.maximum(np.ceil(coverage * after[:, -1] - _SLACK), 1)
    tie = _first(after >= need[:, None])
    left = _pick(after, tie) - need  # rows of the last tie that are turned away, each with its mean risk
    mean = divide(_pick(risks, tie), _pick(rows, tie))
    return np.where(after[:, -1] > 0, divide(_pick(risks_after, tie) - left * mean, need), np.nan)


def _failures(weights: np.ndarray, score: np.ndarray, failed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(rows, failed rows) `[b, ties]`, lowest score first: the order of a review."""
    return _ties(weights, -score, (failed > 0).astype(np.float64))


def _auroc(rows: np.ndarray, bad: np.ndarray) -> np.ndarray:
    good = rows - bad
    pairs = (good * (np.cumsum(bad, axis=1) - bad / 2)).sum(axis=1)
    return divide(pairs, bad.sum(axis=1) * good.sum(axis=1))


def _auprc(rows: np.ndarray, bad: np.ndarray) -> np.ndarray:
    caught, reviewed = np.cumsum(bad, axis=1), np.cumsum(rows, axis=1)
    precision = np.divide(caught, reviewed, out=np.zeros_like(caught), where=reviewed > 0)
    both = (caught[:, -1] > 0) & (caught[:, -1] < reviewed[:, -1])
    return np.where(both, divide((bad * precision).sum(axis=1), caught[:, -1]), np.nan)


def _caught(rows: np.ndarray, bad: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """(reviewed, failed among them) `[b]` at the first threshold that catches `share` of the failures."""
    caught, reviewed = np.cumsum(bad, axis=1), np.cumsum(rows, axis=1)
    tie = _first(caught >= share * caught[:, -1:] - _SLACK)
    return _pick(reviewed, tie), _pick(caught, tie)


def _fpr_at_tpr(rows: np.ndarray, bad: np.ndarray, tpr: float) -> np.ndarray:
    reviewed, caught = _caught(rows, bad, tpr)
    good = (rows - bad).sum(axis=1)
    return np.where(bad.sum(axis=1) > 0, divide(reviewed - caught, good), np.nan)


def _review_share(rows: np.ndarray, bad: np.ndarray, caught: float) -> np.ndarray:
    return np.where(bad.sum(axis=1) > 0, divide(_caught(rows, bad, caught)[0], rows.sum(axis=1)), np.nan)
