"""Learned fusion: a logistic stack over what the samples say of a pixel, fitted on calibration pixels.

The features are moments over the samples (mean and spread of the logit, mean entropy, entropy and logit of p̄), not
the samples in a row: samples are exchangeable, so no coefficient may belong to a place in the row; moments are of
that symmetry by construction, and a stack fitted with one number of samples applies to any other.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sqp.core.errors import ConfigError
from sqp.core.untrusted import read_json
from sqp.uncertainty.moments import Moments

FEATURES = ("mean_logit", "sd_logit", "mean_entropy", "entropy", "logit_of_mean")
CAP = 16.0
"""Logits are cut at ±CAP: beyond it p is 1 - 1e-7, and a saturated sample would outweigh all others."""


@dataclass(frozen=True)
class LearnedFusion:
    """A logistic regression on standardised features; plain numbers, stored as JSON."""

    coefficients: tuple[float, ...]
    intercept: float
    means: tuple[float, ...]
    deviations: tuple[float, ...]
    pixels: int

    def save(self, path: str | Path) -> Path:
        """Write JSON; returns the path.

        Args:
            path: the file to write.

        Returns:
            The same path.
        """
        path = Path(path)
        path.write_text(json.dumps({"kind": "sqp learned fusion", "features": FEATURES, **asdict(self)}, indent=1))
        return path

    @classmethod
    def load(cls, path: str | Path) -> LearnedFusion:
        """Raises ConfigError where the file is missing or no learned fusion of this version's features.

        Args:
            path: a file that `save` wrote.

        Returns:
            The regression.

        Raises:
            ConfigError: the file is missing, or no learned fusion of this version's features.
        """
        try:
            told = read_json(Path(path))
            if told["kind"] != "sqp learned fusion" or tuple(told["features"]) != FEATURES:
                raise ValueError("other features")
            columns = {name: tuple(map(float, told[name])) for name in ("coefficients", "means", "deviations")}
            if any(len(column) != len(FEATURES) for column in columns.values()):
                raise ValueError("missing numbers")
            found = cls(**columns, intercept=float(told["intercept"]), pixels=int(told["pixels"]))
            numbers = [found.intercept, *(value for column in columns.values() for value in column)]
            if not np.isfinite(numbers).all() or min(found.deviations) <= 0:
                raise ValueError("numbers that are not finite")
            return found
        except (OSError, ConfigError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path} is no learned fusion of this version ({error}): fit and save another") from error


def features(logits: Tensor | Moments) -> Tensor:
    """What the stack sees of a pixel, `[*grid, 5]` float32, whatever the order and number of samples.

    Args:
        logits: samples' logits `[s, *grid]`, or their moments.

    Returns:
        float32 `[*grid, 5]`.

    Examples:
        >>> features(torch.zeros(3, 2, 2)).shape
        torch.Size([2, 2, 5])
    """
    m = Moments.of(logits)
    capped = m.logits.clamp(-CAP, CAP)
    of_mean = (m.mean_p.log() - m.mean_q.log()).clamp(-CAP, CAP)
    planes = (capped.mean(0), capped.std(0, correction=0), m.sample_entropy, m.total_entropy, of_mean)
    return torch.stack(planes, -1)


def calibration_pixels(
    logits: Tensor | Moments, truth: Tensor, count: int, generator: torch.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Features `[count, 5]` and truth `[count]` of pixels drawn uniformly: both classes at their natural rate.

    Args:
        logits: samples' logits `[s, *grid]`, or their moments.
        truth: bool `[*grid]`.
        count: how many pixels; an image gives at most all of its own.
        generator: what draws.

    Returns:
        Features float32 and truth bool.
    """
    cells = Moments.of(logits).logits.flatten(1)
    chosen = torch.randperm(cells.shape[1], generator=generator)[:count]
    return features(cells[:, chosen]).cpu().numpy(), truth.flatten()[chosen].cpu().numpy()


def fit(pixels: Sequence[tuple[np.ndarray, np.ndarray]]) -> LearnedFusion:
    """The stack for the pixels of several images, as `calibration_pixels` gives them (a pair an image).

    Args:
        pixels: of each image features `[count, 5]` and truth `[count]`.

    Returns:
        The regression, by scikit-learn.

    Raises:
        ConfigError: the pixels hold one class only.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    x = np.concatenate([one for one, _ in pixels]).astype(np.float64)
    y = np.concatenate([one for _, one in pixels]).astype(bool)
    if y.all() or not y.any():
        raise ConfigError("the calibration pixels are all lesion or all skin: give images that hold both")
    scaler = StandardScaler().fit(x)
    model = LogisticRegression(max_iter=1000).fit(scaler.transform(x), y)
    means, deviations = (tuple(map(float, v)) for v in (scaler.mean_, scaler.scale_))
    return LearnedFusion(tuple(map(float, model.coef_[0])), float(model.intercept_[0]), means, deviations, len(y))


def learned(logits: Tensor | Moments, *, model: LearnedFusion | str | Path) -> Tensor:
    """The stack's probability `[*grid]`, 0..1; `model` may be the file that `LearnedFusion.save` wrote.

    Args:
        logits: samples' logits `[s, *grid]`, or their moments.
        model: the fitted regression, or its file.

    Returns:
        float32 `[*grid]`.

    Raises:
        ConfigError: the file is missing, or no learned fusion.
    """
    model = model if isinstance(model, LearnedFusion) else LearnedFusion.load(model)
    found = features(logits)
    means, deviations, coefficients = (found.new_tensor(v) for v in (model.means, model.deviations, model.coefficients))
    return torch.sigmoid(((found - means) / deviations) @ coefficients + model.intercept)
