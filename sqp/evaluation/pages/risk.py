"""Does the promise of `predict --risk` hold on the test rows, and how many masks does it let through."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sqp.evaluation.evidence import Evidence, Page, known
from sqp.evaluation.paired import mean_cells
from sqp.evaluation.subsets import ALL, with_part
from sqp.quality.judging.risk import Choice, RiskRule, at_risk
from sqp.report.evaluation_figures import risk_figure

RISKS = (0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2)
COLUMNS = {
    "asked": "asked risk",
    "threshold": "low end from",
    "n_calibration": "calibration groups accepted",
    "n_calibration_failed": "of them bad",
    "n_accepted": "test masks accepted",
    "share": "share accepted",
    "n_bad": "bad among them",
    "bad": "share of bad among accepted",
    "note": "note",
}
READING = (
    "Bad is a mask with a Dice below {failure:g}. For each asked risk the threshold of the interval's low end is the "
    "one that `sqp predict --risk` would take: the loosest that passes the tests on the bundle's calibration groups "
    "(learn then test, {confidence:.0%} confidence), so no test row has a part in it. The interval's quantile is of "
    "the same groups, so the promise is not proved, and these rows check it. Abstentions are not accepted. "
    "The promise is that of a random record, not abstained from, of a random group like those of the calibration "
    "split; where the share of bad among the accepted lies above the asked risk with its whole interval, the test rows "
    "are not like these. 95 % intervals, bootstrap by group."
)


def risk_page(evidence: Evidence) -> Page:
    """Table risk.csv, a row a part and asked risk; share of bad and share accepted against the asked risk."""
    rule = RiskRule()
    page = Page("risk", "Accepting at a chosen risk", READING.format(failure=rule.failure, confidence=rule.confidence))
    lines = {}
    for part in evidence.parts:
        rows = known(part.test)
        table = with_part(by_risk(evidence, rows), part)
        bad = int((rows["dice"] < rule.failure).sum())
        about = f"{bad} of all {len(rows)} masks are bad ({bad / len(rows):.1%})."
        page.show(part.title, about, table, COLUMNS, "risk")
        if part.dataset == ALL:
            lines[part.title] = table
    page.figures[""] = "What is promised, what is kept, and how much is accepted", risk_figure(lines)
    return page


def by_risk(evidence: Evidence, rows: pd.DataFrame) -> pd.DataFrame:
    """A row an asked risk: the threshold, what its test saw, and what it does to the test rows (all with a truth)."""
    resamples, bad = evidence.resamples(rows), (rows["dice"] < RiskRule().failure).to_numpy(float)
    table = []
    for asked in RISKS:
        choice = None if evidence.risk is None else evidence.risk.choose(RiskRule(asked), evidence.config.reject)
        accepted = np.zeros(len(rows), bool)
        if choice is not None:
            accepted = at_risk(rows, choice)["verdict"].eq("accept").to_numpy(bool)
        row = {"asked": asked, "threshold": choice.threshold if choice and choice.some else np.nan, "n": len(rows)}
        row |= {"n_calibration": choice.accepted, "n_calibration_failed": choice.failures} if choice else {}
        row |= {"n_accepted": int(accepted.sum()), "n_bad": int(bad[accepted].sum())}
        row |= mean_cells("share", accepted.astype(float), resamples)
        row |= mean_cells("bad", np.where(accepted, bad, np.nan), resamples)
        table.append(row | {"note": _reason(choice, accepted)})
    return pd.DataFrame(table)


def _reason(choice: Choice | None, accepted: np.ndarray) -> str:
    """Why there is no threshold, or nothing accepted."""
    if choice is None:
        return "no bundle that keeps its calibration records: no threshold"
    if not choice.some:
        return f"no threshold passes on {choice.groups} calibration groups: nothing is accepted"
    return "" if accepted.any() else "no test mask reaches the threshold"
