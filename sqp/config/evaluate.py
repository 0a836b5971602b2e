"""What `sqp evaluate` does, as one dataclass."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sqp.config.checks import check_thresholds
from sqp.config.generate import UNSEEN
from sqp.config.logger import LoggerConfig
from sqp.core.errors import ConfigError

Target = Literal["dice", "iou", "hd95", "masd"]
Kind = Literal["area", "diagnosis", "segmenter", "prompter", "natural", ""]


@dataclass
class EvaluateConfig(LoggerConfig):
    """Compare predicted with true Dice on a test split, beside every analytic score on the same rows.

    Attributes:
        out: Folder of the tables, figures and the report.
        records: Record sets with truth: the test split, and the calibration split for the scores' lines.
        model: Bundle of a trained quality model.
        predictions: Predictions made before (file, or folder of `sqp predict`), in place of a model; their verdicts
            are made anew from low and high.
        split: Split that is tested.
        calibration_split: Split on which the lines from score to Dice are fitted.
        frozen: Frozen spread sets (configs/spread); of the corrupted test records only their members count, and
            each mask must have the frozen hash.
        unseen: Corruptions that the model has not seen in training; reported apart.
        accept: Verdict accept where the interval's low end reaches this Dice.
        reject: Verdict reject where the interval's high end stays below this Dice.
        n_resamples: Bootstrap resamples, by group.
        target: What predictions are compared with on the page of agreement: dice, iou, hd95, masd (one or several).
            Distances are measured on the stored masks and truths, once, and kept in pixels.csv.
        surface: Measure Hausdorff, HD95 and MASD of the natural test masks, too.
        tiers: Lowest scores of the tiers moderate and high.
        tier_risk: In place of tiers the greatest mean 1 - Dice of the records from the tier moderate up, and of the
            tier high; each method's thresholds are set to it on the calibration split.
        mondrian: Column by which intervals are also calibrated apart, beside the model's own: area, diagnosis,
            segmenter, prompter, natural, or '' for none.
        raters_split: Split of the images with several truths, whose raters are compared with each other.
        seed: Seed of the bootstrap.
        batch_size: Records predicted at once.
        device: cpu or cuda.
        gallery: Most records shown in the report.
        overlays: Number of the worst records drawn large.
        overwrite: Replace an evaluation that is already in the folder.
    """

    out: Path
    records: list[Path] = field(default_factory=list)
    model: Path | None = None
    predictions: Path | None = None
    split: str = "test"
    calibration_split: str = "calibration"
    frozen: list[Path] = field(default_factory=list)
    unseen: list[str] = field(default_factory=lambda: list(UNSEEN))
    accept: float = 0.80
    reject: float = 0.70
    n_resamples: int = 2000
    target: list[Target] = field(default_factory=lambda: ["dice"])
    surface: bool = True
    tiers: list[float] = field(default_factory=lambda: [0.5, 0.8])
    tier_risk: list[float] = field(default_factory=list)
    mondrian: Kind = "area"
    raters_split: str = "raters"
    seed: int = 0
    batch_size: int = 64
    device: str = "cpu"
    gallery: int = 1000
    overlays: int = 0
    overwrite: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_thresholds(self.accept, self.reject)
        _check_tiers("tiers", self.tiers, "the lower one first")
        if self.tier_risk:
            _check_tiers("tier_risk", self.tier_risk[::-1], "the greater one first")


def _check_tiers(name: str, limits: list[float], order: str) -> None:
    """ConfigError unless there are two limits, the first below the second, both in 0..1."""
    if len(limits) != 2 or not 0 <= limits[0] < limits[1] <= 1:
        raise ConfigError(f"--{name} needs two different numbers in 0 to 1, {order}")
