"""Is a map true to the model? Deletion and insertion (Petsiuk et al., RISE, BMVC 2018), against random maps.

Pixels of all planes are taken away in the order of the map, highest first, and replaced by a strong blur of the same
planes; insertion starts from the blur and puts them back. Followed is the quantity that the map claims to explain: 1 -
predicted Dice for `lowers`, the predicted Dice for `raises`. A faithful map makes it fall at once under deletion (a
small area) and rise at once under insertion (a large one).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from sqp.core.errors import lookup
from sqp.explain.localisation import RANDOM, mean_cells
from sqp.explain.target import EFFECTS
from sqp.metrics.stats import Resamples
from sqp.quality.model.ensemble import Ensemble
from sqp.quality.model.module import QualityModel

STEPS = 10
BLUR = 0.125  # standard deviation as a share of the side


class Curves(NamedTuple):
    """Deletion and insertion `[n, STEPS + 1]`: the quantity explained, after 0, 10, ... 100 % of the pixels."""

    deletion: np.ndarray
    insertion: np.ndarray

    def areas(self) -> tuple[np.ndarray, np.ndarray]:
        """The mean height of both curves `[n]` (trapezoids), in Dice."""
        return tuple(np.trapezoid(curve, axis=1) / STEPS for curve in self)  # type: ignore[return-value]


def curves(
    model: QualityModel | Ensemble,
    planes: Tensor,
    scores: Tensor | None,
    maps: np.ndarray,
    effect: str,
    generator: np.random.Generator,
) -> Curves:
    """Both curves of maps `[n, s, s]` (of volumes `[n, s, s, s]`).

    Of the planes as they lie, symmetries not averaged, scores unchanged.
    Equal values of a map, as where it is 0, are taken in random order.
    """
    raises = lookup("effect", effect, EFFECTS) > 0
    blurred = blur(planes)
    order = _ranks(maps, generator).to(planes.device)
    pixels = order[0].numel()
    kept: list[list[np.ndarray]] = [[], []]
    for step in range(STEPS + 1):
        taken = (order < round(pixels * step / STEPS))[:, None]
        for curve, (inside, outside) in zip(kept, ((blurred, planes), (planes, blurred)), strict=True):
            dice = _dice(model, torch.where(taken, inside, outside), scores)
            curve.append(dice if raises else 1 - dice)
    return Curves(*(np.stack(curve, axis=1) for curve in kept))


def blur(planes: Tensor) -> Tensor:
    """Planes `[n, c, s, s]` or `[n, c, s, s, s]` of which only the coarsest is left."""
    sigma = BLUR * planes.shape[-1]
    width = min(2 * round(2 * sigma) + 1, 2 * (planes.shape[-1] - 1) - 1)
    if planes.ndim == 5:  # in the plane of the slices, then across them
        in_plane = gaussian_blur(planes.flatten(0, 1), [width, width], [sigma, sigma]).transpose(1, 3)
        return gaussian_blur(in_plane, [width, 1], [sigma, sigma]).transpose(1, 3).unflatten(0, planes.shape[:2])
    return gaussian_blur(planes, [width, width], [sigma, sigma])


@torch.inference_mode()
def _dice(model: QualityModel | Ensemble, planes: Tensor, scores: Tensor | None) -> np.ndarray:
    return model.eval()(planes, scores).dice.float().cpu().numpy()


def _ranks(maps: np.ndarray, generator: np.random.Generator) -> Tensor:
    """Place `[n, s, s]` of each pixel in the order from the highest value, ties at random."""
    flat = maps.reshape(len(maps), -1)
    ranks = np.empty(flat.shape, np.int64)
    for row, values in enumerate(flat):
        order = np.lexsort((generator.random(values.size), -values))
        ranks[row, order] = np.arange(values.size)
    return torch.from_numpy(ranks.reshape(maps.shape))


def faithfulness_table(found: dict[str, Curves], random: Curves, resamples: Resamples) -> pd.DataFrame:
    """A row per map, the random one last: areas with intervals, and their paired differences to random maps."""
    rows = []
    base = random.areas()
    for name, one in [*found.items(), (RANDOM, random)]:
        row: dict[str, object] = {"map": name, "n": len(one.deletion), "n_groups": resamples.counts.shape[1]}
        for key, values, chance in zip(Curves._fields, one.areas(), base, strict=True):
            row |= mean_cells(key, values, resamples)
            if name != RANDOM:
                row |= mean_cells(f"{key}_difference", values - chance, resamples)
        rows.append(row | {"note": "" if name == RANDOM else _words(row)})
    return pd.DataFrame(rows)


def _words(row: dict[str, object]) -> str:
    deletion = float(row["deletion_difference_high"]) < 0  # type: ignore[arg-type]
    insertion = float(row["insertion_difference_low"]) > 0  # type: ignore[arg-type]
    told = [name for name, better in (("deletion", deletion), ("insertion", insertion)) if better]
    if told:
        return f"better than random by {' and '.join(told)}"
    against = float(row["deletion_difference_low"]) > 0 and float(row["insertion_difference_high"]) < 0  # type: ignore[arg-type]
    return "worse than random: what it marks has the opposite effect" if against else "no better than random"
