"""Metrics of torchmetrics about a quality model: AURC, risk at coverage, coverage of intervals.

Each keeps its rows, over batches and processes, and computes what the function of the same name in `sqp.metrics` does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from sqp.metrics.intervals import coverage
from sqp.metrics.selective import aurc, risk_at_coverage


class Rows(Metric):
    """Columns of numbers, a row a mask; the metrics below say what is made of them.

    Args:
        names: of the columns.
        options: those of `torchmetrics.Metric`.
    """

    full_state_update = False
    is_differentiable = False

    def __init__(self, names: tuple[str, ...], **options: Any) -> None:
        super().__init__(**options)
        self.names = names
        for name in names:
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def _add(self, *columns: Tensor) -> None:
        """Keep a batch. ValueError where the columns differ in length."""
        flat = [torch.as_tensor(column).detach().reshape(-1).double() for column in columns]
        if len({len(column) for column in flat}) > 1:
            raise ValueError(f"{', '.join(self.names)} have {', '.join(str(len(c)) for c in flat)} rows")
        for name, column in zip(self.names, flat, strict=True):
            getattr(self, name).append(column)

    def _columns(self) -> list[np.ndarray]:
        """float64 `[n]` each; without rows empty."""
        kept = [getattr(self, name) for name in self.names]
        return [(dim_zero_cat(part) if len(part) else torch.zeros(0)).cpu().double().numpy() for part in kept]

    def _number(self, value: float) -> Tensor:
        return torch.tensor(float(value), dtype=torch.float32, device=self.device)


class AURC(Rows):
    """Area under the risk-coverage curve, `sqp.metrics.selective.aurc`: risk is 1 - Dice, lower is better.

    Examples:
        >>> metric = AURC()
        >>> metric.update(torch.tensor([0.9, 0.5]), torch.tensor([1.0, 0.6]))
        >>> round(metric.compute().item(), 3)
        0.1
    """

    higher_is_better = False

    def __init__(self, **options: Any) -> None:
        super().__init__(("predicted", "dice"), **options)

    def update(self, predicted: Tensor, dice: Tensor) -> None:
        """Add masks: predicted Dice (or any score, higher = better) and true Dice, `[n]` each."""
        self._add(predicted, dice)

    def compute(self) -> Tensor:
        """The area, a scalar; NaN without rows."""
        predicted, dice = self._columns()
        return self._number(aurc(predicted, 1 - dice))


class RiskAtCoverage(Rows):
    """Mean risk (1 - Dice) of the best-scored share, `sqp.metrics.selective.risk_at_coverage`; lower is better.

    Args:
        coverage: share that is kept, in (0, 1].
        options: those of `torchmetrics.Metric`.

    Raises:
        ValueError: the coverage is out of its range.
    """

    higher_is_better = False

    def __init__(self, coverage: float = 0.8, **options: Any) -> None:
        super().__init__(("predicted", "dice"), **options)
        if not 0 < coverage <= 1:
            raise ValueError(f"coverage is {coverage}; it must be above 0 and at most 1")
        self.coverage = coverage

    def update(self, predicted: Tensor, dice: Tensor) -> None:
        """Add masks: predicted Dice (or any score, higher = better) and true Dice, `[n]` each."""
        self._add(predicted, dice)

    def compute(self) -> Tensor:
        """The mean risk, a scalar; NaN without rows."""
        predicted, dice = self._columns()
        return self._number(risk_at_coverage(predicted, 1 - dice, self.coverage))


class IntervalCoverage(Rows):
    """Share of the masks whose interval holds the true Dice, `sqp.metrics.intervals.coverage`."""

    higher_is_better = None  # it should be what the interval promises

    def __init__(self, **options: Any) -> None:
        super().__init__(("low", "high", "dice"), **options)

    def update(self, low: Tensor, high: Tensor, dice: Tensor) -> None:
        """Add masks: low and high end of the interval and true Dice, `[n]` each."""
        self._add(low, high, dice)

    def compute(self) -> Tensor:
        """The share, a scalar; NaN without rows."""
        return self._number(coverage(*self._columns()))
