"""The segmentation of one image in one row: overlap, surface distance, and the calibration of its map.

Every number that is undefined is NaN and `note` says why; overlap of empty masks follows `overlap`, distances
`surface`, calibration `pooled`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from sqp.metrics import OVERLAP
from sqp.metrics.nan_reasons import join
from sqp.metrics.overlap import worst_slice
from sqp.metrics.pooled import PixelCalibration
from sqp.metrics.surface import NO_DISTANCES, empty_note, surface_distances


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
