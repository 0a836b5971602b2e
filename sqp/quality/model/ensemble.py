"""Several quality models as one: the same data, other seeds (Lakshminarayanan et al., NeurIPS 2017) or inputs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sqp.quality.model.module import ModelSpec, QualityModel, QualityOutput


class Ensemble(nn.Module):
    """`ensemble(planes, scores) -> QualityOutput`, as its members give it.

    Planes and scores are the first member's; another may read a part of the planes, and no scores. dice: the mean of
    all; scale: that of the mixture, the root of the mean squared scale plus the members' variance of dice. Features are
    the first member's, so that distances to the training features cost what they cost with one; error map and truth
    logits are means.
    """

    def __init__(self, members: Sequence[QualityModel]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        planes = members[0].spec.planes
        self.rows = [[planes.index(name) for name in member.spec.planes] for member in members]

    @property
    def first(self) -> QualityModel:
        """The member that stands for all: spec, normalisation, features."""
        return self.members[0]  # type: ignore[return-value]

    @property
    def spec(self) -> ModelSpec:
        """What the first member is, and each other but for what it reads."""
        return self.first.spec

    @property
    def mean(self) -> Tensor:
        """Means of the planes."""
        return self.first.mean

    @property
    def std(self) -> Tensor:
        """Standard deviations of the planes."""
        return self.first.std

    @property
    def features_width(self) -> int:
        """Length of a record's features."""
        return self.first.features_width

    def forward(self, planes: Tensor, scores: Tensor | None = None) -> QualityOutput:
        """Raw planes -> the mixture's prediction."""
        outs: list[QualityOutput] = [
            member(planes if rows == list(range(planes.shape[1])) else planes[:, rows], scores)
            for member, rows in zip(self.members, self.rows, strict=True)
        ]
        dice, scale = (torch.stack([out[i] for out in outs]) for i in range(2))  # type: ignore[misc]
        spread = (scale.square().mean(0) + dice.var(0, unbiased=False)).sqrt()
        maps = [torch.stack([o[i] for o in outs]).mean(0) if outs[0][i] is not None else None for i in (3, 4)]  # type: ignore[misc]
        return QualityOutput(dice.mean(0), spread, outs[0].features, *maps)


def one_model(members: Sequence[QualityModel]) -> QualityModel | Ensemble:
    """The model itself where there is one, else the ensemble of all."""
    return members[0] if len(members) == 1 else Ensemble(members)
