"""How far predictors fall from the test set of one place to that of another, on masks of alike Dice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from sqp.core.errors import ConfigError
from sqp.evaluation.paired import cells
from sqp.metrics import agreement, weighted
from sqp.metrics.match_distributions import matched
from sqp.metrics.stats import Resamples, percentiles


def transferred(
    home: pd.DataFrame,
    away: pd.DataFrame,
    predictors: dict[str, str],
    scores: Sequence[str] = (),
    n_resamples: int = 2000,
) -> pd.DataFrame:
    """A row a predictor and score: Pearson in both sets, how far it falls, and of predictors MAE and bias.

    `predictors` maps names to columns in Dice. Both tables have dice, group and the columns. Only rows on which all
    predictors are finite count, thinned at random until both sets have the same shares of all bins of 0.1 of Dice
    (`metrics.matched`); a score that is not finite on all of these is left out. Intervals, 95 %, are of the lesions of
    both sets drawn together, so that sets of the same images are resampled as the pair that they are. ConfigError where
    no bin has rows of both.
    """
    used = ["dice", *predictors.values()]
    both = [rows[np.isfinite(rows[used].to_numpy(float)).all(axis=1)] for rows in (home, away)]
    try:
        drawn = matched(*(rows["dice"] for rows in both))
    except ValueError as error:
        raise ConfigError(f"Pearson of the two sets cannot be compared: {error}") from error
    parts = {end: rows.iloc[kept] for end, rows, kept in zip(("home", "away"), both, drawn, strict=True)}
    group = np.concatenate([rows["group"].astype(str) for rows in parts.values()])
    resamples = Resamples.draw(group, n_resamples)
    keep = {"home": np.arange(len(group)) < len(parts["home"])}
    keep["away"] = ~keep["home"]
    complete = [name for name in scores if all(np.isfinite(rows[name]).all() for rows in parts.values())]
    table = []
    for name, column in (predictors | {name: name for name in complete}).items():
        found: dict[str, Any] = {"method": name}
        spread = {}
        for end, rows in parts.items():
            x, y = rows[column].to_numpy(float), rows["dice"].to_numpy(float)
            spread[end] = np.concatenate([weighted.pearson(w, x, y) for w in resamples.weights(keep[end])])
            values = {"n": len(rows), "sd": y.std(), "pearson": agreement.pearson(x, y)}
            if name in predictors:
                values |= {"mae": agreement.mae(x, y), "bias": agreement.bias(x, y)}
            found |= {f"{key}_{end}": float(value) for key, value in values.items()}
        fall = found["pearson_home"] - found["pearson_away"]
        table.append(found | cells("fall", fall, *percentiles(spread["home"] - spread["away"])))
    return pd.DataFrame(table)
