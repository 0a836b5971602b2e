"""What `sqp predict` does, as one dataclass."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqp.config.checks import CommandConfig, as_labels, check_thresholds
from sqp.config.generate import check_fitting
from sqp.core.errors import ConfigError
from sqp.core.names import Engine, Layout, Precision, Runtime, Split, Tool
from sqp.core.ray_engine import check_engine
from sqp.core.shards import Shard
from sqp.core.tables import table_of_masks

PROMPTING = ("prompter", "prompter_options", "cascade_checkpoint")
EXECUTION_KEYS = (
    *("out", "shard", "batch_size", "workers", "encodings", "device", "strict", "overwrite"),
    *("worst", "gallery", "fail_under", "write", "engine", "address", "gpu_share", "runtime"),
)
"""Keys that say how a run goes, and what is drawn of it, not what is predicted."""
MAKING = (
    *(*PROMPTING, "checkpoint", "checkpoints", "referee_weights", "localizer", "supervised", "references"),
    *("label", "seed", "precision", "mask_pattern", "resize_masks"),
)


@dataclass
class PredictConfig(CommandConfig):
    """Predict the Dice of masks, whoever made them, with an interval and a verdict.

    Attributes:
        model: Bundle of a trained quality model: its folder, or the name of one that comes with sqp; default is
            `default`, with references `any`.
        out: Folder of predictions.csv (ten columns), predictions.parquet (all), overlays and the report.
        images: Folder of images, one image, a CSV, or the root of a data set; records are made in OUT/records.
        masks: Folder of masks made elsewhere, or a file of COCO, Label Studio, CVAT for images, 3D Slicer or DICOM SEG
            (.json, .xml, .seg.nrrd, .dcm), each annotation of which is judged; without it the segmenter's own masks.
        mask_pattern: How masks are named, e.g. '{stem}_unet_fold0'; {stem}: the image's name.
        resize_masks: Resize masks to their image (nearest neighbour), not skip them.
        probs: Folder of the foreground probabilities behind the masks (float npy, or 8- or 16-bit PNG), if there are
            any; without masks these are cut at 0.5.
        truth: Folder of ground-truth masks, if there are any; they only add the true Dice.
        label: The value, or values, of the label maps that make the structure; several are merged. Of images also
            0xRRGGBB, the colour of a structure. Of a tool's file the names or numbers of categories or segments.
        references: Examples of the task, 1 to 32 images, or volumes, with masks: a folder, a CSV, or COCO's file beside
            its images. What they say stands in predictions.parquet.
        correct: Let four or more references correct the model, where it is made for that (any).
        layout: Layout of the data, or auto.
        records: Record sets made before, in place of images.
        split: Only the records of these splits; default all.
        checkpoint: File of the segmenter's weights, if not embedded.
        checkpoints: Files of an ensemble, in the order in which the bundle's records were made.
        referee_weights: File of the referee's weights, if not embedded.
        localizer: The localizer that prompts the referee, where the bundle was trained with one and does not hold it.
        supervised: The fitted network with which masks are compared, where the bundle reads one and does not hold it.
        prompter: Prompter of the segmenter's own masks; default the one that the bundle was trained with.
        prompter_options: The prompter's own options, over those that the bundle was trained with; a network's file is
            never in a bundle: {checkpoint: FILE} (cam, localizer).
        cascade_checkpoint: File with the first segmenter's weights, where the bundle's records came from a cascade.
        accept: Verdict accept where the interval's low end reaches this Dice.
        reject: Verdict reject where the interval's high end stays below this Dice.
        risk: In place of accept: accept so many that at most this share of the accepted fails, e.g. 0.05. Where no
            threshold of the low end is safe, nothing is accepted.
        failure: With risk: a mask fails whose Dice is below this.
        confidence: With risk: probability with which the promise holds, over the draw of the calibration groups.
        audit: Draw so many accepted masks for a person to look at.
        audit_decisions: decisions.json on these; says whether risk holds.
        fail_under: Exit status 3 if any mask's predicted Dice is below this, or its verdict is abstain.
        worst: Number of the worst records that are drawn, abstentions first.
        gallery: Most records shown in the report.
        write: Also write the masks with their predicted Dice for other tools: coco (coco.json), labelstudio
            (labelstudio.json), cvat (cvat.xml), slicer (slicer/IMAGE.seg.nrrd).
        batch_size: Records predicted at once.
        shard: Part i of n, e.g. 3/16, into OUT/shards/3-of-16; `sqp merge --out OUT` joins the parts.
        workers: Processes that segment, of Ray the most; 0 runs in this one, as do volumes and a GPU. By default as
            many as pay off and fit, 2 GB each.
        engine: This machine, or a Ray cluster.
        address: Of the Ray cluster: HOST:PORT, or auto.
        gpu_share: Of a GPU, what a worker of Ray takes.
        runtime: Of the networks; auto: OpenVINO on a CPU, if installed, from 500 images on.
        encodings: Folder that keeps encodings for further runs.
        device: cpu or cuda.
        strict: Stop at the first broken case or record.
        overwrite: Make the records anew.
        precision: Of image encoders; auto: bfloat16 where the CPU computes in it; default as the bundle, if it can.
        seed: Seed of the samples; default the one of the records that the bundle was trained on.
    """

    model: Path | None = None
    out: Path = Path("sqp-predict")
    images: Path | None = None
    masks: Path | None = None
    probs: Path | None = None
    truth: Path | None = None
    mask_pattern: str | None = None
    resize_masks: bool = False
    references: Path | None = None
    correct: bool = True
    label: list[int | str] = field(default_factory=list)
    layout: Layout = "auto"
    records: list[Path] = field(default_factory=list)
    split: list[Split] = field(default_factory=list)
    checkpoint: Path | None = None
    checkpoints: tuple[Path, ...] = ()
    referee_weights: Path | None = None
    localizer: Path | None = None
    supervised: Path | None = None
    prompter: str | None = None
    prompter_options: dict[str, Any] = field(default_factory=dict)
    cascade_checkpoint: Path | None = None
    accept: float = 0.80
    reject: float = 0.70
    risk: float | None = None
    failure: float = 0.7
    confidence: float = 0.9
    audit: int = 0
    audit_decisions: Path | None = None
    fail_under: float | None = None
    worst: int = 20
    gallery: int = 1000
    write: list[Tool] = field(default_factory=list)
    batch_size: int = 64
    shard: str | None = None
    workers: int | None = None
    engine: Engine = "local"
    address: str | None = None
    gpu_share: float = 1.0
    runtime: Runtime = "auto"
    encodings: Path | None = None
    device: str = "cpu"
    strict: bool = False
    overwrite: bool = False
    precision: Precision | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model is None and self.references is not None:
            self.model = Path("any")
        self.label = as_labels(self.label, self.masks)
        check_thresholds(self.accept, self.reject)
        check_engine(self.engine, self.address, self.gpu_share)
        if self.audit and self.risk is None:
            raise ConfigError("--audit checks the promise of --risk: give --risk, too")
        if self.audit_decisions is not None and not self.audit:
            raise ConfigError("--audit_decisions are of the masks that --audit draws: give --audit as in that run")
        if self.shard is not None:
            Shard.parse(self.shard)
            if self.audit:
                raise ConfigError(
                    "--audit draws from all masks of a run, and --shard judges a part: leave out one of them"
                )
        if (self.images is None) == (not self.records):
            raise ConfigError("predict needs either --images (with --masks to judge masks made elsewhere) or --records")
        if self.records:
            if self.masks or self.truth or self.probs:
                raise ConfigError(
                    "--masks and --truth go with --images, as --probs does; a record set has its masks already"
                )
            self._refuse(MAKING, "is about records that are made of --images, and --records are made already")
        elif self.masks or self.probs:
            self._refuse(PROMPTING, "is about the segmenter's own masks, and here given masks are judged")
        given = self.masks is not None or self.probs is not None or table_of_masks(self.images)
        check_fitting(self.masks, self.mask_pattern, self.resize_masks, given)

    @property
    def part(self) -> Shard | None:
        """The part that is asked for."""
        return None if self.shard is None else Shard.parse(self.shard)

    def _refuse(self, names: tuple[str, ...], why: str) -> None:
        """ConfigError for the first of the options that is given, and would say nothing."""
        for name in names:
            value = getattr(self, name)
            if value is not False and value not in (None, {}, [], ()):
                raise ConfigError(f"--{name} {why}: leave it out")
