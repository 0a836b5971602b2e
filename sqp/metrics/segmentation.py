"""The segmentation of one image in one row: overlap, distances between the outlines, and the calibration of its map.

The outline is MONAI's: the pixels of a mask that have a 4- (3-D: 6-) neighbour outside of it, the world beyond the
image being outside. Distances are Euclidean, in pixels, or in the unit of `spacing` (mm) where it is given. Each
outline pixel counts once, so with unequal spacing HD95 and MASD are not weighted by length (DeepMind's
`surface-distance` is).

One convention for empty masks: without an outline there is no distance, so it is NaN if either mask is empty, also if
both are; `empty_note` says which. A mean over images leaves these out: print how many beside it. Overlap of empty masks
follows `overlap`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from sqp.metrics import OVERLAP
from sqp.metrics.nan_reasons import join
from sqp.metrics.overlap import as_mask, worst_slice
from sqp.metrics.pooled import PixelCalibration


class SurfaceDistances(NamedTuple):
    """Distances in pixels or the unit of the spacing, at least 0; all NaN where a mask is empty."""

    hausdorff: float
    hd95: float
    masd: float


NO_DISTANCES = SurfaceDistances(float("nan"), float("nan"), float("nan"))


def empty_note(prediction: ArrayLike, truth: ArrayLike) -> str:
    """Why there is no distance: which of the masks is empty; an empty string where neither is.

    Args:
        prediction: mask `[h, w]` or `[d, h, w]`.
        truth: mask of the same shape.

    Returns:
        The reason.

    Raises:
        ValueError: a mask holds floats.
    """
    p, t = bool(as_mask(prediction).any()), bool(as_mask(truth).any())
    return {
        (True, True): "",
        (False, True): "empty prediction: no surface distance",
        (True, False): "empty truth: no surface distance",
        (False, False): "both masks empty: no surface distance",
    }[p, t]


def _spacing(spacing: Sequence[float] | None, ndim: int) -> tuple[float, ...]:
    """One size an axis; ValueError unless there are `ndim` positive, finite ones."""
    if spacing is None:
        return (1.0,) * ndim
    sizes = tuple(float(size) for size in spacing)
    if len(sizes) != ndim or not all(0 < size < float("inf") for size in sizes):
        raise ValueError(f"spacing must be {ndim} positive numbers, one an axis of the mask, not {sizes}")
    return sizes


def surface_distances(
    prediction: ArrayLike, truth: ArrayLike, spacing: Sequence[float] | None = None
) -> SurfaceDistances:
    """Hausdorff, HD95 and MASD of two masks `[h, w]` or `[d, h, w]`; `spacing` in the order of the axes.

    HD95 is the larger of the two directed 95th percentiles (interpolated linearly). MASD is the mean of the two
    directed mean distances (paper 000, equation 13), not the mean over both outlines pooled.

    Args:
        prediction: mask `[h, w]` or `[d, h, w]`.
        truth: mask of the same shape.
        spacing: size of a pixel along each axis (mm); without, distances are in pixels.

    Returns:
        The three distances, by MONAI's outlines and distance transform.

    Raises:
        ValueError: shapes differ, a mask is not 2D or 3D, or `spacing` is no positive number an axis.

    Examples:
        >>> square, moved = np.zeros((9, 9), bool), np.zeros((9, 9), bool)
        >>> square[2:4, 2:4], moved[2:4, 5:7] = True, True
        >>> surface_distances(square, moved)
        SurfaceDistances(hausdorff=3.0, hd95=3.0, masd=2.5)
    """
    p, t = as_mask(prediction), as_mask(truth)
    if p.shape != t.shape:
        raise ValueError(f"the masks differ in shape: {p.shape} and {t.shape}")
    if p.ndim not in (2, 3):
        raise ValueError(f"surface distances need masks [h, w] or [d, h, w], not the shape {p.shape}")
    sizes = _spacing(spacing, p.ndim)
    if not p.any() or not t.any():
        return NO_DISTANCES
    from monai.metrics.utils import get_mask_edges, get_surface_distance  # seconds to import

    edges = get_mask_edges(p, t)
    there = np.asarray(get_surface_distance(edges[0], edges[1], spacing=sizes), dtype=np.float64)
    back = np.asarray(get_surface_distance(edges[1], edges[0], spacing=sizes), dtype=np.float64)
    return SurfaceDistances(
        float(max(there.max(), back.max())),
        float(max(np.quantile(there, 0.95), np.quantile(back, 0.95))),
        float((there.mean() + back.mean()) / 2),
    )


def segmentation_row(
    prediction: ArrayLike,
    truth: ArrayLike,
    probability: ArrayLike | None = None,
    spacing: Sequence[float] | None = None,
    bins: int = 15,
    surface: bool = True,
) -> dict[str, float | str]:
    """dice … accuracy (0..1), hausdorff, hd95, masd (`unit`: px, or mm with `spacing`), ece, brier, nll, note.

    Args:
        prediction: mask `[h, w]` or `[d, h, w]`.
        truth: mask of the same shape.
        probability: foreground probability on the same pixels, for ece, brier and nll (nats); without, these are NaN.
        spacing: mm a pixel, in the order of the axes; None or empty: distances are in pixels.
        bins: number of bins of the ECE.
        surface: False leaves the distances out (NaN).

    Returns:
        name -> number, `unit` and `note`; of a volume also `worst_slice`, the least Dice of a slice.

    Raises:
        ValueError: shapes differ, or the probability is none.
    """
    sizes = spacing if spacing is not None and len(spacing) else None
    row: dict[str, float | str] = {name: statistic(prediction, truth) for name, statistic in OVERLAP.items()}
    row |= (surface_distances(prediction, truth, sizes) if surface else NO_DISTANCES)._asdict()
    if np.ndim(prediction) == 3:
        row["worst_slice"] = worst_slice(prediction, truth)[0]
    row["unit"] = "px" if sizes is None else "mm"
    calibration = PixelCalibration(bins)
    if probability is not None:
        calibration.update(probability, truth)
    row |= {"ece": calibration.ece, "brier": calibration.brier, "nll": calibration.nll}
    return row | {"note": join(empty_note(prediction, truth) if surface else "", calibration.note)}
