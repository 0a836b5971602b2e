from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from sqp.metrics import AGREEMENT, agreement
from sqp.metrics.nan_reasons import agreement_note

NAN = float("nan")
CORRELATIONS = {"pearson", "spearman", "kendall"}
EVERY = set(AGREEMENT) - {"n"}
REFERENCE = {
    "n": lambda p, t: len(t),
    "sd": lambda p, t: np.std(t),
    "pearson": lambda p, t: stats.pearsonr(p, t).statistic,
    "spearman": lambda p, t: stats.spearmanr(p, t).statistic,
    "kendall": lambda p, t: pair_count_tau(p, t),
    "r2": lambda p, t: sk.r2_score(t, p),
    "mae": lambda p, t: sk.mean_absolute_error(t, p),
    "rmse": lambda p, t: sk.root_mean_squared_error(t, p),
    "bias": lambda p, t: np.mean(p) - np.mean(t),
    "limit_low": lambda p, t: np.mean(p - t) - 1.96 * np.std(p - t, ddof=1),
    "limit_high": lambda p, t: np.mean(p - t) + 1.96 * np.std(p - t, ddof=1),
}


def pair_count_tau(p: np.ndarray, t: np.ndarray) -> float:
    """tau-b by counting every pair."""
    i, j = np.triu_indices(len(p), k=1)
    a, b = np.sign(p[i] - p[j]), np.sign(t[i] - t[j])
    return float((a * b).sum() / np.sqrt((a != 0).sum() * (b != 0).sum()))


def data(seed: int, n: int = 200, decimals: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Predictions that are biased, and both columns with many ties."""
    rng = np.random.default_rng(seed)
    true = rng.beta(4, 2, n)
    predicted = 0.15 + 0.7 * true + rng.normal(0, 0.1, n)
    return predicted.round(decimals), true.round(decimals)


def test_every_statistic_has_a_reference() -> None:
    assert set(REFERENCE) == set(AGREEMENT)


@pytest.mark.parametrize("decimals", [1, 12])
@pytest.mark.parametrize("name", REFERENCE)
def test_equals_scipy_and_scikit_learn(name: str, decimals: int) -> None:
    predicted, true = data(0, decimals=decimals)
    assert AGREEMENT[name](predicted, true) == pytest.approx(REFERENCE[name](predicted, true), abs=1e-12)


@pytest.mark.parametrize("name", REFERENCE)
def test_rows_with_nan_do_not_count(name: str) -> None:
    predicted, true = data(1)
    p, t = predicted.copy(), true.copy()
    p[3], t[3], t[8], p[11] = NAN, NAN, NAN, np.inf
    keep = np.setdiff1d(np.arange(len(p)), [3, 8, 11])
    assert AGREEMENT[name](p, t) == pytest.approx(REFERENCE[name](predicted[keep], true[keep]), abs=1e-12)


def test_r2_is_not_the_squared_correlation() -> None:
    true = np.array([0.1, 0.4, 0.9])
    assert agreement.pearson(true + 1, true) == pytest.approx(1)
    assert agreement.r2(true + 1, true) == pytest.approx(1 - 1 / np.var(true))
    assert agreement.r2(true, true) == 1


def test_r2_follows_from_rmse_and_sd() -> None:
    predicted, true = data(2)
    rmse, sd = agreement.rmse(predicted, true), agreement.sd(predicted, true)
    assert agreement.r2(predicted, true) == pytest.approx(1 - rmse**2 / sd**2)


def test_sd_is_of_the_truth() -> None:
    assert agreement.sd([0, 0, 9], [1, 3, 5]) == pytest.approx(np.sqrt(8 / 3))


@pytest.mark.parametrize(
    ("predicted", "true", "undefined"),
    [
        ([], [], EVERY),
        ([NAN, 1], [1, NAN], EVERY),
        ([0.3], [0.5], {*CORRELATIONS, "r2", "limit_low", "limit_high"}),
        ([0.1] * 7, [0.1 + 0.2] * 7, {*CORRELATIONS, "r2"}),
        ([0.1] * 7, [0.2, 0.4, 0.5, 0.5, 0.6, 0.7, 0.7], CORRELATIONS),
        ([0.2, 0.4, 0.5, 0.5, 0.6, 0.7, 0.7], [0.1] * 7, {*CORRELATIONS, "r2"}),
    ],
)
def test_degenerate_is_nan_and_silent(predicted: list, true: list, undefined: set[str]) -> None:
    values = agreement.agreement(predicted, true)
    assert {name for name, value in values.items() if np.isnan(value)} == undefined
    assert agreement_note(predicted, true)  # and the reason is told


def test_bland_altman_by_hand() -> None:
    # differences 0.1, 0.3: mean 0.2, SD 0.1 · sqrt(2)
    half = 1.96 * 0.1 * np.sqrt(2)
    assert agreement.limit_low([0.6, 0.9], [0.5, 0.6]) == pytest.approx(0.2 - half)
    assert agreement.limit_high([0.6, 0.9], [0.5, 0.6]) == pytest.approx(0.2 + half)
    assert agreement.limit_low([0.5, 0.9], [0.5, 0.9]) == agreement.limit_high([0.5, 0.9], [0.5, 0.9]) == 0


def test_limits_hold_95_percent_of_normal_differences() -> None:
    rng = np.random.default_rng(7)
    true = rng.random(20000)
    predicted = true + rng.normal(0.1, 0.2, 20000)
    low, high = agreement.limit_low(predicted, true), agreement.limit_high(predicted, true)
    assert np.mean((predicted - true > low) & (predicted - true < high)) == pytest.approx(0.95, abs=0.005)


def test_kendall_equals_scipy() -> None:
    predicted, true = data(5)
    assert agreement.kendall(predicted, true) == pytest.approx(stats.kendalltau(predicted, true).statistic, abs=1e-12)


def test_by_group_equals_scipy_in_each() -> None:
    predicted, true = data(3, 120)
    group = np.random.default_rng(3).integers(0, 9, 120)
    expected = [stats.spearmanr(predicted[group == g], true[group == g]).statistic for g in range(9)]
    np.testing.assert_allclose(agreement.spearman_by_group(predicted, true, group), expected, atol=1e-12)
    assert agreement.within_group_spearman(predicted, true, group) == pytest.approx(np.mean(expected))


def test_groups_that_are_left_out() -> None:
    rows = [
        *[("up", 1, 1), ("up", 2, 2), ("up", 3, 4)],
        *[("mixed", 1, 1), ("mixed", 2, 3), ("mixed", 3, 2)],  # rho 0.5
        *[("two", 1, 2), ("two", 2, 1)],
        *[("flat x", 1, 1), ("flat x", 1, 2), ("flat x", 1, 3)],
        *[("flat y", 1, 1), ("flat y", 2, 1), ("flat y", 3, 1)],
        *[("gap", 1, 3), ("gap", 2, NAN), ("gap", 3, 1)],
        *[
            ("still three", 1, 1),
            ("still three", 2, NAN),
            ("still three", 3, 3),
            ("still three", 4, 2),
        ],  # 0.5
    ]
    group, x, y = zip(*rows, strict=True)
    rho = dict(zip(sorted(set(group)), agreement.spearman_by_group(x, y, group), strict=True))
    assert {name for name, value in rho.items() if not np.isnan(value)} == {"up", "mixed", "still three"}
    assert agreement.within_group_spearman(x, y, group) == pytest.approx(2 / 3)
    values = agreement.agreement(x, y, group)
    assert values["within_group_spearman"] == pytest.approx(2 / 3)
    assert values["n_groups"] == 3


def test_between_groups_does_not_leak_in() -> None:
    """Within each image the score is upside down, over all images it looks good."""
    group = np.repeat(np.arange(5), 4)
    true = group + np.tile([0.0, 0.1, 0.2, 0.3], 5)
    score = group - np.tile([0.0, 0.1, 0.2, 0.3], 5)
    assert agreement.spearman(score, true) > 0.8
    assert agreement.within_group_spearman(score, true, group) == pytest.approx(-1)


def test_no_group_counts() -> None:
    assert np.isnan(agreement.within_group_spearman([1, 2], [1, 2], ["a", "a"]))
    assert np.isnan(agreement.within_group_spearman([], [], []))


def test_agreement_holds_every_name() -> None:
    predicted, true = data(4)
    values = agreement.agreement(predicted, true)
    assert list(values) == list(AGREEMENT)
    assert values == {name: function(predicted, true) for name, function in AGREEMENT.items()}


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        agreement.mae([1, 2], [1])
