"""Cases -> records, in this process, over several, or over a Ray cluster: bounded in memory, whatever their number.

How many processes segment: what was asked for, or as many as pay off and fit into the machine.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context, parent_process
from pathlib import Path

import torch
from joblib import cpu_count

from sqp.config.fit import VOLUMETRIC
from sqp.config.generate import GenerateConfig
from sqp.config.predict import PredictConfig
from sqp.config.referee import IN_CONTEXT, NONE, SUPERVISED
from sqp.config.segmenter import MULTIMASK
from sqp.core.errors import CaseError, SqpError
from sqp.core.memory import available_memory, give_back_memory, keep_freed_memory
from sqp.core.ray_engine import RayEngine, over_ray
from sqp.core.types import Case, Segmenter
from sqp.data.volumes import is_volume
from sqp.records.plan import of_volumes, plan_case
from sqp.records.record_maker import RecordMaker
from sqp.records.referees.references import encoder_of
from sqp.segmenters import build_segmenter
from sqp.segmenters.by_examples import Reference
from sqp.segmenters.ensemble import EnsembleSegmenter
from sqp.segmenters.slice_by_slice import SliceSegmenter

PAYS_AFTER = {True: 32, False: 500}
"""Images a process, with and without a network to run on them: below, its start (some seconds) costs more."""
CORES = {True: 2, False: 1}
"""Cores a process: on two of them one process with two threads encodes as fast as two processes, in half the memory."""
GIGABYTE = 1e9
NEEDS = 2 * GIGABYTE  # LiteMedSAM takes 1.3, and the rest is for large images
OTHERS = {"sam_vit_b": 6 * GIGABYTE, "medsam": 6 * GIGABYTE, "sam_vit_l": 9 * GIGABYTE, "sam_vit_h": 12 * GIGABYTE}
OTHERS |= {SUPERVISED: 0.7 * GIGABYTE}
"""What takes more, or less: by the names of segmenters, and a supervised referee."""


def workers_for(config: GenerateConfig, pending: Sequence[Case]) -> int:
    """Processes for the cases that are left, 0 to segment in this one.

    Where none were asked for (`workers` None): so many that all cores work, but no more than pay off and the free
    memory holds; none beside this one for volumes, each of which takes gigabytes, and on a GPU, which one keeps busy.
    """
    if config.workers is not None:
        return config.workers
    if config.device != "cpu" or any(is_volume(case.image_path) for case in pending):
        return 0
    networks = networks_of(config)
    free, needs = available_memory(), sum(OTHERS.get(name, NEEDS) for name in networks) or NEEDS
    found = min(cpu_count() // CORES[bool(networks)], len(pending) // PAYS_AFTER[bool(networks)])
    found = found if free is None else min(found, int(free // needs))
    return found if found > 1 else 0


def networks_of(config: GenerateConfig) -> set[str]:
    """The names of the networks that run on an image."""
    supervised = SUPERVISED if config.supervised.network else NONE
    compared = encoder_of(config)[0] if config.references and config.segmenter.name not in IN_CONTEXT else NONE
    return {config.segmenter.network, config.referee.network, supervised, compared} - {NONE}


Outcome = tuple[str, int, list[str], set[str]]
"""Image id, number of records written, why some or all are missing, and how it stands to the references (its marks)."""


def make_records(
    config: GenerateConfig,
    pending: Sequence[Case],
    donors: Sequence[Case],
    done: set[str],
    references: Sequence[Reference] = (),
) -> Iterator[Outcome]:
    """The outcome of each pending case as it comes; `donors` lend masks to swap in, `done` are ids to leave out."""
    donors = lenders(config, donors)
    if config.engine == "ray":
        return _run_ray(config, pending, donors, done, references)
    workers = workers_for(config, pending)
    if workers:
        return _run_pool(config, pending, donors, done, references, workers)
    return _run_here(config, pending, donors, done, references)


def lenders(config: GenerateConfig, cases: Sequence[Case]) -> list[Case]:
    """The cases whose masks a corruption may swap in; where none does, one, which tells images from volumes."""
    swapped = any(plan.corruptions and "swap" in plan.families for plan in config.variants.values())
    return list(cases) if swapped else list(cases[:1])


def make_segmenter(config: GenerateConfig, volumes: bool = False, references: Sequence[Reference] = ()) -> Segmenter:
    """The configured segmenter with its weights, or the ensemble of its checkpoints; of `volumes` slice by slice.

    `references` are for one that is shown them.
    """
    s = config.segmenter
    options = {"multimask": MULTIMASK[s.multimask]} | ({"references": references} if s.name in IN_CONTEXT else {})
    members: list[Segmenter] = [
        build_segmenter(s.name, file, config.device, s.precision, config.runtime, **options) for file in s.files()
    ]
    if volumes and s.name not in VOLUMETRIC:
        members = [SliceSegmenter(member, s.propagate, window=s.window) for member in members]
    return EnsembleSegmenter(members) if s.checkpoints else members[0]


def make_maker(
    config: GenerateConfig, donors: Sequence[Case] = (), references: Sequence[Reference] = ()
) -> RecordMaker:
    """What makes the records of a case, with the segmenter, if there is to be one."""
    alone = config.segmenter.name == NONE
    segmenter = None if alone else make_segmenter(config, of_volumes(donors), references)
    return RecordMaker(config, segmenter, donors, references)


Task = tuple[Case, set[str]]
"""A case, and those of its records that need not be made."""


def _task(config: GenerateConfig, case: Case, done: set[str]) -> Task:
    """What a worker is sent: of the records that are there only the case's own."""
    return case, done & {planned.record_id for planned in plan_case(case, config)} if done else set()


def _attempt(maker: RecordMaker, case: Case, done: set[str]) -> Outcome:
    """What came of a case, also where nothing did."""
    try:
        count, problems = maker(case, done)
        return case.image_id, count, problems, maker.marks
    except CaseError as error:
        return case.image_id, 0, [str(error)], set()
    finally:
        if is_volume(case.image_path):
            give_back_memory()


def _run_here(
    config: GenerateConfig,
    pending: Sequence[Case],
    donors: Sequence[Case],
    done: set[str],
    references: Sequence[Reference],
) -> Iterator[Outcome]:
    if not pending:
        return
    maker = make_maker(config, donors, references)
    for case in pending:
        yield _attempt(maker, case, done)


_maker: RecordMaker  # one a worker process, built by its initializer


def _start_worker(
    config: GenerateConfig, donors: Sequence[Case], references: Sequence[Reference], threads: int
) -> None:
    global _maker
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle: records are finished, not cut
    torch.set_num_threads(threads)
    keep_freed_memory()
    _maker = make_maker(config, donors, references)


def _leave_with_parent() -> None:
    """A parent that was killed cannot stop its workers: they watch it and go by themselves."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(case: Case, done: set[str]) -> Outcome:
    return _attempt(_maker, case, done)


def _run_pool(
    config: GenerateConfig,
    pending: Sequence[Case],
    donors: Sequence[Case],
    done: set[str],
    references: Sequence[Reference],
    workers: int,
) -> Iterator[Outcome]:
    if not pending:
        return
    threads = max(1, min(torch.get_num_threads(), cpu_count() // workers))  # OMP_NUM_THREADS counts
    pool = ProcessPoolExecutor(
        workers,
        get_context("spawn"),
        initializer=_start_worker,
        initargs=(config, list(donors), list(references), threads),
    )
    queue = iter(pending)
    running: set[Future[Outcome]] = set()

    def submit(n: int) -> None:
        for case in [next(queue, None) for _ in range(n)]:
            if case is not None:
                running.add(pool.submit(_work, *_task(config, case, done)))

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


class Making:
    """What an actor does: the records of one case after another, with a segmenter that is built once."""

    def __init__(self, config: GenerateConfig, donors: Sequence[Case], references: Sequence[Reference]) -> None:
        self.maker = make_maker(config, donors, references)

    def __call__(self, task: Task) -> Outcome:
        """The outcome of a case. What an actor that was lost has written of it is not made again, but counted."""
        case, done = task
        planned = [record.record_id for record in plan_case(case, self.maker.config)]
        new = [name for name in planned if name not in done]
        there = {name for name in new if self.maker.writer.has_row(name)}
        image_id, _, problems, marks = _attempt(self.maker, case, done | there)
        return image_id, sum(map(self.maker.writer.has_row, new)), problems, marks


def _lost(task: Task, why: str) -> Outcome:
    return task[0].image_id, 0, [why], set()


def ray_engine(config: GenerateConfig | PredictConfig, folder: Path, cores: int) -> RayEngine:
    """The cluster of a config, for actors of so many cores."""
    gpus = 0.0 if config.device == "cpu" else config.gpu_share
    return RayEngine(config.address, folder, config.workers, cores, gpus, min(torch.get_num_threads(), cores))


def _run_ray(
    config: GenerateConfig,
    pending: Sequence[Case],
    donors: Sequence[Case],
    done: set[str],
    references: Sequence[Reference],
) -> Iterator[Outcome]:
    tasks = [(case.image_id, _task(config, case, done)) for case in pending]
    engine = ray_engine(config, config.out, CORES[bool(networks_of(config))])
    return over_ray(engine, partial(Making, config, donors, references), tasks, _lost)
