"""The landmark localiser: no truth is needed but that of the supports, whose landmarks it keeps."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchmetrics import MeanMetric

from sqp.core.errors import ConfigError
from sqp.core.types import Case
from sqp.fit.module import FitModule, Recipe
from sqp.fit.volume_cache import VolumeCache
from sqp.fit.volume_localizer import VolumeLocalizerTask
from sqp.fit.volume_segmenter import DIGITS, contrasted, geometries
from sqp.prompts.landmarks import LandmarkNetwork, LandmarkSpec, Seen, cut, locate, points_box, remember, starts
from sqp.prompts.volume_prompts import box_iou_3d, volume_box

POSITIONS = 64  # voxels of a patch that are told from each other in a step
SHIFT = 4  # a patch's voxels are found again in one moved along each axis by up to this part of its side
TEMPERATURE = 0.1
OFFSETS = 20.0  # weight of their error, a share far below 1: at 1 the features' loss alone shaped the network
NOISE = 0.1  # standard deviations of the normalised voxels

Support = tuple[Tensor, np.ndarray]


class Pairs(Dataset):  # type: ignore[type-arg]
    """`data[[(row, draw), ...]]` -> patches of each volume and how they lie to each other; `data[row]` -> a volume.

    A batch: image, other and again `[n, 1, p, p, p]`; valid, what of again lies in the volume, bool; offset `[n, 3]` in
    mm (d, h, w) from the centre of image to that of other; places and told: see `shared`, of image and again.
    """

    def __init__(self, cache: VolumeCache, rows: np.ndarray, spec: LandmarkSpec) -> None:
        self.cache, self.rows, self.spec = cache, rows, spec

    def __len__(self) -> int:
        return len(self.rows)

    def volume(self, row: int) -> Support:
        """Voxels float32 and the structure bool, `[d, h, w]` each."""
        image, truth = self.cache.read(int(self.rows[row]))
        return torch.from_numpy(np.array(image)).float(), np.array(truth)

    def supports(self, most: int) -> list[Support]:
        """The first volumes whose structure is still there at the working spacing. ConfigError where there is none."""
        left = (row for row in range(len(self)) if self.cache.read(int(self.rows[row]))[1].any())
        found = [self.volume(row) for row in islice(left, most)]
        if not found:
            spacing = ", ".join(f"{side:g}" for side in self.spec.spacing)
            raise ConfigError(f"no fitted volume has any structure left at spacing [{spacing}] mm: give a finer one")
        return found

    def __getitem__(self, index: int | Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        if isinstance(index, int):
            image, truth = self.volume(index)
            return {"image": image[None, None], "truth": torch.from_numpy(truth)[None, None]}
        parts = [self._patches(int(self.rows[row]), draw) for row, draw in index]
        return {name: torch.stack([part[name] for part in parts]) for name in parts[0]}

    def _patches(self, row: int, draw: int) -> dict[str, Tensor]:
        """One row of a batch; all centres are those of voxels of the volume."""
        voxels, _ = self.cache.read(row)
        rng, patch, shape = np.random.default_rng(draw), self.spec.patch, np.array(voxels.shape)
        one, other = np.floor(rng.uniform(0, shape, (2, 3))) + 0.5
        moved = np.clip(one + rng.integers(-(patch // SHIFT), patch // SHIFT + 1, 3), 0.5, shape - 0.5)
        cuts = dict(zip(("image", "other", "again"), cut(voxels, np.stack([one, other, moved]), patch), strict=True))
        (valid,) = cut(np.broadcast_to(True, voxels.shape), moved[None], patch).bool()
        places, told = shared(np.stack([one, moved]), shape, patch, rng)
        offset = torch.from_numpy((other - one) * np.array(self.spec.spacing)).float()
        return cuts | {"valid": valid, "offset": offset, "places": places, "told": told}


def shared(centres: np.ndarray, shape: np.ndarray, patch: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Different voxels of a volume of `shape` that both patches around centres `[2, 3]` hold, none of them beyond it.

    Flat places `[2, POSITIONS]` of each in the one patch and in the other; bool `[POSITIONS]`: false past the last one.
    """
    first = starts(centres, patch)
    low = np.maximum(first.max(axis=0), 0)
    sides = np.minimum(first.min(axis=0) + patch, shape) - low
    count = min(POSITIONS, int(sides.prod()))
    chosen = rng.choice(int(sides.prod()), count, replace=False)
    voxels = np.stack(np.unravel_index(chosen, sides), axis=-1) + low
    places = np.zeros((2, POSITIONS), int)
    places[:, :count] = [np.ravel_multi_index(tuple((voxels - start).T), (patch,) * 3) for start in first]
    return torch.from_numpy(places), torch.arange(POSITIONS) < count


class LandmarkModule(FitModule):
    """Offsets by their squared error, features by cross-entropy; watched by the IoU of the boxes that are found."""

    monitor = "val/box_iou"
    network: LandmarkNetwork

    def __init__(
        self, spec: LandmarkSpec, network: LandmarkNetwork, recipe: Recipe, supports: Sequence[Support]
    ) -> None:
        super().__init__(spec, network, recipe)
        self.supports = supports
        self.val_iou = MeanMetric()

    def forward(self, image: Tensor, valid: Tensor) -> Seen:  # type: ignore[override]
        """What is seen of the patches."""
        seen: Seen = self.network(image)
        return seen

    def augmented(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """`again` with another contrast and noise, in which the voxels must look as before; none beyond the volume."""
        again = contrasted(batch["again"], generator)
        noise = torch.randn(again.shape, generator=generator).to(again)
        return batch | {"again": (again + NOISE * noise) * batch["valid"]}

    def loss(self, output: Seen, batch: dict[str, Tensor]) -> Tensor:  # type: ignore[override]
        """Squared error of the offset, as a share of the reach, and cross-entropy of both features."""
        other: Seen = self.network(batch["other"])
        reach = self.network.reach
        found = self.network.offset(output.latent, other.latent) / reach
        again: Seen = self.network(batch["again"])
        alike = [(output.fine, again.fine), (output.coarse, again.coarse)]
        apart = sum(told_apart(a, b, batch["places"], batch["told"]) for a, b in alike)
        return OFFSETS * F.mse_loss(found, batch["offset"] / reach) + apart

    def on_validation_epoch_start(self) -> None:
        """The landmarks as the network sees them now are kept beside its weights."""
        remember(self.network, self.supports, self.spec)

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """IoU of the box through the landmarks with the truth's."""
        truth = batch["truth"][0, 0].cpu().numpy()
        if truth.any():
            points = locate(self.network, batch["image"][0, 0].cpu(), self.spec)
            self.val_iou.update(box_iou_3d(points_box(points), volume_box(truth)))
        self.log(self.monitor, self.val_iou, prog_bar=True, batch_size=1)


def told_apart(one: Tensor, again: Tensor, places: Tensor, told: Tensor) -> Tensor:
    """Cross-entropy `[]` of finding the voxels of one patch in the other by features `[n, c, p, p, p]`, unit vectors.

    `places [n, 2, m]` and `told [n, m]` are those of `shared`; what is not told counts neither way.
    """
    first, second = (
        part.flatten(2).gather(2, places[:, None, k].expand(-1, part.shape[1], -1))
        for k, part in enumerate((one, again))
    )
    logits = torch.einsum("nci,ncj->nij", first, second) / TEMPERATURE
    logits = logits.masked_fill(~told[:, None], -torch.inf)
    ignored = -100
    target = torch.where(told, torch.arange(told.shape[1], device=told.device), ignored)
    return F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=ignored)


class LandmarkTask(VolumeLocalizerTask):
    """Relative distance regression and matching to supports."""

    def working(self, fitted: Sequence[Case]) -> tuple[float, ...]:
        """The spacing as told, else the median of the fitted volumes by axis."""
        median = np.median([spacing for _, spacing in geometries(fitted)], axis=0)
        return tuple(np.round(self.config.spacing or median, DIGITS).tolist())

    def spec(self, fitted: Sequence[Case]) -> Any:
        """Its reach is the largest extent of the fitted volumes, in mm."""
        reach = np.max([np.array(shape) * spacing for shape, spacing in geometries(fitted)], axis=0)
        return LandmarkSpec(self.working(fitted), self.config.window, tuple(np.ceil(reach).tolist()), self.width())

    def network(self, spec: Any, pretrained: bool, file: Path | None) -> nn.Module:
        return LandmarkNetwork(spec)

    def images(self, cache: Any, rows: np.ndarray, spec: Any, cases: Sequence[Case]) -> Any:
        return Pairs(cache, rows, spec)

    def module(self, spec: Any, network: nn.Module, recipe: Recipe, fitted: Any) -> FitModule:
        assert isinstance(network, LandmarkNetwork)
        return LandmarkModule(spec, network, recipe, fitted.supports(self.config.supports))

    def next(self, spec: Any, checkpoint: Path) -> str:
        return f"--prompter landmarks --prompter_options.checkpoint {checkpoint}"
