"""A network of volumes (unet3d, unet25d) on patches at one spacing, watched by the Dice of whole val volumes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sqp.core.errors import CaseError, ConfigError
from sqp.core.types import Case
from sqp.data.volumes import is_volume, read_geometry
from sqp.fit.losses import hard_dice
from sqp.fit.module import FitModule, Recipe
from sqp.fit.segmenter import SegmenterModule, SegmenterTask
from sqp.fit.volume_cache import Patches, build_volume_cache, patch_loader
from sqp.segmenters.plain import NetworkSpec
from sqp.segmenters.volume_plain import DIVISOR, VOLUME_NETWORKS, build_volume_network, network_logits

CONTRAST = 0.25  # largest change of a patch's scale, and of its offset in standard deviations


class VolumeModule(SegmenterModule):
    """A batch is that of `fit.volume_cache`: patches in training, one whole volume in validation."""

    def forward(self, image: Tensor, valid: Tensor) -> Tensor:
        """Normalised voxels `[n, c, *patch]` -> logits `[n, 1, *patch]`; beyond the volume comes its mean."""
        return self.network(image * valid)

    def augmented(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """Flips of each axis of the whole batch, in 2.5D of the neighbours too, and another contrast a patch."""
        flat = batch["image"].ndim == 4
        chosen = (torch.rand(3, generator=generator) < 0.5).tolist()
        axes = [axis for axis, flip in zip((-3, -2, -1), chosen, strict=True) if flip]
        plane = [axis for axis in axes if axis > -3] if flat else axes  # -3 is the channels of truth and valid there
        moved = {name: batch[name].flip(plane) for name in ("truth", "valid")}
        return batch | moved | {"image": contrasted(batch["image"].flip(axes), generator)}

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Loss and Dice of a whole volume, as the segmenter will see it."""
        logits = network_logits(self.network, batch["image"], self.spec, self.device).to(self.device)
        self.val_dice.update(hard_dice(logits, batch["truth"], batch["valid"]))
        self.log("val/loss", self.loss(logits, batch), batch_size=1)
        self.log("val/dice", self.val_dice, prog_bar=True, batch_size=1)


def contrasted(image: Tensor, generator: torch.Generator) -> Tensor:
    """Each row of normalised voxels `[n, ...]` with another scale and offset, at most `CONTRAST`."""
    scale, offset = (torch.rand(2, len(image), generator=generator) * 2 - 1).to(image) * CONTRAST
    shape = (-1, *[1] * (image.ndim - 1))
    return image * (1 + scale.view(shape)) + offset.view(shape)


DIGITS = 4  # of a working spacing in mm


class VolumeTask(SegmenterTask):
    """A plain network of volumes, on patches at one working spacing."""

    def usable(self, case: Case) -> bool:
        return super().usable(case) and is_volume(case.image_path)

    @property
    def flat(self) -> bool:
        """Whether it is 2.5D."""
        return VOLUME_NETWORKS[self.config.network].flat

    def spec(self, fitted: Sequence[Case]) -> NetworkSpec:
        """Spacing: the median of the fitted volumes by axis (2.5D: slices stay); patch: what holds the median one.

        A patch is cut to multiples of 16 voxels, at most `patch` (3D) or `size` (2.5D) a side.
        """
        c = self.config
        shapes, spacings = map(np.array, zip(*geometries(fitted), strict=True))
        median = np.round(np.median(spacings, axis=0), DIGITS)
        working = np.array(c.spacing or (median * (0, 1, 1) if self.flat else median), dtype=float)
        sides = np.median(shapes * spacings / np.where(working > 0, working, spacings), axis=0)
        patch = np.minimum(np.ceil(sides / DIVISOR) * DIVISOR, (c.size if self.flat else c.patch) // DIVISOR * DIVISOR)
        d, h, w = (int(side) for side in patch)
        return NetworkSpec(
            c.network,
            dropout=c.dropout,
            width=c.width,
            spacing=tuple(working.tolist()),
            patch=(1 if self.flat else d, h, w),
            neighbours=c.neighbours if self.flat else 0,
        )

    def network(self, spec: NetworkSpec, pretrained: bool, file: Path | None) -> nn.Module:
        return build_volume_network(spec)

    def cache(self, cases: Sequence[Case]) -> Any:
        c = self.config
        fitted = [case for case in cases if case.split != c.val_split]
        return build_volume_cache(
            cases, self.spec(fitted).spacing, c.cache or Path(c.out) / "cache", c.workers, c.progress
        )

    def images(self, cache: Any, rows: np.ndarray, spec: Any, cases: Sequence[Case]) -> Any:
        return Patches(cache, rows, spec, self.flat)

    def loader(self, data: Any, batch_size: int, seed: int | None = None) -> Any:
        return patch_loader(data, batch_size, seed)

    def module(self, spec: Any, network: nn.Module, recipe: Recipe, fitted: Any) -> FitModule:
        return VolumeModule(spec, network, recipe)


def geometries(cases: Sequence[Case]) -> list[tuple[tuple[int, ...], tuple[float, ...]]]:
    """(shape, spacing) of each volume that can be read; ConfigError where none can."""
    found: list[tuple[tuple[int, ...], tuple[float, ...]]] = []
    for case in cases:
        try:
            geometry = read_geometry(case.image_path)
        except CaseError:  # told when the volume itself is read
            continue
        found.append((geometry.canonical_shape, geometry.spacing))
    if not found:
        raise ConfigError(f"none of the {len(cases)} volumes to fit on can be read, e.g. {cases[0].image_path}")
    return found
