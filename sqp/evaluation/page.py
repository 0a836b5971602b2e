"""The page of an evaluation: its verdict in words, then whatever figures and tables the evaluation has made."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from sqp.config.evaluate import EvaluateConfig
from sqp.report.findings import evaluation_findings
from sqp.report.html import Section
from sqp.report.page import ErrorMaps, write_page


def write_evaluation_page(
    config: EvaluateConfig,
    test: pd.DataFrame,
    judged_on: tuple[pd.DataFrame, pd.DataFrame],
    sections: Sequence[Section],
    notes: str,
) -> Path:
    """Write OUT/report.html; returns its path.

    `test` are all test rows with predictions and verdicts, `judged_on` the comparison table and the rows of the subset
    that the verdict in words is about, `sections` the figures and tables in order.
    """
    level, drawn = _of_model(config)
    return write_page(
        Path(config.out) / "report.html",
        test,
        title="Segmentation quality: evaluation",
        findings=evaluation_findings(*judged_on, config.accept, config.reject, level),
        sections=sections,
        notes=notes,
        gallery=config.gallery,
        error_maps=drawn,
    )


def _of_model(config: EvaluateConfig) -> tuple[float | None, ErrorMaps | None]:
    """Nominal level of the model's intervals, and what draws its error maps; None for predictions made before."""
    if config.model is None:
        return None, None
    from sqp.bundles import bundle_folder
    from sqp.quality import Bundle, error_maps  # torch and the networks: only where a model runs

    bundle = Bundle.load(bundle_folder(config.model))
    drawn = partial(error_maps, bundle, batch_size=config.batch_size, device=config.device)
    return 1 - bundle.conformal.alpha, drawn
