"""The quality model: planes (and scores) of a record -> predicted Dice, scale of its error, features."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor, nn

from sqp.core.errors import ConfigError, lookup
from sqp.core.untrusted import typed
from sqp.quality.model.backbones import build_backbone, dims_of
from sqp.quality.model.channels import MASK, plane_names
from sqp.quality.model.losses import LOSSES
from sqp.quality.model.tabular import ScoreBranch
from sqp.quality.model.truth_map import EVIDENCE, Comparison, TruthDecoder, compare

LEAST = 1e-3  # probability that a map is held to, away from 0 and 1
MIN_SCALE = 0.01  # Dice; below this a likelihood rewards certainty that no annotation has


@dataclass(frozen=True)
class ModelSpec:
    """What the network is: enough to build it again before its weights are read."""

    channels: tuple[str, ...]
    size: int
    backbone: str = "compact"
    scores: tuple[str, ...] = ()
    loss: str = "beta_nll"
    beta: float = 0.5
    dropout: float = 0.1
    error_map: bool = False
    error_skip: int = 0
    flips: int = 1
    compare: tuple[str, ...] = ()

    @property
    def dims(self) -> int:
        """2, or 3 for volumes."""
        return dims_of(self.backbone)

    @property
    def planes(self) -> tuple[str, ...]:
        """The input planes by name."""
        return plane_names(self.channels, self.dims)


class QualityOutput(NamedTuple):
    """dice `[n]` in [0, 1]; scale `[n]` > 0, in Dice; features `[n, d]`.

    With the second head: error_map `[n, h, w]`, the probability that a pixel of the mask is wrong, and truth_logits
    `[n, 1, h, w]`; else None.
    """

    dice: Tensor
    scale: Tensor
    features: Tensor
    error_map: Tensor | None = None
    truth_logits: Tensor | None = None


class QualityModel(nn.Module):
    """`model(planes [n, c, s, s], scores [n, 2k] or None) -> QualityOutput`; it normalises the planes itself.

    The planes of volumes are `[n, c, s, s, s]`.

    `pretrained` / `pretrained_file` are where timm's weights come from, for a first training only. Raises
    ConfigError for an unknown name. What trains it is `learner.QualityLearner`.
    """

    def __init__(
        self,
        spec: dict[str, Any] | ModelSpec,
        pretrained: bool = False,
        pretrained_file: str = "",
    ) -> None:
        super().__init__()
        self.spec = spec if isinstance(spec, ModelSpec) else typed(ModelSpec, spec)
        self.loss = lookup("loss", self.spec.loss, LOSSES)
        channels, size = self.spec.channels, self.spec.size
        backbone = build_backbone(self.spec.backbone, channels, size, pretrained, pretrained_file)
        # 1.5 x the speed on a CPU
        self.backbone = backbone.to(memory_format=torch.channels_last) if self.spec.dims == 2 else backbone
        self.score_branch = ScoreBranch(len(self.spec.scores)) if self.spec.scores else None
        self.truth_decoder = self._truth_decoder() if self.spec.error_map else None
        width = self.backbone.width + (self.score_branch.width if self.score_branch else 0)
        width += EVIDENCE * (len(self.spec.compare) + bool(self.truth_decoder))
        self._check_compared()
        if not width:
            raise ConfigError(
                f"backbone '{self.spec.backbone}' reads scores and features alone: give --scores all, and no --views"
            )
        self.dropout = nn.Dropout(self.spec.dropout)
        self.head = nn.Linear(width, 1 if self.spec.loss == "mse" else 2)
        planes = len(self.spec.planes)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.zeros(planes))
        self.register_buffer("std", torch.ones(planes))

    def forward(self, planes: Tensor, scores: Tensor | None = None) -> QualityOutput:
        """Raw planes (0-1, bits …) -> prediction; `scores` where the model has a tabular branch."""
        per_plane = (-1, *[1] * self.spec.dims)
        normalised = (planes - self.mean.view(per_plane)) / self.std.view(per_plane)
        if self.spec.dims == 2:
            normalised = normalised.contiguous(memory_format=torch.channels_last)
        comparison = truth_logits = None
        evidence = [self._compared(planes, name).evidence for name in self.spec.compare]
        if self.truth_decoder is None:
            features = self.backbone(normalised)
        else:
            features, levels = self.backbone.pyramid(normalised)
            truth_logits = self.truth_decoder(levels[self.spec.error_skip :])
            comparison = compare(truth_logits, planes[:, self.spec.planes.index(MASK)])
            evidence.append(comparison.evidence)
        features = torch.cat([features, *(part.to(features) for part in evidence)], dim=1)
        if self.score_branch is not None:
            if scores is None:
                raise ConfigError(f"this model needs the scores {', '.join(self.spec.scores)}")
            features = torch.cat([features, self.score_branch(scores)], dim=1)
        raw = self.head(self.dropout(features))
        start = evidence[0][:, 0] if evidence else 0.0  # the logit of the soft Dice
        dice = torch.sigmoid(raw[:, 0] + start)
        scale = F.softplus(raw[:, 1] - 2) + MIN_SCALE if raw.shape[1] == 2 else torch.ones_like(dice)
        return QualityOutput(dice, scale, features, comparison.error_map if comparison else None, truth_logits)

    def _compared(self, planes: Tensor, name: str) -> Comparison:
        """The mask beside a referee's probability map."""
        p = planes[:, self.spec.planes.index(name)].float().clamp(LEAST, 1 - LEAST)
        return compare((p / (1 - p)).log()[:, None], planes[:, self.spec.planes.index(MASK)])

    def _check_compared(self) -> None:
        for name in self.spec.compare:
            if name not in self.spec.channels or MASK not in self.spec.channels or not name.endswith("/probability"):
                raise ConfigError(
                    f"compare names {name}: it must be a probability map among the inputs, beside the mask, "
                    "e.g. supervised/probability"
                )

    @property
    def features_width(self) -> int:
        """Length of a record's features."""
        return self.head.in_features

    def _truth_decoder(self) -> TruthDecoder:
        if MASK not in self.spec.channels:
            raise ConfigError("an error map needs the channel 'mask': add it to --inputs, or drop --error_map")
        if not self.backbone.level_widths:
            raise ConfigError(
                f"backbone '{self.spec.backbone}' has no maps to draw an error map from: drop --error_map"
            )
        widths = self.backbone.level_widths[self.spec.error_skip :]
        if not widths:
            raise ConfigError(
                f"error_skip is {self.spec.error_skip}, but backbone '{self.spec.backbone}' has only "
                f"{len(self.backbone.level_widths)} levels: skip fewer"
            )
        decoder = TruthDecoder(widths, self.spec.dims)
        return decoder.to(memory_format=torch.channels_last) if self.spec.dims == 2 else decoder  # type: ignore[call-overload]

    def set_normalization(self, mean: ArrayLike, std: ArrayLike) -> None:
        """Statistics of the planes; a backbone with pretrained weights keeps its own for the image.

        One that sees grey gets one standard deviation for the three colours.
        """
        colours = {f"image/{name}": i for i, name in enumerate(("red", "green", "blue"))}
        means, stds = np.array(mean, float), np.array(std, float)
        if self.backbone.grey:
            image = [i for i, name in enumerate(self.spec.planes) if name in colours]
            stds[image] = stds[image].mean() if image else 1.0
        if self.backbone.image_mean is not None and self.backbone.image_std is not None:
            for index, name in enumerate(self.spec.planes):
                if name in colours:
                    means[index] = self.backbone.image_mean[colours[name]]
                    stds[index] = self.backbone.image_std[colours[name]]
        self.mean.copy_(torch.tensor(means))
        self.std.copy_(torch.tensor(stds).clamp(min=1e-3))


def spec_dict(spec: ModelSpec) -> dict[str, Any]:
    """Plain values, for JSON."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(spec).items()}
