"""A bundle's interval and risk rule made anew from a person's decisions on masks of their own; no weight is touched.

A decision tells the Dice only within bounds: accept that it lies in [t, 1], fix and reject that it lies in [0, t]; a
redrawn mask tells it exactly. So the residual |dice - predicted| / scale of a mask is known to lie between a least and
a greatest value, and, since quantiles keep order, the split-conformal quantile of the residuals (`Conformal`: a group
counts once) between the quantiles of the least and of the greatest values. The new half width is the old one, moved no
further than into these bounds:

- below the lower one the intervals contradict the decisions too often, and are widened to it. From there on, if the
  groups are exchangeable with the one to come, the interval of a random record of it agrees with the decision that the
  person would make (it reaches [t, 1], or [0, t]) with a probability of at least 1 - alpha;
- above the upper one they are wider than any Dice within the bounds could ask for, and are narrowed to it;
- between them decisions alone cannot tell, and the old width stays. That the Dice itself lies in the interval with a
  probability of at least 1 - alpha is guaranteed by the upper one alone. Where every mask was redrawn both are the
  exact residuals' quantile, and this is plain split-conformal calibration.

The risk rule is tested on the decided masks (`RiskEvidence`), each with the least Dice that its decision allows: a mask
that was not accepted counts as failed at any failure, an accepted one as good up to t, so that the promise is exact at
the failure t, and careful elsewhere. Thresholds are shares of the low ends of all masks of the run, which do not know
the decisions. What abstains can never be accepted, and is left out there.

All of it is about masks that are chosen as the decided ones were. Who decides on the worst first calibrates for the
worst: decide on a random part (the page has the order "random"), or on all. `Recalibrated.chosen` tells by a test of
Kolmogorov and Smirnov where the decided masks differ from the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from sqp.core.errors import ConfigError
from sqp.core.seeding import numpy_generator
from sqp.metrics.rows import one_of_each
from sqp.metrics.stats import exact_interval
from sqp.quality.bundle.storage import OWN_DATA, Bundle
from sqp.quality.judging.conformal import Conformal, group_quantile
from sqp.quality.judging.risk import RiskEvidence, RiskRule

FEWEST = 50
"""Decisions from which on a bundle is made anew."""
RISKS = (0.05, 0.1, 0.2)
DIFFERENT = 0.01
"""P value below which the decided masks are said to differ from the others."""


@dataclass(frozen=True)
class Recalibrated:
    """The bundle before and after, and what was seen of the old one.

    groups, records: decided; bounds: least and greatest half width, in scales, that the decisions allow; contradicted:
    of the groups, a record each, how many the old interval contradicts; exact: the records with a redrawn mask, of
    which `covered` lie in the old interval; chosen: p value that decided and other masks have the same predictions;
    old_low: low ends of the records of `after.risk` under the old interval.
    """

    before: Bundle
    after: Bundle
    threshold: float
    records: int
    groups: int
    bounds: tuple[float, float]
    contradicted: int
    exact: int
    covered: int
    chosen: float
    old_low: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def lines(self) -> list[str]:
        """What the terminal says: how far off the old interval and risk rule were, and what they are now."""
        old, new, level = self.before.conformal, self.after.conformal, 1 - self.before.conformal.alpha
        low, high = exact_interval(self.contradicted, self.groups)
        lines = [
            f"{self.records} decisions of {self.groups} groups; accept means a Dice of at least {self.threshold:g}",
            f"the old {level:.0%} intervals contradict {self.contradicted} of {self.groups} decisions, a group counted "
            f"once ({self.contradicted / self.groups:.0%}, exact 95% interval {low:.0%} to {high:.0%}; at most "
            f"{1 - level:.0%} were promised)",
        ]
        if self.exact:
            lines.append(f"of {self.exact} redrawn masks {self.covered} have their Dice in the old interval")
        lines.append(
            f"half width of the interval, in scales: {old.quantile:.3f} -> {new.quantile:.3f} (the decisions allow "
            f"{self.bounds[0]:.3f} to {self.bounds[1]:.3f})"
        )
        for risk in RISKS:
            rule = RiskRule(risk, self.threshold)
            lines.append(f"--risk {risk:g} --failure {self.threshold:g}: {self._old(rule)}; {self._new(rule)}")
        if self.chosen < DIFFERENT:
            lines.append(
                f"careful: the decided masks have other predictions than the rest of the run (p = {self.chosen:.2g}), "
                "and what is made of them holds for masks chosen like them: decide on a random part of the run"
            )
        return lines

    def _old(self, rule: RiskRule) -> str:
        """What the old threshold of the low end would have done on the decided masks."""
        if self.before.risk is None:
            return "the old bundle keeps nothing to test it on"
        choice, seen = self.before.risk.choose(rule), self.after.risk
        if not choice.some:
            return "the old rule accepted nothing"
        if seen is None:
            return f"the old threshold was {choice.threshold:.3f}"
        taken = self.old_low >= choice.threshold
        failed, n = int((seen.dice[taken] < rule.failure).sum()), int(taken.sum())
        share = f"{failed} of {n} that the old threshold {choice.threshold:.3f} accepts were not good enough"
        return share + (" ({:.0%} to {:.0%})".format(*exact_interval(failed, n)) if n else "")

    def _new(self, rule: RiskRule) -> str:
        choice = None if self.after.risk is None else self.after.risk.choose(rule)
        if choice is None:
            return "every decided mask abstains, so nothing can be accepted"
        if choice.some:
            return f"the new one is {choice.threshold:.3f}"
        least = "" if choice.smallest is None else f" (the smallest risk that works is {choice.smallest:g})"
        return f"the new rule accepts nothing{least}"


def residual_bounds(
    predicted: ArrayLike, scale: ArrayLike, least: ArrayLike, most: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest |dice - predicted| / scale `[n]` of a Dice between `least` and `most`.

    Args:
        predicted: predicted Dice `[n]`.
        scale: scale of the error `[n]`, above 0.
        least: least Dice `[n]`.
        most: greatest Dice `[n]`.

    Returns:
        Both.

    Examples:
        >>> [values.round(2).tolist() for values in residual_bounds([0.9, 0.7], [0.1, 0.1], [0.8, 0.8], [1, 1])]
        [[0.0, 1.0], [1.0, 3.0]]
    """
    predicted, scale, least, most = (np.asarray(values, float) for values in (predicted, scale, least, most))
    nearest = np.maximum(0, np.maximum(least - predicted, predicted - most))
    return nearest / scale, np.maximum(predicted - least, most - predicted) / scale


def own_quantile(
    old: float,
    residuals: tuple[np.ndarray, np.ndarray],
    group: Sequence[Any],
    alpha: float,
) -> tuple[float, tuple[float, float]]:
    """The half width, and the bounds that the decisions set to it; see the module.

    Args:
        old: half width in scales.
        residuals: of `residual_bounds`.
        group: the group of each record `[n]`.
        alpha: share that may miss.

    Returns:
        The new half width, and its bounds.
    """
    bounds = (group_quantile(residuals[0], group, alpha), group_quantile(residuals[1], group, alpha))
    return min(max(old, bounds[0]), bounds[1]), bounds


def recalibrate_on(
    bundle: Bundle,
    decided: pd.DataFrame,
    bounds: tuple[np.ndarray, np.ndarray],
    everything: pd.DataFrame,
    threshold: float,
    seed: int = 0,
) -> Recalibrated:
    """The bundle made anew from decided masks.

    Args:
        bundle: the bundle that made the predictions.
        decided: rows with predicted_dice, scale, verdict, group, and record_id; those without a prediction are left
            out.
        bounds: of `dice_bounds`, for these rows.
        everything: all rows of the run, with the same columns.
        threshold: the Dice that accept means.
        seed: of the draw of a record a group.

    Returns:
        What was made, and what was seen of the old bundle.

    Raises:
        ConfigError: too few decisions, or groups.
    """
    known = decided["predicted_dice"].notna().to_numpy()
    decided, least, most = decided[known].reset_index(drop=True), bounds[0][known], bounds[1][known]
    group = decided["group"].astype(str).to_numpy()
    old = bundle.conformal
    if len(decided) < FEWEST:
        raise ConfigError(
            f"{len(decided)} decisions on masks with a prediction are too few to make an interval of them: decide on "
            f"at least {FEWEST}"
        )
    need = math.ceil(1 / old.alpha - 1 - 1e-9)
    if len(set(group)) < need:
        raise ConfigError(
            f"the decisions are of {len(set(group))} groups (patients, lesions, images), and an interval at "
            f"{1 - old.alpha:.0%} needs {need}: decide on masks of more of them"
        )
    predicted, scale = (decided[name].to_numpy(float) for name in ("predicted_dice", "scale"))
    residuals = residual_bounds(predicted, scale, least, most)
    quantile, allowed = own_quantile(old.quantile, residuals, list(group), old.alpha)
    new = Conformal(quantile, old.alpha, len(set(group)), len(decided))
    rows = one_of_each(group, numpy_generator(seed, "decisions"))
    exact = least == most
    own = {"decisions": len(decided), "groups": new.groups, "threshold": threshold, "redrawn": int(exact.sum())}
    after = replace(bundle, conformal=new, info={**bundle.info, OWN_DATA: own})
    found = Recalibrated(
        *(bundle, after, threshold, len(decided), new.groups, allowed),
        contradicted=int((residuals[0][rows] > old.quantile).sum()),
        exact=int(exact.sum()),
        covered=int((residuals[0][exact] <= old.quantile).sum()),
        chosen=_alike(decided, everything),
    )
    open_to = decided["verdict"].ne("abstain").to_numpy()
    others = everything[everything["verdict"].ne("abstain")]
    if not open_to.any() or others.empty:
        return replace(found, after=replace(after, risk=None))
    (low, high), before = new.interval(predicted, scale), old.interval(predicted, scale)[0]
    val_low = new.interval(others["predicted_dice"], others["scale"])[0]
    ends = (least[open_to], list(group[open_to]), val_low, seed)
    evidence = RiskEvidence.fit(low[open_to], *ends, high[open_to])
    as_before = RiskEvidence.fit(before[open_to], *ends).low
    return replace(found, after=replace(after, risk=evidence), old_low=as_before)


def _alike(decided: pd.DataFrame, everything: pd.DataFrame) -> float:
    """p value that decided and other masks have predictions of one distribution; 1 where all are decided."""
    others = everything[~everything["record_id"].isin(decided["record_id"])]["predicted_dice"].dropna()
    if others.empty:
        return 1.0
    from scipy.stats import ks_2samp  # a second to import

    return float(ks_2samp(decided["predicted_dice"], others).pvalue)
