"""UniverSeg, fitted by episodes: a query, examples of its task, and the Dice + BCE of what it draws."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

from sqp.config.fit import FitSegmenterConfig
from sqp.core.types import Case
from sqp.fit.episodes import Episodes, episode_loader, fitted_episodes, held_episodes
from sqp.fit.losses import dice_bce, hard_dice
from sqp.fit.module import FitModule, Recipe
from sqp.fit.task import FitTask
from sqp.segmenters.crossblock import DIVISOR
from sqp.segmenters.plain import NetworkSpec
from sqp.segmenters.universeg import build_network
from sqp.training.task_augmentation import changed_tasks


class EpisodeModule(FitModule):
    """The network's output is logits `[b, 1, h, w]` of the queries of a batch of `Episodes`."""

    monitor = "val/dice"

    def __init__(self, spec: NetworkSpec, network: nn.Module, recipe: Recipe, relabel: float = 0.5) -> None:
        super().__init__(spec, network, recipe)
        self.relabel = relabel
        self.val_dice = MeanMetric()

    def outputs(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits of the first image of each episode, which is shown the others with their masks."""
        image = batch["image"]
        logits: Tensor = self.network(image[:, 0], image[:, 1:], batch["truth"][:, 1:].to(image))
        return logits

    def loss(self, output: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Soft Dice + BCE of the queries."""
        return dice_bce(output, batch["truth"][:, 0], batch["valid"][:, 0])

    def augmented(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """Each task changed, and each of its images."""
        image, truth, valid = changed_tasks(batch["image"], batch["truth"], batch["valid"], generator, self.relabel)
        return batch | {"image": image, "truth": truth, "valid": valid}

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Loss, and the mean over tasks of the mean Dice of their queries, at the network's size."""
        logits, weight = self.outputs(batch), batch["weight"]
        self.val_dice.update(hard_dice(logits, batch["truth"][:, 0], batch["valid"][:, 0]), weight)
        self.log("val/loss", self.loss(logits, batch), batch_size=len(logits))
        self.log("val/dice", self.val_dice, prog_bar=True, batch_size=len(logits))


class InContextTask(FitTask):
    """A network that is shown examples. An epoch has as many queries as images that are fitted on."""

    watched = "dice"
    config: FitSegmenterConfig

    def spec(self, fitted: Sequence[Case]) -> NetworkSpec:
        c = self.config
        return NetworkSpec(c.network, c.size, dropout=0.0, width=c.width)

    def network(self, spec: NetworkSpec, pretrained: bool, file: Path | None) -> nn.Module:
        return build_network(spec)

    def divisor(self, spec: NetworkSpec) -> int:
        return DIVISOR

    def images(self, cache: Any, rows: np.ndarray, spec: NetworkSpec, cases: Sequence[Case]) -> Episodes:
        held = np.array([case.split == self.config.val_split for case in cases])
        good = np.array([row not in cache.broken for row in range(len(cases))])
        if not held[rows].all():
            return fitted_episodes(cache, rows, cases)
        return held_episodes(cache, rows, np.flatnonzero(good & ~held), cases)

    def loader(self, data: Episodes, batch_size: int, seed: int | None = None) -> Any:
        return episode_loader(data, batch_size, self.config.support, seed)

    def module(self, spec: NetworkSpec, network: nn.Module, recipe: Recipe, fitted: Episodes) -> FitModule:
        return EpisodeModule(spec, network, recipe, self.config.relabel)

    def cycles(self) -> int:
        return self.config.cycles

    def seeds(self) -> range:
        return range(self.config.seed, self.config.seed + self.config.members)

    def name(self) -> str:
        return self.config.network

    def next(self, spec: NetworkSpec, checkpoint: Path) -> str:
        return f"--referee {spec.name} --referee.weights {checkpoint} --references DIR"
