"""How many masks can be accepted at a chosen risk: learn then test over thresholds of the interval's low end.

A threshold is safe where, of the masks whose low end reaches it, at most a share `risk` has a Dice below `failure`.
Each threshold is the hypothesis that it is not; the exact binomial p value of its failures among the accepted
calibration masks tests it (Angelopoulos, Bates, Candès, Jordan and Lei, Learn then Test, Annals of Applied Statistics
2025, arXiv 2110.01052). The thresholds are tested in one fixed order, from strict to loose, until the first that fails
(fixed-sequence testing), so no correction for their number is needed. Thresholds are shares of the low ends of the
split val; where their order starts depends on these and on the number of calibration groups.

What is promised: with a probability of at least `confidence` over the draw of the calibration groups, a random record
of a random group like them, if it is accepted, fails with a probability of at most `risk`. A group counts once, by one
record drawn from those of it that are not abstained from; one that has none counts for nothing. It says nothing about
images or masks of another kind.

A mask that the reject rule refuses is never accepted, so calibration records that it refuses are no part of the test:
what is tested are those that can be accepted. Bundles that are older than that keep no high ends; there the refused
ones are tested with the others.

What is proved is less. The proof needs low ends, and records that can be accepted at all, to be fixed before the
calibration groups are seen. Here the quantile of the interval, which every low end of val and calibration carries, and
the thresholds of strangeness, by which records abstain, come from the same groups (and the quantile from val, too,
where val calibrates). These are a few numbers that no single group moves by much, and in simulations with the quantile
from the tested groups the promise is broken no more often than with one from others
(`tests/quality/judging/test_risk.py`); but that is measured, not proved. To have the proof, calibrate the interval and
test the risk on different groups.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import bdtr

from sqp.config.predict import PredictConfig
from sqp.core.errors import ConfigError
from sqp.core.seeding import numpy_generator
from sqp.metrics.rows import one_of_each

STEPS = 100
"""Thresholds that are tested at most: the shares 1 %, 2 % … of the masks of val."""
SPARE = 2
"""Failures that the first test survives: one that none may spoil would stop too often where it starts."""


@dataclass(frozen=True)
class RiskRule:
    """At most a share `risk` of what is accepted may have a Dice below `failure`, with this `confidence`."""

    risk: float = 0.05
    failure: float = 0.7
    confidence: float = 0.9

    def __post_init__(self) -> None:
        for name in ("risk", "failure", "confidence"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must lie between 0 and 1, without either")

    def sentence(self) -> str:
        """What it promises.

        Examples:
            >>> RiskRule().sentence()
            'with 90% confidence at most 5% of the accepted have a Dice below 0.7'
        """
        sure, share = f"{self.confidence * 100:g}%", f"{self.risk * 100:g}%"
        return f"with {sure} confidence at most {share} of the accepted have a Dice below {self.failure:g}"


def risk_rule(config: PredictConfig) -> RiskRule | None:
    """The risk that was asked for. ConfigError where it, the failure or the confidence is out of range."""
    return None if config.risk is None else RiskRule(config.risk, config.failure, config.confidence)


@dataclass(frozen=True)
class Choice:
    """The threshold of the low end (infinite where none is safe), and what its test saw: accepted and failed groups.

    `smallest`: where none is safe, the smallest risk in steps of 0.01 at which one is; None where there is none either.
    """

    rule: RiskRule
    threshold: float
    groups: int
    accepted: int
    failures: int
    smallest: float | None = None

    @property
    def some(self) -> bool:
        """Whether any threshold passed."""
        return math.isfinite(self.threshold)


@dataclass(frozen=True)
class RiskEvidence:
    """low, high and dice float32 `[g]`, a record a calibration group; thresholds float32 `[k]`, strict to loose.

    high is None in bundles that are older than it.
    """

    low: np.ndarray
    dice: np.ndarray
    thresholds: np.ndarray
    high: np.ndarray | None = None

    @classmethod
    def fit(
        cls,
        low: ArrayLike,
        dice: ArrayLike,
        group: Sequence[Any],
        val_low: ArrayLike,
        seed: int = 0,
        high: ArrayLike | None = None,
    ) -> RiskEvidence:
        """From calibration records that can be accepted at all; of each group one is drawn. `val_low`: those of val.

        The low ends may carry a quantile of the same groups; see the module for what then holds.

        Args:
            low: low ends `[n]` of the intervals, Dice.
            dice: true Dice `[n]`.
            group: the group of each record `[n]`.
            val_low: low ends of the split val, from which the thresholds are taken.
            seed: seed of the draw of a record a group.
            high: high ends `[n]`, by which the reject rule refuses.

        Returns:
            What thresholds are tested on.
        """
        rows = one_of_each(group, numpy_generator(seed, "risk"))
        shares = np.arange(1, STEPS + 1) / STEPS
        thresholds = np.quantile(np.asarray(val_low, float), 1 - shares, method="higher")
        known = [None if ends is None else np.asarray(ends, np.float32)[rows] for ends in (low, dice, high)]
        return cls(known[0], known[1], thresholds.astype(np.float32), known[2])  # type: ignore[arg-type]

    def choose(self, rule: RiskRule, reject: float = 0.0) -> Choice:
        """The loosest threshold of the sequence that passed before the first that did not.

        Args:
            rule: what is promised.
            reject: masks whose high end is below it are refused, and are no part of the test.

        Returns:
            The threshold; infinite where none passed.
        """
        choice = self._tested(rule, reject)
        if choice.some:
            return choice
        larger = (step / 100 for step in range(1, 100) if step / 100 > rule.risk)
        works = (risk for risk in larger if self._tested(replace(rule, risk=risk), reject).some)
        return replace(choice, smallest=next(works, None))

    def _tested(self, rule: RiskRule, reject: float) -> Choice:
        """The threshold at this risk alone."""
        open_to = np.ones(len(self.dice), bool) if self.high is None else self.high >= reject
        groups, level = int(open_to.sum()), 1 - rule.confidence
        safe = Choice(rule, math.inf, groups, 0, 0)
        for threshold in self.thresholds[self._start(rule) :]:
            accepted = (self.low >= threshold) & open_to
            n, failures = int(accepted.sum()), int((self.dice[accepted] < rule.failure).sum())
            if p_value(failures, n, rule.risk) > level:
                break
            safe = Choice(rule, float(threshold), groups, n, failures)
        return safe

    def _start(self, rule: RiskRule) -> int:
        """Where the sequence begins: at the share of val that should give the first test enough calibration groups."""
        for spare in range(SPARE, -1, -1):
            share = enough(spare, rule) / len(self.dice)
            if share <= 1:
                return math.ceil(share * len(self.thresholds)) - 1
        return len(self.thresholds) - 1  # the loosest, which so few groups cannot pass


def at_risk(table: pd.DataFrame, choice: Choice) -> pd.DataFrame:
    """The table with its verdicts made anew: accept where low reaches the threshold, unless the mask was rejected.

    What was accepted and does not reach it is for review. Abstentions and rejections stay.

    Args:
        table: predictions with low, verdict and reason.
        choice: the threshold.

    Returns:
        The table.
    """
    safe = table["low"].ge(choice.threshold) & ~table["verdict"].isin(["abstain", "reject"])
    verdicts = table["verdict"].mask(table["verdict"].eq("accept"), "review").mask(safe, "accept")
    return table.assign(verdict=verdicts)


def p_value(failures: int, n: int, risk: float) -> float:
    """Probability of so few failures among n if each had the probability `risk`; 1 where n is 0.

    Args:
        failures: failed groups among the accepted.
        n: accepted groups.
        risk: probability in (0, 1).

    Returns:
        p in [0, 1], binomial.

    Examples:
        >>> round(p_value(0, 45, 0.05), 3)
        0.099
    """
    return float(bdtr(failures, n, risk))


def enough(failures: int, rule: RiskRule) -> int:
    """The least number of accepted groups that pass with so many failures.

    Args:
        failures: failed groups among the accepted.
        rule: what is promised.

    Returns:
        The number of groups.

    Examples:
        >>> enough(0, RiskRule()), enough(2, RiskRule())
        (45, 105)
    """
    n = failures + 1
    while p_value(failures, n, rule.risk) > 1 - rule.confidence:
        n += max(1, n // 1000)
    return n
