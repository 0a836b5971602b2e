"""What `sqp fit segmenter|localizer|classifier` do, a dataclass each over what they share."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import ClassVar, Literal

from sqp.config.checks import TRAINING_RANGES, CommandConfig, Range, check_ranges
from sqp.core.errors import ConfigError
from sqp.core.names import Layout, Split

VOLUMETRIC = ("unet3d", "unet25d")
"""Networks of volumes."""

PLAIN = ("unet", "fpn_resnet50", "fpn", "swin_unet", *VOLUMETRIC)
"""Networks that are fitted before they segment; they ignore prompts."""

NEVER_FITTED = ("test", "raters")


@dataclass
class FitConfig(CommandConfig):
    """What every network is fitted with.

    Attributes:
        images: Folder of images, a CSV of cases, or the root of a data set as downloaded.
        out: Folder of the run and its checkpoints, OUT/NAME-seedN.safetensors. An interrupted run goes on there.
        truth: Folder of ground-truth masks, where the data does not bring its own.
        label: The value, or values, of the label maps that make the structure; several are merged. Of images also
            0xRRGGBB, the colour of a structure.
        layout: Layout of the data, or auto.
        splits: JSON of splits (configs/splits); without it the data's own column is used, else splits by group.
        train_splits: Splits that are fitted on. Masks that the network makes, or prompts, on these images must not
            train, calibrate or test the quality model: `generate` leaves them out there.
        val_split: Split for early stopping.
        licence: Use only images of these licences, e.g. [CC-0]; default all.
        max_images: Use at least so many images: whole groups, in the proportions of the splits; 0 for all.
        pretrained: Start the timm model from timm's hub.
        pretrained_file: Start the timm model from a safetensors or pth file with timm's keys; litemedsam: start from
            this checkpoint in place of the one that comes with sqp.
        size: Longer side of the network's input in pixels, a multiple of 32 (unet: of 16; litemedsam: always 256).
        epochs: Most epochs.
        patience: Epochs without a better value on val before training stops.
        batch_size: Images a step.
        learning_rate: Peak learning rate.
        weight_decay: Decay of the weights, not of biases and norms.
        augment: Flips, quarter turns, affine moves and colour changes.
        cameras: With augment: also what other cameras, lights and file formats do to an image, and closer views.
        seed: Seed of everything random.
        workers: Processes that decode the images once; 0 decodes in this one.
        cache: Folder of the decoded images; default OUT/cache. Runs of the same size may share it.
        accelerator: Lightning's: auto, cpu, gpu ... One device.
        precision: Lightning's: 32-true, bf16-mixed, 16-mixed ...
        resume: Go on from the last finished epoch of the same config; false starts anew.
        progress: Show progress.
        strict: Stop at the first broken case.
        overwrite: Empty the folder first.
    """

    images: Path
    out: Path
    truth: Path | None = None
    label: list[int] = field(default_factory=list)
    layout: Layout = "auto"
    splits: Path | None = None
    train_splits: list[Split] = field(default_factory=lambda: ["segmenter"])
    val_split: Split = "val"
    licence: list[str] = field(default_factory=list)
    max_images: int = 0
    pretrained: bool = False
    pretrained_file: Path | None = None
    size: int = 192
    epochs: int = 40
    patience: int = 8
    batch_size: int = 16
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    augment: bool = True
    cameras: bool = False
    seed: int = 0
    workers: int = 0
    cache: Path | None = None
    accelerator: str = "auto"
    precision: str = "32-true"
    resume: bool = True
    progress: bool = True
    strict: bool = False
    overwrite: bool = False

    BOUNDS: ClassVar[dict[str, Range]] = {**TRAINING_RANGES, "max_images": (0, math.inf)}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cameras and not self.augment:
            raise ConfigError("cameras is a part of augmentation, and augment is false: leave out one of them")
        for name in self.train_splits:
            if name in NEVER_FITTED or name == self.val_split:
                what = "for early stopping" if name == self.val_split else "for testing"
                raise ConfigError(f"train_splits holds '{name}', which is {what}: leave it out")

    @property
    def kind(self) -> str:
        """The name of what is fitted (`sqp.fit.TASKS`)."""
        raise NotImplementedError

    def refuse(self, options: Collection[str], why: str) -> None:
        """ConfigError where one of these options has another value than its default."""
        for option in fields(self):
            default = option.default_factory() if callable(option.default_factory) else option.default
            if option.name in options and getattr(self, option.name) != default:
                raise ConfigError(f"{self.kind} {why.format(option=option.name)}")


def check_spacing(spacing: list[float], zero: bool) -> None:
    """ConfigError unless none or three lengths in mm are given; with `zero` 0 leaves an axis as it is."""
    low = [side for side in spacing if not (side >= 0 if zero else side > 0) or side == math.inf]
    if len(spacing) not in (0, 3) or low:
        rest = ", 0 for an axis as it is" if zero else ""
        raise ConfigError(f"spacing is {spacing}; give three numbers in mm (d, h, w){rest}")


TIMM = ("pretrained", "pretrained_file")
NO_ENCODER = "has no timm encoder: leave out {option}"
NO_OPTION = "has no option {option}: leave it out"


@dataclass
class FitSegmenterConfig(FitConfig):
    """Train a network that segments: images and masks -> checkpoints for `--segmenter.checkpoint`.

    Attributes:
        network: unet, fpn_resnet50, fpn (any encoder) or swin_unet; of volumes unet3d, or unet25d (a slice between its
            neighbours); or litemedsam, its mask decoder alone: the encoder is frozen and runs once an image (2 MB each
            in the cache); prompts are boxes, Otsu's and moved true ones. Or universeg, which learns to segment by
            examples: each value of the column dataset is a task, and a step shows it some images of one, to draw
            another; size (paper: 128) a multiple of 8.
        encoder: fpn: a timm model by name; default tf_efficientnet_lite0.
        width: Channels of the narrowest stage; 0 for the network's own (unet 32, fpn 128, swin_unet 24, unet3d and
            unet25d 16, universeg 64).
        dropout: Share dropped in the MC-dropout layers.
        members: Deep ensemble: networks trained one after another, with seed, seed + 1, ...
        cycles: Snapshot ensemble: cosine cycles of the learning rate, a checkpoint at the end of each, no early stop;
            0 for one cycle and the best epoch.
        spacing: Of volumes: (d, h, w) in mm to which they are resampled, 0 for an axis as it is; default the median of
            those that are fitted on (unet25d: slices stay as they are).
        patch: unet3d: longest side in voxels of what it sees at once.
        neighbours: unet25d: slices below, and above, that it sees beside each slice.
        support: universeg: a step shows 1 to so many examples.
        relabel: universeg, with augment: probability that a step asks for what is outside of the structure, and that it
            asks for its border.
    """

    network: Literal["unet", "fpn_resnet50", "fpn", "swin_unet", "unet3d", "unet25d", "litemedsam", "universeg"] = (
        "unet"
    )
    encoder: str = ""
    width: int = 0
    dropout: float = 0.1
    members: int = 1
    cycles: int = 0
    spacing: list[float] = field(default_factory=list)
    patch: int = 96
    neighbours: int = 2
    support: int = 16
    relabel: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.network in VOLUMETRIC:
            self.refuse(["encoder", *TIMM], NO_ENCODER)
            check_ranges(self, {"neighbours": (0, 16), "patch": (16, 512)})
            check_spacing(self.spacing, zero=True)
        else:
            self.refuse(["spacing", "patch", "neighbours"], NO_OPTION)
        if self.network == "litemedsam":
            self.refuse(["encoder", "width", "pretrained", "dropout", "size"], NO_OPTION)
        if self.network == "universeg":
            self.refuse(["encoder", "dropout", "cameras", *TIMM], NO_OPTION)
            check_ranges(self, {"support": (1, 256), "relabel": (0, 1)})
        else:
            self.refuse(["support", "relabel"], NO_OPTION)
        check_ranges(self, {"dropout": (0, 0.95), "width": (0, 4096), "members": (1, 1000), "cycles": (0, self.epochs)})
        if self.cycles and self.epochs % self.cycles:
            raise ConfigError(f"epochs is {self.epochs}; it must be a multiple of cycles, {self.cycles}")

    @property
    def kind(self) -> str:
        return self.network


@dataclass
class FitLocalizerConfig(FitConfig):
    """Train a small network that finds the lesion: images and masks -> a checkpoint for the prompter localizer.

    Attributes:
        train_splits: Splits that are fitted on. Masks that the network prompts on these images must not train,
            calibrate or test the quality model: `generate` leaves them out there.
        method: heatmap (images: a coarse heatmap of a timm encoder), or of volumes heatmap3d (a small U-Net on the
            squashed volume, also the prompter localizer) or landmarks (UR-SAM's, by supports; the prompter landmarks).
        encoder: heatmap: a convolutional timm model by name.
        width: Channels of the join of the encoder's stages; of volumes of the finest stage, by default 8.
        cube: heatmap3d: side in voxels to which a whole volume is squashed.
        window: landmarks: side in voxels of the patches that it sees.
        spacing: landmarks: (d, h, w) in mm to which volumes are resampled; default the median of the fitted ones.
        supports: landmarks: so many of the fitted volumes, the first with structure, whose extreme points are kept.
    """

    train_splits: list[Split] = field(default_factory=lambda: ["train"])
    size: int = 224
    method: Literal["heatmap", "heatmap3d", "landmarks"] = "heatmap"
    encoder: str = "mobilenetv2_100"
    width: int = 64
    cube: int = 48
    window: int = 32
    spacing: list[float] = field(default_factory=list)
    supports: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self, {"width": (1, 4096)})
        if self.method != "heatmap":
            check_ranges(self, {"cube": (16, 256), "window": (16, 256), "supports": (1, 1000)})
            check_spacing(self.spacing, zero=False)
            self.refuse(TIMM, NO_ENCODER)

    @property
    def kind(self) -> str:
        return self.method


@dataclass
class FitClassifierConfig(FitConfig):
    """Train a classifier on image-level labels: images and diagnoses -> a checkpoint for the prompter cam.

    Attributes:
        train_splits: Splits that are fitted on. Masks that the network prompts on these images must not train,
            calibrate or test the quality model: `generate` leaves them out there.
        model: A timm model by name, e.g. mobilenetv2_100, tf_efficientnet_lite0, resnet50, vit_tiny_patch16_224,
            swin_tiny_patch4_window7_224.
        target: melanoma (melanoma or other), or diagnosis (every diagnosis of the fitted images is a class).
        report_splits: Splits on which the finished network is judged, e.g. [val, test], in OUT/report.csv. Nothing is
            chosen by it.
    """

    train_splits: list[Split] = field(default_factory=lambda: ["train"])
    size: int = 224
    learning_rate: float = 3e-4
    model: str = "mobilenetv2_100"
    target: Literal["melanoma", "diagnosis"] = "melanoma"
    report_splits: list[Split] = field(default_factory=lambda: ["val"])

    @property
    def kind(self) -> str:
        return "classifier"


EXECUTION_KEYS = (
    *("images", "truth", "splits", "licence", "out", "cache", "workers", "accelerator", "resume", "progress"),
    *("strict", "overwrite", "report_splits"),
)
"""Keys that say how a run goes, not what the network is. The data count by their fingerprint."""
