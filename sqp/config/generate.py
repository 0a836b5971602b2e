"""What `sqp generate` does, as one dataclass."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqp.config.checks import Config
from sqp.config.fit import PLAIN
from sqp.config.referee import NONE, RefereeConfig

SEEN = ["erosion", "dilation", "elastic", "blob_add", "blob_cut", "swap"]
UNSEEN = ["shift", "dropout"]

JUDGED = ("mask_path", "mask", "masks", "probability_path", "probability", "probs", "prob")
"""Columns of a CSV of images that hold masks to be judged, or what is behind them."""


def table_of_masks(images: Path | None) -> bool:
    """Whether `--images` is a CSV that brings the masks to be judged, by its first line."""
    if images is None or images.suffix.lower() != ".csv" or not images.is_file():
        return False
    with images.open(encoding="utf-8-sig", errors="replace") as lines:
        names = {name.strip().strip('"') for name in re.split("[,;\t]", lines.readline())}
    return not names.isdisjoint(JUDGED)


@dataclass
class VariantPlan(Config):
    """Which records are made of one image, beside the natural one.

    Attributes:
        prompters: Other prompters, or names of the option `prompters`, one further natural record each.
        truth_jitter: Number of natural records from a jittered ground-truth box (simulated manual), its ratio drawn
            from [0, truth_jitter_max].
        truth_jitter_max: Largest ratio of that jitter.
        corruptions: Number of corrupted masks, families drawn in turn from `families`.
        families: Names of the corruptions to draw from.
        target_alpha: First parameter of the Beta distribution from which the Dice is drawn that a corruption is
            steered to (needs truth; without it the severity is drawn uniformly). With 1.3 and 1 SD(Dice) is 0.27.
        target_beta: Second parameter of it.
    """

    prompters: list[str] = field(default_factory=list)
    truth_jitter: int = 0
    truth_jitter_max: float = 0.5
    corruptions: int = 0
    families: list[str] = field(default_factory=lambda: list(SEEN))
    target_alpha: float = 1.3
    target_beta: float = 1.0


@dataclass
class SamplerConfig(Config):
    """How uncertainty is sampled.

    Attributes:
        name: deterministic, prompt_jitter, tta, noise, mc_dropout or ensemble; auto is prompt_jitter, and tta for
            networks that ignore prompts.
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

    name: str = "auto"
    n: int = 8
    ratio: float = 0.05
    edges: bool = False
    set: str = "full"
    sigma: float = 0.1
    p: float = 0.01
    sites: tuple[str, ...] = ("auto",)


@dataclass
class SegmenterConfig(Config):
    """Who segments.

    Attributes:
        name: litemedsam, mobilesam, sam_vit_b, sam_vit_l, sam_vit_h or medsam; of `sqp fit segmenter`: unet,
            fpn_resnet50, fpn or swin_unet, of volumes unet3d or unet25d; none: given masks are taken as they are,
            without maps of their own.
        checkpoint: File with the weights; default: the embedded ones (litemedsam) or the official address.
        checkpoints: Files of an ensemble, in place of checkpoint; the sampler ensemble takes a sample from each.
        propagate: Of volumes, segmented slice by slice: the box is put to the middle slice alone, and from there the
            box of each mask to the next slice, until a mask is empty.
        window: Of volumes, segmented slice by slice: what is black and white, in the units of the volume, e.g. [-160,
            240] HU for soft tissue in CT; default: the percentiles 0.5 and 99.5 of the volume.
        precision: float32, or bfloat16 (autocast).
        multimask: auto, true or false: whether three candidates are decoded and the one of highest predicted IoU kept.
    """

    name: str = "litemedsam"
    checkpoint: Path | None = None
    precision: str = "float32"
    multimask: str = "auto"
    checkpoints: tuple[Path, ...] = ()
    propagate: bool = False
    window: tuple[float, ...] = ()

    def files(self) -> tuple[Path | None, ...]:
        """The checkpoint of each member: one for a segmenter that is no ensemble."""
        return tuple(self.checkpoints) or (self.checkpoint,)


@dataclass
class GenerateConfig(Config):
    """Segment images, sample the uncertainty, write a record set.

    Attributes:
        images: Folder of images, one image, a CSV of cases, or the root of a data set as downloaded.
        out: Folder of the record set; a run that was interrupted goes on there.
        truth: Folder of ground-truth masks.
        masks: Folder of masks made elsewhere; these are judged instead of the segmenter's own.
        label: The value, or values, of the label maps that make the structure; several are merged. Of images also
            0xRRGGBB, the colour of a structure. A mask that lacks the value is empty;
            one that holds 255 alone is the structure itself.
        probs: Folder of the foreground probabilities behind them (float npy, or 8- or 16-bit PNG); without masks these
            are cut at 0.5.
        layout: Layout of the data, or auto.
        splits: JSON of splits (configs/splits); without it the data's own column is used, else splits are made by
            group and kept in OUT/splits.json.
        only: Splits to run, e.g. [train, test]; default all.
        licence: Only images of these licences, e.g. [CC-0], also for the masks that corruptions borrow; default all.
        masks_licence: Licences of the rows that the tool behind `masks` was fitted on, for the fingerprint of a model
            that learns from them; default: what their record set says where they lie in one, else unknown.
        max_images: Run a subset of at least so many images: whole groups, in the proportions of the splits; 0 for all.
        segmenter: Who segments.
        prompter: otsu, centre, whole_image, truth_box, truth_centroid, mask_box, cam or localizer; of volumes
            whole_image, truth_box, mask_box, localizer or landmarks.
        prompter_options: The prompter's own options, e.g. {margin: 0.1} (otsu, truth_box, mask_box, localizer) or
            {checkpoint: FILE} (cam, localizer).
        prompters: Names of your own for prompters with options, for `prompter` and for the prompters of variants, e.g.
            {scorecam: {prompter: cam, checkpoint: FILE, method: scorecam}}.
        cascade: A first segmenter, which gets the prompt; the segmenter gets the box of its mask. Default none.
        cascade_options: The first segmenter's checkpoint, precision and multimask, and the box's margin.
        sampler: How uncertainty is sampled.
        referee: Who segments the image for comparison, under prompts that do not come from the mask.
        measures: Maps that are stored.
        fusion: A further record of each natural mask, its samples fused by mean, inverse, exponential, power_law or
            learned; default none.
        fusion_options: The fusion's own options, e.g. {alpha: 2} (power_law), {lam: 1} (exponential), {model: FILE}
            (learned).
        refine: Further records of each natural mask, refined (after the fusion, if there is one) by crf,
            ur_sam_midpoint, ur_sam_printed, unc_fpc, unc_fnc or unc_fpnc; volumes slice by slice.
        refine_options: By refinement its own options, e.g. {crf: {iterations: 10}, ur_sam_printed: {alpha_h: 1.2}}.
        variants: By split name, the further records of an image ('*' for every other split).
        seed: Seed of everything random.
        workers: Processes; 0 runs in this one, null takes as many as pay off and fit (as `sqp predict` does).
        device: cpu or cuda.
        strict: Stop at the first broken case.
        overwrite: Empty the folder first.
    """

    images: Path
    out: Path
    truth: Path | None = None
    masks: Path | None = None
    label: list[int] = field(default_factory=list)
    probs: Path | None = None
    layout: str = "auto"
    splits: Path | None = None
    only: list[str] = field(default_factory=list)
    licence: list[str] = field(default_factory=list)
    masks_licence: list[str] = field(default_factory=list)
    max_images: int = 0
    segmenter: SegmenterConfig = field(default_factory=SegmenterConfig)
    prompter: str = "otsu"
    prompter_options: dict[str, Any] = field(default_factory=dict)
    prompters: dict[str, dict[str, Any]] = field(default_factory=dict)
    cascade: str | None = None
    cascade_options: dict[str, Any] = field(default_factory=dict)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    referee: RefereeConfig = field(default_factory=RefereeConfig)
    measures: list[str] = field(
        default_factory=lambda: ["certainty", "entropy", "mutual_information", "epkl", "variance"]
    )
    fusion: str | None = None
    fusion_options: dict[str, Any] = field(default_factory=dict)
    refine: list[str] = field(default_factory=list)
    refine_options: dict[str, dict[str, Any]] = field(default_factory=dict)
    variants: dict[str, VariantPlan] = field(default_factory=dict)
    seed: int = 0
    workers: int | None = 0
    device: str = "cpu"
    strict: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.sampler.name == "auto":
            name = "tta" if self.segmenter.name in PLAIN else "prompt_jitter"
            self.sampler = replace(self.sampler, name=name)
        self.referee_by_default = self.referee.name == "auto"
        if self.referee_by_default:
            self.referee = self._auto_referee()
        self.referee = self.referee.with_prompters()

    @property
    def given(self) -> bool:
        """Whether masks made elsewhere are judged."""
        return self.masks is not None or self.probs is not None or table_of_masks(self.images)

    def _auto_referee(self) -> RefereeConfig:
        if not self.given:
            return replace(self.referee, name=NONE)
        if self.segmenter.name in (*PLAIN, NONE):
            return replace(self.referee, name="litemedsam")
        weights = self.referee.weights or self.segmenter.files()[0]
        return replace(self.referee, name=self.segmenter.name, weights=weights)


EXECUTION_KEYS = (
    *("out", "workers", "device", "strict", "overwrite", "only", "max_images"),
    *("licence", "masks_licence"),
)
"""Keys that say how a run goes, not what a record is: another value in the same folder is no change of config."""
