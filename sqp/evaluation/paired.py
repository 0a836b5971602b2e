"""Statistics of several methods on the same rows and the same resamples, and their differences to the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from sqp.metrics.agreement import pearson, spearman
from sqp.metrics.nan_reasons import agreement_note
from sqp.metrics.stats import Resamples, bootstrap, percentiles
from sqp.metrics.weighted import mean
from sqp.report.findings import MODEL

Statistics = Callable[..., dict[str, np.ndarray]]
"""(weights `[b, n]`, the method's columns, the shared columns `[n]`) -> each statistic `[b]`, by name."""

Both = tuple[dict[str, float], dict[str, np.ndarray]]


@dataclass
class Paired:
    """`shared` columns `[n]` (the truth) are finite; a method's first column may have gaps: those rows it lacks."""

    statistics: Statistics
    shared: tuple[np.ndarray, ...]
    resamples: Resamples
    _cache: dict[tuple[str, bytes], Both] = field(default_factory=dict, repr=False)

    def of(self, name: str, columns: tuple[np.ndarray, ...], keep: np.ndarray) -> Both:
        """Each statistic of one method on the rows `keep`, and its value on each resample `[b]`."""
        key = (name, keep.tobytes())
        if key not in self._cache:
            rows = [column[keep] for column in (*columns, *self.shared)]
            with np.errstate(invalid="ignore"):  # NaN in, NaN out: a score without a line has no error
                point = {k: float(v[0]) for k, v in self.statistics(np.ones((1, int(keep.sum()))), *rows).items()}
                blocks = [self.statistics(w, *rows) for w in self.resamples.weights(keep)] if keep.any() else []
            spread = {k: np.concatenate([block[k] for block in blocks]) if blocks else np.empty(0) for k in point}
            self._cache[key] = point, spread
        return self._cache[key]

    def row(
        self,
        name: str,
        methods: Mapping[str, tuple[np.ndarray, ...]],
        compared: Iterable[str] | None = None,
    ) -> dict[str, float]:
        """One method: n, n_groups, each statistic with `_low` and `_high`; n_paired and `X_difference` to the model.

        Differences are model - method, on the rows that both have; `compared` names the statistics, None: all.
        """
        columns = methods[name]
        keep = np.isfinite(columns[0])
        point, spread = self.of(name, columns, keep)
        row: dict[str, float] = {"n": int(keep.sum()), "n_groups": len(np.unique(self.resamples.codes[keep]))}
        for key, value in point.items():
            row |= {key: value} | ends(key, spread[key])
        if name == MODEL or MODEL not in methods:
            return row
        both = keep & np.isfinite(methods[MODEL][0])
        (mine, mine_spread), (model, model_spread) = self.of(name, columns, both), self.of(MODEL, methods[MODEL], both)
        row["n_paired"] = int(both.sum())
        for key in point if compared is None else compared:
            row[f"{key}_difference"] = model[key] - mine[key]
            row |= ends(f"{key}_difference", model_spread[key] - mine_spread[key])
        return row


def cells(name: str, value: float, low: float, high: float) -> dict[str, float]:
    """A statistic and its interval as three cells."""
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def measured(
    name: str, statistic: Callable[..., float], x: np.ndarray, y: np.ndarray, resamples: Resamples
) -> dict[str, float]:
    """statistic(x, y) and its interval as three cells."""
    return cells(name, statistic(x, y), *bootstrap(statistic, x, y, resamples=resamples))


def ends(name: str, values: np.ndarray) -> dict[str, float]:
    """The percentile interval of a statistic `[b]` as two cells."""
    return dict(zip((f"{name}_low", f"{name}_high"), percentiles(values), strict=True))


def mean_cells(key: str, values: np.ndarray, resamples: Resamples) -> dict[str, float]:
    """The mean of the finite values `[n]` with its interval by group, as three cells; NaN where there is none."""
    finite = values[np.isfinite(values)]
    return {key: float(finite.mean()) if len(finite) else float("nan")} | ends(key, mean_spread(values, resamples))


def mean_rows(columns: Mapping[str, np.ndarray], resamples: Resamples) -> pd.DataFrame:
    """A row a column `[n]`: n finite values, mean with its interval by group, SD (n - 1), median; else NaN."""
    rows = []
    for name, values in columns.items():
        own = values[np.isfinite(values)]
        row: dict[str, object] = {"quantity": name, "n": len(own)} | mean_cells("mean", values, resamples)
        row["sd"] = float(own.std(ddof=1)) if len(own) > 1 else np.nan
        row["median"] = float(np.median(own)) if len(own) else np.nan
        rows.append(row)
    return pd.DataFrame(rows)


def _correlations(weights: np.ndarray, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    return {"pearson": pearson.over(weights, x, y), "spearman": spearman.over(weights, x, y)}


def correlation_rows(columns: Mapping[str, np.ndarray], with_: np.ndarray, resamples: Resamples) -> pd.DataFrame:
    """A row a column `[n]`: n, Pearson and Spearman with `with_` `[n]`, their intervals, and why one is NaN."""
    keep = np.isfinite(with_)
    paired = Paired(_correlations, (np.where(keep, with_, 0),), resamples)
    rows = []
    for name, values in columns.items():
        own = {name: (np.where(keep, values, np.nan),)}
        rows.append({"quantity": name, **paired.row(name, own), "note": agreement_note(values, with_)})
    return pd.DataFrame(rows)


def mean_spread(values: np.ndarray, resamples: Resamples) -> np.ndarray:
    """The mean `[b]` of the finite values on each resample; NaN where it holds none."""
    keep = np.isfinite(values)
    if not keep.any():
        return np.empty(0)
    return np.concatenate([mean(w, values[keep]) for w in resamples.weights(keep)])
