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

    Masks `[h, w]` or `[d, h, w]`; `probability` of the foreground on the same pixels, for ece, brier and nll (nats).
    An empty `spacing` counts as none. A volume has `worst_slice`, the least Dice of a slice. Without `surface` the
    distances are NaN. ValueError where shapes differ.
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
