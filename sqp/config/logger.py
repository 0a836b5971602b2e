"""Where the numbers of a run go beside its own files, as a part of the configs of several commands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqp.config.checks import CommandConfig

LOGGER_KEYS = ("logger", "wandb_project", "wandb_mode", "wandb_images")
"""Keys that say how a run is logged; another value is no change of config."""


@dataclass(kw_only=True)
class LoggerConfig(CommandConfig):
    """How a run is logged.

    Attributes:
        logger: csv, or wandb: Weights & Biases, which gets the config, metrics, the comparison table, figures and a few
            overlays. The files in OUT are written in any case.
        wandb_project: Project of W&B; default that of WANDB_PROJECT, else sqp. The other variables of W&B hold, too.
        wandb_mode: online (needs `wandb login`), or offline: kept in OUT/wandb for `wandb sync`; default that of
            WANDB_MODE, else online.
        wandb_images: Overlays of the worst records that W&B gets; 0 keeps all images of patients here.
    """

    logger: Literal["csv", "wandb"] = "csv"
    wandb_project: str | None = None
    wandb_mode: Literal["online", "offline"] | None = None
    wandb_images: int = 8
