"""Training the landmark localiser: no truth is needed but that of the supports, whose landmarks it keeps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset
from torchmetrics import MeanMetric

from sqp.fit.module import FitModule, Recipe
from sqp.fit.volume_cache import VolumeCache
from sqp.fit.volume_segmenter import contrasted
from sqp.prompts.landmark_network import LandmarkNetwork, LandmarkSpec, Seen
from sqp.prompts.landmarks import cut, locate, points_box, remember
from sqp.prompts.volume_prompts import box_iou_3d, volume_box
from sqp.seeding import torch_generator

POSITIONS = 64  # voxels of a patch that are told from each other in a step
TEMPERATURE = 0.1
NOISE = 0.1  # standard deviations of the normalised voxels

Support = tuple[Tensor, np.ndarray]


class Pairs(Dataset):  # type: ignore[type-arg]
    """`data[[(row, draw), ...]]` -> two patches of each volume and the offset between them; `data[row]` -> a volume.

    A batch: image and other `[n, 1, p, p, p]`, offset `[n, 3]` in mm (d, h, w) from the first centre to the second.
    """

    def __init__(self, cache: VolumeCache, rows: np.ndarray, spec: LandmarkSpec) -> None:
        self.cache, self.rows, self.spec = cache, rows, spec

    def __len__(self) -> int:
        return len(self.rows)

    def volume(self, row: int) -> Support:
        """Voxels float32 and the structure bool, `[d, h, w]` each."""
        image, truth = self.cache.read(int(self.rows[row]))
        return torch.from_numpy(np.array(image)).float(), np.array(truth)

    def __getitem__(self, index: int | Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        if isinstance(index, int):
            image, truth = self.volume(index)
            return {"image": image[None, None], "truth": torch.from_numpy(truth)[None, None]}
        both, offsets = [], []
        for row, draw in index:
            voxels, _ = self.volume(row)
            centres = np.floor(np.random.default_rng(draw).uniform(0, voxels.shape, (2, 3))) + 0.5
            both.append(cut(voxels, centres, self.spec.patch))
            offsets.append((centres[1] - centres[0]) * np.array(self.spec.spacing))
        patches = torch.stack(both)
        offset = torch.from_numpy(np.stack(offsets)).float()
        return {"image": patches[:, 0], "other": patches[:, 1], "valid": torch.ones(1), "offset": offset}


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
        """`again`: the patches with another contrast and noise, whose voxels must look as before."""
        again = contrasted(batch["image"], generator)
        noise = torch.randn(again.shape, generator=generator).to(again)
        return batch | {"again": again + NOISE * noise}

    def loss(self, output: Seen, batch: dict[str, Tensor]) -> Tensor:  # type: ignore[override]
        """Squared error of the offset, as a share of the reach, and cross-entropy of both features."""
        other: Seen = self.network(batch["other"])
        reach = self.network.reach
        found = self.network.offset(output.latent, other.latent) / reach
        again: Seen = self.network(batch.get("again", batch["image"]))
        chosen = torch_generator(self.recipe.seed, "positions", self.global_step)
        places = torch.randint(output.fine[0, 0].numel(), (POSITIONS,), generator=chosen).to(found.device)
        alike = [(output.fine, again.fine), (output.coarse, again.coarse)]
        return F.mse_loss(found, batch["offset"] / reach) + sum(told_apart(a, b, places) for a, b in alike)

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


def told_apart(one: Tensor, again: Tensor, places: Tensor) -> Tensor:
    """Cross-entropy `[]` of finding each of the flat `places` again by its features, `[n, c, p, p, p]` unit vectors."""
    first, second = (part.flatten(2)[:, :, places] for part in (one, again))
    logits = torch.einsum("nci,ncj->nij", first, second) / TEMPERATURE
    target = torch.arange(len(places), device=logits.device).expand(len(logits), -1)
    return F.cross_entropy(logits.flatten(0, 1), target.flatten())
