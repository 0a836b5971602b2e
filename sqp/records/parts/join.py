"""Record sets of one config joined into one: the parts of a run, or runs on several machines."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sqp.core.errors import ConfigError
from sqp.core.files import content_of, write_atomic
from sqp.core.ownership import owned
from sqp.core.progress import followed
from sqp.core.tables import read_own_csv
from sqp.core.untrusted import read_run
from sqp.data.split_files import read_splits, write_splits
from sqp.records.make import KEPT_SPLITS, write_skipped
from sqp.records.reader import RecordSet
from sqp.records.schema import COLUMNS, CONTENT, RENAMED, arrow_schema
from sqp.records.writer import CHUNK, FOLDERS, RecordWriter, first_difference, table_parts

SAME_FOR_ALL = ("only", "max_images", "licence", "masks_licence")
"""Keys of how a run goes that say which cases there are."""


def join_records(parts: Sequence[Path], out: Path) -> int:
    """Write into OUT all records of the parts, their files linked, or copied where a disk has no links.

    Nothing is written before all of them are checked. A record that OUT has already is replaced where it differs.

    Args:
        parts: record sets; one without a record (a part without an image) counts by its config and what it skipped.
        out: where the joined record set goes.

    Returns:
        The number of records in OUT.

    Raises:
        ConfigError: two have different configs, splits or records of one id, or a file is not the one that was written.
    """
    runs = [read_run(part / "run.yaml") for part in parts]
    check_configs(parts, [run["config"] for run in runs])
    check_configs(parts, [{k: (run.get("execution") or {}).get(k) for k in SAME_FOR_ALL} for run in runs])
    splits = _splits(parts)
    filled = [part for part in parts if _has_records(part)]
    scores = _check_records(filled)
    with owned(out, "generate", apart=FOLDERS):
        writer = RecordWriter(out)
        writer.check(runs[0]["config"])
        writer.begin({**(runs[0].get("execution") or {}), "out": str(out), "shard": None})
        if splits is not None:
            write_splits(out / KEPT_SPLITS, splits)
        new: set[str] = set()
        for part in filled:
            table = RecordSet(part).table
            for name, mask in zip(table["record_id"], table["mask_path"], strict=True):
                for source in RecordWriter(part).parts(name, mask):
                    link(source, out / source.relative_to(part))
            new.update(table["record_id"])
        writer.consolidate()
        if filled:
            _write_table(filled, out / "records.parquet", scores, new)
        write_skipped(out, skipped_of(parts))
        facts: dict[str, Any] = {key: runs[0][key] for key in ("versions", "fitted") if key in runs[0]}
        return writer.finish(
            {**facts, "counts": _counts(runs), "joined": [str(part) for part in parts], "finished": True}
        )


def check_configs(parts: Sequence[Path], configs: Sequence[Mapping[str, Any]]) -> None:
    """ConfigError naming the first key in which a part's config differs from that of the first part."""
    for part, config in zip(parts[1:], configs[1:], strict=True):
        difference = first_difference(configs[0], config)
        if difference:
            key, old, new = difference
            raise ConfigError(
                f"{parts[0]} was made with {key}={old!r} and {part} with {key}={new!r}: they cannot be joined; make "
                "one of them again with the options of the other"
            )


def skipped_of(parts: Sequence[Path]) -> dict[str, str]:
    """Image id -> why it is skipped, of all parts."""
    files = [part / "skipped.csv" for part in parts if (part / "skipped.csv").exists()]
    tables = [read_own_csv(file, "run that part again", dtype=str) for file in files]
    return {name: why for table in tables for name, why in zip(table["image_id"], table["reason"], strict=True)}


def link(source: Path, target: Path) -> None:
    """The file in two places, by a hard link where the disk has them; what is at the target is replaced whole."""
    if target.exists() and source.samefile(target):
        return
    temporary = target.with_name(f".{target.name}.{os.urandom(8).hex()}.tmp")
    try:
        try:
            temporary.hardlink_to(source)
        except OSError:
            shutil.copyfile(source, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _has_records(part: Path) -> bool:
    return (part / "records.parquet").exists() or any((part / "rows").glob("*.json"))


def _splits(parts: Sequence[Path]) -> Any:
    """The splits that the parts made, None where they made none; ConfigError where two differ."""
    files = [part / KEPT_SPLITS for part in parts if (part / KEPT_SPLITS).exists()]
    splits = [read_splits(file) for file in files]
    for file, one in zip(files, splits, strict=True):
        if one != splits[0]:
            raise ConfigError(
                f"{files[0]} and {file} divide the images differently, so a group could be in two splits: give both "
                "runs the same --splits, and make one of them again"
            )
    return splits[0] if splits else None


def _check_records(parts: Sequence[Path]) -> list[str]:
    """The names of all scores. ConfigError for a record that is damaged, or in two parts with other content."""
    seen: dict[str, tuple[int, str]] = {}
    scores: dict[str, None] = {}
    for number, part in enumerate(parts):
        records = RecordSet(part)
        table, contents = records.table, records.contents
        scores |= dict.fromkeys(name for name in table if name not in (*COLUMNS, *RENAMED, CONTENT))
        rows = zip(table["record_id"], table["mask_path"], strict=True)
        for name, mask in followed(rows, len(table), f"check {part.name}", "record"):
            content = contents[name]
            files = RecordWriter(part).parts(name, mask)
            if not all(file.is_file() for file in files) or (
                content and content_of(file.read_bytes() for file in files) != content
            ):
                raise ConfigError(
                    f"record {name} in {part} has a mask or maps that were altered or lost: run that part again, it "
                    "makes them anew"
                )
            earlier = seen.setdefault(name, (number, content))
            if earlier != (number, content) and earlier[1] != content:
                raise ConfigError(
                    f"record {name} is in {parts[earlier[0]]} and in {part} with another mask or maps: remove it from "
                    "one of them, or make it again there"
                )
    return list(scores)


def _rows(part: Path, seen: set[str]) -> Iterator[list[dict[str, Any]]]:
    """The rows of a part in chunks, without those that are `seen`, to which they are added."""
    records = RecordSet(part)
    table = records.table.sort_values("record_id", ignore_index=True)
    table = table[~table["record_id"].isin(seen)]
    for start in range(0, len(table), CHUNK):
        rows = table.iloc[start : start + CHUNK].to_dict("records")
        yield [{**row, CONTENT: records.contents[row["record_id"]]} for row in rows]
    seen.update(table["record_id"])


def _write_table(parts: Sequence[Path], path: Path, scores: Sequence[str], new: set[str]) -> None:
    """The table of OUT: its rows that no part has, then those of the parts."""
    known = pq.read_schema(path).names if path.exists() else []
    scores = [*scores, *(name for name in known if name not in (*COLUMNS, *RENAMED, CONTENT, *scores))]
    schema, lacking = arrow_schema(list(scores)), dict.fromkeys(scores, float("nan"))

    def write(file: Any) -> None:
        seen: set[str] = set()
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for old in table_parts(path, new, schema):
                writer.write_table(old)
            for part in parts:
                for rows in _rows(part, seen):
                    writer.write_table(pa.Table.from_pylist([lacking | row for row in rows], schema=schema))

    write_atomic(path, write)


def _counts(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The sums of what the runs counted."""
    counts = pd.DataFrame([run.get("counts") or {} for run in runs])
    return {str(name): counts[name].sum().item() for name in counts}
