"""Does a map point at the errors of the mask? AUROC and AUPRC of its pixels against mask xor truth.

In the frame of the model's planes, where every pixel is the same share of the image. Errors are of three kinds, each
pixel of one: `boundary` lies within 3 % of the frame's side from the truth's outline, `omission` (missed) and
`false_positive` (added) lie further from it. A kind is compared with the pixels that are right. Values are rounded to
32 steps a factor of two, so that counts take the place of pixels and a whole test split is pooled in constant memory.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.ndimage import distance_transform_edt

from sqp.evaluation.paired import mean_cells
from sqp.metrics.stats import Resamples, percentiles
from sqp.metrics.weighted_selective import failure_statistics

RIGHT, KINDS = 0, ("boundary", "omission", "false_positive")
ALL, RANDOM = "all", "random"
BOUNDARY = 0.03  # of the frame's side
_BITS, BINS = 5, 1024  # float16 without its last 5 bits: not negative, so its order is that of the values


def error_kinds(mask: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """bool `[s, s]` twice -> uint8: 0 right, 1 boundary, 2 omission, 3 false positive.

    Examples:
        >>> mask, truth = np.zeros((2, 100, 100), bool)
        >>> mask[:, :50], truth[:, :40] = True, True
        >>> np.bincount(error_kinds(mask, truth).ravel()).tolist()
        [9000, 300, 0, 700]
    """
    wrong = mask ^ truth
    if not wrong.any():
        return np.zeros(mask.shape, np.uint8)
    near = np.zeros(mask.shape, bool)
    if truth.any() and not truth.all():
        depth = np.where(truth, distance_transform_edt(truth), distance_transform_edt(~truth))
        near = depth <= BOUNDARY * len(mask)
    return np.select([~wrong, near, truth], [0, 1, 2], 3).astype(np.uint8)


def map_counts(values: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """A map `[s, s]`, not negative, and its error kinds -> uint32 `[4, BINS]`: pixels of each kind and value."""
    half = np.clip(values, 0, np.finfo(np.float16).max).astype(np.float16)
    codes = half.view(np.uint16) >> _BITS
    both = kinds.astype(np.int64).ravel() * BINS + codes.ravel()
    return np.bincount(both, minlength=4 * BINS).reshape(4, BINS).astype(np.uint32)


def of_kind(counts: np.ndarray, kind: str) -> np.ndarray:
    """Counts `[..., 4, BINS]` -> float64 `[..., 2 * BINS]`: pixels wrong in this way (or `all`), then right ones."""
    wrong = counts[..., 1:, :].sum(axis=-2) if kind == ALL else counts[..., 1 + KINDS.index(kind), :]
    return np.concatenate([wrong, counts[..., RIGHT, :]], axis=-1).astype(np.float64)


def areas(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """AUROC, AUPRC and share of wrong pixels `[n]` of weights `[n, 2 * BINS]`; NaN where nothing or all is wrong."""
    scores = -np.tile(np.arange(BINS, dtype=np.float64), 2)  # failures are looked for by a low score
    failed = np.repeat([1.0, 0.0], BINS)
    wrong, total = weights[:, :BINS].sum(axis=1), weights.sum(axis=1)
    share = np.divide(wrong, total, out=np.full(len(weights), np.nan), where=(wrong > 0) & (wrong < total))
    found = failure_statistics(weights, scores, failed)
    return found["auroc"], found["auprc"], share


def localisation_table(counts: Mapping[str, np.ndarray], resamples: Resamples, keep: np.ndarray) -> pd.DataFrame:
    """A row per map and kind of error over the records `keep` (bool `[n]`); counts by map `[n, 4, BINS]`.

    Per record: mean AUROC, mean AUPRC and its chance level over the `n` records that have such errors; pooled: over all
    their pixels. 95 % intervals of resamples of whole groups as `X_low`, `X_high`.
    """
    rows = []
    for name, all_counts in counts.items():
        for kind in (ALL, *KINDS):
            weights = of_kind(all_counts, kind)
            auroc, auprc, share = areas(weights)
            used = keep & np.isfinite(auroc)
            row: dict[str, object] = {"map": name, "error": kind, "n": int(used.sum())}
            row["n_groups"] = len(np.unique(resamples.codes[used]))
            for key, values in (("auroc", auroc), ("auprc", auprc)):
                row |= mean_cells(key, np.where(used, values, np.nan), resamples)
            row["chance_auprc"] = float(share[used].mean()) if used.any() else np.nan
            note = "" if name == RANDOM else _words(row)
            rows.append(row | _pooled(weights, used, resamples) | {"note": note})
    return pd.DataFrame(rows)


def _pooled(weights: np.ndarray, used: np.ndarray, resamples: Resamples) -> dict[str, float]:
    """AUROC and AUPRC over the pixels of all records that are used."""
    if not used.any():
        return {}
    of_group = np.zeros((resamples.counts.shape[1], weights.shape[1]), np.float32)
    np.add.at(of_group, resamples.codes[used], weights[used])
    point = areas(of_group.sum(axis=0, dtype=np.float64)[None])
    if (of_group > 0).any(axis=1).sum() < 2:
        of_group = np.zeros_like(of_group)  # resamples of a single group say nothing
    spread = areas((resamples.counts.astype(np.float32) @ of_group).astype(np.float64))
    row: dict[str, float] = {}
    for name, value, values in zip(("pooled_auroc", "pooled_auprc"), point[:2], spread[:2], strict=True):
        low, high = percentiles(values)
        row |= {name: float(value[0]), f"{name}_low": low, f"{name}_high": high}
    return row | {"chance_pooled_auprc": float(point[2][0])}


def _words(row: Mapping[str, object]) -> str:
    """What the interval of the mean AUROC says of chance."""
    low, high = float(row["auroc_low"]), float(row["auroc_high"])  # type: ignore[arg-type]
    if not np.isfinite(low):
        return "one group: no interval" if row["n"] else "no record has such errors"
    if high < 0.5:
        return "worse than random: it points away from these errors"
    return "no better than random" if low <= 0.5 else "better than random"
