"""A weight must count like so many copies of the row, and the bootstrap must take the fast form."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqp.metrics import FAILURES, SELECTIVE, stats

STATISTICS = {f.__name__: f for f in (*SELECTIVE.values(), *FAILURES.values())}
RISK = st.sampled_from([0.0, 0.2, 0.5, 1.0])
ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), RISK), min_size=1, max_size=12)


def second(name: str, risk: np.ndarray) -> np.ndarray:
    return (risk > 0.3).astype(float) if name in {f.__name__ for f in FAILURES.values()} else risk


@pytest.mark.parametrize("name", STATISTICS)
@settings(deadline=None, max_examples=25)
@given(ROWS)
def test_weight_is_a_number_of_copies(name: str, rows: list[tuple[int, int, float]]) -> None:
    w, score, risk = (np.array(column) for column in zip(*rows, strict=True))
    value = second(name, risk)
    copies = np.repeat(np.arange(len(w)), w)
    got = STATISTICS[name].over(np.stack([w, np.ones_like(w)]).astype(float), score.astype(float), value)
    expected = [STATISTICS[name](score[copies], value[copies]), STATISTICS[name](score, value)]
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", STATISTICS)
def test_bootstrap_takes_the_fast_form(name: str) -> None:
    rng = np.random.default_rng(3)
    score, group = rng.random(60).round(1), rng.integers(0, 20, 60)
    value = second(name, rng.random(60) * (1 - score))
    value[4] = np.nan
    statistic = STATISTICS[name]
    assert stats.form_of(statistic)
    fast = stats.bootstrap(statistic, score, value, group=group, n_resamples=60)
    slow = stats.bootstrap(lambda s, v: statistic(s, v), score, value, group=group, n_resamples=60)
    assert fast == pytest.approx(slow, abs=1e-9)
    assert fast.low < fast.high


@pytest.mark.parametrize("name", STATISTICS)
def test_no_rows_or_no_weight_is_nan(name: str) -> None:
    form = STATISTICS[name].over
    assert np.isnan(form(np.zeros((2, 3)), np.arange(3.0), np.ones(3))).all()
    assert np.isnan(form(np.ones((2, 0)), np.empty(0), np.empty(0))).all()
