"""`sqp generate`: cases -> record set. Streams, goes on where it stopped, and runs over processes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tqdm import tqdm

from sqp.config.generate import EXECUTION_KEYS, GenerateConfig
from sqp.data import CORRUPTIONS, find_cases
from sqp.data.split_files import read_splits
from sqp.data.splits import apply_splits, subset_by_group
from sqp.errors import CaseError, ConfigError, SqpError, lookup
from sqp.io import RecordWriter
from sqp.io.atomic import write_atomic
from sqp.memory import keep_freed_memory
from sqp.prompts import PROMPTERS
from sqp.segmenters import SEGMENTERS, build_segmenter
from sqp.segmenters.weights import locate
from sqp.stages.case_records import RecordMaker
from sqp.stages.plan import plan_case
from sqp.stages.run_info import stored_config, versions
from sqp.types import Case, Segmenter
from sqp.uncertainty import MEASURES, SAMPLERS


@dataclass
class GenerateResult:
    """What a run did. `skipped` maps an image id to why."""

    out: Path
    images: int
    records: int
    written: int
    skipped: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def exit_status(self) -> int:
        """1 where cases were skipped."""
        return 1 if self.skipped else 0

    def summary(self) -> str:
        """What the terminal shows at the end."""
        lines = [f"{self.records} records ({self.written} new) of {self.images} images in {self.out}"]
        if self.skipped:
            lines.append(f"{len(self.skipped)} images skipped, reasons in {self.out / 'skipped.csv'}")
        return "\n".join(lines)


def run(config: GenerateConfig) -> GenerateResult:
    """Write the record set of `config`; broken cases are skipped and reported unless `config.strict`."""
    started = time.monotonic()
    check_names(config)
    everything, skipped = collect_cases(config)
    cases = select_cases(everything, config)
    stored = described(config)
    writer = RecordWriter(config.out, overwrite=config.overwrite)
    done = set() if config.overwrite else writer.done()
    writer.check(stored)
    pending = [case for case in cases if any(r.record_id not in done for r in plan_case(case, config))]
    written = 0
    results = _run_pool if config.workers else _run_here
    progress = tqdm(total=len(pending), unit="image", desc="generate", disable=None)
    try:
        for image_id, count, error in results(config, pending, everything, done):
            written += count
            progress.update()
            if error:
                if config.strict:
                    raise CaseError(error)
                skipped[image_id] = error
                tqdm.write(f"skipped {error}")
    finally:
        progress.close()
        seconds = time.monotonic() - started
        counts = {"images": len(cases), "written": written, "skipped": len(skipped)}
        records = writer.finish({"versions": versions(), "counts": counts, "seconds": round(seconds, 2)})
        _write_skipped(config.out, skipped)
    return GenerateResult(config.out, len(cases), records, written, skipped, seconds)


def check_names(config: GenerateConfig) -> None:
    """Every name of the config is known, before anything is read; ConfigError names the nearest one."""
    lookup("segmenter", config.segmenter.name, SEGMENTERS)
    lookup("prompter", config.prompter, PROMPTERS)
    lookup("sampler", config.sampler.name, SAMPLERS)
    for name in config.measures:
        lookup("measure", name, MEASURES)
    for plan in config.variants.values():
        for name in plan.prompters:
            lookup("prompter", name, PROMPTERS)
        for name in plan.families:
            lookup("corruption", name, CORRUPTIONS)
    if config.sampler.n < 1:
        raise ConfigError(f"sampler.n is {config.sampler.n}; at least one sample is needed")


def collect_cases(config: GenerateConfig) -> tuple[list[Case], dict[str, str]]:
    """All cases with their splits; images without a mask where masks are given are counted as skipped."""
    found = find_cases(config.images, truth=config.truth, masks=config.masks, layout=config.layout)
    cases = list(found.cases)
    if config.splits:
        cases = apply_splits(cases, read_splits(config.splits))
    return cases, {image_id: "no mask of that name in --masks" for image_id in found.unmatched}


def select_cases(cases: list[Case], config: GenerateConfig) -> list[Case]:
    """The cases to run: of the splits in `only`, and at least `max_images` of them."""
    if config.only:
        cases = [case for case in cases if case.split in config.only]
        if not cases:
            raise ConfigError(f"no case is in split {', '.join(config.only)}; give --splits, or other names in --only")
    return subset_by_group(cases, config.max_images, config.seed) if config.max_images else cases


def make_segmenter(config: GenerateConfig) -> Segmenter:
    """The configured segmenter with its weights."""
    s = config.segmenter
    multimask: Any = {"true": True, "false": False}.get(str(s.multimask).lower(), s.multimask)
    return build_segmenter(
        s.name, s.checkpoint, device=config.device, precision=s.precision, multimask=multimask, chunk=4
    )


def described(config: GenerateConfig) -> dict[str, Any]:
    """The config as `run.yaml` keeps it, with the weights' sha256."""
    stored = stored_config(config, EXECUTION_KEYS)
    stored["segmenter"]["weights_sha256"] = locate(config.segmenter.name, config.segmenter.checkpoint)[1]
    return stored


Outcome = tuple[str, int, str]


def _attempt(maker: RecordMaker, case: Case, done: set[str]) -> Outcome:
    """Image id, number of records written, and the reason where the case is broken."""
    try:
        return case.image_id, maker(case, done), ""
    except CaseError as error:
        return case.image_id, 0, str(error) if case.image_id in str(error) else f"{case.image_id}: {error}"


def _run_here(
    config: GenerateConfig, pending: Sequence[Case], donors: Sequence[Case], done: set[str]
) -> Iterator[Outcome]:
    if not pending:
        return
    maker = RecordMaker(config, make_segmenter(config), donors)
    for case in pending:
        yield _attempt(maker, case, done)


_maker: RecordMaker  # one a worker process, built by its initializer


def _start_worker(config: GenerateConfig, donors: Sequence[Case], threads: int) -> None:
    global _maker
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle: records are finished, not cut
    torch.set_num_threads(threads)
    keep_freed_memory()
    _maker = RecordMaker(config, make_segmenter(config), donors)


def _leave_with_parent() -> None:
    """A parent that was killed cannot stop its workers: they watch it and go by themselves."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(case: Case, done: set[str]) -> Outcome:
    return _attempt(_maker, case, done)


def _run_pool(
    config: GenerateConfig, pending: Sequence[Case], donors: Sequence[Case], done: set[str]
) -> Iterator[Outcome]:
    if not pending:
        return
    threads = max(1, (os.cpu_count() or 1) // config.workers)
    pool = ProcessPoolExecutor(
        config.workers,
        get_context("spawn"),
        initializer=_start_worker,
        initargs=(config, list(donors), threads),
    )
    queue = iter(pending)
    running: set[Future[Outcome]] = set()

    def submit(n: int) -> None:
        for case in [next(queue, None) for _ in range(n)]:
            if case is not None:
                mine = done & {planned.record_id for planned in plan_case(case, config)}
                running.add(pool.submit(_work, case, mine))

    try:
        submit(2 * config.workers)
        while running:
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            running -= finished
            for future in finished:
                yield future.result()
            submit(len(finished))
    except BrokenProcessPool as error:
        raise SqpError(
            "a worker process died, most often for want of memory; finished records stay: "
            "run the same command again with fewer --workers"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _write_skipped(out: Path, skipped: dict[str, str]) -> None:
    path = out / "skipped.csv"
    if skipped:
        table = pd.DataFrame({"image_id": list(skipped), "reason": list(skipped.values())})
        write_atomic(path, lambda file: table.to_csv(file, index=False))
    else:
        path.unlink(missing_ok=True)
