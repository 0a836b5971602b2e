"""The localizer of volumes: the structure's share of each cell of the squashed volume."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchmetrics import MeanMetric

from sqp.core.types import Case
from sqp.data.volumes import is_volume
from sqp.fit.localizer import LocalizerTask
from sqp.fit.losses import dice_bce
from sqp.fit.module import FitModule, Recipe
from sqp.fit.volume_cache import VolumeCache, build_volume_cache, patch_loader
from sqp.fit.volume_segmenter import contrasted
from sqp.prompts.volume_localizer import VolumeLocalizerSpec, build_volume_localizer, heatmap_box
from sqp.prompts.volume_prompts import box_iou_3d, volume_box

SHIFT = 0.1  # of the cube's side, the farthest that it is moved along an axis


class Cubes(Dataset):  # type: ignore[type-arg]
    """`data[[(row, draw), ...]]`, or `data[row]`, -> squashed volumes `[n, 1, s, s, s]`, truth as shares, all valid."""

    def __init__(self, cache: VolumeCache, rows: np.ndarray) -> None:
        self.cache, self.rows = cache, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int | Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        rows = [index] if isinstance(index, int) else [row for row, _ in index]
        pairs = [self.cache.read(int(self.rows[row])) for row in rows]
        image, truth = (torch.from_numpy(np.stack(part)).float()[:, None] for part in zip(*pairs, strict=True))
        return {"image": image, "truth": truth, "valid": torch.ones_like(truth, dtype=torch.bool)}


class VolumeLocalizerModule(FitModule):
    """Watched by the mean IoU of the heatmap's box with the truth's, in the squashed volume as in the whole one."""

    monitor = "val/box_iou"

    def __init__(self, spec: VolumeLocalizerSpec, network: nn.Module, recipe: Recipe) -> None:
        super().__init__(spec, network, recipe)
        self.val_iou = MeanMetric()

    def forward(self, image: Tensor, valid: Tensor) -> Tensor:
        """Cubes -> logits of that shape."""
        return self.network(image)

    def augmented(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """All cubes of the batch moved alike, with another contrast each; never flipped, as left is not right."""
        reach = int(SHIFT * batch["image"].shape[-1])
        steps = torch.randint(-reach, reach + 1, (3,), generator=generator).tolist()
        moved = {name: shifted(batch[name], steps) for name in ("image", "truth")}
        return batch | moved | {"image": contrasted(moved["image"], generator)}

    def loss(self, output: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Soft Dice + BCE against the shares."""
        return dice_bce(output, batch["truth"], batch["valid"])

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Loss, and the IoU of the boxes; no truth, no box."""
        logits = self(batch["image"], batch["valid"])
        self.log("val/loss", self.loss(logits, batch), batch_size=len(logits))
        for heatmap, truth in zip(torch.sigmoid(logits.float()), batch["truth"] >= 0.5, strict=True):
            if truth.any():
                box, _ = heatmap_box(heatmap[0].cpu().numpy())
                self.val_iou.update(box_iou_3d(box, volume_box(truth[0].cpu().numpy())))
        self.log(self.monitor, self.val_iou, prog_bar=True, batch_size=len(logits))


def shifted(x: Tensor, steps: Sequence[int]) -> Tensor:
    """`[n, c, d, h, w]` moved by whole cells along d, h and w, the edge drawn out: in use no cube has an empty rim.

    Examples:
        >>> shifted(torch.arange(1.0, 4).view(1, 1, 1, 1, 3), (0, 0, 1)).flatten().tolist()
        [1.0, 1.0, 2.0]
    """
    for axis, step in enumerate(steps, start=2):
        side = x.shape[axis]
        x = x.index_select(axis, (torch.arange(side, device=x.device) - step).clamp(0, side - 1))
    return x


WIDTH = 8  # channels of the finest stage, where `width` is left as it is for images


class VolumeLocalizerTask(LocalizerTask):
    """What both share: volumes, their cache, batches drawn from whole volumes."""

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
