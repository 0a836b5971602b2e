"""The optional tabular branch: analytic scores, standardised on the training records, beside the planes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch import Tensor, nn

from sqp.core.errors import ConfigError, unknown_name
from sqp.quality.judging.columns import score_names, with_former_scores
from sqp.records.schema import FEATURE_PREFIX, RENAMED

CLIP = 5.0  # a standardised score further out than this says no more
ALL = "all"


@dataclass(frozen=True)
class Standardizer:
    """Scores -> (x - median) / IQR, clipped at ±5; NaN becomes 0 with an indicator of 1."""

    names: tuple[str, ...]
    median: tuple[float, ...]
    iqr: tuple[float, ...]

    @classmethod
    def fit(cls, table: pd.DataFrame, names: Sequence[str]) -> Standardizer:
        """From training records; ConfigError for a score that the table lacks or that is NaN in all of it."""
        for name in names:
            if name not in table.columns:
                raise unknown_name("score", name, score_names(table))
            if not np.isfinite(table[name].to_numpy(float)).any():
                raise ConfigError(f"score '{name}' has no value in any training record; take it out of --scores")
        low, median, high = (
            [float(np.nanquantile(table[name].to_numpy(float), q)) for name in names] for q in (0.25, 0.5, 0.75)
        )
        iqr = [h - lo if h - lo > 1e-6 else 1.0 for lo, h in zip(low, high, strict=True)]
        return cls(tuple(names), tuple(median), tuple(iqr))

    def __call__(self, table: pd.DataFrame) -> np.ndarray:
        """float32 `[n, 2k]`: k standardised scores, then k indicators of missing values.

        ValueError where the table was not given the features that are among them.
        """
        unread = [name for name in self.names if name.startswith(FEATURE_PREFIX) and name not in table.columns]
        if unread:
            raise ValueError(f"the table has no {unread[0]}: read it first (quality.features)")
        table = with_former_scores(table, self.names)
        values = table.reindex(columns=list(self.names)).to_numpy(float).reshape(len(table), len(self.names))
        missing = ~np.isfinite(values)
        scaled = (np.where(missing, self.median, values) - np.array(self.median)) / np.array(self.iqr)
        return np.concatenate([scaled.clip(-CLIP, CLIP), missing], axis=1).astype(np.float32)


def resolve_scores(table: pd.DataFrame, names: Sequence[str]) -> tuple[str, ...]:
    """`all` -> every score that has a value in the table; a score's former name -> its name of today."""
    if list(names) != [ALL]:
        return tuple(dict.fromkeys(RENAMED.get(name, name) for name in names))
    return tuple(n for n in score_names(table) if np.isfinite(table[n].to_numpy(float)).any())


class ScoreBranch(nn.Module):
    """Standardised scores with indicators `[n, 2k]` -> `[n, width]`, a small MLP."""

    def __init__(self, scores: int, width: int = 32) -> None:
        super().__init__()
        self.width = width
        self.layers = nn.Sequential(nn.Linear(2 * scores, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())

    def forward(self, scores: Tensor) -> Tensor:
        """The branch's features."""
        return self.layers(scores)
