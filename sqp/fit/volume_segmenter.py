"""The LightningModule that trains a network of volumes on patches, watched by the Dice of whole val volumes."""

from __future__ import annotations

import torch
from torch import Tensor

from sqp.fit.losses import hard_dice
from sqp.fit.segmenter import SegmenterModule
from sqp.segmenters.volume_plain import network_logits

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
