"""What only the headline asks: how far predictors fall between sets, where errors lie, which aggregate is best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from sqp.core.errors import ConfigError
from sqp.evaluation.comparison import through_line, with_aggregates
from sqp.evaluation.paired import MODEL, cells
from sqp.metrics import agreement
from sqp.metrics.aggregation import AGGREGATES
from sqp.metrics.stats import Resamples, paired_difference, percentiles
from sqp.records.schema import image_keys


def match_distributions(
    first: ArrayLike, second: ArrayLike, bins: int = 10, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of two samples of values in [0, 1], as many as make the shares of all bins the same in both.

    Correlations grow with the spread of the truth, so those of two test sets compare only where their truths are
    distributed alike. Of each bin the rows are drawn at random without replacement; a bin that one sample lacks is
    left out of both. Indices, ascending; ValueError where no bin has rows of both.

    >>> [len(rows) for rows in match_distributions([0.1, 0.1, 0.9, 0.9], [0.1, 0.9, 0.9, 0.9])]  # 2/3 of each near 0.9
    [3, 3]
    """
    both = [np.minimum((np.asarray(values, float) * bins).astype(int), bins - 1) for values in (first, second)]
    counts = [np.bincount(own, minlength=bins) for own in both]
    share = np.minimum(*(count / max(1, count.sum()) for count in counts))
    if not share.sum():
        raise ValueError("the two samples have no bin in common")
    share /= share.sum()
    rows = []
    for own, count in zip(both, counts, strict=True):
        most = min(n / part for n, part in zip(count, share, strict=True) if part)
        rng = np.random.default_rng(seed)
        drawn = [rng.permutation(np.flatnonzero(own == i))[: int(most * share[i] + 1e-9)] for i in range(bins)]
        rows.append(np.sort(np.concatenate(drawn)))
    return rows[0], rows[1]


def worst_share(error: ArrayLike, image: ArrayLike, share: float = 0.01) -> float:
    """What part of the summed squared error falls on the worst `share` of the images, rounded up; NaN without error.

    >>> worst_share([3, 0, 1], ["a", "a", "b"], 0.5)
    0.9
    """
    _, codes = np.unique(np.asarray(image), return_inverse=True)
    by_image = np.sort(np.bincount(codes, weights=np.square(np.asarray(error, float))))[::-1]
    total = float(by_image.sum())
    return float(by_image[: int(np.ceil(share * len(by_image)))].sum()) / total if total else float("nan")


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
    (`match_distributions`); a score that is not finite on all of these is left out. Intervals, 95 %, are of the lesions
    of both sets drawn together, so that sets of the same images are resampled as the pair that they are. ConfigError
    where no bin has rows of both.
    """
    used = ["dice", *predictors.values()]
    both = [rows[np.isfinite(rows[used].to_numpy(float)).all(axis=1)] for rows in (home, away)]
    try:
        drawn = match_distributions(*(rows["dice"] for rows in both))
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
            spread[end] = np.concatenate([agreement.pearson.over(w, x, y) for w in resamples.weights(keep[end])])
            values = {"n": len(rows), "sd": y.std(), "pearson": agreement.pearson(x, y)}
            if name in predictors:
                values |= {"mae": agreement.mae(x, y), "bias": agreement.bias(x, y)}
            found |= {f"{key}_{end}": float(value) for key, value in values.items()}
        fall = found["pearson_home"] - found["pearson_away"]
        table.append(found | cells("fall", fall, *percentiles(spread["home"] - spread["away"])))
    return pd.DataFrame(table)


def shared_errors(
    test: pd.DataFrame, calibration: pd.DataFrame, predictors: dict[str, str], scores: Sequence[str]
) -> pd.DataFrame:
    """A row a method: `worst`, its squared error's share in the worst 1 % of images, and `with_model`.

    That is Pearson's correlation of its errors with the model's. Both are of the `n` rows that the method and the model
    have. `predictors` maps names, the model's among them, to columns in Dice; scores go through the least-squares line
    of the calibration rows. Methods without such a row are left out.
    """
    test, calibration, scores = with_aggregates(test[np.isfinite(test["dice"])], calibration, scores)
    truth, image = test["dice"].to_numpy(float), image_keys(test)
    values = {name: test[column].to_numpy(float) for name, column in predictors.items()}
    values |= {name: through_line(test[name].to_numpy(float), name, calibration) for name in scores}
    table = []
    for name, value in values.items():
        keep = np.isfinite(value) & np.isfinite(values[MODEL])
        if keep.any():
            error, models = (value - truth)[keep], (values[MODEL] - truth)[keep]
            found = {"worst": worst_share(error, image[keep]), "with_model": agreement.pearson(error, models)}
            table.append({"method": name, "n": int(keep.sum())} | found)
    return pd.DataFrame(table)


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
