"""`sqp predict`: images (and masks made elsewhere) or record sets -> predictions, overlays, a report."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd

from sqp.bundles import DEFAULT, bundle_folder
from sqp.config.predict import PredictConfig
from sqp.core.errors import ConfigError
from sqp.core.ownership import owned
from sqp.integrations.writers import check_writers, write_for_tools
from sqp.quality.bundle.expected_config import generate_config
from sqp.quality.bundle.storage import Bundle
from sqp.quality.judging.audit import Audit, audit_sample
from sqp.quality.judging.decisions import read_decisions
from sqp.quality.judging.error_map import ErrorMapStore
from sqp.quality.judging.predict import predict_records
from sqp.quality.judging.risk import RiskRule, risk_rule
from sqp.records import RecordSet
from sqp.records.make import GenerateResult, make_record_set
from sqp.records.run_info import stored_config, write_run
from sqp.report.drawing import save_picture
from sqp.report.findings import prediction_findings, thresholds_sentence
from sqp.report.histogram import distribution
from sqp.report.overlays import write_overlays
from sqp.report.page import plot_beside, write_page
from sqp.report.predictions import PredictResult, with_masks, write_predictions
from sqp.report.review import Review
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
    choice = None if rule is None else bundle.choose(rule, config.reject)
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
    audit = None
    if rule is not None and config.audit:
        table = table.assign(audit=audit_sample(table, config.audit, config.seed or 0))
        audit = _audit(config, rule, table[table["audit"]])
    others = "" if choice else thresholds_sentence(table, config.accept, config.reject)
    said = [f"audit: {audit.sentence()}"] if audit else [others] if others else []
    write_predictions(config.out, table)
    write_overlays(table, config.out / "overlays", config.worst, drawn)
    save_picture(distribution(table), config.out / "distribution.png")
    what = config.masks or config.probs or config.images or ", ".join(map(str, config.records))
    found = prediction_findings(table, config.accept, config.reject, 1 - bundle.conformal.alpha, choice, skipped)
    write_page(
        config.out / "report.html",
        table,
        title="Predicted quality",
        findings=replace(found, points=(*found.points, *said)),
        beside=plot_beside(table),
        review=Review(
            accept=choice.threshold if choice else config.accept,
            reject=config.reject,
            threshold=config.failure if choice else config.accept,
        ),
        notes=f"Judged: {what}. Model: {config.model or DEFAULT}.",
        gallery=config.gallery,
        error_maps=drawn,
        skipped=skipped,
    )
    files = write_for_tools(config.write, table, config.out)
    result = PredictResult(
        config.out, table, skipped, config.fail_under, choice, list(config.label), [*notes, *said], files
    )
    _write_run(config, bundle, result, audit, time.monotonic() - started)
    return result


def _audit(config: PredictConfig, rule: RiskRule, drawn: pd.DataFrame) -> Audit:
    """The sample, and what its decisions say where they are given."""
    if config.audit_decisions is None:
        return Audit(rule, len(drawn))
    decisions = read_decisions(config.audit_decisions)
    if decisions.threshold != rule.failure:
        raise ConfigError(
            f"{decisions.path} was made on a page where accept means a Dice of at least {decisions.threshold:g}, but "
            f"the promise is about {rule.failure:g}: give --failure {decisions.threshold:g}, or look at the page of "
            "this run"
        )
    of_drawn = decisions.table[decisions.table["record_id"].isin(drawn["record_id"])].reset_index(drop=True)
    if of_drawn.empty:
        raise ConfigError(f"{decisions.path} decides on none of the drawn masks: give the options of the run as it was")
    sets = {str(name): RecordSet(name) for name in drawn["record_set"].unique()}
    return Audit.of(rule, len(drawn), replace(decisions, table=of_drawn).of(drawn, sets)["decision"])


def _records_of_images(config: PredictConfig, bundle: Bundle) -> GenerateResult:
    """The record set of the images. ConfigError where it has no record of them."""
    result = make_record_set(generate_config(config, bundle.expects, bundle.sources))
    if not result.record_ids:
        reasons = "; ".join(list(result.skipped.values())[:3])
        raise ConfigError(f"no image of {config.images} could be segmented: {reasons}")
    return result


def _write_run(
    config: PredictConfig, bundle: Bundle, result: PredictResult, audit: Audit | None, seconds: float
) -> None:
    """OUT/run.yaml: the resolved config, the bundle's data, versions, counts and seconds."""
    table = result.table
    counts = {"records": len(table), "images": int(table["image_id"].nunique()), "skipped": len(result.skipped)}
    counts |= {"unreadable": result.unreadable, **{k: int(n) for k, n in table["verdict"].value_counts().items()}}
    data = {"data_sha256": bundle.info.get("data", {}).get("sha256")}
    risk = asdict(result.choice) if result.choice else None
    facts: dict[str, Any] = {"bundle": data, "risk": risk, "counts": counts}
    if audit is not None:
        facts["audit"] = {"drawn": audit.drawn, "seen": audit.seen, "failed": audit.failed, "holds": audit.holds}
    write_run(config.out, stored_config(config), seconds, **facts)
