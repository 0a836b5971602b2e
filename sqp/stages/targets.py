"""What a prediction is compared with: the true Dice, the IoU, or how far the outline is off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

DICE = "dice"


@dataclass(frozen=True)
class Target:
    """`column` of the rows; `sign` -1 where lower is better; values lie in 0..`top`.

    `from_dice` turns a Dice into the target exactly; without it the quality model goes through a line, like a score.
    """

    column: str
    label: str
    sign: int = 1
    top: float = 1.0
    from_dice: Callable[[np.ndarray], np.ndarray] | None = None

    @property
    def surface(self) -> bool:
        """Must the outlines be measured for it."""
        return self.sign < 0


def _iou(dice: np.ndarray) -> np.ndarray:
    return dice / (2 - dice)


TARGETS = {
    DICE: Target(DICE, "Dice", from_dice=lambda dice: dice),
    "iou": Target("iou", "IoU", from_dice=_iou),
    "hd95": Target("hd95", "HD95", sign=-1, top=float("inf")),
    "masd": Target("masd", "MASD", sign=-1, top=float("inf")),
}
