"""`sqp fit segmenter` for networks of volumes: unet3d and unet25d."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from sqp.config.ranges import check_ranges
from sqp.core.errors import CaseError, ConfigError
from sqp.core.types import Case
from sqp.data.volumes import is_volume, read_geometry
from sqp.fit.module import FitModule, Recipe
from sqp.fit.tasks import SegmenterTask
from sqp.fit.volume_cache import Patches, build_volume_cache, patch_loader
from sqp.fit.volume_segmenter import VolumeModule
from sqp.segmenters.plain import NetworkSpec
from sqp.segmenters.volume_plain import DIVISOR, VOLUME_NETWORKS, build_volume_network

DIGITS = 4  # of a working spacing in mm


class VolumeTask(SegmenterTask):
    """A plain network of volumes, on patches at one working spacing."""

    of_others = ()

    def check(self) -> None:
        super().check()
        c = self.config
        check_ranges(c, {"neighbours": (0, 16), "patch": (DIVISOR, 512)})
        if len(c.spacing) not in (0, 3) or any(side < 0 for side in c.spacing):
            raise ConfigError(f"spacing is {c.spacing}; give three numbers in mm (d, h, w), 0 for an axis as it is")
        if c.encoder or c.pretrained or c.pretrained_file:
            raise ConfigError(f"{c.network} has no timm encoder: leave out encoder, pretrained and pretrained_file")

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
