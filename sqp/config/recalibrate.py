"""What `sqp recalibrate` does, as one dataclass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from sqp.config.checks import CommandConfig, Range, check_alpha
from sqp.config.train import CalibrationSplit, CalibrationUnit, TrainConfig, check_calibrate_splits
from sqp.core.errors import ConfigError
from sqp.core.names import RecordKind

OF_RECORDS = ("alpha", "calibrate_on", "calibrate_over", "calibrate_splits", "ood_quantile", "cache")
OF_DECISIONS = ("predictions", "truth", "threshold")


@dataclass
class RecalibrateConfig(CommandConfig):
    """Make a bundle's interval, risk rule and out-of-distribution statistics anew, without training.

    From the records that it was trained on (--records: minutes in place of hours), or from what a person decided about
    masks of their own on the page of `sqp predict` (--decisions: interval and risk rule).

    Attributes:
        model: Bundle of a trained quality model: its folder, or the name of one that comes with sqp.
        out: Folder of the new bundle.
        records: Record sets that it was trained on; val and calibration may have more groups.
        decisions: decisions.json of the page, at least 50; in place of records.
        predictions: OUT of the `sqp predict` on whose page the decisions were made.
        truth: Folder of masks that were redrawn, named as the images are; their Dice is exact, that of other decisions
            is known only to lie above or below the threshold.
        threshold: Least Dice of a mask that was accepted; default what the page said.
        alpha: Share of records that may lie outside of the interval; default as in the bundle.
        calibrate_on: Records of the split calibration that the interval rests on, as for `sqp train`; default as it
            was trained.
        calibrate_over: groups, makers or tasks, as for `sqp train`; default as it was trained.
        calibrate_splits: calibration, or calibration val; default as it was trained.
        ood_quantile: Share of the calibration groups that counts as in distribution; default 0.98.
        cache: Folder of decoded records that `sqp train` left; by default they are decoded anew, and not kept.
        workers: Processes that decode the records; 0 decodes in this one.
        progress: Show progress.
        strict: Stop at the first record, or redrawn mask, that cannot be read; else it is skipped, told and counted.
        overwrite: Replace a bundle that is there.
    """

    model: Path
    out: Path
    records: list[Path] = field(default_factory=list)
    decisions: Path | None = None
    predictions: Path | None = None
    truth: Path | None = None
    threshold: float | None = None
    alpha: float | None = None
    calibrate_on: RecordKind | None = None
    calibrate_over: CalibrationUnit | None = None
    calibrate_splits: list[CalibrationSplit] | None = None
    ood_quantile: float | None = None
    cache: Path | None = None
    workers: int = 0
    progress: bool = True
    strict: bool = False
    overwrite: bool = False

    BOUNDS: ClassVar[Mapping[str, Range]] = {**TrainConfig.BOUNDS, "threshold": (0.01, 1)}

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.decisions is None) == (not self.records):
            raise ConfigError("recalibrate needs either --records, or --decisions with --predictions")
        if self.decisions is not None and self.predictions is None:
            raise ConfigError("--decisions needs --predictions, the OUT of the `sqp predict` that made their page")
        others, kind = (OF_RECORDS, "--records") if self.decisions is not None else (OF_DECISIONS, "--decisions")
        for name in others:
            if getattr(self, name) is not None:
                raise ConfigError(f"--{name} goes with {kind}, which is not given: leave it out")
        if self.alpha is not None:
            check_alpha(self.alpha)
        if self.calibrate_splits is not None:
            check_calibrate_splits(self.calibrate_splits)
