"""Who segments the images, and how the uncertainty of its masks is sampled."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

from sqp.config.checks import Config
from sqp.config.fit import PLAIN
from sqp.config.referee import IN_CONTEXT, NONE, OWN_WEIGHTS, READ, READ_ENCODING, needs_weights
from sqp.core.errors import ConfigError
from sqp.core.names import DropoutSite, Precision, Sampler, TransformSet

Multimask = Literal["auto", "true", "false"]
MULTIMASK: dict[str, Any] = {"auto": "auto", "true": True, "false": False}
"""What a segmenter is told for each."""
NEEDS_REFERENCES = "is shown examples of the task: give --references DIR, 1 to 32 images with masks"


@dataclass
class SamplerConfig(Config):
    """How uncertainty is sampled.

    Attributes:
        name: The sampler; auto is prompt_jitter, tta for networks that ignore prompts, and support_sets for segmenters
            that are shown references: each sample by another half of them.
        n: Number of samples; the first is undisturbed.
        ratio: prompt_jitter: shift of the box, as a share of its width and height.
        edges: prompt_jitter: jitter each side of the box by itself.
        set: tta: full, or paper (left-right flip, scales 0.5, 1, 2 and intensities 0.8-1.2, singly, then together: 30
            samples).
        sigma: noise: deviation of the noise, as a share of the image's range (max - min).
        p: mc_dropout: rate of the dropout that is injected; a network's own layers keep theirs.
        sites: mc_dropout: own, decoder, decoder_image, neck, encoder or convolutions; auto is the network's own layers,
            else the decoder of the SAM family, else all convolutions.
    """

    name: Literal["auto", Sampler] = "auto"
    n: int = 8
    ratio: float = 0.05
    edges: bool = False
    set: TransformSet = "full"
    sigma: float = 0.1
    p: float = 0.01
    sites: tuple[DropoutSite, ...] = ("auto",)


@dataclass
class SegmenterConfig(Config):
    """Who segments.

    Attributes:
        name: litemedsam, mobilesam, sam_vit_b, sam_vit_l, sam_vit_h or medsam; of `sqp fit segmenter`: unet,
            fpn_resnet50, fpn or swin_unet, of volumes unet3d or unet25d; universeg, pixel_classifier or personalised
            draw what --references show; none: given masks are taken as they are, without maps of their own.
        checkpoint: File with the weights; default: the embedded ones (litemedsam; pixel_classifier and personalised,
            which read its encoding) or the official address.
        checkpoints: Files of an ensemble, in place of checkpoint; the sampler ensemble takes a sample from each.
        propagate: Of volumes, segmented slice by slice: the box is put to the middle slice alone, and from there the
            box of each mask to the next slice, until a mask is empty.
        window: Of volumes, segmented slice by slice: what is black and white, in the units of the volume, e.g. [-160,
            240] HU for soft tissue in CT; default: the percentiles 0.5 and 99.5 of the volume.
        precision: float32, bfloat16 (autocast), or auto: bfloat16 where the CPU computes in it (AMX, AVX512-BF16).
        multimask: Whether three candidates are decoded and the one of highest predicted IoU kept.
    """

    name: str = "litemedsam"
    checkpoint: Path | None = None
    precision: Precision = "float32"
    multimask: Multimask = "auto"
    checkpoints: tuple[Path, ...] = ()
    propagate: bool = False
    window: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        self.multimask = cast(Multimask, str(self.multimask).lower())  # Python's own True and False serve, too

    def files(self) -> tuple[Path | None, ...]:
        """The checkpoint of each member: one for a segmenter that is no ensemble."""
        return tuple(self.checkpoints) or (self.checkpoint,)

    @property
    def network(self) -> str:
        """The name of the network that has these weights: its own, or of one whose encoding is read."""
        return READ if self.name in READ_ENCODING else self.name


def sampler_for(sampler: SamplerConfig, segmenter: SegmenterConfig) -> SamplerConfig:
    """The sampler, where it is auto the one that suits the segmenter."""
    if sampler.name != "auto":
        return sampler
    if segmenter.name in IN_CONTEXT:
        return replace(sampler, name="support_sets")
    return replace(sampler, name="tta" if segmenter.name in PLAIN else "prompt_jitter")


def check_segmenter(segmenter: SegmenterConfig, referee: str, references: Path | None) -> None:
    """ConfigError for options of a segmenter that contradict each other, and for a window that is none.

    One that is shown references needs some, and no referee beside it that is shown them, too.
    """
    if segmenter.name == NONE and (segmenter.checkpoint or segmenter.checkpoints):
        raise ConfigError(
            "segmenter.checkpoint is given, but the segmenter is none: name the segmenter, or leave it out"
        )
    if segmenter.checkpoint and segmenter.checkpoints:
        raise ConfigError("segmenter.checkpoint and segmenter.checkpoints are both given: leave one of them out")
    if segmenter.name in IN_CONTEXT:
        _check_shown(segmenter, referee, references)
    window = segmenter.window
    if window and not (len(window) == 2 and -math.inf < window[0] < window[1] < math.inf):
        raise ConfigError(f"segmenter.window is {list(window)}; give two numbers, the lower first, e.g. [-160, 240]")


def _check_shown(segmenter: SegmenterConfig, referee: str, references: Path | None) -> None:
    name = segmenter.name
    if references is None:
        raise ConfigError(f"the segmenter {name} {NEEDS_REFERENCES}")
    if name in OWN_WEIGHTS and segmenter.checkpoint is None:
        raise ConfigError(f"the segmenter {name} {needs_weights('--checkpoint FILE')}")
    if segmenter.checkpoint and name not in (*OWN_WEIGHTS, *READ_ENCODING):
        raise ConfigError(f"segmenter.checkpoint is given, but {name} has no weights: leave it out")
    if segmenter.checkpoints:
        raise ConfigError(
            f"segmenter.checkpoints are given, but {name} is an ensemble over its references: give one "
            "segmenter.checkpoint, and --sampler support_sets"
        )
    if referee in IN_CONTEXT:
        raise ConfigError(
            f"the segmenter {name} draws what references show, so the referee {referee}, which is shown them, too, "
            "would not be independent: leave out the referee, or take another segmenter"
        )


def check_sampler(sampler: SamplerConfig, segmenter: SegmenterConfig) -> None:
    """ConfigError for a sampler's option that is out of range, and for what an ensemble lacks."""
    for name in ("p", "sigma"):
        if not 0 < getattr(sampler, name) < 1:
            raise ConfigError(f"sampler.{name} is {getattr(sampler, name)}; it must lie between 0 and 1, e.g. 0.01")
    if sampler.name == "support_sets" and segmenter.name not in IN_CONTEXT:
        raise ConfigError(
            f"the sampler support_sets shows a segmenter other references, and {segmenter.name} is shown none: take "
            "mc_dropout or another sampler, or --segmenter universeg"
        )
    members = len(segmenter.checkpoints)
    if (sampler.name == "ensemble") != (members > 0) or members == 1:
        raise ConfigError(
            "an ensemble is sampler.name ensemble with segmenter.checkpoints of at least 2 files; "
            f"this run has sampler.name {sampler.name} and {members} checkpoints"
        )
    if members and sampler.n > members:
        raise ConfigError(
            f"sampler.n is {sampler.n}, but segmenter.checkpoints has {members} files: give sampler.n {members}"
        )
