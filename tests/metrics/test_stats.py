from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from sqp.metrics import AGREEMENT, agreement, stats

FAST = [f for f in AGREEMENT.values() if stats.form_of(f)]


def data(seed: int = 0, n: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """predicted, true (each with a gap), and the group of each row."""
    rng = np.random.default_rng(seed)
    true = rng.random(n).round(2)
    predicted = true + rng.normal(0, 0.2, n).round(2)
    predicted[2], true[7] = np.nan, np.nan
    return predicted, true, rng.integers(0, 20, n)


def test_indices_bring_whole_groups() -> None:
    group = np.array(["c", "a", "b", "a", "c", "c"])
    for rows in stats.Resamples.draw(group, n_resamples=50, seed=1).indices():
        times = np.bincount(rows, minlength=6)
        drawn = {name: set(times[group == name]) for name in "abc"}
        assert all(len(counts) == 1 for counts in drawn.values())
        assert sum(counts.pop() for counts in drawn.values()) == 3


def test_groups_are_drawn_evenly() -> None:
    counts = stats.Resamples.draw(np.arange(10), 4000, seed=0).counts
    assert counts.shape == (4000, 10) and (counts.sum(axis=1) == 10).all()
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=0.06)  # SE 0.015
    np.testing.assert_allclose(counts.var(axis=0), 0.9, atol=0.1)  # binomial: 10 · 0.1 · 0.9


def test_many_draws_of_one_group_fit_the_counts() -> None:
    """The counts are kept in the smallest type: it must hold a group drawn as often as there are groups."""
    for n_groups in (1, 255, 256):
        counts = stats.Resamples.draw(np.arange(n_groups), 3).counts
        assert np.iinfo(counts.dtype).max >= n_groups


def test_seed_decides() -> None:
    predicted, true, group = data()
    first, again, other = (
        stats.bootstrap(agreement.mae, predicted, true, group=group, n_resamples=100, seed=s) for s in (5, 5, 6)
    )
    assert first == again != other


@pytest.mark.parametrize("statistic", FAST, ids=lambda f: f.__name__)
def test_fast_form_equals_the_loop(statistic: stats.Statistic) -> None:
    predicted, true, group = data()
    fast = stats.bootstrap(statistic, predicted, true, group=group, n_resamples=60)
    slow = stats.bootstrap(lambda p, t: statistic(p, t), predicted, true, group=group, n_resamples=60)
    assert fast == pytest.approx(slow, abs=1e-9)
    assert fast.low < fast.high


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    predicted, true, group = data()
    whole = stats.bootstrap(agreement.pearson, predicted, true, group=group, n_resamples=50)
    monkeypatch.setattr(stats, "_BLOCK", 200)
    assert stats.bootstrap(agreement.pearson, predicted, true, group=group, n_resamples=50) == pytest.approx(whole)


def test_order_of_rows_does_not_matter() -> None:
    predicted, true, group = data()
    order = np.random.default_rng(9).permutation(len(true))
    a = stats.bootstrap(agreement.spearman, predicted, true, group=group, n_resamples=50)
    b = stats.bootstrap(agreement.spearman, predicted[order], true[order], group=group[order], n_resamples=50)
    assert a == pytest.approx(b, abs=1e-12)


def test_copies_of_a_row_add_nothing() -> None:
    """Five copies of each row, grouped, are worth one row; ungrouped they would look like more data."""
    predicted, true, _ = data()
    ids = np.arange(len(true))
    once = stats.bootstrap(agreement.mae, predicted, true, n_resamples=200)
    p, t, g = (np.repeat(column, 5) for column in (predicted, true, ids))
    assert stats.bootstrap(agreement.mae, p, t, group=g, n_resamples=200) == pytest.approx(once)
    naive = stats.bootstrap(agreement.mae, p, t, n_resamples=200)
    assert naive.high - naive.low < 0.6 * (once.high - once.low)


def test_interval_near_scipy() -> None:
    predicted, true, _ = data(n=200)
    p, t = predicted[10:], true[10:]
    reference = scipy_stats.bootstrap(
        (p, t),
        lambda a, b: np.mean(np.abs(a - b)),
        paired=True,
        vectorized=False,
        n_resamples=2000,
        confidence_level=0.9,
        method="percentile",
        random_state=np.random.default_rng(0),  # rng since scipy 1.15
    ).confidence_interval
    ours = stats.bootstrap(agreement.mae, p, t, confidence=0.9)
    width = reference.high - reference.low
    assert ours.low == pytest.approx(reference.low, abs=0.06 * width)
    assert ours.high == pytest.approx(reference.high, abs=0.06 * width)


def test_any_function_of_any_columns() -> None:
    x = np.arange(30.0)
    got = stats.bootstrap(lambda a: float(a.max()), x, n_resamples=300, confidence=0.9)
    expected = [x[rows].max() for rows in stats.Resamples.draw(np.arange(30), 300).indices()]
    assert got == pytest.approx(tuple(np.quantile(expected, [0.05, 0.95])))


def test_within_groups_by_lesion() -> None:
    rng = np.random.default_rng(4)
    image = np.repeat(np.arange(24), 4)
    lesion = image // 2
    true = rng.random(96)
    score = true + rng.normal(0, 0.4, 96)
    got = stats.bootstrap(agreement.within_group_spearman, score, true, image, group=lesion, n_resamples=80)
    rho = agreement.spearman_by_group(score, true, image)
    means = [rho[rows].mean() for rows in stats.Resamples.draw(np.arange(24) // 2, 80).indices()]
    assert got == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))


def test_undefined_everywhere_is_nan() -> None:
    interval = stats.bootstrap(agreement.pearson, np.ones(5), np.arange(5.0), n_resamples=20)
    assert np.isnan(interval).all()
    assert np.isnan(stats.bootstrap(agreement.mae, [], [], n_resamples=20)).all()


def test_undefined_resamples_are_left_out() -> None:
    """Of two rows half of the resamples hold one twice: Pearson is undefined there, on the others it is 1."""
    assert stats.bootstrap(agreement.pearson, [1, 2], [1, 2], n_resamples=50) == pytest.approx((1, 1))


def test_paired_difference_by_hand() -> None:
    predicted, true, group = data()
    other = np.nan_to_num(true, nan=0.5) + np.random.default_rng(1).normal(0, 0.4, len(true))
    other[[11, 12]] = np.nan  # a row that one method lacks counts for neither
    got = stats.paired_difference(agreement.mae, true, predicted, other, group=group, n_resamples=80)
    p, t, o = (np.delete(column, [2, 7, 11, 12]) for column in (predicted, true, other))
    kept = np.delete(np.arange(len(true)), [2, 7, 11, 12])
    values = []
    for rows in stats.Resamples.draw(group, 80).indices():
        rows = rows[np.isin(rows, kept)]
        values.append(np.mean(np.abs(predicted - true)[rows]) - np.mean(np.abs(other - true)[rows]))
    assert got.value == pytest.approx(np.abs(p - t).mean() - np.abs(o - t).mean())
    assert got[1:] == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))
    assert got.value < 0  # the better method has the lower error: the sign is a less b


def test_paired_is_narrower_than_the_two_apart() -> None:
    rng = np.random.default_rng(0)
    true = rng.random(300)
    a = true + rng.normal(0, 0.2, 300)
    b = a + rng.normal(0, 0.02, 300) + 0.01
    difference = stats.paired_difference(agreement.rmse, true, a, b, n_resamples=200)
    alone = stats.bootstrap(agreement.rmse, a, true, n_resamples=200)
    assert difference.high - difference.low < 0.5 * (alone.high - alone.low)
    assert stats.paired_difference(agreement.rmse, true, a, a, n_resamples=20) == (0, 0, 0)


def test_paired_within_groups() -> None:
    rng = np.random.default_rng(2)
    image = np.repeat(np.arange(30), 4)
    true = rng.random(120)
    true[5] = np.nan
    good, bad = true + rng.normal(0, 0.1, 120), rng.random(120)
    got = stats.paired_difference(agreement.within_group_spearman, true, good, bad, image, group=image, n_resamples=100)
    expected = [agreement.within_group_spearman(score, true, image) for score in (good, bad)]
    assert got.value == pytest.approx(expected[0] - expected[1])
    assert 0 < got.low < got.value < got.high


def test_drawn_once_serves_many() -> None:
    predicted, true, group = data()
    resamples = stats.Resamples.draw(group, 50, seed=7)
    for statistic in (agreement.mae, agreement.spearman):
        shared = stats.bootstrap(statistic, predicted, true, resamples=resamples)
        assert shared == stats.bootstrap(statistic, predicted, true, group=group, n_resamples=50, seed=7)


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="groups of 2"):
        stats.bootstrap(agreement.mae, [1, 2, 3], [1, 2, 3], group=[0, 1])
    with pytest.raises(ValueError, match="groups of 2"):
        stats.paired_difference(agreement.mae, [1, 2, 3], [1, 2, 3], [1, 2, 3], group=[0, 1])


def test_line_equals_scipy() -> None:
    predicted, true, _ = data()
    keep = np.isfinite(predicted) & np.isfinite(true)
    reference = scipy_stats.linregress(predicted[keep], true[keep])
    assert stats.fit_line(predicted, true) == pytest.approx((reference.slope, reference.intercept))


def test_line_of_a_far_away_score() -> None:
    x = 1e9 + np.arange(5.0)
    slope, intercept = stats.fit_line(x, 2 * np.arange(5.0))
    np.testing.assert_allclose(slope * x + intercept, 2 * np.arange(5.0), atol=1e-5)


def test_line_without_slope() -> None:
    assert stats.fit_line([0.1] * 3, [1, 2, 6]) == (0, 3)
    assert stats.fit_line([0.1] * 6, [0.1, 0.7, 0.3, 0.9, 0.2, 0.2])[0] == 0  # 0.1 is not exact
    assert stats.fit_line([4], [2]) == (0, 2)
    slope, intercept = stats.fit_line([np.nan], [1])
    assert slope == 0 and np.isnan(intercept)


def test_rows_of_a_single_group_have_no_interval() -> None:
    """Every resample would be the same rows: an interval without width would look like certainty."""
    predicted, true, group = data()
    one = np.full(len(true), "a")
    assert np.isnan(stats.bootstrap(agreement.mae, predicted, true, group=one, n_resamples=20)).all()
    assert np.isnan(stats.bootstrap(lambda p, t: float(len(p)), predicted, true, group=one, n_resamples=20)).all()
    kept = np.where(group == group[0], true, np.nan)  # of several groups a single one has the truth
    assert np.isnan(stats.bootstrap(agreement.mae, predicted, kept, group=group, n_resamples=20)).all()
    found = stats.paired_difference(agreement.mae, true, predicted, predicted + 0.1, group=one, n_resamples=20)
    assert found.value < 0 and np.isnan(found[1:]).all()
