"""What every network of `sqp fit` shares while it is trained: pixels, augmentation, optimiser, schedule.

In augmentation image, truth and valid pixels move together; colours change in the image alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from sqp.core.errors import lookup
from sqp.core.seeding import derive_seed, torch_generator
from sqp.networks.inputs import normalise
from sqp.training.augmentation import coloured, moved
from sqp.training.cameras import photographed
from sqp.training.trainer import decayed_groups, one_cycle


@dataclass(frozen=True)
class Augmentation:
    """`augment(image, truth, valid, generator)`: image float `[n, 3, h, w]` in 0-1, the others bool `[n, 1, h, w]`.

    Flips row by row; the axes of the whole batch swapped half of the time (with flips: quarter turns); then, for
    `affine` of the rows, a turn of at most `rotate` degrees, a zoom and a shift of at most these shares; brightness,
    contrast and saturation by at most `colour`, or, with `cameras`, all that another camera does. All randomness is the
    generator's.
    """

    rotate: float = 30.0
    zoom: float = 0.2
    shift: float = 0.1
    affine: float = 0.5
    colour: float = 0.25
    cameras: bool = False

    def __call__(
        self, image: Tensor, truth: Tensor, valid: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """New tensors; height and width change places where the axes are swapped."""
        planes = torch.cat([image, truth.to(image), valid.to(image)], dim=1)
        planes = _flipped(planes, torch.rand(len(planes), 2, generator=generator) < 0.5)
        if torch.rand((), generator=generator) < 0.5:
            planes = planes.transpose(2, 3)
        sizes = {"rotate": self.rotate, "zoom": self.zoom, "shift": self.shift, "share": self.affine}
        planes = moved(planes, generator, **sizes, padding="zeros")  # from outside comes what is not valid
        image = (
            photographed(planes[:, :3], generator) if self.cameras else coloured(planes[:, :3], generator, self.colour)
        )
        return image, planes[:, 3:4] >= 0.5, planes[:, 4:] >= 0.5


def _flipped(planes: Tensor, flips: Tensor) -> Tensor:
    """Each row of `[n, c, h, w]` flipped up-down and left-right as `flips` bool `[n, 2]` says."""
    flips = flips.to(planes.device)[:, :, None, None, None]
    planes = torch.where(flips[:, 0], planes.flip(2), planes)
    return torch.where(flips[:, 1], planes.flip(3), planes)


SCHEDULES = ("one_cycle", "cyclic_cosine")


@dataclass(frozen=True)
class Recipe:
    """How it is trained. `cycles` belongs to cyclic_cosine."""

    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    schedule: str = "one_cycle"
    cycles: int = 1
    augment: bool = True
    cameras: bool = False
    seed: int = 0


class FitModule(pl.LightningModule):
    """`network` under training; a batch is that of `fit.batches`: image uint8, truth and valid bool, label.

    A kind of network adds `loss`, `validation_step`, and the name of what is watched on val (higher is better).
    """

    monitor: ClassVar[str]

    def __init__(self, spec: Any, network: nn.Module, recipe: Recipe) -> None:
        super().__init__()
        lookup("schedule", recipe.schedule, dict.fromkeys(SCHEDULES))
        self.spec, self.recipe, self.network = spec, recipe, network
        self.augmentation = Augmentation(zoom=0.45, shift=0.2, cameras=True) if recipe.cameras else Augmentation()

    def loss(self, output: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """`[]` of the network's output on a batch."""
        raise NotImplementedError

    def forward(self, image: Tensor, valid: Tensor) -> Tensor:
        """Pixels 0-255 `[n, 3, h, w]` -> the network's output; what is not on the image enters as the mean colour."""
        pixels = normalise(image.float(), self.spec) * valid
        return self.network(pixels.contiguous(memory_format=torch.channels_last))

    def outputs(self, batch: dict[str, Tensor]) -> Tensor:
        """The network's output on a batch."""
        out: Tensor = self(batch["image"], batch["valid"])
        return out

    def augmented(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The batch with image, truth and valid moved together, and other colours."""
        image, truth, valid = self.augmentation(batch["image"] / 255, batch["truth"], batch["valid"], generator)
        return batch | {"image": image * 255, "truth": truth, "valid": valid}

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Loss of an augmented batch.

        Augmentation and dropout start anew from (seed, step), so a resumed run equals one that was not cut.
        """
        batch = batch | {"image": batch["image"].float()}
        torch.manual_seed(derive_seed(self.recipe.seed, "dropout", self.global_step))
        if self.recipe.augment:
            generator = torch_generator(self.recipe.seed, "augment", self.global_step)
            batch = self.augmented(batch, generator)
        loss = self.loss(self.outputs(batch), batch)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(batch["image"]))
        return loss

    def configure_optimizers(self) -> Any:
        """AdamW under one cycle over the whole run, or under as many cosines from the peak to 0 as `cycles` says.

        The latter is that of snapshot ensembles (Huang et al. 2017, arXiv 1704.00109).
        """
        r = self.recipe
        optimizer = torch.optim.AdamW(decayed_groups(self, r.weight_decay), lr=r.learning_rate)
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        schedule: torch.optim.lr_scheduler.LRScheduler
        if r.schedule == "one_cycle":
            schedule = one_cycle(optimizer, r.learning_rate, steps)
        else:
            schedule = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, max(1, steps // r.cycles))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
