"""`sqp fit localizer` for volumes: a heatmap in 3D, and landmarks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from sqp.config.ranges import check_ranges
from sqp.core.errors import ConfigError
from sqp.core.types import Case
from sqp.data.volumes import is_volume
from sqp.fit.landmarks import LandmarkModule, Pairs
from sqp.fit.module import FitModule, Recipe
from sqp.fit.tasks import LocalizerTask
from sqp.fit.volume_cache import build_volume_cache, patch_loader
from sqp.fit.volume_localizer import Cubes, VolumeLocalizerModule
from sqp.fit.volume_tasks import DIGITS, geometries
from sqp.prompts.landmarks import LandmarkNetwork, LandmarkSpec
from sqp.prompts.volume_localizer import VolumeLocalizerSpec, build_volume_localizer

WIDTH = 8  # channels of the finest stage, where `width` is left as it is for images


class VolumeLocalizerTask(LocalizerTask):
    """What both share: volumes, their cache, batches drawn from whole volumes."""

    def check(self) -> None:
        super().check()
        c = self.config
        check_ranges(c, {"cube": (16, 256), "window": (16, 256), "supports": (1, 1000)})
        if len(c.spacing) not in (0, 3) or any(side <= 0 for side in c.spacing):
            raise ConfigError(f"spacing is {c.spacing}; give three numbers in mm (d, h, w)")
        if c.pretrained or c.pretrained_file:
            raise ConfigError(f"method {c.method} has no timm encoder: leave out pretrained and pretrained_file")

    def usable(self, case: Case) -> bool:
        return super().usable(case) and is_volume(case.image_path)

    @property
    def needs(self) -> str:  # type: ignore[override]
        return f"(a volume) with truth, for method {self.config.method},"

    def width(self) -> int:
        """Channels of the finest stage."""
        default = type(self.config).width
        return WIDTH if self.config.width == default else int(self.config.width)

    def cache(self, cases: Sequence[Case]) -> Any:
        c = self.config
        fitted = [case for case in cases if case.split != c.val_split]
        return build_volume_cache(cases, self.working(fitted), c.cache or Path(c.out) / "cache", c.workers, c.progress)

    def working(self, fitted: Sequence[Case]) -> tuple[float, ...] | int:
        """As what the volumes are kept: see `build_volume_cache`."""
        raise NotImplementedError

    def loader(self, data: Any, batch_size: int, seed: int | None = None) -> Any:
        return patch_loader(data, batch_size, seed)

    def name(self) -> str:
        return f"localizer-{self.config.method}"


class HeatmapTask(VolumeLocalizerTask):
    """The localizer in 3D."""

    def working(self, fitted: Sequence[Case]) -> int:
        return self.config.cube

    def spec(self, fitted: Sequence[Case]) -> Any:
        return VolumeLocalizerSpec(self.config.cube, self.width())

    def network(self, spec: Any, pretrained: bool, file: Path | None) -> nn.Module:
        return build_volume_localizer(spec)

    def images(self, cache: Any, rows: np.ndarray, spec: Any, cases: Sequence[Case]) -> Any:
        return Cubes(cache, rows)

    def module(self, spec: Any, network: nn.Module, recipe: Recipe, fitted: Any) -> FitModule:
        return VolumeLocalizerModule(spec, network, recipe)


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


VOLUME_TASKS: dict[str, type[VolumeLocalizerTask]] = {"heatmap3d": HeatmapTask, "landmarks": LandmarkTask}
"""Method -> what fits it."""
