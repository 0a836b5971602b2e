"""What of a run is done, skipped, missing and stale: its images as they are listed now, beside its records."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from sqp.config.generate import GenerateConfig
from sqp.config.stored import config_of
from sqp.core.errors import ConfigError
from sqp.core.ownership import LOCK, lock_of
from sqp.core.shards import Shard
from sqp.core.types import Case
from sqp.core.untrusted import read_run
from sqp.data.licences import of_licences
from sqp.records.fitted import fitted_checkpoints, leave_out_fitted
from sqp.records.make import collect_cases, select_cases
from sqp.records.parts.join import SAME_FOR_ALL, skipped_of
from sqp.records.plan import for_cases, plan_case
from sqp.records.resume import still_done
from sqp.records.writer import FINISHED, RecordWriter


@dataclass(frozen=True)
class Progress:
    """Of a part, or of the whole: how many images it has, and how many of them are in which state.

    `done`: all records are there. `skipped`: the run could not make them, and said why. `stale`: image or truth, or a
    mask or map of a record, is another file now. `missing`: everything else. `state` is what is known of the run.
    """

    name: str
    images: int
    done: int
    skipped: int
    missing: int
    stale: int
    state: str

    @property
    def complete(self) -> bool:
        """Whether a further run would find nothing to do but what it skipped."""
        return not (self.missing or self.stale)


@dataclass
class Listed:
    """The images of a run as they are now, and those that it does not take, with why."""

    cases: Sequence[Case]
    config: GenerateConfig
    skipped: Mapping[str, str]

    @classmethod
    def of(cls, folder: Path) -> Listed:
        """By the config that a record set, finished or not, was begun with."""
        run = folder / "run.yaml"
        told = read_run(run)
        limits = {key: value for key, value in (told.get("execution") or {}).items() if key in SAME_FOR_ALL}
        config = config_of(GenerateConfig, {**told["config"], **limits, "out": str(folder)}, run)
        everything, skipped, _, _ = collect_cases(config)
        everything = of_licences(everything, config.licence)
        config = for_cases(config, everything)
        cases, fitted = leave_out_fitted(select_cases(everything, config), fitted_checkpoints(config))
        return cls(cases, config, {**skipped, **fitted})

    def progress(
        self, name: str, folder: Path, part: Shard | None, state: str, judged: Collection[str] | None = None
    ) -> Progress:
        """Of the part whose records lie in a folder (which may not be there). `judged`: records that count as done."""
        cases = [case for case in self.cases if part is None or part.holds(case.image_id)]
        refused = {image for image in self.skipped if part is None or part.holds(image)}
        plans = {case.image_id: [planned.record_id for planned in plan_case(case, self.config)] for case in cases}
        begun = (folder / "run.yaml").exists()
        told = set(skipped_of([folder])) if begun else set()
        finished = still_done(RecordWriter(folder), cases, plans) if begun else None
        done = set() if finished is None else finished.done if judged is None else finished.done & set(judged)
        stale = set() if finished is None else finished.stale
        whole = {image for image, ids in plans.items() if done.issuperset(ids)}
        old = {image for image, ids in plans.items() if not stale.isdisjoint(ids)} - whole
        skipped = (told & plans.keys()) - whole - old
        n = len(plans) + len(refused - plans.keys())
        counts = (len(whole), len(skipped) + len(refused - plans.keys()))
        return Progress(name, n, *counts, n - sum(counts) - len(old), len(old), state)


def state_of(folder: Path, records: Path) -> str:
    """not begun, running, interrupted or finished: of the run that writes into a folder, its records in `records`."""
    run = records / "run.yaml"
    if not run.exists():
        return "running" if is_running(folder) else "not begun"
    if is_running(folder):
        return "running"
    return "finished" if read_run(run).get(FINISHED, True) else "interrupted"


def is_running(folder: Path) -> bool:
    """Whether a run of sqp is in a folder."""
    if not (folder / LOCK).exists():
        return False
    try:
        with lock_of(folder):
            return False
    except ConfigError:
        return True
    except OSError:  # another's folder, which cannot be locked
        return False


def as_text(rows: Sequence[Progress]) -> str:
    """A table, with the sums below where there are several."""
    names = ("images", "done", "skipped", "missing", "stale")
    table = pd.DataFrame(
        [{"part": row.name, **{n: getattr(row, n) for n in names}, "state": row.state} for row in rows]
    )
    if len(rows) > 1:
        table.loc[len(table)] = ["all", *(int(table[name].sum()) for name in names), ""]
    return table.to_string(index=False)
