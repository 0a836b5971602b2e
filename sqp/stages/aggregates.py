"""The aggregated scores as columns beside the scores they come from, for the comparison table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from sqp.metrics import agreement
from sqp.metrics.aggregation import AGGREGATES
from sqp.metrics.stats import Resamples, paired_difference
from sqp.stages.paired import cells

UNSIGNED = ("area",)  # neither higher nor lower is better


def with_aggregates(
    test: pd.DataFrame, calibration: pd.DataFrame, scores: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Both tables with a column an aggregate, fitted on the calibration rows alone, and the scores with their names.

    `area` has no sign and is left out of them; aggregates that are there already are made anew. NaN in every row where
    calibration has no scores to fit on.
    """
    used = [name for name in scores if name not in (*UNSIGNED, *AGGREGATES) and name in calibration]
    fitted_on = calibration[np.isfinite(calibration["dice"])]
    for name, fit in AGGREGATES.items():
        aggregate = fit(fitted_on[used].to_numpy(float), fitted_on["dice"])
        test, calibration = (
            table.assign(**{name: aggregate(table[used].to_numpy(float))}) for table in (test, calibration)
        )
    return test, calibration, list(dict.fromkeys([*scores, *AGGREGATES]))


def which_aggregate(
    test: pd.DataFrame, calibration: pd.DataFrame, scores: Sequence[str], n_resamples: int
) -> dict[str, float]:
    """Spearman of both aggregates of all scores, and the difference second - first on the same resamples."""
    test, _, _ = with_aggregates(test, calibration, scores)
    truth, *columns = (test[name].to_numpy(float) for name in ("dice", *AGGREGATES))
    found = dict(zip(AGGREGATES, (agreement.spearman(column, truth) for column in columns), strict=True))
    resamples = Resamples.draw(test["group"].astype(str).to_numpy(), n_resamples)
    difference = paired_difference(agreement.spearman, truth, *columns[::-1], resamples=resamples)
    return {"n": len(test)} | found | cells("difference", *difference)
