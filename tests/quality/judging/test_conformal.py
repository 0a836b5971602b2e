from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqp.core.errors import ConfigError
from sqp.quality.judging.conformal import Conformal, group_quantile


@given(st.integers(0, 10_000), st.integers(9, 80), st.sampled_from([0.1, 0.2, 0.5]))
@settings(deadline=None, max_examples=25)
def test_one_record_a_group_is_the_usual_quantile(seed: int, n: int, alpha: float) -> None:
    values = np.random.default_rng(seed).random(n)
    rank = math.ceil((1 - alpha) * (n + 1) - 1e-9)
    assert group_quantile(values, range(n), alpha) == np.sort(values)[rank - 1]


@given(st.integers(0, 10_000), st.integers(1, 5))
@settings(deadline=None, max_examples=25)
def test_repeating_a_groups_records_changes_nothing(seed: int, times: int) -> None:
    rng = np.random.default_rng(seed)
    values, group = rng.random(30), rng.integers(0, 12, 30)
    many = np.where(group == group[0], times, 1)
    assert group_quantile(np.repeat(values, many), np.repeat(group, many), 0.2) == pytest.approx(
        group_quantile(values, group, 0.2)
    )


@given(st.integers(0, 10_000), st.sampled_from([0.1, 0.2, 0.5]))
@settings(deadline=None, max_examples=25)
def test_one_group_a_maker_is_the_quantile_over_groups(seed: int, alpha: float) -> None:
    rng = np.random.default_rng(seed)
    values, maker = rng.random(60), rng.integers(0, 20, 60)
    assert group_quantile(values, maker, alpha, within=maker) == group_quantile(values, maker, alpha)


def test_within_a_maker_groups_share_its_weight() -> None:
    """Of two makers one has three records of group a (value 1) and one of b (value 2): each group is half of it."""
    values, maker, group = [1, 1, 1, 2, 0, 0], [0, 0, 0, 0, 1, 1], ["a", "a", "a", "b", "a", "b"]
    assert group_quantile(values, maker, 0.5, within=group) == 1  # mass 1 below, 1.5 with all of a; 1.5 is asked
    assert group_quantile(values, maker, 0.49, within=group) == 2


def test_a_large_group_does_not_outvote_the_others() -> None:
    values = np.concatenate([np.full(1000, 9.0), np.arange(19) / 100])
    group = np.concatenate([np.zeros(1000), np.arange(1, 20)])
    assert group_quantile(values, group, 0.1) == 0.18


def simulate(rng: np.random.Generator, groups: int) -> tuple[np.ndarray, ...]:
    """Records whose errors share the difficulty of their group; 1 to 6 records a group."""
    counts = rng.integers(1, 7, groups)
    group = np.repeat(np.arange(groups), counts)
    scale = rng.uniform(0.02, 0.1, groups)[group]
    difficulty = rng.lognormal(0, 0.7, groups)[group]
    predicted = np.full(len(group), 0.5)
    return predicted, scale, predicted + rng.normal(0, 1, len(group)) * scale * difficulty, group


@pytest.mark.parametrize("alpha", [0.1, 0.3])
def test_coverage_on_exchangeable_groups(alpha: float) -> None:
    rng = np.random.default_rng(0)
    hits = []
    for _ in range(600):
        predicted, scale, dice, group = simulate(rng, 60)
        seen = group < 40
        fitted = Conformal.fit(predicted[seen], scale[seen], dice[seen], group[seen], alpha)
        half = fitted.quantile * scale
        inside = np.abs(dice - predicted) <= half
        hits += [inside[group == g].mean() for g in range(40, 60)]
    # 12,000 new groups; the guarantee is >= 1 - alpha, and with 40 groups at most about 1/41 more
    assert 1 - alpha - 0.01 < np.mean(hits) < 1 - alpha + 1 / 41 + 0.01


def test_the_interval_is_clipped_and_nan_stays_nan() -> None:
    low, high = Conformal(2.0, 0.1, 20, 40).interval([0.5, 0.95, 0.05, np.nan], [0.1, 0.1, 0.1, 0.1])
    assert low[:3].tolist() == pytest.approx([0.3, 0.75, 0]) and high[:3].tolist() == pytest.approx([0.7, 1, 0.25])
    assert np.isnan([low[3], high[3]]).all()


def test_too_few_groups() -> None:
    rng = np.random.default_rng(0)
    Conformal.fit(rng.random(9), np.ones(9), rng.random(9), range(9), 0.1)
    with pytest.raises(ConfigError, match="has 8 groups, an interval at 90% needs at least 9"):
        Conformal.fit(rng.random(80), np.ones(80), rng.random(80), np.arange(80) % 8, 0.1)
    with pytest.raises(ConfigError, match=r"alpha is 1\.5; it must lie between 0 and 1"):
        Conformal.fit([0.5], [1], [0.5], ["a"], 1.5)


def made_by(rng: np.random.Generator, makers: int, groups: int) -> tuple[np.ndarray, ...]:
    """Records of makers that are harder or easier to judge, each of the same groups."""
    maker, group = (part.ravel() for part in np.meshgrid(np.arange(makers), np.arange(groups), indexing="ij"))
    spread = rng.lognormal(0, 0.6, makers)[maker]
    return np.zeros(maker.size), np.ones(maker.size), rng.normal(0, 1, maker.size) * spread, group, maker


def test_coverage_for_makers_that_did_not_calibrate() -> None:
    """Over groups alone most new makers are covered less than asked on average; over makers at least as asked."""
    rng = np.random.default_rng(1)
    hits: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(400):
        predicted, scale, dice, group, maker = made_by(rng, 31, 40)
        seen = maker < 30
        for over in hits:
            makers = maker[seen] if over else None
            fitted = Conformal.fit(predicted[seen], scale[seen], dice[seen], group[seen], 0.1, makers)
            hits[over].append(np.mean(np.abs(dice[~seen]) <= fitted.quantile))
    assert 0.9 <= np.mean(hits[True]) <= 0.94
    assert np.mean(hits[False]) < np.mean(hits[True])


def test_too_few_makers_are_refused() -> None:
    predicted, scale, dice, group, maker = made_by(np.random.default_rng(0), 8, 40)
    with pytest.raises(ConfigError, match="8 makers of masks, an interval at 90% needs at least 9"):
        Conformal.fit(predicted, scale, dice, group, 0.1, maker)
    with pytest.raises(ConfigError, match=r"8 tasks, an interval at 90% needs at least 9"):
        Conformal.fit(predicted, scale, dice, group, 0.1, maker, "tasks")
