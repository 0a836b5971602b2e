"""What `sqp recalibrate` does, as one dataclass."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sqp.config.checks import CommandConfig, check_alpha
from sqp.config.train import CalibrationSplit, TrainConfig, check_calibrate_splits
from sqp.core.names import RecordKind


@dataclass
class RecalibrateConfig(CommandConfig):
    """Make a bundle's interval and out-of-distribution statistics anew, without training: minutes in place of hours.

    Attributes:
        model: Bundle of a trained quality model: its folder, or the name of one that comes with sqp.
        records: Record sets that it was trained on; val and calibration may have more groups.
        out: Folder of the new bundle.
        alpha: Share of records that may lie outside of the interval; default as in the bundle.
        calibrate_on: Records of the split calibration that the interval rests on, as for `sqp train`; default as it
            was trained.
        calibrate_over: groups or makers, as for `sqp train`; default as it was trained.
        calibrate_splits: calibration, or calibration val; default as it was trained.
        ood_quantile: Share of the calibration groups that counts as in distribution; default 0.98.
        cache: Folder of decoded records that `sqp train` left; by default they are decoded anew, and not kept.
        workers: Processes that decode the records; 0 decodes in this one.
        progress: Show progress.
        strict: Stop at the first record that cannot be read; else it is skipped, told and counted.
        overwrite: Replace a bundle that is there.
    """

    model: Path
    records: list[Path]
    out: Path
    alpha: float | None = None
    calibrate_on: RecordKind | None = None
    calibrate_over: Literal["groups", "makers"] | None = None
    calibrate_splits: list[CalibrationSplit] | None = None
    ood_quantile: float | None = None
    cache: Path | None = None
    workers: int = 0
    progress: bool = True
    strict: bool = False
    overwrite: bool = False

    BOUNDS = TrainConfig.BOUNDS

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.alpha is not None:
            check_alpha(self.alpha)
        if self.calibrate_splits is not None:
            check_calibrate_splits(self.calibrate_splits)
