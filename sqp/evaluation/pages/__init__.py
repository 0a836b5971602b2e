"""The evidence of an evaluation: a page a question, each with tables and figures, from the same rows."""

from __future__ import annotations

from collections.abc import Callable

from sqp.evaluation.evidence import Evidence, Page
from sqp.evaluation.pages.agreement import agreement_page
from sqp.evaluation.pages.intervals import intervals_page
from sqp.evaluation.pages.raters import raters_page
from sqp.evaluation.pages.risk import risk_page
from sqp.evaluation.pages.segmentation import segmentation_page
from sqp.evaluation.pages.selective import selective_page
from sqp.evaluation.pages.tiers import tiers_page

PAGES: dict[str, Callable[[Evidence], Page]] = {
    "agreement": agreement_page,
    "segmentation": segmentation_page,
    "selective": selective_page,
    "risk": risk_page,
    "tiers": tiers_page,
    "intervals": intervals_page,
    "raters": raters_page,
}
