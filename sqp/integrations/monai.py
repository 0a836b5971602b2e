"""MONAI: a handler of its engines (ignite) that tells how good the masks of unlabelled images are, each epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from sqp.core.errors import ConfigError
from sqp.integrations.unlabelled import Assessor, Image, Segment, Unlabelled, segment


class PredictedDiceHandler:
    """Put NAME_predicted_dice, NAME_accepted and NAME_abstained into `engine.state.metrics` after each epoch.

    There `StatsHandler`, `TensorBoardStatsHandler` and `CheckpointSaver(key_metric_name=…)` find them, where they are
    attached after this one.

    Args:
        network: what segments.
        model: what judges: `sqp.load()`.
        images: files or arrays without ground truth.
        segment: (network, image uint8 `[h, w, 3]`) -> mask bool `[h, w]`; by default `unlabelled.segment`.
        interval: every how many epochs, at least 1.
        name: what the names of the metrics begin with.

    Raises:
        ConfigError: there is no image.
        ValueError: interval is below 1.
    """

    def __init__(
        self,
        network: nn.Module,
        model: Assessor,
        images: Sequence[Image],
        segment: Segment = segment,
        *,
        interval: int = 1,
        name: str = "unlabelled",
    ) -> None:
        if interval < 1:
            raise ValueError(f"interval is {interval}; it must be at least 1")
        self.network, self.unlabelled = network, Unlabelled(model, images, segment)
        self.interval, self.name = interval, name

    def attach(self, engine: Any) -> None:
        """Register with an engine of MONAI or ignite. ConfigError where ignite is not installed."""
        try:
            from ignite.engine import Events
        except ImportError as error:
            raise ConfigError(
                "MONAI's engines need pytorch-ignite, which is not installed: pip install 'sqp[monai]'"
            ) from error
        engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval), self)

    def __call__(self, engine: Any) -> None:
        """Judge, and put the numbers into `engine.state.metrics`."""
        found = self.unlabelled.judge(self.network)
        engine.state.metrics |= {f"{self.name}_{key}": value for key, value in found.items()}
