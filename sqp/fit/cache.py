"""What a network is fitted on, read once: caches of cases, and that of images with true masks and its batches.

A cache's folder is named by a hash of the cases, their files and what is kept of them; the file `done` says that it is
whole and lists what could not be read. Runs of other seeds and networks of the same size share it. The order of the
batches depends on seed and epoch alone.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, DistributedSampler

from sqp.core.build_lock import DONE, made_once
from sqp.core.errors import CaseError
from sqp.core.files import look_of, reserve_arrays, write_json
from sqp.core.frame import Frame
from sqp.core.progress import Progress
from sqp.core.types import Case
from sqp.core.untrusted import read_json
from sqp.core.volume import Volume
from sqp.data.reading import read, read_mask_of

FORMAT = 1
SMALLER = "a smaller --size or fewer images (--max_images)"


class CaseCache:
    """What was read of cases, a row a case in the order given; `broken` says by row why a case could not be used."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.broken: dict[int, str] = {int(row): why for row, why in read_json(folder / DONE).items()}


def fill_cache(
    home: Path,
    cases: Sequence[Case],
    fill: Callable[[int, Case], None],
    workers: int = 0,
    progress: bool = True,
    unit: str = "image",
    start: Callable[[], None] | None = None,
) -> None:
    """Make the folder `home`, unless it is there: `fill(row, case)` writes a row, by `workers` processes (0: this one).

    `start` prepares the folder; by default it is emptied. A CaseError of `fill` leaves the row out: see `CaseCache`.
    """
    with made_once(home) as wanted:
        if not wanted:
            return
        if start is None:
            shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True, exist_ok=True)
        if start is not None:
            start()
        broken: dict[int, str] = {}
        work, rows = partial(_filled, fill), list(enumerate(cases))
        pool: Any = ProcessPoolExecutor(workers, get_context("spawn")) if workers > 1 else nullcontext()
        bar = Progress(len(cases), f"reading {unit}s", unit, shown=progress)
        with pool, bar:
            chunk = max(1, min(16, len(rows) // (4 * max(1, workers))))
            for row, why in pool.map(work, rows, chunksize=chunk) if workers > 1 else map(work, rows):
                broken |= {row: why} if why else {}
                bar.update()
        write_json(home / DONE, broken)


def _filled(fill: Callable[[int, Case], None], task: tuple[int, Case]) -> tuple[int, str]:
    """The row's number, and why it could not be filled."""
    try:
        fill(*task)
    except CaseError as error:
        return task[0], str(error)
    return task[0], ""


class ImageCache(CaseCache):
    """Memory maps: images uint8 `[n, 3, size, size]`, truth bool `[n, size, size]`.

    A case without truth has an empty one. The image lies in the upper left corner, `sizes` `[n, 2]` are its (h, w)
    there, zeros beyond.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.images = np.load(folder / "images.npy", mmap_mode="r")
        self.truth = np.load(folder / "truth.npy", mmap_mode="r")
        self.sizes = np.load(folder / "sizes.npy")


def build_cache(cases: Sequence[Case], size: int, folder: Path, workers: int = 0, progress: bool = True) -> ImageCache:
    """The cache of these cases under `folder`; decoded unless it is there, by `workers` processes (0: this one)."""
    home, n = folder / cache_key(cases, size), len(cases)

    def start() -> None:
        masks = {"truth": (np.bool_, (n, size, size)), "sizes": (np.int64, (n, 2))}
        reserve_arrays(home, {"images": (np.uint8, (n, 3, size, size))} | masks, SMALLER)

    fill_cache(home, cases, partial(_decode, home=home, size=size), workers, progress, start=start)
    return ImageCache(home)


def read_pair(case: Case) -> tuple[Any, np.ndarray]:
    """Image uint8 `[h, w, 3]` and truth bool `[h, w]`, the first rater's, empty where there is none; of a volume a
    `Volume` and truth `[d, h, w]`.

    CaseError where a file is broken, or the truth does not fit.
    """
    image = read(case.image_path)
    truth = np.zeros(image.shape if isinstance(image, Volume) else image.shape[:2], bool)
    for path in case.truth_paths[:1]:
        truth = read_mask_of(image, case.image_path, path, case.labels)
    return image, truth


def _decode(row: int, case: Case, home: Path, size: int) -> None:
    """Fill one row."""
    image, truth = read_pair(case)
    frame = Frame(truth.shape, size)
    h, w = frame.grid
    pixels = frame.image_to_input(image)[0].round().clamp(0, 255).byte().numpy()
    open_memmap(home / "images.npy", "r+")[row, :, :h, :w] = pixels
    open_memmap(home / "truth.npy", "r+")[row, :h, :w] = frame.mask_to_grid(truth).numpy()
    open_memmap(home / "sizes.npy", "r+")[row] = h, w


def cache_key(cases: Sequence[Case], *what: object) -> str:
    """Hash of what a cache holds; a file written anew (its time or size) is another one."""
    digest = hashlib.sha256(repr((FORMAT, *what)).encode())
    for case in cases:
        for path in (case.image_path, *case.truth_paths[:1]):
            digest.update(repr((case.image_id, str(path), *look_of(path))).encode())
        if case.labels:
            digest.update(repr(case.labels).encode())
    return digest.hexdigest()[:16]


class Images(Dataset):  # type: ignore[type-arg]
    """Rows of one split that are read a batch at once."""

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitems__(self, index: Sequence[int]) -> dict[str, Tensor]:
        """The batch of these rows."""
        raise NotImplementedError


@dataclass
class CachedImages(Images):
    """The rows of one split. A batch is cut to the least height and width that holds its images.

    A batch: image uint8 `[n, 3, h, w]`, truth and valid (what lies on the image) bool `[n, 1, h, w]`, where there are
    `labels` (a number for each row of the cache) label `[n]`; h and w are multiples of `divisor`.
    """

    cache: ImageCache
    rows: np.ndarray
    divisor: int
    labels: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, index: Sequence[int]) -> dict[str, Tensor]:
        rows = self.rows[np.asarray(index)]
        sizes = torch.from_numpy(self.cache.sizes[rows])
        h, w = (-(-int(side) // self.divisor) * self.divisor for side in sizes.amax(0))
        y, x = torch.arange(h)[:, None], torch.arange(w)
        valid = (y < sizes[:, 0, None, None]) & (x < sizes[:, 1, None, None])
        image = torch.from_numpy(self.cache.images[rows, :, :h, :w])
        truth = torch.from_numpy(self.cache.truth[rows, :h, :w])
        batch = {"image": image, "truth": truth[:, None], "valid": valid[:, None]}
        return batch if self.labels is None else batch | {"label": torch.from_numpy(self.labels[rows])}


def loader(data: Images, batch_size: int, seed: int | None = None) -> DataLoader:  # type: ignore[type-arg]
    """Batches shuffled by (seed, epoch), every row once, a last one that is not full left out; without a seed in order.

    Lightning calls the sampler's `set_epoch`. Read in this process: a memory map is quicker than sending tensors.
    """
    order: Any = range(len(data))
    if seed is not None:
        order = DistributedSampler(data, num_replicas=1, rank=0, shuffle=True, seed=seed)
    drop = seed is not None and len(data) > batch_size
    return DataLoader(data, batch_sampler=BatchSampler(order, batch_size, drop), collate_fn=_as_it_is)


def _as_it_is(batch: Any) -> Any:
    return batch
