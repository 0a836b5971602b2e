"""`sqp predict --risk R --audit N`: a random sample of the accepted masks, and whether the promise holds on it.

The promise of `--risk` is about a random record of a random group that is accepted (`risk`). The sample is drawn so:
of each group with accepted masks one of these, and of the groups N. A person says of each of its masks whether it is
good enough; the share that is not has an exact binomial interval (Clopper and Pearson, Biometrika 1934), two-sided at
the confidence of the promise. The promise holds where the interval lies at or below the risk, is broken where it lies
above, and else the sample is too small to tell. The interval is about masks like these, of which the sample is a draw;
of the run's own accepted masks, of which there are only so many, it is wider than need be.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sqp.metrics.stats import Interval, exact_interval
from sqp.quality.judging.decisions import ACCEPT
from sqp.quality.judging.risk import RiskRule


def audit_sample(table: pd.DataFrame, n: int, seed: int = 0) -> np.ndarray:
    """Which rows are to be looked at: at most `n` accepted ones, each of another group.

    The same rows and seed give the same sample, in whatever order, and a larger one holds the smaller.

    Args:
        table: predictions with record_id, group and verdict.
        n: how many.
        seed: of the draw.

    Returns:
        bool `[n_rows]`.
    """
    taken = table[table["verdict"].eq("accept")]
    keys = pd.DataFrame(
        {
            "group": taken["group"].astype(str),
            "own": [_draw(seed, "record", name) for name in taken["record_id"]],
            "of_group": [_draw(seed, "group", name) for name in taken["group"]],
        },
        taken.index,
    )
    one_each = keys.sort_values("own").drop_duplicates("group")
    return table.index.isin(one_each.sort_values("of_group").index[:n])


def _draw(seed: int, what: str, name: object) -> str:
    """A number of 256 bits, as text, that nothing but chance ties to the name."""
    return hashlib.sha256(f"{seed}\x1f{what}\x1f{name}".encode()).hexdigest()


@dataclass(frozen=True)
class Audit:
    """A sample of `drawn` masks, of which `seen` were decided on, `failed` of these against the mask."""

    rule: RiskRule
    drawn: int
    seen: int = 0
    failed: int = 0

    @classmethod
    def of(cls, rule: RiskRule, drawn: int, decision: pd.Series) -> Audit:
        """From the decisions (accept, fix, reject) on masks of the sample."""
        return cls(rule, drawn, len(decision), int(decision.ne(ACCEPT).sum()))

    @property
    def interval(self) -> Interval:
        """Of the share that fails."""
        return exact_interval(self.failed, self.seen, self.rule.confidence)

    @property
    def holds(self) -> bool | None:
        """Whether the promise holds; None where the sample is too small to tell, or not yet looked at whole."""
        if self.seen < self.drawn or not self.seen:
            return None
        low, high = self.interval
        return True if high <= self.rule.risk else False if low > self.rule.risk else None

    def sentence(self) -> str:
        """For the terminal and the page: what is to be done, or what was found.

        Examples:
            >>> Audit(RiskRule(0.1), 50, 50, 1).sentence()
            'the promise holds: 1 of 50 audited masks failed (2%, exact 90% interval 0.1% to 9.1%), 0.1 was allowed.'
        """
        promise, sure = f"{self.rule.risk:.3g}", f"{self.rule.confidence:.0%}"
        need = math.ceil(math.log((1 - self.rule.confidence) / 2) / math.log(1 - self.rule.risk))
        few = f" So few cannot show a risk of {promise}, even where none fails: that needs {need}."
        if not self.drawn:
            return "no mask is accepted, so there is none to look at."
        if not self.seen:
            text = f"{self.drawn} accepted masks were drawn at random: decide on each of them, then give the decisions."
            return text + (few if self.drawn < need else "")
        low, high = self.interval
        share = f"{self.failed} of {self.seen} audited masks failed ({self.failed / self.seen:.0%}"
        found = f"{share}, exact {sure} interval {low:.1%} to {high:.1%}), {self.rule.risk:.3g} was allowed."
        if self.seen < self.drawn:
            return f"{self.seen} of the {self.drawn} drawn masks are decided, too early to tell: {found}"
        told = {
            True: "the promise holds",
            False: "the promise is BROKEN: masks like these fail more often than was promised, recalibrate on them",
            None: "these masks cannot tell whether the promise holds",
        }
        return f"{told[self.holds]}: {found}" + (few if self.seen < need else "")
