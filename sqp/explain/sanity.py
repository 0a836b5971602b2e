"""A map that survives shuffled weights does not show what was learned (Adebayo et al., NeurIPS 2018)."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr

from sqp.core.seeding import torch_generator
from sqp.explain.localisation import mean_cells
from sqp.metrics.stats import Resamples
from sqp.quality.model.ensemble import Ensemble
from sqp.quality.model.module import QualityModel

ALIKE = 0.5  # Spearman between the two maps, at and above which they are called alike


def shuffled_weights(model: QualityModel | Ensemble, seed: int = 0) -> QualityModel | Ensemble:
    """A copy in which the entries of each weight tensor are permuted: as large as before, but nothing learned is left.

    Statistics of BatchNorm stay, so that activations keep their scale.
    """
    other = copy.deepcopy(model)
    generator = torch_generator(seed, "shuffled weights")
    with torch.no_grad():
        for parameter in other.parameters():
            flat = parameter.detach().cpu().flatten()
            mixed = flat[torch.randperm(len(flat), generator=generator)].reshape(parameter.shape)
            parameter.copy_(mixed)
    return other.eval()


def likeness(maps: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Spearman `[n]` between the pixels of two stacks of maps `[n, s, s]`; NaN where one is constant."""
    out = np.full(len(maps), np.nan)
    for row, (one, other) in enumerate(zip(maps, others, strict=True)):
        if np.ptp(one) > 0 and np.ptp(other) > 0:
            out[row] = spearmanr(one.ravel(), other.ravel()).statistic
    return out


def sanity_table(likenesses: dict[str, np.ndarray], resamples: Resamples) -> pd.DataFrame:
    """A row per CAM: mean Spearman of its maps with those of the shuffled weights, its interval, what it says."""
    rows = []
    for name, values in likenesses.items():
        row: dict[str, object] = {"map": name, "n": int(np.isfinite(values).sum())}
        row |= mean_cells("likeness", values, resamples)
        rows.append(row | {"note": _words(row, len(values))})
    return pd.DataFrame(rows)


def _words(row: dict[str, object], asked: int) -> str:
    low, high = float(row["likeness_low"]), float(row["likeness_high"])  # type: ignore[arg-type]
    if not np.isfinite(low):
        return "no map to compare: with shuffled weights or without, all are constant"
    lost = f"; {asked - int(row['n'])} constant maps left out" if row["n"] != asked else ""  # type: ignore[call-overload]
    if low >= ALIKE:
        return f"fails: the map hardly depends on what was learned{lost}"
    if high >= ALIKE:
        return f"undecided: the interval holds {ALIKE:g}{lost}"
    return f"passes: the map depends on what was learned{lost}"
