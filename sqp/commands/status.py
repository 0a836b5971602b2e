"""`sqp status OUT`: what of a run, or of its parts, is done, skipped, missing and stale."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from sqp.config.status import StatusConfig
from sqp.core.errors import ConfigError
from sqp.core.ownership import earlier_command, read_marker
from sqp.core.shards import Shard, parts_in
from sqp.core.untrusted import read_run
from sqp.records.parts.status import Listed, Progress, as_text, is_running, state_of
from sqp.records.reader import read_record_sets
from sqp.report.predictions import read_predictions

WHOLE = "whole"


@dataclass
class StatusResult:
    """The progress of each part, and of the joined whole where there is one."""

    out: Path
    parts: list[Progress]
    whole: Progress | None

    @property
    def exit_status(self) -> int:
        """1 while something is missing or stale."""
        return 0 if all(row.complete for row in [*self.parts, *filter(None, [self.whole])]) else 1

    def summary(self) -> str:
        """The table, and what is to be done next."""
        lines = [as_text(self.parts or [row for row in [self.whole] if row])]
        lacking = [row.name for row in self.parts if not row.complete]
        if self.parts and lacking:
            lines.append(f"run these parts (again): {', '.join(lacking)}")
        elif self.parts and self.whole is None:
            lines.append(f"all parts are there: join them with `sqp merge --out {self.out}`")
        elif self.parts and self.whole is not None:
            lines.append(as_text([self.whole]))
        if self.whole is not None and not self.whole.complete:
            lines.append(
                f"the joined whole lacks images: `sqp merge --out {self.out}`"
                if self.parts
                else "run the same command again: it makes what is missing"
            )
        return "\n".join(lines)


def run(config: StatusConfig) -> StatusResult:
    """ConfigError where the folder is none of `sqp generate` or `sqp predict`."""
    out = config.out
    command = command_of(out)
    if command not in ("generate", "predict"):
        raise ConfigError(
            f"{out} is no folder that `sqp generate` or `sqp predict` wrote or began: name the --out of one of them"
        )
    known = parts_in(out)
    count = next(iter(known)).count if known else 0
    parts = [Shard(count, index) for index in range(1, count + 1)]
    joined = not parts or (out / "run.yaml").exists()
    homes = [*known.values(), *([out] if joined else [])]
    if command == "predict" and (given := _records_given(homes)):
        return _of_records(out, given, parts, joined)
    inner = "records" if command == "predict" else ""
    begun = [home for home in homes if (home / inner / "run.yaml").exists()]
    if not begun:
        raise ConfigError(f"no run in {out} has listed its images yet, so nothing can be told: run it (again)")
    listed = Listed.of(begun[0] / inner)

    def progress(name: str, home: Path, part: Shard | None) -> Progress:
        judged = _judged(home) if command == "predict" else None
        state = state_of(home, home / inner)
        if state == "finished" and judged is not None and not (home / "predictions.parquet").exists():
            state = "interrupted"
        return listed.progress(name, home / inner, part, state, judged)

    rows = [progress(str(part), part.folder(out), part) for part in parts]
    return StatusResult(out, rows, progress(WHOLE, out, None) if joined else None)


def command_of(folder: Path) -> str | None:
    """Whose a folder is; None where it is nobody's, or is not there."""
    marker = read_marker(folder) if folder.is_dir() else None
    return marker.command if marker is not None else earlier_command(folder)


def _judged(home: Path) -> Collection[str]:
    """The ids of the records that are predicted in a folder."""
    if not (home / "predictions.parquet").exists():
        return set()
    return set(read_predictions(home)["record_id"])


def _records_given(homes: list[Path]) -> dict[str, list[str]] | None:
    """`records` and `split` of a run over record sets that were made before."""
    for home in homes:
        if (home / "run.yaml").exists():
            told = read_run(home / "run.yaml")["config"]
            return {key: told.get(key) or [] for key in ("records", "split")} if told.get("records") else None
    return None


def _of_records(out: Path, given: dict[str, list[str]], parts: list[Shard], joined: bool) -> StatusResult:
    """Of predictions of record sets."""
    table = read_record_sets(given["records"])
    table = table[table["split"].isin(given["split"])] if given["split"] else table

    def progress(name: str, home: Path, part: Shard | None) -> Progress:
        rows = table if part is None else table[table["image_id"].map(part.holds)]
        done = rows["record_id"].isin(list(_judged(home))).groupby(rows["image_id"]).all()
        begun, n = (home / "run.yaml").exists(), int(done.sum())
        state = "running" if is_running(home) else "interrupted" if n < len(done) else "finished"
        return Progress(name, len(done), n, 0, len(done) - n, 0, state if begun else "not begun")

    rows = [progress(str(part), part.folder(out), part) for part in parts]
    return StatusResult(out, rows, progress(WHOLE, out, None) if joined else None)
