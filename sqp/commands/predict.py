"""`sqp predict`: images (and masks made elsewhere) or record sets -> predictions, overlays, a report."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from sqp.bundles import DEFAULT, bundle_folder
from sqp.commands import generate
from sqp.config.checks import check_ranges
from sqp.config.generate import GenerateConfig, SamplerConfig
from sqp.config.predict import PredictConfig
from sqp.core.errors import ConfigError, lookup
from sqp.core.files import write_text
from sqp.core.names import SPLITS
from sqp.core.ownership import owned
from sqp.quality.bundle.expected_config import (
    cascade_like,
    needed_sources,
    prompter_like,
    referee_like,
    segmenter_like,
)
from sqp.quality.bundle.provenance import common_expectation
from sqp.quality.bundle.sources import SELF
from sqp.quality.bundle.storage import Bundle
from sqp.quality.judging.error_map import error_maps
from sqp.quality.judging.predict import predict_records
from sqp.quality.judging.risk import Choice, RiskRule
from sqp.quality.judging.verdict import check_thresholds
from sqp.records.run_info import stored_config, versions
from sqp.report.figures import DISTRIBUTION, distribution, save
from sqp.report.findings import prediction_findings, risk_sentence
from sqp.report.html import Section
from sqp.report.overlays import write_overlays
from sqp.report.page import write_page
from sqp.report.predictions import prediction_summary, write_predictions
from sqp.segmenters import check_device


@dataclass
class PredictResult:
    """The predictions of a run, and where they are. `skipped` maps an image id to why it has none.

    `notes` are sentences on the files that were given.
    """

    out: Path
    table: pd.DataFrame
    skipped: dict[str, str] = field(default_factory=dict)
    fail_under: float | None = None
    choice: Choice | None = None
    label: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def below(self) -> int:
        """Number of records whose predicted Dice is below `fail_under`, or that were abstained from."""
        if self.fail_under is None:
            return 0
        met = (self.table["predicted_dice"] >= self.fail_under) & (self.table["verdict"] != "abstain")
        return int((~met).sum())

    @property
    def unreadable(self) -> int:
        """Number of records of which a file could not be read."""
        return int(self.table["unreadable"].sum())

    @property
    def exit_status(self) -> int:
        """3 if `fail_under` is not met, 1 if images were skipped or records could not be read, else 0."""
        return 3 if self.below else 1 if self.skipped or self.unreadable else 0

    def summary(self) -> str:
        """What the terminal shows at the end."""
        lines = [prediction_summary(self.table), ""]
        if self.skipped:
            reasons = [f"  {name}: {reason}" for name, reason in list(self.skipped.items())[:5]]
            lines += [f"{len(self.skipped)} skipped (records/skipped.csv has all)", *reasons, ""]
        lines += [*self.notes, ""] if self.notes else []
        if self.unreadable:
            lines += [f"{self.unreadable} records cannot be read; the column reason says why", ""]
        if len(self.table) and self.table["mask_empty"].all():
            lines += [f"every mask is empty{_no_label(self.label)}", ""]
        if self.choice is not None:
            lines += [f"accept: {risk_sentence(self.choice)}", ""]
        if self.fail_under is not None:
            lines.append(f"--fail-under {self.fail_under:g}: {self._bar()}")
        lines.append(f"predictions: {self.out / 'predictions.csv'}\nreport: {self.out / 'report.html'}")
        return "\n".join(lines)

    def _bar(self) -> str:
        """Whether `fail_under` is met, and by what; nothing is known of images that were skipped."""
        n = len(self.table)
        told = f"{self.below} of {n} below {self.fail_under:g} or abstained from" if self.below else "met"
        if not self.skipped:
            return told
        return f"{told if self.below else f'met by the {n} that were judged'}; {len(self.skipped)} skipped, not judged"


def run(config: PredictConfig) -> PredictResult:
    """Make records where images are given, predict, and write predictions, overlays, the report and run.yaml."""
    check(config)
    with owned(config.out, "predict"):
        return _run(config)


def _run(config: PredictConfig) -> PredictResult:
    """Into a folder that is this run's own."""
    started = time.monotonic()
    bundle = Bundle.load(bundle_folder(config.model))
    rule = risk_rule(config)
    choice = None if rule is None else bundle.choose(rule)
    folders: list[Path] = list(config.records)
    skipped: dict[str, str] = {}
    notes: list[str] = []
    record_ids: Collection[str] | None = None
    if config.images is not None:
        made = _made(config, bundle)
        folders, skipped, record_ids, notes = [made.out], made.skipped, made.record_ids, made.notes
    table = predict_records(
        bundle,
        folders,
        config.batch_size,
        splits=config.split or None,
        record_ids=record_ids,
        device=config.device,
        accept=config.accept,
        reject=config.reject,
        choice=choice,
        strict=config.strict,
    )
    write_predictions(config.out, table)
    drawn = partial(error_maps, bundle, batch_size=config.batch_size, device=config.device)
    write_overlays(table, config.out / "overlays", config.worst, drawn)
    what = config.masks or config.probs or config.images or ", ".join(map(str, config.records))
    write_page(
        config.out / "report.html",
        table,
        title="Predicted quality",
        findings=prediction_findings(table, config.accept, config.reject, 1 - bundle.conformal.alpha, choice, skipped),
        sections=[Section("Predicted Dice", save(distribution(table), config.out / "distribution.png"), DISTRIBUTION)],
        notes=f"Judged: {what}. Model: {config.model or DEFAULT}.",
        gallery=config.gallery,
        error_maps=drawn,
        skipped=skipped,
    )
    result = PredictResult(config.out, table, skipped, config.fail_under, choice, list(config.label), notes)
    _write_run(config, bundle, result, time.monotonic() - started)
    return result


def _no_label(label: Sequence[int]) -> str:
    """What may be wrong where no mask has a pixel of the labels asked for."""
    return f": no pixel has --label {' '.join(map(str, label))}, look whether that is the value" if label else ""


def check(config: PredictConfig) -> None:
    """Refuse options that contradict each other or are out of range, before anything is read."""
    if (config.images is None) == (not config.records):
        raise ConfigError("predict needs either --images (with --masks to judge masks made elsewhere) or --records")
    if config.records and (config.masks or config.truth or config.probs):
        raise ConfigError("--masks and --truth go with --images, as --probs does; a record set has its masks already")
    check_thresholds(config.accept, config.reject)
    risk_rule(config)
    check_ranges(config)
    if config.records:
        _check_unused(config, MAKING, "is about records that are made of --images, and --records are made already")
    elif config.masks or config.probs:
        _check_unused(config, PROMPTING, "is about the segmenter's own masks, and here given masks are judged")
    for name in config.split:
        lookup("split", name, dict.fromkeys(SPLITS))
    check_device(config.device)


PROMPTING = ("prompter", "prompter_options", "cascade_checkpoint")
MAKING = (*PROMPTING, "checkpoint", "checkpoints", "referee_weights", "localizer", "label", "seed")


def _check_unused(config: PredictConfig, names: Sequence[str], why: str) -> None:
    """ConfigError for the first of the options that is given, and would say nothing."""
    for name in names:
        if getattr(config, name) not in (None, {}, [], ()):
            raise ConfigError(f"--{name} {why}: leave it out")


def risk_rule(config: PredictConfig) -> RiskRule | None:
    """The risk that was asked for. ConfigError where it, the failure or the confidence is out of range."""
    return None if config.risk is None else RiskRule(config.risk, config.failure, config.confidence)


def _made(config: PredictConfig, bundle: Bundle) -> generate.GenerateResult:
    """The record set of the images. ConfigError where it has no record of them."""
    made = generate.run(generate_config(config, bundle.expects, bundle.sources))
    if not made.record_ids:
        reasons = "; ".join(list(made.skipped.values())[:3])
        raise ConfigError(f"no image of {config.images} could be segmented: {reasons}")
    return made


def generate_config(
    config: PredictConfig, expects: list[dict[str, Any]], sources: Sequence[str] = (SELF,)
) -> GenerateConfig:
    """How records must be made so that a bundle can read what it reads of them (`sources`): as for its training."""
    assert config.images is not None
    needed = needed_sources(config, sources)
    like: Mapping[str, Any] = common_expectation(expects, str(config.model or DEFAULT), needed)
    prompter, options = prompter_like(config, like)
    cascade, cascade_options = cascade_like(config, like)
    return GenerateConfig(
        images=config.images,
        out=config.out / "records",
        truth=config.truth,
        masks=config.masks,
        probs=config.probs,
        label=list(config.label),
        layout=config.layout,
        segmenter=segmenter_like(config, like, needed),
        prompter=prompter,
        prompter_options=options,
        cascade=cascade,
        cascade_options=cascade_options,
        sampler=SamplerConfig(**like["sampler"]) if SELF in needed else SamplerConfig(),
        referee=referee_like(config, like, needed),
        measures=list(like["measures"]),
        seed=int(like.get("seed", 0)) if config.seed is None else config.seed,
        workers=config.workers,
        device=config.device,
        strict=config.strict,
        overwrite=config.overwrite,
    )


def _write_run(config: PredictConfig, bundle: Bundle, result: PredictResult, seconds: float) -> None:
    """OUT/run.yaml: the resolved config, the bundle's data, versions, counts and seconds."""
    table = result.table
    counts = {"records": len(table), "images": int(table["image_id"].nunique()), "skipped": len(result.skipped)}
    counts |= {"unreadable": result.unreadable, **{k: int(n) for k, n in table["verdict"].value_counts().items()}}
    run = {
        "config": stored_config(config),
        "bundle": {"data_sha256": bundle.info.get("data", {}).get("sha256")},
        "risk": asdict(result.choice) if result.choice else None,
        "versions": versions(),
        "counts": counts,
        "seconds": round(seconds, 2),
    }
    write_text(config.out / "run.yaml", yaml.safe_dump(run, sort_keys=False))
