"""`sqp predict`: images (and masks made elsewhere) or record sets -> predictions, overlays, a report."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path

from sqp.bundles import DEFAULT, bundle_folder
from sqp.config.predict import PredictConfig
from sqp.core.errors import ConfigError
from sqp.core.ownership import owned
from sqp.integrations.writers import check_writers, write_for_tools
from sqp.quality.bundle.expected_config import generate_config
from sqp.quality.bundle.storage import Bundle
from sqp.quality.judging.error_map import ErrorMapStore
from sqp.quality.judging.predict import predict_records
from sqp.quality.judging.risk import RiskRule, risk_rule
from sqp.records.make import GenerateResult, make_record_set
from sqp.records.run_info import stored_config, write_run
from sqp.report.drawing import save_picture
from sqp.report.findings import prediction_findings
from sqp.report.histogram import DISTRIBUTION, distribution
from sqp.report.html import Section
from sqp.report.overlays import write_overlays
from sqp.report.page import write_page
from sqp.report.predictions import PredictResult, with_masks, write_predictions
from sqp.segmenters import check_device


def run(config: PredictConfig) -> PredictResult:
    """Make records where images are given, predict, and write predictions, overlays, the report and run.yaml."""
    rule = risk_rule(config)
    check_device(config.device)
    check_writers(config.write)
    with owned(config.out, "predict"):
        return _run(config, rule)


def _run(config: PredictConfig, rule: RiskRule | None) -> PredictResult:
    """Into a folder that is this run's own."""
    started = time.monotonic()
    bundle = Bundle.load(bundle_folder(config.model))
    choice = None if rule is None else bundle.choose(rule)
    folders: list[Path] = list(config.records)
    skipped: dict[str, str] = {}
    notes: list[str] = []
    record_ids: Collection[str] | None = None
    given: dict[str, str] = {}
    if config.images is not None:
        records = _records_of_images(config, bundle)
        folders, skipped, record_ids, notes = [records.out], records.skipped, records.record_ids, records.notes
        given = records.given
    drawn = ErrorMapStore(bundle, config.batch_size, config.device)
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
        keep_maps=drawn.keep,
    )
    table = with_masks(table, given)
    write_predictions(config.out, table)
    write_overlays(table, config.out / "overlays", config.worst, drawn)
    figure = save_picture(distribution(table), config.out / "distribution.png")
    what = config.masks or config.probs or config.images or ", ".join(map(str, config.records))
    write_page(
        config.out / "report.html",
        table,
        title="Predicted quality",
        findings=prediction_findings(table, config.accept, config.reject, 1 - bundle.conformal.alpha, choice, skipped),
        sections=[Section("Predicted Dice", figure, DISTRIBUTION)],
        notes=f"Judged: {what}. Model: {config.model or DEFAULT}.",
        gallery=config.gallery,
        error_maps=drawn,
        skipped=skipped,
    )
    files = write_for_tools(config.write, table, config.out)
    result = PredictResult(config.out, table, skipped, config.fail_under, choice, list(config.label), notes, files)
    _write_run(config, bundle, result, time.monotonic() - started)
    return result


def _records_of_images(config: PredictConfig, bundle: Bundle) -> GenerateResult:
    """The record set of the images. ConfigError where it has no record of them."""
    result = make_record_set(generate_config(config, bundle.expects, bundle.sources))
    if not result.record_ids:
        reasons = "; ".join(list(result.skipped.values())[:3])
        raise ConfigError(f"no image of {config.images} could be segmented: {reasons}")
    return result


def _write_run(config: PredictConfig, bundle: Bundle, result: PredictResult, seconds: float) -> None:
    """OUT/run.yaml: the resolved config, the bundle's data, versions, counts and seconds."""
    table = result.table
    counts = {"records": len(table), "images": int(table["image_id"].nunique()), "skipped": len(result.skipped)}
    counts |= {"unreadable": result.unreadable, **{k: int(n) for k, n in table["verdict"].value_counts().items()}}
    data = {"data_sha256": bundle.info.get("data", {}).get("sha256")}
    risk = asdict(result.choice) if result.choice else None
    write_run(config.out, stored_config(config), seconds, bundle=data, risk=risk, counts=counts)
