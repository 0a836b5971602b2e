"""What is explained: one number a record, the logit of the predicted Dice, or its negative.

A regression has no class to ask for. The logit has the same order as the Dice and does not go flat where the sigmoid
saturates. `lowers` (the default of the command) asks what lowers the predicted quality, `raises` what raises it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from sqp.quality.model.ensemble import Ensemble
from sqp.quality.model.module import QualityModel

EFFECTS: dict[str, float] = {"lowers": -1.0, "raises": 1.0}
"""Name -> sign of the logit."""

NEAR = 1e-6  # of 0 and 1, where the logit is cut


class Logit(nn.Module):
    """planes `[n, c, s, s]` -> logit of the predicted Dice `[n, 1]`; the scores of the same records are kept beside."""

    def __init__(self, model: QualityModel | Ensemble, scores: Tensor | None) -> None:
        super().__init__()
        self.model, self.scores = model, scores

    def forward(self, planes: Tensor) -> Tensor:
        """Rows of `planes` may be several copies of the records in a row."""
        scores = self.scores
        if scores is not None and len(planes) != len(scores):
            scores = scores.repeat(len(planes) // len(scores), 1)
        return torch.logit(self.model(planes, scores).dice.float(), eps=NEAR)[:, None]


@contextmanager
def frozen(model: QualityModel | Ensemble) -> Iterator[QualityModel | Ensemble]:
    """The model in evaluation mode, its weights without gradients: only what depends on the input is differentiated."""
    wanted = {name: p.requires_grad for name, p in model.named_parameters()}
    training = model.training
    try:
        model.eval().requires_grad_(False)
        yield model
    finally:
        model.train(training)
        for name, p in model.named_parameters():
            p.requires_grad_(wanted[name])
