"""What `sqp predict` does, as one dataclass."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class PredictConfig:
    """Predict the Dice of masks, whoever made them, with an interval and a verdict.

    Attributes:
        model: Bundle of a trained quality model.
        out: Folder of predictions.csv, predictions.parquet, overlays and the report.
        images: Folder of images, one image, a CSV, or the root of a data set; records are made in OUT/records.
        masks: Folder of masks made elsewhere; without it the segmenter's own masks are judged.
        truth: Folder of ground-truth masks, if there are any; they only add the true Dice.
        layout: Layout of the data, or auto.
        records: Record sets made before, in place of images.
        split: Only the records of these splits; default all.
        checkpoint: File with the segmenter's weights, where they are not embedded.
        checkpoints: Files of an ensemble, in the order in which the bundle's records were made.
        prompter: Prompter of the segmenter's own masks; default the one that the bundle was trained with.
        prompter_options: The prompter's own options, over those that the bundle was trained with; a network's file is
            never in a bundle: {checkpoint: FILE} (cam, localizer).
        cascade_checkpoint: File with the first segmenter's weights, where the bundle's records came from a cascade.
        accept: Verdict accept where the interval's low end reaches this Dice.
        reject: Verdict reject where the interval's high end stays below this Dice.
        fail_under: Exit status 3 if any mask's predicted Dice is below this, or its verdict is abstain.
        worst: Number of the worst records that are drawn, abstentions first.
        gallery: Most records shown in the report.
        batch_size: Records predicted at once.
        workers: Processes that segment; 0 runs in this one.
        device: cpu or cuda.
        strict: Stop at the first broken case, or record that cannot be read.
        overwrite: Make the records anew.
        seed: Seed of the samples; default the one of the records that the bundle was trained on.
    """

    model: Path
    out: Path
    images: Path | None = None
    masks: Path | None = None
    truth: Path | None = None
    layout: str = "auto"
    records: list[Path] = field(default_factory=list)
    split: list[str] = field(default_factory=list)
    checkpoint: Path | None = None
    checkpoints: tuple[Path, ...] = ()
    prompter: str | None = None
    prompter_options: dict[str, Any] = field(default_factory=dict)
    cascade_checkpoint: Path | None = None
    accept: float = 0.80
    reject: float = 0.70
    fail_under: float | None = None
    worst: int = 20
    gallery: int = 1000
    batch_size: int = 64
    workers: int = 0
    device: str = "cpu"
    strict: bool = False
    overwrite: bool = False
    seed: int | None = None
