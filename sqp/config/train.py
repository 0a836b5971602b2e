"""What `sqp train` does, as one dataclass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from sqp.config.checks import TRAINING_RANGES, Range, check_alpha
from sqp.config.logger import LOGGER_KEYS, LoggerConfig
from sqp.core.errors import ConfigError
from sqp.core.names import RecordKind

CalibrationSplit = Literal["calibration", "val"]
CalibrationUnit = Literal["groups", "makers", "tasks"]


@dataclass
class TrainConfig(LoggerConfig):
    """Train the quality model: record sets -> a bundle that predicts Dice.

    Attributes:
        records: Record sets with truth; their splits train, val and calibration are used, no other is read.
        out: Folder of the run; the bundle lies in OUT/bundle. A run that was interrupted goes on there.
        inputs: Channels joined by '+': image, mask, uncertainty (probability, entropy, mutual information,
            EPKL and variance of the segmenter itself), or a map by name (self/certainty, self/epkl ...).
        scores: Analytic scores as a tabular branch, by name, or 'all'.
        features: Vectors beside the scores: the segmenter's mask_token or embedding, the referee_embedding,
            the supervised_embedding.
        size: Side in pixels to which the whole frame is squashed.
        backbone: compact, siamese (the peer's; configs/peer_siamese.yaml has its whole recipe), siamese_slip (its
            notebook's slip: the uncertainty map in the image's branch too), tabular (none: scores and features alone)
            or timm:NAME; for volumes compact3d, or slices (2.5D: compact on every slice, pooled).
        pretrained: Start timm:NAME from its pretrained weights (timm's hub).
        pretrained_file: The same from a safetensors or pth file with timm's keys.
        loss: beta_nll, laplace_nll or mse (no scale of its own: intervals of one width).
        beta: Exponent of the variance that weights a record in the loss; 0 is the plain likelihood.
        dropout: Share of the features dropped before the head.
        error_map: A second head draws the truth that it expects; where that differs from the mask is the error map,
            and the Dice of the two is where the prediction starts.
        error_weight: Weight of the second head's loss beside that of the Dice.
        error_skip: Finest levels of the backbone that the second head does without. Each halves the side of the error
            map; the first one is the dearest.
        flips: Flips and quarter turns averaged when predicting: 1, 2, 4 or 8.
        compare: Probability maps among the inputs that the mask is compared with in numbers (overlap, precision,
            recall, size), e.g. [supervised/probability]; the prediction starts from the soft Dice with the first.
        epochs: Most epochs.
        patience: Epochs without a better MAE on val before training stops.
        batch_size: Records a step.
        learning_rate: Peak learning rate.
        weight_decay: Decay of the weights, not of biases and norms.
        optimizer: adamw or adam.
        schedule: one_cycle (over all epochs) or constant.
        augment: Flips, quarter turns, mild affine moves of all planes together, colour changes of the image.
        cameras: With augment: in place of mild colours what other cameras, lights and file formats do to an image.
        balance: 0 keeps the natural share of each Dice bin in the loss, 1 makes the bins' shares equal.
        alpha: Share of records that may lie outside of the interval.
        train_on: Records of the split train that the model learns from: all, or natural (as below).
        calibrate_on: Records of the split calibration that the interval rests on: all, or natural, those natural
            masks whose prompter is the one that their record set was configured with (not simulated manual ones).
        calibrate_over: groups; or makers, for an interval that is to hold for the next maker of masks, too: each
            kind of record (set, prompter, corruption) counts once; or tasks, for the next task: each data set counts
            once. At least 1 / alpha - 1 of them are needed.
        calibrate_splits: calibration; with val beside it the interval is as wide as the split asks whose errors are
            greater, for images that may be like those of either, as where the official val images are harder.
        ood_quantile: Share of the calibration groups that counts as in distribution.
        ood_images: Whether an image that is unlike the training images is strange by itself; false for a model that
            is shown references of tasks that it has not learned from.
        members: Models trained one after another, with seed, seed + 1 ..., whose mean is the prediction; one bundle
            holds all, and its interval is that of the mean.
        views: Inputs of further models, each a part of `inputs` and without scores or features, e.g. [image+mask]: each
            is trained as the first one, and the prediction is the mean of all, so that it does not rest on the maps of
            the segmenter alone.
        half: Round the weights to half precision once they are trained: a bundle half as large. Whatever follows is
            measured with the weights as they are kept.
        seed: Seed of everything random.
        workers: Processes that decode the records once; 0 decodes in this one.
        cache: Folder of the decoded records; default OUT/cache. Runs may share it. Rank 0 builds it, so
            with several machines it must be a folder that all of them see.
        cache_inputs: Channels to decode into it beside `inputs`, joined by '+', so that runs of other inputs share it.
        accelerator: Lightning's: auto, cpu, gpu ...
        devices: Lightning's: auto, or a number of devices.
        strategy: Lightning's: auto, ddp ...
        num_nodes: Lightning's: number of machines.
        precision: Lightning's: 32-true, bf16-mixed, 16-mixed ...
        resume: Go on from the last finished epoch of the same config; false starts anew, its log too.
        progress: Show progress.
        strict: Stop at the first record that cannot be read; else it is skipped, told and counted.
        overwrite: Empty the folder first.
    """

    records: list[Path]
    out: Path
    inputs: str = "image+mask+uncertainty"
    scores: list[str] = field(default_factory=list)
    features: list[str] = field(default_factory=list)
    size: int = 128
    backbone: str = "compact"
    pretrained: bool = False
    pretrained_file: Path | None = None
    loss: Literal["beta_nll", "laplace_nll", "mse"] = "beta_nll"
    beta: float = 0.5
    dropout: float = 0.1
    error_map: bool = False
    error_weight: float = 1.0
    error_skip: int = 0
    flips: int = 1
    compare: list[str] = field(default_factory=list)
    epochs: int = 30
    patience: int = 8
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    optimizer: Literal["adamw", "adam"] = "adamw"
    schedule: Literal["one_cycle", "constant"] = "one_cycle"
    augment: bool = True
    cameras: bool = False
    balance: float = 0.0
    alpha: float = 0.1
    train_on: RecordKind = "all"
    calibrate_on: RecordKind = "all"
    calibrate_over: CalibrationUnit = "groups"
    calibrate_splits: list[CalibrationSplit] = field(default_factory=lambda: ["calibration"])
    ood_quantile: float = 0.98
    ood_images: bool = True
    members: int = 1
    views: list[str] = field(default_factory=list)
    half: bool = False
    seed: int = 0
    workers: int = 0
    cache: Path | None = None
    cache_inputs: str = ""
    accelerator: str = "auto"
    devices: int | str = "auto"
    strategy: str = "auto"
    num_nodes: int = 1
    precision: str = "32-true"
    resume: bool = True
    progress: bool = True
    strict: bool = False
    overwrite: bool = False

    BOUNDS: ClassVar[dict[str, Range]] = {
        **TRAINING_RANGES,
        "dropout": (0, 0.95),
        "beta": (0, 1),
        "balance": (0, 1),
        "ood_quantile": (0.5, 1),
        "error_weight": (0, 100),
        "error_skip": (0, 100),
        "members": (1, 100),
    }

    def __post_init__(self) -> None:
        check_alpha(self.alpha)
        super().__post_init__()
        if self.cameras and not self.augment:
            raise ConfigError("cameras is a part of augmentation, and augment is false: leave out one of them")
        if self.flips not in (1, 2, 4, 8):
            raise ConfigError(f"flips is {self.flips}; it must be 1, 2, 4 or 8")
        check_calibrate_splits(self.calibrate_splits)


def check_calibrate_splits(splits: Sequence[str]) -> None:
    """ConfigError unless these are calibration, or calibration and val, each once."""
    if "calibration" not in splits or len(set(splits)) != len(splits):
        raise ConfigError(
            f"calibrate_splits is [{', '.join(splits)}]: give [calibration], or [calibration, val] for an interval "
            "that is as wide as the harder of the two asks"
        )


EXECUTION_KEYS = (
    *("records", "out", "cache", "cache_inputs", "workers", "accelerator", "devices", "strategy", "num_nodes"),
    *("resume", "progress", "strict", "overwrite"),
    *LOGGER_KEYS,
)
"""Keys that say how a run goes, not what the model is: another value in the same folder is no change of
config."""

YOUNGER: dict[str, object] = {
    "features": [],
    "train_on": "all",
    "members": 1,
    "views": [],
    "half": False,
    "error_skip": 0,
    "cameras": False,
    "compare": [],
    "calibrate_over": "groups",
    "calibrate_splits": ["calibration"],
    "ood_images": True,
}
"""Keys that the first runs did not have, with what they did."""
