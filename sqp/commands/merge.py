"""`sqp merge`: the parts of a run of generate or predict -> one folder, as if it had been made in one piece."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from sqp.bundles import bundle_folder
from sqp.commands.predict import nothing, remarks, told_by, write_report, write_result
from sqp.commands.status import command_of
from sqp.config.merge import MergeConfig
from sqp.config.predict import PredictConfig
from sqp.config.stored import config_of
from sqp.core.errors import ConfigError
from sqp.core.ownership import lock_of, owned
from sqp.core.shards import NAME, Shard, parts_in
from sqp.core.untrusted import read_run
from sqp.quality.bundle.storage import Bundle
from sqp.quality.judging.error_map import ErrorMapStore
from sqp.quality.judging.risk import risk_rule
from sqp.records.parts.join import check_configs, join_records, skipped_of
from sqp.records.run_info import MaySkip
from sqp.report.predictions import PredictResult, read_predictions, write_predictions


@dataclass
class MergeResult(MaySkip):
    """What was joined. `skipped` maps an image id to why no part has its records."""

    out: Path
    parts: list[Path]
    records: int
    skipped: dict[str, str] = field(default_factory=dict)

    def summary(self) -> str:
        """What the terminal shows at the end."""
        lines = [f"{self.records} records of {len(self.parts)} folders joined in {self.out}"]
        return "\n".join(lines + [f"{len(self.skipped)} images skipped"] * bool(self.skipped))


def run(config: MergeConfig) -> MergeResult:
    """Check all parts, then join them; ConfigError, and nothing written, where they do not belong together."""
    parts = _expanded(config)
    commands = {part: command_of(part) for part in parts}
    for part, command in commands.items():
        if command not in ("generate", "predict"):
            raise ConfigError(f"{part} is no folder that `sqp generate` or `sqp predict` wrote: leave it out")
        if command != commands[parts[0]]:
            raise ConfigError(
                f"{parts[0]} was written by `sqp {commands[parts[0]]}` and {part} by `sqp {command}`: join each kind "
                "alone"
            )
    command = str(commands[parts[0]])
    inner = "records" if command == "predict" else ""
    with ExitStack() as locks:
        for part in parts:
            if os.access(part, os.W_OK):
                locks.enter_context(lock_of(part))
        parts = _finished(parts, command, config.partial)
        if command == "generate":
            records = join_records(parts, config.out)
            return MergeResult(config.out, parts, records, skipped_of([config.out]))
        with owned(config.out, "predict"):
            return _join_predictions(parts, config.out, inner)


def _expanded(config: MergeConfig) -> list[Path]:
    """The folders to join, each once. ConfigError where there are none, one is not there, or parts are lacking."""
    folders = config.folders or [config.out]
    parts: dict[Path, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"{folder} is no folder: name the --out of the runs that are to be joined")
        within = list(parts_in(folder).values())
        if not within and not config.folders:
            raise ConfigError(
                f"{folder} holds no parts: name the folders to join, `sqp merge OUT1 OUT2 --out {folder}`"
            )
        parts |= {part.resolve(): part for part in within or [folder]}
    if config.out.resolve() in parts:
        raise ConfigError(f"--out {config.out} is one of the folders that are to be joined: choose another --out")
    return list(parts.values())


def _shards(parts: Sequence[Path]) -> dict[Path, Shard]:
    """The parts by their folders, those that have such a name."""
    names = {part: NAME.fullmatch(part.name) for part in parts}
    return {part: Shard(int(name[2]), int(name[1])) for part, name in names.items() if name}


def _finished(parts: list[Path], command: str, partial: bool) -> list[Path]:
    """The parts that can be joined: those that have begun; ConfigError where one is missing or was interrupted."""
    inner = "records" if command == "predict" else ""
    begun, wanting = [], []
    shards = _shards(parts)
    for count in sorted({shard.count for shard in shards.values()}):
        have = {shard.index for shard in shards.values() if shard.count == count}
        wanting += [f"{index}/{count} is missing" for index in range(1, count + 1) if index not in have]
    for part in parts:
        told = part / inner / "run.yaml"
        if not told.exists() and inner and (part / "run.yaml").exists():
            told = part / "run.yaml"  # predictions of record sets that were made before
        interrupted = not told.exists() or read_run(told).get("finished") is False
        if command == "predict" and not _predicted(part):
            interrupted = True
        if interrupted:
            wanting.append(f"{shards.get(part, part)} was interrupted")
        if told.exists() and (command == "generate" or _predicted(part)):
            begun.append(part)
    if wanting and not partial:
        more = f" and {len(wanting) - 3} more" if len(wanting) > 3 else ""
        raise ConfigError(
            f"not all parts are there: {', '.join(wanting[:3])}{more}; run them, or join what there is with --partial"
        )
    if not begun:
        raise ConfigError(f"no part has anything to join yet ({', '.join(map(str, parts[:3]))}): run them")
    return begun


def _predicted(part: Path) -> bool:
    """Whether the predictions of a part are written: its run.yaml tells its seconds at the end alone."""
    run = part / "run.yaml"
    return run.exists() and "seconds" in read_run(run)


def _join_predictions(parts: list[Path], out: Path, inner: str) -> MergeResult:
    """Records, predictions, overlays and page of parts."""
    started = time.monotonic()
    runs = [read_run(part / "run.yaml") for part in parts]
    check_configs(parts, [told_by(run["config"]) for run in runs])
    config = copy(config_of(PredictConfig, runs[0]["config"], parts[0] / "run.yaml"))
    config.out, config.shard, config.overwrite = out, None, False
    made = [part / inner for part in parts if (part / inner / "run.yaml").exists()]
    skipped: dict[str, str] = {}
    if made:
        join_records(made, out / inner)
        skipped = skipped_of([out / inner])
    tables = [read_predictions(part) for part in parts if (part / "predictions.parquet").exists()]
    table = pd.concat([one for one in tables if len(one)], ignore_index=True) if tables else nothing()
    table = table.drop_duplicates("record_id", ignore_index=True)
    if made:
        table = table.assign(record_set=str(out / inner))
    rule = risk_rule(config)
    bundle = Bundle.load(bundle_folder(config.model))
    choice = None if rule is None else bundle.choose(rule, config.reject)
    result = PredictResult(out, table, skipped, config.fail_under, choice, list(config.label))
    if len(table):
        write_predictions(out, table)
        said = remarks(config, bundle, table, choice)
        write_report(config, bundle, result, ErrorMapStore(bundle, config.batch_size, config.device), said)
    write_result(config, bundle, result, time.monotonic() - started)
    return MergeResult(out, parts, len(table), skipped)
