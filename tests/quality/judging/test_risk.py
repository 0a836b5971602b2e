"""Learn then test: the promise holds in simulations, p values are scipy's, and a group counts once."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from sqp.core.errors import ConfigError
from sqp.quality.judging.conformal import Conformal
from sqp.quality.judging.risk import Choice, RiskEvidence, RiskRule, at_risk, enough, p_value

RULE = RiskRule(risk=0.1, failure=0.7, confidence=0.8)


def drawn(rng: np.random.Generator, groups: int, slope: float, dip: float) -> tuple[np.ndarray, np.ndarray]:
    """low uniform, and the Dice 0 or 1: failures are the rarer the higher low is, but for a dip near the top."""
    low = rng.uniform(0, 1, groups)
    return low, np.where(rng.uniform(0, 1, groups) < failure(low, slope, dip), 0.0, 1.0)


def failure(low: np.ndarray, slope: float, dip: float) -> np.ndarray:
    return np.clip(0.02 + slope * (1 - low) + dip * ((low > 0.8) & (low < 0.9)), 0, 1)


def true_risk(threshold: float, slope: float, dip: float) -> float:
    """Share of failures among all masks whose low end reaches the threshold."""
    return float(failure(np.linspace(threshold, 1, 2001), slope, dip).mean())


@pytest.mark.parametrize(("slope", "dip"), [(0.6, 0.0), (0.15, 0.0), (0.2, 0.4), (1.0, 0.9), (0.0, 0.0)])
def test_the_promise_holds_on_exchangeable_data(slope, dip):
    """Of 200 draws of calibration groups at most 20 % choose a threshold whose true risk is above 10 %."""
    rng = np.random.default_rng(5)
    broken = accepted = 0
    for _ in range(200):
        choice = RiskEvidence.fit(*drawn(rng, 150, slope, dip), np.arange(150), rng.uniform(0, 1, 100)).choose(RULE)
        accepted += choice.some
        broken += choice.some and true_risk(choice.threshold, slope, dip) > RULE.risk
    assert broken / 200 <= 1 - RULE.confidence + 3 * math.sqrt(0.2 * 0.8 / 200)
    if dip == 0 and slope < 0.5:
        assert accepted > 100  # and it is not kept by accepting nothing


def test_the_promise_holds_where_the_interval_is_calibrated_on_the_tested_groups():
    """Low ends carry a quantile of the same groups, which no proof covers; it is broken no oftener than it may."""
    rng, groups = np.random.default_rng(1), 150

    def masks(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Predicted Dice, its scale, the truth: errors with heavier tails than the normal law's."""
        true, scale = np.clip(1 - rng.gamma(2, 0.08, n), 0, 1), 0.02 + 0.12 * rng.random(n)
        return np.clip(true + scale * rng.standard_t(4, n), 0, 1), scale, true

    new = masks(100_000)
    broken = accepted = 0
    for seed in range(200):
        (predicted, scale, dice), val = masks(groups), masks(groups)
        interval = Conformal.fit(predicted, scale, dice, list(range(groups)), 0.1).interval
        low, val_low = interval(predicted, scale)[0], interval(*val[:2])[0]
        choice = RiskEvidence.fit(low, dice, np.arange(groups), val_low, seed).choose(RULE)
        accepted += choice.some
        taken = interval(*new[:2])[0] >= choice.threshold
        broken += choice.some and (new[2][taken] < RULE.failure).mean() > RULE.risk
    assert broken / 200 <= 1 - RULE.confidence + 3 * math.sqrt(0.2 * 0.8 / 200)
    assert accepted > 150


def test_the_promise_is_not_kept_by_far():
    """Where every threshold is as risky as allowed, the first test errs as often as it may, so nothing is lost."""
    rng = np.random.default_rng(0)
    some = 0
    for _ in range(300):
        low = rng.uniform(0, 1, 300)
        dice = np.where(rng.uniform(0, 1, 300) < 0.1001, 0.0, 1.0)
        some += RiskEvidence.fit(low, dice, np.arange(300), rng.uniform(0, 1, 100)).choose(RULE).some
    assert 0.05 < some / 300 < 0.2 + 3 * math.sqrt(0.2 * 0.8 / 300)


@given(n=st.integers(1, 400), failures=st.integers(0, 400), risk=st.floats(0.01, 0.5))
def test_p_values_are_those_of_the_binomial_test(n, failures, risk):
    failures = min(n, failures)
    assert p_value(failures, n, risk) == pytest.approx(binomtest(failures, n, risk, "less").pvalue, abs=1e-12)


@settings(max_examples=30)
@given(failures=st.integers(0, 5), risk=st.floats(0.02, 0.4), confidence=st.floats(0.5, 0.99))
def test_enough_is_the_least_number_that_passes(failures, risk, confidence):
    rule = RiskRule(risk, 0.7, confidence)
    n = enough(failures, rule)
    assert p_value(failures, n, risk) <= 1 - confidence
    assert n == failures + 1 or p_value(failures, n - 1, risk) > 1 - confidence


def test_the_sequence_stops_at_the_first_threshold_that_fails():
    low = np.linspace(0, 1, 400, endpoint=False)
    dice = np.where(low >= 0.5, 1.0, 0.0)  # nothing fails above 0.5, everything below
    choice = RiskEvidence.fit(low, dice, np.arange(400), low).choose(RiskRule())
    assert p_value(choice.failures, choice.accepted, 0.05) <= 0.1
    assert choice.accepted == (low > choice.threshold - 1e-6).sum()
    assert choice.failures == choice.accepted - 200 > 0
    looser = low > choice.threshold - 0.01 - 1e-6
    assert p_value(int((dice[looser] < 0.7).sum()), int(looser.sum()), 0.05) > 0.1
    later = np.where(low < 0.3, 1.0, dice)  # good again further down, which no test gets to see
    assert RiskEvidence.fit(low, later, np.arange(400), low).choose(RiskRule()) == choice


def test_a_group_counts_once_whatever_its_number_of_records():
    low, dice, group = np.tile([0.9, 0.8], 60), np.tile([0.9, 0.2], 60), np.repeat(np.arange(60), 2)
    once = RiskEvidence.fit(low, dice, group, low)
    assert len(once.low) == len(once.dice) == 60
    assert 10 < (once.dice == np.float32(0.9)).sum() < 50  # now the one, now the other
    again = RiskEvidence.fit(low, dice, group, low)
    assert (again.low == once.low).all() and (RiskEvidence.fit(low, dice, group, low, seed=1).low != once.low).any()


def test_too_few_groups_accept_nothing():
    few = RiskEvidence.fit(np.full(44, 0.9), np.ones(44), np.arange(44), [0.9])
    assert not few.choose(RiskRule()).some
    one_more = RiskEvidence.fit(np.full(45, 0.9), np.ones(45), np.arange(45), [0.9])
    assert one_more.choose(RiskRule()).threshold == pytest.approx(0.9)


def test_verdicts_are_made_anew():
    table = pd.DataFrame(
        {
            "low": [0.9, 0.62, 0.5, 0.65, 0.95, float("nan")],
            "verdict": ["accept", "review", "accept", "reject", "abstain", "abstain"],
        }
    )
    told = at_risk(table, Choice(RiskRule(), 0.6, 100, 80, 1))
    assert told["verdict"].tolist() == ["accept", "accept", "review", "reject", "abstain", "abstain"]
    told = at_risk(table, Choice(RiskRule(), math.inf, 100, 0, 0))
    assert told["verdict"].tolist() == ["review", "review", "review", "reject", "abstain", "abstain"]


def test_what_the_reject_rule_refuses_is_neither_accepted_nor_tested():
    """Masks whose interval ends below `reject` are a third of the calibration groups, and all of them fail."""
    low = np.linspace(0.5, 0.9, 300)
    refused = np.arange(300) % 3 == 0
    high, dice = np.where(refused, 0.69, 0.95), np.where(refused, 0.1, 0.95)
    evidence = RiskEvidence.fit(low, dice, np.arange(300), low, high=high)
    assert not evidence.choose(RiskRule()).some  # as if a refused mask could be accepted
    choice = evidence.choose(RiskRule(), reject=0.7)
    assert (choice.groups, choice.accepted, choice.failures) == (200, 200, 0)
    table = pd.DataFrame({"low": low, "verdict": np.where(refused, "reject", "review")})
    assert at_risk(table, choice)["verdict"].eq("accept").tolist() == (~refused).tolist()
    older = RiskEvidence(evidence.low, evidence.dice, evidence.thresholds)
    assert older.choose(RiskRule(), reject=0.7) == older.choose(RiskRule())  # it keeps no high ends


def test_the_smallest_risk_that_works_is_named():
    rng = np.random.default_rng(3)
    low, dice = rng.uniform(0, 1, 200), np.where(rng.uniform(0, 1, 200) < 0.15, 0.0, 1.0)
    evidence = RiskEvidence.fit(low, dice, np.arange(200), low)
    choice = evidence.choose(RiskRule(0.05))
    assert not choice.some and choice.smallest is not None and choice.smallest > 0.05
    assert evidence.choose(RiskRule(choice.smallest)).some
    assert not evidence.choose(RiskRule(round(choice.smallest - 0.01, 2))).some
    hopeless = RiskEvidence.fit(low, np.zeros(200), np.arange(200), low)
    assert hopeless.choose(RiskRule()).smallest is None
    assert evidence.choose(RiskRule(choice.smallest)).smallest is None  # nothing to name


@pytest.mark.parametrize("values", [{"risk": 0.0}, {"failure": 1.0}, {"confidence": float("nan")}])
def test_out_of_range(values):
    with pytest.raises(ConfigError, match=f"{next(iter(values))} is .* it must lie between 0 and 1"):
        RiskRule(**values)


def test_thresholds_are_low_ends_of_val_and_accept_no_more_than_their_share():
    """Between two values of val the threshold is the higher one: a share of 1 % accepts at most 1 % of val."""
    val = np.random.default_rng(2).uniform(0, 1, 37)
    found = RiskEvidence.fit([0.5], [1.0], ["a"], val).thresholds
    assert len(found) == 100 and np.isin(found, val.astype(np.float32)).all() and (np.diff(found) <= 0).all()
    above = (val.astype(np.float32)[None] > found[:, None]).mean(1)
    assert (above <= np.arange(1, 101) / 100 + 1e-9).all()
    assert found[0] == val.max().astype(np.float32) and found[-1] == val.min().astype(np.float32)
