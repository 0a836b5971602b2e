"""Is a map true to the model? Deletion and insertion against random maps, and shuffled weights.

Deletion and insertion (Petsiuk et al., RISE, BMVC 2018): pixels of all planes are taken away in the order of the map,
highest first, and replaced by a strong blur of the same planes; insertion starts from the blur and puts them back.
Followed is the quantity that the map claims to explain: 1 - predicted Dice for `lowers`, the predicted Dice for
`raises`. A faithful map makes it fall at once under deletion (a small area) and rise at once under insertion (a large
one). Shuffled weights (Adebayo et al., NeurIPS 2018): a map that survives them does not show what was learned.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from sqp.core.errors import lookup
from sqp.core.seeding import torch_generator
from sqp.evaluation.paired import mean_cells
from sqp.explain.localisation import RANDOM
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


def faithfulness_table(by_map: dict[str, Curves], random: Curves, resamples: Resamples) -> pd.DataFrame:
    """A row per map, the random one last: areas with intervals, and their paired differences to random maps."""
    rows = []
    base = random.areas()
    for name, result in [*by_map.items(), (RANDOM, random)]:
        row: dict[str, object] = {"map": name, "n": len(result.deletion), "n_groups": resamples.counts.shape[1]}
        for key, values, chance in zip(Curves._fields, result.areas(), base, strict=True):
            row |= mean_cells(key, values, resamples)
            if name != RANDOM:
                row |= mean_cells(f"{key}_difference", values - chance, resamples)
        rows.append(row | {"note": "" if name == RANDOM else _against_random(row)})
    return pd.DataFrame(rows)


def _against_random(row: dict[str, object]) -> str:
    if np.isnan(float(row["deletion_difference_low"])):  # type: ignore[arg-type]
        return "one group: no interval"
    deletion = float(row["deletion_difference_high"]) < 0  # type: ignore[arg-type]
    insertion = float(row["insertion_difference_low"]) > 0  # type: ignore[arg-type]
    beats = [name for name, better in (("deletion", deletion), ("insertion", insertion)) if better]
    if beats:
        return f"better than random by {' and '.join(beats)}"
    against = float(row["deletion_difference_low"]) > 0 and float(row["insertion_difference_high"]) < 0  # type: ignore[arg-type]
    return "worse than random: what it marks has the opposite effect" if against else "no better than random"


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
    for row, (values, other) in enumerate(zip(maps, others, strict=True)):
        if np.ptp(values) > 0 and np.ptp(other) > 0:
            out[row] = spearmanr(values.ravel(), other.ravel()).statistic
    return out


def sanity_table(likenesses: dict[str, np.ndarray], resamples: Resamples) -> pd.DataFrame:
    """A row per CAM: mean Spearman of its maps with those of the shuffled weights, its interval, what it says."""
    rows = []
    for name, values in likenesses.items():
        row: dict[str, object] = {"map": name, "n": int(np.isfinite(values).sum())}
        row |= mean_cells("likeness", values, resamples)
        rows.append(row | {"note": _against_shuffled(row, len(values))})
    return pd.DataFrame(rows)


def _against_shuffled(row: dict[str, object], asked: int) -> str:
    low, high = float(row["likeness_low"]), float(row["likeness_high"])  # type: ignore[arg-type]
    if not np.isfinite(low) and row["n"]:
        return "one group: no interval"
    if not np.isfinite(low):
        return "no map to compare: with shuffled weights or without, all are constant"
    lost = f"; {asked - int(row['n'])} constant maps left out" if row["n"] != asked else ""  # type: ignore[call-overload]
    if low >= ALIKE:
        return f"fails: the map hardly depends on what was learned{lost}"
    if high >= ALIKE:
        return f"undecided: the interval holds {ALIKE:g}{lost}"
    return f"passes: the map depends on what was learned{lost}"
