"""What `sqp generate` does, as one dataclass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

from sqp.config.checks import Config, as_labels, check_choices, check_ranges
from sqp.config.referee import IGNORE_PROMPTS, IN_CONTEXT, NONE, READ, SUPERVISED, RefereeConfig, SupervisedConfig
from sqp.config.segmenter import SamplerConfig, SegmenterConfig, check_sampler, check_segmenter, sampler_for
from sqp.core.errors import ConfigError, lookup
from sqp.core.mirror import is_tar
from sqp.core.names import SPLITS, Corruption, Engine, Fusion, Layout, Measure, Refinement, Runtime, Split
from sqp.core.ray_engine import check_engine
from sqp.core.shards import Shard
from sqp.core.tables import table_of_masks

UNSEEN = ["shift", "dropout"]
SEEN = [name for name in get_args(Corruption) if name not in UNSEEN]


def check_fitting(masks: Path | None, pattern: str | None, resize: bool, given: bool) -> None:
    """ConfigError where `--mask_pattern` or `--resize_masks` go with no masks, or all images would have one mask."""
    if resize and not given:
        raise ConfigError("--resize_masks is about masks made elsewhere, and there are none: leave it out")
    if pattern is None:
        return
    if masks is None or masks.is_file():
        raise ConfigError("--mask_pattern says how the files in a folder of masks are named: give it with --masks DIR")
    if "{stem}" not in pattern:
        raise ConfigError(
            f"--mask_pattern '{pattern}' names one file for all images: put {{stem}} where the image's name stands"
        )


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
class GenerateConfig(Config):
    """Segment images, sample the uncertainty, write a record set.

    Attributes:
        images: Folder of images, one image, a CSV of cases, or the root of a data set as downloaded.
        out: Folder of the record set; a run that was interrupted goes on there.
        truth: Folder of ground-truth masks.
        masks: Folder of masks made elsewhere, or a file of COCO, Label Studio, CVAT for images, 3D Slicer or DICOM SEG
            (.json, .xml, .seg.nrrd, .dcm); these are judged instead of the segmenter's own.
        label: The value, or values, of the label maps that make the structure; several are merged. Of images also
            0xRRGGBB, the colour of a structure. A mask that lacks the value is empty;
            one that holds 255 (or 65535) alone is the structure itself. Of a tool's file: names or numbers of
            categories, or segments.
        probs: Folder of the foreground probabilities behind them (float npy, or 8- or 16-bit PNG); without masks these
            are cut at 0.5.
        references: Examples of the task, 1 to 32 images with masks: a folder, a CSV, or COCO's file beside its images
            (label chooses the category). Of each mask it is told how well it would serve as an example for them
            (rca_max, rca_mean, rca_median), and segmenters and referees of the names personalised, pixel_classifier and
            universeg draw what they show. Of more than 32 the most different ones are taken; none shows itself.
        mask_pattern: How the files of masks are named, where not as the images, e.g. '{stem}_unet_fold0' or
            '{stem}/mask.png'; {stem} is the image's name without its suffix.
        resize_masks: Bring given masks of another size to that of their image (nearest neighbour; probabilities
            bilinear); without it they are skipped.
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
        supervised: A fitted network that segments the image for comparison, too.
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
        shard: Part i of n, e.g. 3/16: only its images, into OUT/shards/3-of-16; `sqp merge --out OUT` joins the parts.
        workers: Processes; 0 runs in this one, null takes as many as pay off and fit (as `sqp predict` does). With
            engine ray the most at once; 0 or null: as many as its cores hold.
        engine: local: processes of this machine; ray: a Ray cluster, whose nodes share the folders.
        address: Of the Ray cluster: HOST:PORT, or auto on one of its machines; default: Ray is started here.
        gpu_share: Of a GPU, what a worker of Ray takes, e.g. 0.25.
        runtime: torch, openvino, or auto: OpenVINO on a CPU where it is installed and there are 500 images or more.
        encodings: Folder in which encodings of images are kept by content (4 MB each), for further masks and runs.
        device: cpu or cuda.
        strict: Stop at the first broken case.
        overwrite: Empty the folder first.
    """

    images: Path
    out: Path
    truth: Path | None = None
    masks: Path | None = None
    label: list[int | str] = field(default_factory=list)
    probs: Path | None = None
    references: Path | None = None
    mask_pattern: str | None = None
    resize_masks: bool = False
    layout: Layout = "auto"
    splits: Path | None = None
    only: list[Split] = field(default_factory=list)
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
    supervised: SupervisedConfig = field(default_factory=SupervisedConfig)
    measures: list[Measure] = field(
        default_factory=lambda: ["certainty", "entropy", "mutual_information", "epkl", "variance"]
    )
    fusion: Fusion | None = None
    fusion_options: dict[str, Any] = field(default_factory=dict)
    refine: list[Refinement] = field(default_factory=list)
    refine_options: dict[str, dict[str, Any]] = field(default_factory=dict)
    variants: dict[str, VariantPlan] = field(default_factory=dict)
    seed: int = 0
    shard: str | None = None
    workers: int | None = 0
    engine: Engine = "local"
    address: str | None = None
    gpu_share: float = 1.0
    runtime: Runtime = "auto"
    encodings: Path | None = None
    device: str = "cpu"
    strict: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        self.label = as_labels(self.label, self.masks)
        self.sampler = sampler_for(self.sampler, self.segmenter)
        self.referee_by_default = self.referee.name == "auto"
        if self.referee_by_default:
            self.referee = self._auto_referee()
        self.referee = self.referee.with_prompters().with_encoder(self.segmenter.name, self.segmenter.files()[0])
        check_choices(self)
        for split, plan in self.variants.items():
            lookup("split", split, dict.fromkeys([*SPLITS, "*"]))
            for name in plan.families:
                lookup("corruption", name, dict.fromkeys(get_args(Corruption)))
        check_segmenter(self.segmenter, self.referee.name, self.references)
        check_ranges(self)
        check_sampler(self.sampler, self.segmenter)
        self.referee.check()
        if self.referee.name in IN_CONTEXT and self.referee.needs_references and self.references is None:
            raise ConfigError(f"the referee {self.referee.name} is shown examples: give --references DIR")
        self.supervised.check()
        if SUPERVISED in self.referee.prompters and self.supervised.network is None:
            raise ConfigError(
                "the referee's prompter 'supervised' needs a network: fit one with `sqp fit segmenter`, then give "
                "--supervised.network FILE"
            )
        self._check_prompts()
        self._check_masks()
        self._check_refinements()
        check_engine(self.engine, self.address, self.gpu_share)
        if self.shard is not None:
            Shard.parse(self.shard)

    @property
    def part(self) -> Shard | None:
        """The part that is asked for."""
        return None if self.shard is None else Shard.parse(self.shard)

    @property
    def given(self) -> bool:
        """Whether masks made elsewhere are judged."""
        return self.masks is not None or self.probs is not None or table_of_masks(self.images)

    @property
    def referee_network(self) -> tuple[str, Path | None]:
        """(name, weights) of the promptable segmenter that the referee is, or that stands behind it."""
        return self.referee.promptable(self.segmenter.name, self.segmenter.files()[0])

    def prompter_named(self, name: str) -> tuple[str, dict[str, Any]]:
        """(sqp's name, options) of a prompter of this config: of `prompters`, the main one, or a plain one."""
        if name in self.prompters:
            options = dict(self.prompters[name])
            return str(options.pop("prompter", "")), options
        return name, dict(self.prompter_options) if name == self.prompter else {}

    def used_prompters(self) -> Iterator[str]:
        """The main prompter, and those of the variants, each once."""
        names = [self.prompter, *(name for plan in self.variants.values() for name in plan.prompters)]
        yield from dict.fromkeys(names)

    def _auto_referee(self) -> RefereeConfig:
        if not self.given:
            return replace(self.referee, name=NONE)
        if self.segmenter.name in (*IGNORE_PROMPTS, NONE):
            return replace(self.referee, name=READ)
        weights = self.referee.weights or self.segmenter.files()[0]
        return replace(self.referee, name=self.segmenter.name, weights=weights)

    def _check_prompts(self) -> None:
        """ConfigError for options of prompters and of a cascade that would say nothing, or contradict each other."""
        plain = self.segmenter.name in IGNORE_PROMPTS
        if plain and self.prompter_options and self.cascade is None:
            raise ConfigError(f"prompter_options are given, but {self.segmenter.name} ignores prompts: leave them out")
        if self.prompter in self.prompters and self.prompter_options:
            raise ConfigError(
                f"'{self.prompter}' has its options in prompters: put those of prompter_options there too"
            )
        if self.cascade is None and self.cascade_options:
            raise ConfigError("cascade_options are given, but no cascade: name its first segmenter, e.g. mobilesam")
        if self.referee.name == NONE and not self.referee_by_default and self.referee.weights:
            raise ConfigError("referee.weights are given, but the referee is none: name the referee, or leave them out")

    def _check_masks(self) -> None:
        """ConfigError for what only given masks, or only the segmenter's own, can have."""
        if is_tar(self.images):  # whether masks are given is known when it is read
            return
        check_fitting(self.masks, self.mask_pattern, self.resize_masks, self.given)
        if self.given:
            if self.cascade is not None:
                raise ConfigError(
                    "a cascade prompts the segmenter, and given masks are not segmented: leave out one of them"
                )
            if self.fusion is not None or self.refine:
                raise ConfigError("fusion and refine work on the segmenter's own masks: leave them out, or --masks")
        else:
            if self.segmenter.name == NONE:
                raise ConfigError(
                    "segmenter none segments nothing: give --masks DIR, a table with masks, or a segmenter"
                )
            if "mask_box" in (self.prompter_named(name)[0] for name in self.used_prompters()):
                raise ConfigError("the prompter 'mask_box' boxes given masks: give --masks, or another --prompter")
        for split, plan in self.variants.items() if self.segmenter.name == NONE else ():
            if plan.prompters or plan.truth_jitter:
                raise ConfigError(
                    f"variants.{split} asks for masks of a segmenter, and segmenter is none: leave its prompters and "
                    "truth_jitter out, or name a segmenter"
                )

    def _check_refinements(self) -> None:
        """ConfigError for options of what is not done, and for what is named twice."""
        if self.fusion is None and self.fusion_options:
            raise ConfigError("fusion_options are given, but no fusion: name one, e.g. --fusion power_law")
        for name in self.refine_options:
            lookup("refinement (refine_options are for those that refine names)", name, dict.fromkeys(self.refine))
        if len(set(self.refine)) < len(self.refine):
            raise ConfigError(f"refine names one refinement twice: {', '.join(self.refine)}")


EXECUTION_KEYS = (
    *("out", "workers", "encodings", "device", "strict", "overwrite", "only", "max_images"),
    *("licence", "masks_licence", "references", "shard", "mask_pattern", "resize_masks"),
    *("engine", "address", "gpu_share", "runtime"),
)
"""Keys that say how a run goes, not what a record is: another value in the same folder is no change of config.

References are compared by what is in their files (`references_sha256`), wherever these lie."""
