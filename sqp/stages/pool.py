"""Cases -> records, in this process or over several: bounded in memory, whatever their number."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process

import torch
from joblib import cpu_count

from sqp.config.fit import VOLUMETRIC
from sqp.config.generate import GenerateConfig
from sqp.config.referee import NONE
from sqp.data.volumes import is_volume
from sqp.errors import CaseError, SqpError
from sqp.memory import give_back_memory, keep_freed_memory
from sqp.segmenters import build_segmenter
from sqp.segmenters.ensemble import EnsembleSegmenter
from sqp.stages.case_records import RecordMaker
from sqp.stages.plan import plan_case
from sqp.stages.prompter_checks import MULTIMASK
from sqp.stages.slice_segmenter import SliceSegmenter
from sqp.stages.volume_checks import of_volumes
from sqp.stages.workers import workers_for
from sqp.types import Case, Segmenter

Outcome = tuple[str, int, list[str]]
"""Image id, number of records written, and why some or all are missing."""


def make_records(
    config: GenerateConfig, pending: Sequence[Case], donors: Sequence[Case], done: set[str]
) -> Iterator[Outcome]:
    """The outcome of each pending case as it comes; `donors` lend masks to swap in, `done` are ids to leave out."""
    workers = workers_for(config, pending)
    return _run_pool(config, pending, donors, done, workers) if workers else _run_here(config, pending, donors, done)


def make_segmenter(config: GenerateConfig, volumes: bool = False) -> Segmenter:
    """The configured segmenter with its weights, or the ensemble of its checkpoints; of `volumes` slice by slice."""
    s = config.segmenter
    multimask = MULTIMASK[str(s.multimask).lower()]
    members: list[Segmenter] = [
        build_segmenter(s.name, file, device=config.device, precision=s.precision, multimask=multimask)
        for file in s.files()
    ]
    if volumes and s.name not in VOLUMETRIC:
        members = [SliceSegmenter(member, s.propagate, window=s.window) for member in members]
    return EnsembleSegmenter(members) if s.checkpoints else members[0]


def make_maker(config: GenerateConfig, donors: Sequence[Case] = ()) -> RecordMaker:
    """What makes the records of a case, with the segmenter, if there is to be one."""
    alone = config.segmenter.name == NONE
    return RecordMaker(config, None if alone else make_segmenter(config, of_volumes(donors)), donors)


def _attempt(maker: RecordMaker, case: Case, done: set[str]) -> Outcome:
    """Image id, number of records written, and why some or all are missing."""
    try:
        return case.image_id, *maker(case, done)
    except CaseError as error:
        return case.image_id, 0, [str(error)]
    finally:
        if is_volume(case.image_path):
            give_back_memory()


def _run_here(
    config: GenerateConfig, pending: Sequence[Case], donors: Sequence[Case], done: set[str]
) -> Iterator[Outcome]:
    if not pending:
        return
    maker = make_maker(config, donors)
    for case in pending:
        yield _attempt(maker, case, done)


_maker: RecordMaker  # one a worker process, built by its initializer


def _start_worker(config: GenerateConfig, donors: Sequence[Case], threads: int) -> None:
    global _maker
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle: records are finished, not cut
    torch.set_num_threads(threads)
    keep_freed_memory()
    _maker = make_maker(config, donors)


def _leave_with_parent() -> None:
    """A parent that was killed cannot stop its workers: they watch it and go by themselves."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(case: Case, done: set[str]) -> Outcome:
    return _attempt(_maker, case, done)


def _run_pool(
    config: GenerateConfig, pending: Sequence[Case], donors: Sequence[Case], done: set[str], workers: int
) -> Iterator[Outcome]:
    if not pending:
        return
    threads = max(1, min(torch.get_num_threads(), cpu_count() // workers))  # OMP_NUM_THREADS counts
    pool = ProcessPoolExecutor(
        workers,
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
        submit(2 * workers)
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
