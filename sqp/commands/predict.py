"""`sqp predict`: images (and masks made elsewhere) or record sets -> predictions, overlays, a report."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from copy import copy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd

import sqp
from sqp.bundles import DEFAULT, bundle_folder
from sqp.commands import predict_volumes
from sqp.config.predict import EXECUTION_KEYS, PredictConfig
from sqp.core.errors import ConfigError
from sqp.core.files import sha256_of_all
from sqp.core.mirror import url_of
from sqp.core.ownership import owned
from sqp.core.shards import Shard, beside
from sqp.core.untrusted import read_run
from sqp.data.left_aside import by_cause
from sqp.data.remote import with_local_inputs
from sqp.integrations.writers import check_writers, write_for_tools
from sqp.networks.runtime import runtime_for
from sqp.quality.bundle.expected_config import generate_config
from sqp.quality.bundle.licences import restriction
from sqp.quality.bundle.storage import Bundle
from sqp.quality.judging.audit import Audit, audit_sample
from sqp.quality.judging.colours import swapped_colours
from sqp.quality.judging.columns import FIRST
from sqp.quality.judging.correction import Correction, correction_notes, learned
from sqp.quality.judging.decisions import read_decisions
from sqp.quality.judging.error_map import ErrorMapStore
from sqp.quality.judging.predict import predict_records
from sqp.quality.judging.risk import Choice, RiskRule, risk_rule
from sqp.quality.model.inference import by_runtime
from sqp.records import RecordSet
from sqp.records.encodings import references_encoded_once
from sqp.records.make import GenerateResult, make_record_set
from sqp.records.parts.claim import check_whole, claim
from sqp.records.parts.join import check_configs
from sqp.records.reader import read_record_sets
from sqp.records.run_info import stored_config, write_run
from sqp.records.workers import CORES, ray_engine
from sqp.records.writer import first_difference
from sqp.report.drawing import save_picture
from sqp.report.findings import prediction_findings, thresholds_sentence
from sqp.report.histogram import distribution
from sqp.report.overlays import write_overlays
from sqp.report.page import plot_beside, write_page
from sqp.report.predictions import PredictResult, read_predictions, with_masks, write_predictions
from sqp.report.review import Review
from sqp.segmenters import check_device


def run(config: PredictConfig) -> PredictResult:
    """Make records where images are given, predict, and write predictions, overlays, the report and run.yaml."""
    if references := predict_volumes.volume_references(config):
        return predict_volumes.run(config, references, run)
    rule = risk_rule(config)
    if config.engine == "local":  # the nodes of a cluster say it for themselves
        check_device(config.device)
    check_writers(config.write)
    part, whole = config.part, config.out
    if part is None:
        check_whole(whole)
    else:
        config = copy(config)
        config.out = claim(whole, "predict", part)
    with owned(config.out, "predict"), references_encoded_once():
        result = _run(config, rule)
    if part is not None:
        result.notes.append(f"part {part} of {whole}: `sqp status {whole}` tells what is missing")
    return result


def _run(config: PredictConfig, rule: RiskRule | None) -> PredictResult:
    """Into a folder that is this run's own; a part leaves overlays and report to `sqp merge`."""
    started = time.monotonic()
    if config.part is not None:
        check_alike(config)
        write_run(config.out, stored_config(config))
    runtime_for(config.runtime, config.device, 0)  # an error of it is told before any work is done
    bundle = Bundle.load(bundle_folder(config.model))
    choice = None if rule is None else bundle.choose(rule, config.reject)
    folders: list[Path] = list(config.records)
    some = True
    skipped: dict[str, str] = {}
    notes = [sentence] if (sentence := restriction(bundle.info)) else []
    record_ids: Collection[str] | None = None
    given: dict[str, str] = {}
    if config.images is not None:
        records = _records_of_images(config, bundle)
        folders, skipped, record_ids, given = [records.out], records.skipped, records.record_ids, records.given
        notes += records.notes
        some = bool(records.record_ids)
    elif config.part is not None:
        record_ids = records_of(config.part, folders, config.split)
        some = bool(record_ids)
    if not some:  # a part may have no image
        write_predictions(config.out, nothing())
        result = PredictResult(config.out, nothing(), skipped, config.fail_under)
        write_result(config, bundle, result, time.monotonic() - started)
        return result
    n = len(read_record_sets(folders)) if record_ids is None else len(record_ids)
    runtime = runtime_for(config.runtime, config.device, n)
    bundle.run = by_runtime(bundle.model, runtime)
    drawn = ErrorMapStore(bundle, config.batch_size, config.device)
    before = judged_before(config, record_ids or ())
    correction, told = correction_of(config, bundle) if before is None else (None, [])
    notes += told
    table = (
        before
        if before is not None
        else predict_records(
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
            keep_maps=drawn.keep if config.part is None and config.engine == "local" else None,
            engine=None if config.engine == "local" else ray_engine(config, config.out, CORES[True]),
            correct=correction,
        )
    )
    table = with_masks(table, given)
    audit = None
    if rule is not None and config.audit:
        table = table.assign(audit=audit_sample(table, config.audit, config.seed or 0))
        audit = _audit(config, rule, table[table["audit"]])
    said = [*remarks(config, bundle, table, choice), *([f"audit: {audit.sentence()}"] if audit else [])]
    write_predictions(config.out, table)
    result = PredictResult(config.out, table, skipped, config.fail_under, choice, list(config.label), notes)
    if config.part is None:
        write_report(config, bundle, result, drawn, said)
        result.notes = [*result.notes, *said]
    write_result(config, bundle, result, time.monotonic() - started, audit)
    return result


def write_report(
    config: PredictConfig, bundle: Bundle, result: PredictResult, drawn: ErrorMapStore, said: Sequence[str] = ()
) -> None:
    """Overlays, the page of a run's predictions, which says these sentences too, and files for other tools."""
    table, choice, skipped = result.table, result.choice, result.skipped
    write_overlays(table, config.out / "overlays", config.worst, drawn)
    save_picture(distribution(table), config.out / "distribution.png")
    given = config.masks or config.probs or config.images
    what = (url_of(given) or given) if given else ", ".join(map(str, config.records))
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
    result.files = write_for_tools(config.write, table, config.out)


def remarks(config: PredictConfig, bundle: Bundle, table: pd.DataFrame, choice: Choice | None) -> list[str]:
    """In sentences: images that look swapped in colour, and what other thresholds take unless a risk chose one."""
    said = "" if choice else thresholds_sentence(table, config.accept, config.reject)
    return [*swapped_colours(bundle, table["image_path"]), *([said] if said else [])]


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


def correction_of(config: PredictConfig, bundle: Bundle) -> tuple[Correction | None, list[str]]:
    """What the references of a run teach a bundle, from records in OUT/references, and what is said of it."""
    if config.images is None or not config.correct:
        return None, []
    made = generate_config(with_local_inputs(config, config.part), bundle.expects, bundle.sources)
    options = {"batch_size": config.batch_size, "device": config.device}
    found = learned(bundle, made, config.out / "references", config.risk, **options)
    return found, correction_notes(found, bundle, made.references)


def records_of(part: Shard, folders: Sequence[Path], splits: Sequence[str]) -> list[str]:
    """The ids of a part's records in record sets that were made before."""
    table = read_record_sets(folders)
    wanted = table["split"].isin(splits) if splits else pd.Series(True, table.index)
    return table.loc[wanted & table["image_id"].map(part.holds), "record_id"].tolist()


OF_TRUTH = ("dice", "iou", "truth_path", "files")
"""Columns of a prediction that change where a truth is added."""


def judged_before(config: PredictConfig, record_ids: Collection[str]) -> pd.DataFrame | None:
    """The predictions of a finished run to which only `--truth` is added now, with the Dice that its records have.

    None where there is no such run, where a record, the bundle or sqp is another one, or a record could not be read:
    then all are judged.
    """
    run, table = config.out / "run.yaml", config.out / "predictions.parquet"
    if config.truth is None or config.part is not None or not (run.exists() and table.exists()):
        return None
    told = read_run(run)
    then, now = (told_by(told["config"]), told_by(stored_config(config)))
    if then.pop("truth", None) is not None or not now.pop("truth") or first_difference(then, now):
        return None
    if told.get("bundle", {}).get("sha256") != bundle_sha256(config) or told["versions"]["sqp"] != sqp.__version__:
        return None
    before = read_predictions(table, needed=("unreadable", *OF_TRUTH)).set_index("record_id")
    records = RecordSet(config.out / "records")
    rows = records.table[records.table["record_id"].isin(list(record_ids))].set_index("record_id")
    if before["unreadable"].any() or set(before.index) != set(rows.index):
        return None
    rows = rows.loc[before.index]
    images = [column.str.partition(";")[0] for column in (before["files"], rows["files"])]
    if not images[0].equals(images[1]):
        return None
    truths = {name: rows[name] for name in OF_TRUTH}
    return before.assign(**truths, record_set=str(records.folder)).reset_index()


def bundle_sha256(config: PredictConfig) -> str:
    """Which bundle judges, by its files."""
    folder = bundle_folder(config.model)
    return sha256_of_all([folder / "bundle.json", folder / "model.safetensors"])


def nothing() -> pd.DataFrame:
    """The predictions of a part without an image."""
    numbers = {name: pd.Series(dtype=float) for name in ("predicted_dice", "low", "high")}
    flags = {name: pd.Series(dtype=bool) for name in ("unreadable", "mask_empty")}
    return pd.DataFrame({name: pd.Series(dtype=str) for name in FIRST} | numbers | flags)


def check_alike(config: PredictConfig) -> None:
    """ConfigError naming the key in which a part differs from another part of its run."""
    for other in beside(config.out):
        if (other / "run.yaml").exists():
            check_configs(
                [other, config.out], [told_by(read_run(other / "run.yaml")["config"]), told_by(stored_config(config))]
            )


def told_by(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a stored config tells the predictions, without what only says how a run goes."""
    return {key: value for key, value in config.items() if key not in EXECUTION_KEYS}


def _records_of_images(config: PredictConfig, bundle: Bundle) -> GenerateResult:
    """The record set of the images. ConfigError where it has no record of them."""
    local = with_local_inputs(config, config.part)
    result = make_record_set(generate_config(local, bundle.expects, bundle.sources))
    if not result.record_ids and (config.part is None or result.images):
        reasons = "; ".join(by_cause(result.skipped)[:3])
        raise ConfigError(f"no image of {config.images} could be judged: {reasons}")
    return result


def write_result(
    config: PredictConfig, bundle: Bundle, result: PredictResult, seconds: float, audit: Audit | None = None
) -> None:
    """OUT/run.yaml: the resolved config, the bundle's data, versions, counts and seconds."""
    table = result.table
    counts = {"records": len(table), "images": int(table["image_id"].nunique()), "skipped": len(result.skipped)}
    counts |= {"unreadable": result.unreadable, **{k: int(n) for k, n in table["verdict"].value_counts().items()}}
    data = {"data_sha256": bundle.info.get("data", {}).get("sha256"), "sha256": bundle_sha256(config)}
    risk = asdict(result.choice) if result.choice else None
    facts: dict[str, Any] = {"bundle": data, "risk": risk, "counts": counts}
    if audit is not None:
        facts["audit"] = {"drawn": audit.drawn, "seen": audit.seen, "failed": audit.failed, "holds": audit.holds}
    write_run(config.out, stored_config(config), seconds, **facts)
