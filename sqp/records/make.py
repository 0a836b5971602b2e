"""The record set of a config: cases -> records. Streams, goes on where it stopped, and runs over processes."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from sqp.config.fit import PLAIN
from sqp.config.generate import EXECUTION_KEYS, GenerateConfig
from sqp.config.referee import NONE
from sqp.config.train import TrainConfig
from sqp.core.errors import CaseError, ConfigError, lookup
from sqp.core.files import write_text
from sqp.core.mirror import fetch_all
from sqp.core.ownership import owned
from sqp.core.progress import Progress
from sqp.core.shards import beside
from sqp.core.tables import csv_text
from sqp.core.types import Case
from sqp.core.untrusted import read_run
from sqp.data import find_cases
from sqp.data.annotations.cases import annotated_cases, holds_annotations, number_labels, without_broken, write_masks
from sqp.data.left_aside import cause_of, counted, turned_notes
from sqp.data.licences import of_licences
from sqp.data.remote import with_local_inputs
from sqp.data.sizes import of_other_size, refusal, resized_notes
from sqp.data.split_files import read_splits, write_splits
from sqp.data.splits import FRACTIONS, Splits, apply_splits, subset_by_group, with_default_splits
from sqp.metrics.intervals import groups_needed
from sqp.networks.runtime import runtime_for
from sqp.records import RecordWriter
from sqp.records.cascade import check_cascade
from sqp.records.fitted import fitted_checkpoints, leave_out_fitted, parts_of_records, with_hashes
from sqp.records.plan import check_prompters, for_cases, plan_case
from sqp.records.referees.referee import check_referee
from sqp.records.referees.references import References, load_references, reference_notes
from sqp.records.referees.supervised import check_supervised
from sqp.records.refine import check_refined
from sqp.records.resume import join_truth, still_done
from sqp.records.run_info import MaySkip, execution, stored_config, versions
from sqp.records.workers import make_records
from sqp.records.writer import FINISHED, FOLDERS, first_difference, with_defaults
from sqp.segmenters import SEGMENTERS, check_device, precision_for
from sqp.segmenters.plain import needs_checkpoint
from sqp.uncertainty.tta import SETS

KEPT_SPLITS = "splits.json"


@dataclass
class GenerateResult(MaySkip):
    """What a run did. `skipped` maps an image id to why."""

    out: Path
    images: int
    records: int
    written: int
    skipped: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    unsplit: int = 0
    record_ids: list[str] = field(default_factory=list)  # of this run's cases, not of earlier runs with other cases
    notes: list[str] = field(default_factory=list)  # what the user should know of the files, a sentence each
    given: dict[str, str] = field(default_factory=dict)  # image id -> the file that is judged, where masks are given

    def summary(self) -> str:
        """What the terminal shows at the end."""
        lines = [f"{self.records} records ({self.written} new) of {self.images} images in {self.out}"]
        if self.skipped:
            lines.append(f"{len(self.skipped)} images skipped, reasons in {self.out / 'skipped.csv'}")
        if self.unsplit:
            lines.append(f"{self.unsplit} images are in no split: train and evaluate will not use them")
        return "\n".join([*lines, *self.notes])


def check_parts(config: GenerateConfig) -> None:
    """ConfigError for a segmenter, a prompter, an option of theirs or a device that is not there.

    It names the option, and the nearest name where one is unknown. What needs no table the config has checked itself.
    """
    segmenter, sampler = config.segmenter, config.sampler
    lookup("segmenter", segmenter.name, {**SEGMENTERS, NONE: None})
    if segmenter.name in PLAIN and None in segmenter.files():
        raise ConfigError(needs_checkpoint(segmenter.name))
    most = SETS[sampler.set].most
    if sampler.name == "tta" and sampler.n > most:
        raise ConfigError(f"sampler.n is {sampler.n}, but sampler.set {sampler.set} has {most}: give sampler.n {most}")
    check_prompters(config)
    check_cascade(config)
    check_refined(config)
    check_referee(config)
    check_supervised(config)
    if config.engine == "local":  # the nodes of a cluster say it for themselves
        check_device(config.device)


def make_record_set(config: GenerateConfig, to_train: bool = False) -> GenerateResult:
    """Write the record set of `config`; broken cases are skipped and reported unless `config.strict`.

    `to_train`: a model may be trained on it, so that it is said at the start where there are too few images for one.
    Finished records stay as long as they are of the same files. Raises ConfigError before anything is written where
    the config is wrong, or another one made the records that are there; CaseError with `strict`.
    """
    check_parts(config)
    config = copy(config)  # what is stored of it, and compared with another run's, is what this machine computes in
    config.segmenter = replace(config.segmenter, precision=precision_for(config.segmenter.precision, config.device))
    with owned(config.out, "generate", apart=FOLDERS):
        return _make(config, to_train)


def _make(config: GenerateConfig, to_train: bool) -> GenerateResult:
    """Into a folder that is this run's own."""
    started = time.monotonic()
    config = with_local_inputs(config, config.part)
    everything, skipped, made_splits, notes = collect_cases(config)
    everything = of_licences(everything, config.licence)
    config = for_cases(config, everything)
    cases = select_cases(everything, config)
    cases, fitted = leave_out_fitted(cases, fitted_checkpoints(config))
    skipped |= fitted
    if config.part is not None:
        cases = [case for case in cases if config.part.holds(case.image_id)]
        fitted, skipped = ({k: v for k, v in some.items() if config.part.holds(k)} for some in (fitted, skipped))
    if fitted and config.strict:
        raise CaseError(next(iter(fitted.values())))
    config.runtime = runtime_for(config.runtime, config.device, len(cases))
    parts = parts_of_records(config, everything)
    writer = RecordWriter(config.out)
    defaults = stored_config(GenerateConfig(config.images, config.out), EXECUTION_KEYS)
    stored, kept = with_hashes(config), execution(config, EXECUTION_KEYS)
    check_alike(config, stored, defaults)
    writer.check(stored, config.overwrite, defaults)
    writer.begin(kept)
    if made_splits is not None:
        write_splits(config.out / KEPT_SPLITS, made_splits)
    if config.masks is not None and holds_annotations(config.masks):
        broken = write_masks(everything, config.masks, config.out, config.label)
        cases = without_broken(cases, broken, config.strict)
        skipped |= broken
    fetch_all(path for case in cases for path in (case.mask_path, case.probability_path) if path)
    plans = {case.image_id: [planned.record_id for planned in plan_case(case, config)] for case in cases}
    finished = still_done(writer, cases, plans)
    writer.drop(finished.stale)
    apart = join_truth(writer, cases, finished.bare) if finished.bare else {}
    if apart and config.strict:
        raise CaseError(next(iter(apart.values())))
    skipped |= apart
    pending = [case for case in cases if not finished.done.issuperset(plans[case.image_id])]
    fetch_all(case.image_path for case in pending if case.mask_path or case.probability_path)
    others = of_other_size(cases if config.resize_masks else pending)
    if others and config.resize_masks:
        notes += resized_notes(others)
        others = {}
    elif others and (config.strict or len(others) == len(cases)):
        raise ConfigError(refusal(others, len(cases)))
    pending = [case for case in pending if case.image_id not in others]
    skipped |= others
    references = References([])
    if config.references and pending:
        references = load_references(config)
        notes += references.notes
        skipped |= {f"reference {name}": reason for name, reason in references.left_out.items()}
        for reason in references.left_out.values() if config.strict else ():
            raise CaseError(reason)
    written, ended, causes = 0, False, dict[str, str]()
    marked: list[tuple[str, set[str]]] = []
    progress = Progress(len(pending), "generate", "image")
    for line in too_few_to_train(everything) if to_train else ():
        progress.say(line)
    for name, reason in references.left_out.items():
        progress.say(f"left out the reference {name}: {reason}")
    if others:
        progress.say(f"skipped {len(others)} images: {refusal(others, len(cases))}")
    try:
        outcomes = make_records(config, pending, everything, finished.done, references.shown)
        for image_id, count, problems, marks in outcomes:
            written += count
            marked.append((image_id, marks))
            progress.update()
            for problem in problems:
                if config.strict:
                    raise CaseError(f"{image_id}: {problem}")
                if causes.setdefault(cause_of(problem), image_id) == image_id:  # of others like it skipped.csv tells
                    progress.say(f"skipped {image_id}: {problem}")
            if problems:
                skipped[image_id] = "; ".join(problems)
        ended = True
    finally:
        progress.close()
        seconds = round(time.monotonic() - started, 2)
        counts = {"images": len(cases), "written": written, "skipped": len(skipped), "seconds": seconds}
        facts = {"versions": versions(), "execution": kept, "fitted": parts, "counts": counts, FINISHED: ended}
        records = writer.finish(facts)
        write_skipped(config.out, skipped)
    done = writer.done()
    ids = [name for names in plans.values() for name in names if name in done]
    unsplit = sum(not case.split for case in cases) if any(case.split for case in everything) else 0
    joined = sorted(finished.bare)
    notes += counted(joined, "record{s} {are} joined with the truth that was added, and nothing else of them changes")
    notes += counted(finished.changed, "image{s} or truth{s} changed since the records were made: made anew")
    notes += counted(finished.left, "image{s} or truth{s} of earlier runs changed: their records are removed")
    notes += counted(finished.damaged, "record{s} had a mask or maps that were altered or lost: made anew")
    notes += reference_notes(config, marked)
    notes += turned_notes(cases)
    given = {c.image_id: str(file.absolute()) for c in cases if (file := c.mask_path or c.probability_path)}
    return GenerateResult(config.out, len(cases), records, written, skipped, seconds, unsplit, ids, notes, given)


def collect_cases(config: GenerateConfig) -> tuple[list[Case], dict[str, str], Splits | None, list[str]]:
    """All cases with their splits, what is skipped for want of a mask in `--masks`, the splits if made here, and what
    else was left aside, in sentences.

    Splits are those of `--splits`, else the data's own, else made by group: then they are kept in OUT/splits.json, so
    that a later run with more images moves none from one split to another, and no part differs from the others.
    """
    annotated = holds_annotations(config.masks)
    if config.masks is not None and annotated:
        if config.probs is not None:
            raise ConfigError(f"--probs goes with a folder of masks, and --masks {config.masks} is a tool's file")
        where = (config.images, config.masks, config.out, config.truth, config.layout)
        listed = annotated_cases(*where, labels=config.label)
    else:
        labels = number_labels(config.label)
        given = (config.images, config.truth, config.masks, config.probs, config.layout)
        listed = find_cases(*given, labels=labels, mask_pattern=config.mask_pattern)
    cases = [replace(case, resize=config.resize_masks) for case in listed.cases]
    made = None
    others = beside(config.out) if config.part is not None else []
    kept = [folder / KEPT_SPLITS for folder in (config.out, *others) if (folder / KEPT_SPLITS).exists()]
    if config.splits or kept:
        splits = read_splits(config.splits or kept[0])
        cases = apply_splits(cases, splits)
        made = splits if kept and not config.splits and kept[0].parent != config.out else None
    elif not config.given:
        cases, made = with_default_splits(cases, config.seed)
    why = "its image is not in --images" if annotated else f"no mask of that name in {_given_options(config)}"
    skipped = dict.fromkeys(listed.unmatched, why)
    return cases, skipped, made, list(listed.notes)


def select_cases(cases: list[Case], config: GenerateConfig) -> list[Case]:
    """The cases to run: of the splits in `only`, and at least `max_images` of them."""
    if config.only:
        cases = [case for case in cases if case.split in config.only]
        if not cases:
            raise ConfigError(f"no case is in split {', '.join(config.only)}; give --splits, or other names in --only")
    return subset_by_group(cases, config.max_images, config.seed) if config.max_images else cases


def too_few_to_train(cases: Sequence[Case]) -> list[str]:
    """What is said where a model is trained on cases with truth, and they are too few: one sentence, or none."""
    known = [case for case in cases if case.truth_paths]
    if not known or (any(case.split for case in cases) and not any(case.split == "train" for case in known)):
        return []
    needed, images = groups_needed(TrainConfig.alpha), len({case.image_id for case in known})
    groups = len({case.group for case in known if case.split == "calibration"})
    if groups < needed:
        whole = math.ceil(needed / FRACTIONS["calibration"])
        return [
            f"{images} images with truth make {groups} calibration groups, and `sqp train` needs {needed} for an "
            f"interval at {1 - TrainConfig.alpha:.0%}: {whole} images (of as many lesions or patients) have as many by "
            "the default splits; with fewer, `sqp train --alpha` takes a weaker interval"
        ]
    return []


def _given_options(config: GenerateConfig) -> str:
    """The option, or options, that name the folder of what is judged."""
    return " and ".join(f"--{name}" for name in ("masks", "probs") if getattr(config, name) is not None)


def check_alike(config: GenerateConfig, stored: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """ConfigError naming the key in which a part differs from another part of its run; nothing is written."""
    for other in beside(config.out) if config.part is not None else []:
        run = other / "run.yaml"
        difference = (
            first_difference(with_defaults(read_run(run)["config"], defaults), stored) if run.exists() else None
        )
        if difference:
            key, theirs, ours = difference
            raise ConfigError(
                f"{other} was made with {key}={theirs!r}, this part has {key}={ours!r}; the parts of a run have one "
                "config: give the same options, or another --out"
            )


def write_skipped(out: Path, skipped: Mapping[str, str]) -> None:
    """OUT/skipped.csv: why each image is skipped, by its id; no file where none is."""
    path = out / "skipped.csv"
    if skipped:
        table = pd.DataFrame({"image_id": list(skipped), "reason": list(skipped.values())})
        write_text(path, csv_text(table))
    else:
        path.unlink(missing_ok=True)
