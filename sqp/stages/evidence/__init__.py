"""The evidence of an evaluation: a page a question, each with tables and figures, from the same rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sqp.stages.evidence.agreement import agreement_page
from sqp.stages.evidence.intervals import intervals_page
from sqp.stages.evidence.page import Evidence, Page
from sqp.stages.evidence.raters import raters_page
from sqp.stages.evidence.risk import risk_page
from sqp.stages.evidence.segmentation import segmentation_page
from sqp.stages.evidence.selective import selective_page
from sqp.stages.evidence.tiers import tiers_page

PAGES: dict[str, Callable[[Evidence], Page]] = {
    "agreement": agreement_page,
    "segmentation": segmentation_page,
    "selective": selective_page,
    "risk": risk_page,
    "tiers": tiers_page,
    "intervals": intervals_page,
    "raters": raters_page,
}


def pages(evidence: Evidence) -> Iterator[Page]:
    """Every page, one after the other."""
    for make in PAGES.values():
        yield make(evidence)
