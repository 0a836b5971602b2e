"""The planes of all training records, decoded once into memory maps, so that an epoch costs no decoding.

Images, and the truth where it is asked for, are kept once an image (uint8), mask and maps once a record (float16). The
folder's name is a hash of records, channels and size; the file `done` says that it is whole, and which records could
not be read. Built by worker processes, one task an image. A cache may hold more channels than a run reads, so that runs
of other inputs share it.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.lib.format import open_memmap
from torch import Tensor

from sqp.core.build_lock import made_once
from sqp.core.errors import CaseError, ConfigError, SqpError
from sqp.core.files import look_of, reserve_arrays, write_json
from sqp.core.progress import Progress
from sqp.core.untrusted import read_json
from sqp.quality.model.channels import IMAGE, image_planes, plane_names, record_planes, space, truth_plane
from sqp.records import RecordSet

FORMAT = 3
PATIENCE_S = 6 * 3600  # how long another process waits for the one that builds
FEW_IMAGES = 200  # below this, starting processes costs more than they save
KEPT = ("record_set", "record_id", "image_path", "truth_path", "files")
"""Columns that decoding a record needs."""
Decoded = tuple[int, dict[int, str]]
"""How many rows were decoded, and by row why one could not be."""


@dataclass(frozen=True)
class Task:
    """One image with the records that share it: rows into the memory maps; no truth paths where none is kept."""

    image_row: int
    image_path: str
    truth_paths: tuple[str, ...]
    records: tuple[tuple[int, dict[str, Any]], ...]  # row of the cache, row of the table (`KEPT`)


class PlaneCache:
    """Reads planes by row: `cache.planes([0, 5])` -> float32 `[2, c, size, size]`, of volumes `[2, c, *[size] * 3]`.

    `channels` are what it gives, in their order, `held` those that lie in the folder; `truth`: give that, too.
    `broken` says by row why a record could not be read; its planes are 0.
    """

    def __init__(
        self, folder: Path, channels: Sequence[str], image_rows: np.ndarray, held: Sequence[str], truth: bool
    ) -> None:
        self.folder = folder
        self.channels = tuple(channels)
        self.image_rows = image_rows
        self.with_truth = truth
        maps = [name for name in held if name != IMAGE]
        self.picked = np.array([maps.index(name) for name in channels if name != IMAGE], int)
        stored = read_json(folder / "done")
        self.broken: dict[int, str] = {int(row): why for row, why in stored.items()}
        self._open()

    def _open(self) -> None:
        self.maps = np.load(self.folder / "maps.npy", mmap_mode="r")
        self.images = np.load(self.folder / "images.npy", mmap_mode="r") if IMAGE in self.channels else None
        self.truths = np.load(self.folder / "truths.npy", mmap_mode="r") if self.with_truth else None

    def __len__(self) -> int:
        return len(self.image_rows)

    def __getstate__(self) -> dict[str, Any]:
        """Another process opens the files itself; a pickled memory map would be copied whole."""
        return {key: value for key, value in self.__dict__.items() if key not in ("maps", "images", "truths")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def planes(self, rows: Sequence[int] | np.ndarray) -> Tensor:
        """float32 `[n, c, size, size]`, planes in the channels' order, image in 0-1."""
        index = np.asarray(rows)
        maps = torch.from_numpy(self.maps[index[:, None], self.picked]).float()
        if self.images is None:
            return maps
        images = torch.from_numpy(np.asarray(self.images[self.image_rows[index]])).float().div_(255)
        before = self.channels.index(IMAGE)
        return torch.cat([maps[:, :before], images, maps[:, before:]], dim=1)

    def truth(self, rows: Sequence[int] | np.ndarray) -> Tensor | None:
        """float32 `[n, size, size]` in 0-1, None where it was not asked for."""
        if self.truths is None:
            return None
        return torch.from_numpy(np.asarray(self.truths[self.image_rows[np.asarray(rows)]])).float().div_(255)


def build_cache(
    table: pd.DataFrame,
    channels: Sequence[str],
    size: int,
    folder: Path,
    workers: int = 0,
    progress: bool = True,
    rank: int = 0,
    truth: bool = False,
    hold: Sequence[str] = (),
    dims: int = 2,
) -> PlaneCache:
    """The cache of a table (record_set, record_id, image_path, truth_path), row for row; built unless it is there.

    `truth` keeps the mean of each image's ground-truth masks too. `hold` are further channels to decode at once, for
    runs that will read them. `dims` is 3 for volumes.
    `workers` processes decode (0: this one). Where several processes train together only rank 0 builds and the others
    wait for it, so all machines must see `folder`. A record that cannot be read, holds NaN, or whose image or truth is
    another file than the one that it was made of is `broken`.
    """
    paths, image_rows = np.unique(table.image_path.to_numpy(dtype=str), return_inverse=True)
    held = tuple(dict.fromkeys([*hold, *channels]))
    shape = space(size, dims)
    home = folder / _key(table, held, size, True)
    if not truth and not (home / "done").exists():  # one with the truth serves as well
        home = folder / _key(table, held, size, False)
    if rank:
        _wait_for(home / "done")
    with made_once(home) as wanted:
        if wanted:
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir(parents=True)
            _allocate(home, len(table), len(paths), held, shape, truth)
            of_image = dict(zip(table.image_path, table.truth_path, strict=True)) if truth else {}
            records = list(enumerate(table[[name for name in KEPT if name in table]].to_dict("records")))
            order = np.argsort(image_rows, kind="stable")
            parts = np.split(order, np.flatnonzero(np.diff(image_rows[order])) + 1)
            tasks = [
                Task(i, str(paths[i]), tuple(of_image.get(paths[i], ())), tuple(records[row] for row in part))
                for i, part in enumerate(parts)
            ]
            run = _in_processes if workers > 1 and len(tasks) >= FEW_IMAGES else _here
            bar = Progress(len(table), "reading records", "record", shown=progress)
            broken: dict[int, str] = {}
            with bar:
                for count, unreadable in run(tasks, home, held, size, workers):
                    bar.update(count)
                    broken |= unreadable
            write_json(home / "done", broken)
    return PlaneCache(home, channels, image_rows, held, truth)


def _wait_for(done: Path) -> None:
    started = time.monotonic()
    while not done.exists():
        if time.monotonic() - started > PATIENCE_S:
            raise SqpError(f"rank 0 has not finished {done.parent}; give a --cache folder that all machines see")
        time.sleep(0.5)


def _allocate(home: Path, n: int, images: int, channels: Sequence[str], shape: tuple[int, ...], truth: bool) -> None:
    with_image = IMAGE in channels
    shapes: dict[str, tuple[type, tuple[int, ...]]] = {"maps": (np.float16, (n, len(channels) - with_image, *shape))}
    if with_image:
        shapes["images"] = (np.uint8, (images, len(plane_names([IMAGE], len(shape))), *shape))
    if truth:
        shapes["truths"] = (np.uint8, (images, *shape))
    reserve_arrays(home, shapes, "a smaller --size")


def _opened(folder: str) -> RecordSet:
    """A record set whose table is read once, not once a record; anew where it has grown."""
    table = Path(folder) / "records.parquet"
    return _at(folder, table.stat().st_mtime_ns if table.exists() else 0)


@lru_cache(maxsize=64)
def _at(folder: str, stamp: int) -> RecordSet:
    return RecordSet(folder)


def _decode(task: Task, home: Path, channels: tuple[str, ...], size: int) -> Decoded:
    """Fill the rows of one task."""
    try:
        if IMAGE in channels:
            open_memmap(home / "images.npy", "r+")[task.image_row] = image_planes(task.image_path, size)
        if task.truth_paths:
            records = _opened(task.records[0][1]["record_set"])
            truth = truth_plane(task.truth_paths, size, records.labels)
            open_memmap(home / "truths.npy", "r+")[task.image_row] = np.round(truth * 255).astype(np.uint8)
    except CaseError as error:
        return len(task.records), {row: str(error) for row, _ in task.records}
    maps, broken = open_memmap(home / "maps.npy", "r+"), {}
    for row, record in task.records:
        try:
            maps[row] = _planes(record, channels, size)
        except (CaseError, ConfigError) as error:  # ConfigError: it lacks a map that the others have
            broken[row] = str(error)
    return len(task.records), broken


def _planes(record: dict[str, Any], channels: tuple[str, ...], size: int) -> np.ndarray:
    """Mask and maps of a record. CaseError where they cannot be read, hold NaN, or its image has changed since."""
    folder, name = str(record["record_set"]), record["record_id"]
    records = _opened(folder)
    records.check_sources(record)
    planes = record_planes(records, name, channels, size)
    if np.isnan(planes).any():
        raise CaseError(f"record {name} in {folder} has NaN in its maps: generate it again")
    return planes


def _here(tasks: list[Task], home: Path, channels: tuple[str, ...], size: int, workers: int) -> Iterator[Decoded]:
    for task in tasks:
        yield _decode(task, home, channels, size)


def _in_processes(
    tasks: list[Task], home: Path, channels: tuple[str, ...], size: int, workers: int
) -> Iterator[Decoded]:
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        futures = [pool.submit(_decode, task, home, channels, size) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _key(table: pd.DataFrame, channels: Sequence[str], size: int, truth: bool) -> str:
    """Hash of what the cache holds; a record or image written anew (its files' times or sizes) is another."""
    digest = hashlib.sha256(repr((FORMAT, tuple(channels), size, truth)).encode())
    for image, truths in table.drop_duplicates("image_path")[["image_path", "truth_path"]].itertuples(index=False):
        digest.update(repr([look_of(Path(path)) for path in (image, *(truths if truths is not None else ()))]).encode())
    masks = table.mask_path if "mask_path" in table else table.record_id.map("masks/{}.png".format)
    for folder, name, mask, image in zip(table.record_set, table.record_id, masks, table.image_path, strict=True):
        looks = [look_of(path) for path in (Path(folder) / "maps" / f"{name}.npz", Path(folder) / mask)]
        digest.update(repr((str(folder), name, image, looks)).encode())
    return digest.hexdigest()[:16]
