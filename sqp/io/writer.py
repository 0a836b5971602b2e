"""Writing a record set: atomic per record, keyed by id, resumable, safe for parallel workers.

A record's mask and maps are written first and its row `rows/ID.json` last, so the row says that the record is whole.
`consolidate` folds the rows into `records.parquet`. The workers of a run need no lock, since ids never collide; two
runs in one folder do, and the second is refused.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from filelock import FileLock, Timeout

from sqp.errors import ConfigError
from sqp.io.atomic import clear_left, write_atomic, write_json, write_maps, write_mask, write_text
from sqp.io.reader import read_row
from sqp.io.schema import COLUMNS, YOUNGER, Record, arrow_schema
from sqp.io.tables import damage_told
from sqp.io.volume_files import write_volume_mask
from sqp.volume import Geometry
from sqp.yaml_files import read_run

REMEDY = "choose another --out, or --overwrite to start anew"
CHUNK = 2_000  # rows held in memory at once while consolidating
FOLDERS = ("masks", "maps", "rows")


class RecordWriter:
    """Writes into one folder; a second run there goes on where the last one stopped."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def write(
        self, record: Record, mask: np.ndarray, maps: Mapping[str, np.ndarray], geometry: Geometry | None = None
    ) -> None:
        """One finished record: mask bool `[h, w]` at the image's size, maps by name, then the row.

        With the `geometry` of a volume the mask is `[d, h, w]`.
        """
        path = self.folder / record.mask_path
        if geometry is None:
            write_mask(path, mask)
        else:
            write_volume_mask(path, mask, geometry)
        write_maps(self.folder / "maps" / f"{record.record_id}.npz", maps)
        write_json(self.folder / "rows" / f"{record.record_id}.json", record.as_row())

    def done(self) -> set[str]:
        """Ids of all finished records."""
        return set(self.stamps())

    def stamps(self) -> dict[str, str]:
        """Id of each finished record -> the stamp of the files that it was made of, "" where it is older than these."""
        path = self.folder / "records.parquet"
        found: dict[str, str] = {}
        if path.exists():
            with damage_told(path, REMEDY):
                known = "files" in pq.read_schema(path).names
                table = pq.read_table(path, columns=["record_id", *(["files"] if known else [])])
                pa.chunked_array(table["record_id"]).cast(pa.string())
            ids = table["record_id"].to_pylist()
            found = dict(zip(ids, table["files"].to_pylist() if known else [""] * len(ids), strict=True))
        rows = [read_row(row) for row in (self.folder / "rows").glob("*.json")]
        return found | {row["record_id"]: row.get("files", "") for row in rows}

    def consolidate(self) -> int:
        """Fold the rows into `records.parquet`, sorted by id within what is added; returns the number of records.

        Streams: the old table and the new rows pass through memory in chunks.
        """
        rows = sorted((self.folder / "rows").glob("*.json"))
        table = self.folder / "records.parquet"
        if not rows:
            return pq.read_metadata(table).num_rows if table.exists() else 0
        scores = [name for name in read_row(rows[0]) if name not in COLUMNS]
        if table.exists():
            scores = [n for n in pq.read_schema(table).names if n not in COLUMNS and n not in scores] + scores
        schema, new = arrow_schema(scores), {path.stem for path in rows}
        count = 0

        def write(file: Any) -> None:
            nonlocal count
            with pq.ParquetWriter(file, schema, compression="zstd") as writer:
                for part in _old_parts(table, new, schema):
                    writer.write_table(part)
                    count += part.num_rows
                for start in range(0, len(rows), CHUNK):
                    loaded = [read_row(path) for path in rows[start : start + CHUNK]]
                    writer.write_table(pa.Table.from_pylist(loaded, schema=schema))
                    count += len(loaded)

        write_atomic(table, write)
        for path in rows:
            path.unlink()
        return count

    def finish(self, run: Mapping[str, Any]) -> int:
        """Consolidate and add what the run found (versions, counts, seconds) to `run.yaml`."""
        count = self.consolidate()
        path = self.folder / "run.yaml"
        stored = read_run(path) if path.exists() else {}
        write_text(path, yaml.safe_dump({**stored, **run}, sort_keys=False))
        return count

    def check(
        self, config: Mapping[str, Any], overwrite: bool = False, defaults: Mapping[str, Any] | None = None
    ) -> None:
        """Make the folder and store the config, or compare it with the one that made the records there.

        `config` is what the records depend on, not where they go, nor how many workers there are; a key that the
        stored one lacks, since it is younger, has its value of `defaults`. ConfigError names the first key that
        differs, and refuses a folder with files that no run of sqp made; `overwrite` empties a record set, never such
        a folder.
        """
        path = self.folder / "run.yaml"
        foreign = [name for name in FOLDERS if (self.folder / name).exists() and not path.exists()]
        if foreign:
            raise ConfigError(f"{self.folder} has a folder {foreign[0]}/ that is not sqp's; choose another --out")
        if overwrite:
            self._clear()
        for name in FOLDERS:
            (self.folder / name).mkdir(parents=True, exist_ok=True)
            clear_left(self.folder / name)
        if self.done():
            stored = with_defaults(read_run(path)["config"], defaults or {})
            differing = first_difference(stored, config)
            if differing:
                key, old, new = differing
                raise ConfigError(
                    f"{self.folder} holds records made with {key}={old!r}, this run has {key}={new!r}; "
                    "choose another --out, or --overwrite to start anew"
                )
        else:
            write_text(path, yaml.safe_dump({"config": dict(config)}, sort_keys=False))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep a second run out of the folder while this one lasts; the lock dies with its process."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise ConfigError(
                f"another run of sqp writes into {self.folder}; wait for it, or choose another --out"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def _clear(self) -> None:
        for name in FOLDERS:
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for name in ("records.parquet", "run.yaml", "skipped.csv"):
            (self.folder / name).unlink(missing_ok=True)


def first_difference(old: Any, new: Any, key: str = "") -> tuple[str, Any, Any] | None:
    """The first key (dotted) at which two nested configs differ, with both values; None where they agree.

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

    >>> with_defaults({"sampler": {"n": 4}}, {"sampler": {"n": 8, "p": 0.01}, "seed": 0})
    {'sampler': {'n': 4, 'p': 0.01}, 'seed': 0}
    """
    filled = {**defaults, **config}
    for key, value in defaults.items():
        if isinstance(value, Mapping) and isinstance(filled[key], Mapping):
            filled[key] = with_defaults(filled[key], value)
    return filled


def _old_parts(table: Path, replaced: set[str], schema: pa.Schema) -> Iterable[pa.Table]:
    """The existing table in chunks, without the rows that are written anew, cast to the schema."""
    if not table.exists():
        return
    for batch in pq.ParquetFile(table).iter_batches(CHUNK):
        kept = [row for row in batch.to_pylist() if row["record_id"] not in replaced]
        if kept:
            lacking = [name for name in schema.names if name not in batch.schema.names]
            filled = {name: YOUNGER.get(name, float("nan")) for name in lacking}
            yield pa.Table.from_pylist([row | filled for row in kept], schema=schema)
