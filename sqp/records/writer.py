"""Writing a record set: atomic per record, keyed by id, resumable, safe for parallel workers.

A record's mask and maps are written first and its row `rows/ID.json` last, so the row says that the record is whole.
`consolidate` folds the rows into `records.parquet`. The workers of a run need no lock, since ids never collide; two
runs in one folder do, and the second is refused (`ownership`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from sqp.core.errors import ConfigError
from sqp.core.files import clear_left, content_of, write_atomic, write_json, write_maps, write_mask, write_text
from sqp.core.ownership import read_marker, remove_empty
from sqp.core.tables import damage_told
from sqp.core.untrusted import read_run
from sqp.core.volume import SUFFIX, Geometry, write_volume_mask
from sqp.records.reader import read_row
from sqp.records.schema import COLUMNS, CONTENT, RENAMED, YOUNGER, Record, arrow_schema

REMEDY = "choose another --out, or --overwrite to start anew"
CHUNK = 2_000  # rows held in memory at once while consolidating
FOLDERS = ("masks", "maps", "rows")
"""Folders whose files the table lists, by the ids of the records."""
FINISHED = "finished"  # key of run.yaml: whether the last run got to its end
FILE_SAFE = re.compile(r"[\w.-]+")
SOURCES = ("record_id", "image_id", "image_path", "truth_path", "mask_path", "variant", "files", CONTENT)
"""Columns that tell what a record was made of, and of what files it is."""
LATER = ("truth",)
"""Options that may be given to a finished run: what they add is joined (`resume.join_truth`)."""


class RecordWriter:
    """Writes into one folder; a second run there goes on where the last one stopped."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def write(
        self, record: Record, mask: np.ndarray, maps: Mapping[str, np.ndarray], geometry: Geometry | None = None
    ) -> None:
        """One finished record: mask bool `[h, w]` at the image's size, maps by name, then the row.

        Args:
            record: the row.
            mask: bool `[h, w]`, or `[d, h, w]` with `geometry`.
            maps: name -> float16 `[*grid]`.
            geometry: of a volume.
        """
        path = self.folder / record.mask_path
        if geometry is None:
            write_mask(path, mask)
        else:
            write_volume_mask(path, mask, geometry)
        write_maps(self.folder / "maps" / f"{record.record_id}.npz", maps)
        content = content_of(part.read_bytes() for part in self.parts(record.record_id, record.mask_path))
        row = record.as_row() | {CONTENT: content}
        write_json(self.folder / "rows" / f"{record.record_id}.json", row)

    def parts(self, record_id: str, mask_path: str) -> tuple[Path, Path]:
        """Mask and maps of a record."""
        return self.folder / mask_path, self.folder / "maps" / f"{record_id}.npz"

    def has_row(self, record_id: str) -> bool:
        """Whether a record was finished since the table was written."""
        return (self.folder / "rows" / f"{record_id}.json").is_file()

    def done(self) -> set[str]:
        """Ids of all finished records."""
        return set(self.sources())

    def sources(self) -> dict[str, dict[str, Any]]:
        """Id of each finished record -> the columns `SOURCES`; "" where it is older than one of them."""
        path = self.folder / "records.parquet"
        rows: list[dict[str, Any]] = []
        if path.exists():
            with damage_told(path, REMEDY):
                names = pq.read_schema(path).names
                table = pq.read_table(path, columns=["record_id", *(n for n in SOURCES[1:] if n in names)])
                pa.chunked_array(table["record_id"]).cast(pa.string())
            rows = table.to_pylist()
        rows += [read_row(row) for row in (self.folder / "rows").glob("*.json")]
        return {row["record_id"]: {name: row.get(name) or "" for name in SOURCES} for row in rows}

    def drop(self, ids: Collection[str]) -> None:
        """Remove records: first their rows, then their files.

        Args:
            ids: ids of records.
        """
        if not ids:
            return
        known, table = self.sources(), self.folder / "records.parquet"
        if table.exists():
            schema = pq.read_schema(table)

            def write(file: Any) -> None:
                with pq.ParquetWriter(file, schema, compression="zstd") as writer:
                    for part in table_parts(table, set(ids), schema):
                        writer.write_table(part)

            write_atomic(table, write)
        for name in ids:
            self._remove(name, known[name]["mask_path"])

    def consolidate(self) -> int:
        """Fold the rows into `records.parquet`, sorted by id within what is added; returns the number of records.

        Every score of the old table and of any new row becomes a column, NaN where a record has none. Streams: the old
        table and the new rows pass through memory in chunks.

        Returns:
            The number of records.
        """
        rows = sorted((self.folder / "rows").glob("*.json"))
        table = self.folder / "records.parquet"
        if not rows:
            return pq.read_metadata(table).num_rows if table.exists() else 0
        newer = dict.fromkeys(name for path in rows for name in read_row(path))
        older = [name for name in pq.read_schema(table).names if name not in newer] if table.exists() else []
        scores = [name for name in (*older, *newer) if name not in (*COLUMNS, *RENAMED, CONTENT)]
        schema, new, empty = arrow_schema(scores), {path.stem for path in rows}, dict.fromkeys(scores, float("nan"))
        count = 0

        def write(file: Any) -> None:
            nonlocal count
            with pq.ParquetWriter(file, schema, compression="zstd") as writer:
                for part in table_parts(table, new, schema):
                    writer.write_table(part)
                    count += part.num_rows
                for start in range(0, len(rows), CHUNK):
                    loaded = [empty | read_row(path) for path in rows[start : start + CHUNK]]
                    writer.write_table(pa.Table.from_pylist(loaded, schema=schema))
                    count += len(loaded)

        write_atomic(table, write)
        for path in rows:
            path.unlink()
        return count

    def begin(self, execution: Mapping[str, Any]) -> None:
        """Keep in `run.yaml` how this run goes, and that it has not ended: a run that is killed cannot say so.

        Args:
            execution: what only says how a run goes, by name.
        """
        path = self.folder / "run.yaml"
        told = {**read_run(path), "execution": dict(execution), FINISHED: False}
        write_text(path, yaml.safe_dump(told, sort_keys=False))

    def finish(self, run: Mapping[str, Any]) -> int:
        """Consolidate and add what the run found (versions, counts, seconds) to `run.yaml`.

        Args:
            run: what the run found, by name.

        Returns:
            The number of records.
        """
        count = self.consolidate()
        path = self.folder / "run.yaml"
        stored = read_run(path) if path.exists() else {}
        write_text(path, yaml.safe_dump({**stored, **run}, sort_keys=False))
        return count

    def check(
        self, config: Mapping[str, Any], overwrite: bool = False, defaults: Mapping[str, Any] | None = None
    ) -> None:
        """Make the folder and store the config, or compare it with the one that made the records there.

        Args:
            config: what the records depend on, not where they go, nor how many workers there are.
            overwrite: True removes the records that are there.
            defaults: values of keys that the stored config lacks, since they are younger.

        Raises:
            ConfigError: a key differs (the sentence names it), or the folder has files that no run of sqp made.
        """
        path = self.folder / "run.yaml"
        foreign = [name for name in FOLDERS if (self.folder / name).exists()]
        if foreign and not path.exists() and read_marker(self.folder) is None:
            raise ConfigError(f"{self.folder} has a folder {foreign[0]}/ that is not sqp's; choose another --out")
        if overwrite:
            self._clear()
        for name in FOLDERS:
            (self.folder / name).mkdir(parents=True, exist_ok=True)
            clear_left(self.folder / name)
        if self.done():
            run = read_run(path)
            stored = with_defaults(run["config"], defaults or {})
            later = {key: config[key] for key in LATER if stored.get(key) is None and config.get(key) is not None}
            differing = first_difference({**stored, **later}, config)
            if differing:
                key, old, new = differing
                raise ConfigError(
                    f"{self.folder} holds records made with {key}={old!r}, this run has {key}={new!r}; {REMEDY}"
                )
            if later:
                write_text(path, yaml.safe_dump({**run, "config": {**run["config"], **later}}, sort_keys=False))
        else:
            write_text(path, yaml.safe_dump({"config": dict(config)}, sort_keys=False))

    def _clear(self) -> None:
        """Remove the records, by their ids, and the table; other files in the folders are nobody's business."""
        for path in (self.folder / "rows").glob("*.json"):
            try:
                read_row(path)
            except ConfigError:
                path.unlink()
        try:
            known = self.sources()
        except (OSError, ConfigError):  # a damaged table: its masks and maps are written over, or lie there unread
            known = {}
        for name, source in known.items():
            self._remove(name, source["mask_path"])
        for name in ("records.parquet", "run.yaml", "skipped.csv"):
            (self.folder / name).unlink(missing_ok=True)
        for name in FOLDERS:
            remove_empty(self.folder, self.folder / name)

    def _remove(self, record_id: str, mask_path: object) -> None:
        """The files of a record, its row first."""
        if FILE_SAFE.fullmatch(record_id) is None:
            return
        mask = f"masks/{record_id}{SUFFIX if str(mask_path).endswith(SUFFIX) else '.png'}"
        for path in (self.folder / "rows" / f"{record_id}.json", *self.parts(record_id, mask)):
            path.unlink(missing_ok=True)


def first_difference(old: Any, new: Any, key: str = "") -> tuple[str, Any, Any] | None:
    """The first key (dotted) at which two nested configs differ, with both values; None where they agree.

    Args:
        old: nested config.
        new: nested config.
        key: the dotted key that led here.

    Returns:
        key, old and new value.

    Examples:
        >>> first_difference({"a": {"n": 8}}, {"a": {"n": 4}})
        ('a.n', 8, 4)
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in [*old, *(n for n in new if n not in old)]:
            found = first_difference(old.get(name), new.get(name), f"{key}.{name}" if key else str(name))
            if found:
                return found
        return None
    plain_old, plain_new = (list(v) if isinstance(v, tuple) else v for v in (old, new))
    return None if plain_old == plain_new else (key, plain_old, plain_new)


def with_defaults(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """`config` with the keys of nested `defaults` that it lacks.

    Args:
        config: nested config.
        defaults: nested config with all keys.

    Returns:
        The completed config.

    Examples:
        >>> with_defaults({"sampler": {"n": 4}}, {"sampler": {"n": 8, "p": 0.01}, "seed": 0})
        {'sampler': {'n': 4, 'p': 0.01}, 'seed': 0}
    """
    filled = {**defaults, **config}
    for key, value in defaults.items():
        if isinstance(value, Mapping) and isinstance(filled[key], Mapping):
            filled[key] = with_defaults(filled[key], value)
    return filled


def table_parts(table: Path, replaced: set[str], schema: pa.Schema) -> Iterable[pa.Table]:
    """The existing table in chunks, without the rows that are written anew, cast to the schema."""
    if not table.exists():
        return
    for batch in pq.ParquetFile(table).iter_batches(CHUNK):
        kept = [row for row in batch.to_pylist() if row["record_id"] not in replaced]
        if kept:
            lacking = [name for name in schema.names if name not in batch.schema.names]
            filled = {name: YOUNGER.get(name, float("nan")) for name in lacking}
            yield pa.Table.from_pylist([row | filled for row in kept], schema=schema)
