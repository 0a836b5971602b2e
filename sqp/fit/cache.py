"""Images and true masks at the network's input size, decoded once into memory maps, and batches out of them.

The folder's name is a hash of the cases, their files and the size; the file `done` says that it is whole and lists what
could not be read. Runs of other seeds and networks of the same size share it. The order of the batches depends on seed
and epoch alone.
"""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Mapping, Sequence
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
from tqdm import tqdm

from sqp.core.errors import CaseError, SqpError
from sqp.core.files import reserved_memmap, write_json
from sqp.core.frame import Frame
from sqp.core.hashing import look_of
from sqp.core.types import Case
from sqp.core.untrusted import read_json
from sqp.data import check_same_size, read_image, read_mask
from sqp.records.build_lock import made_once

FORMAT = 1


class ImageCache:
    """Memory maps, a row a case in the order given: images uint8 `[n, 3, size, size]`, truth bool `[n, size, size]`.

    A case without truth has an empty one. The image lies in the upper left corner, `sizes` `[n, 2]` are its (h, w)
    there, zeros beyond. `broken` says by row why a case could not be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images = np.load(folder / "images.npy", mmap_mode="r")
        self.truth = np.load(folder / "truth.npy", mmap_mode="r")
        self.sizes = np.load(folder / "sizes.npy")
        told = read_json(folder / "done")
        self.broken: dict[int, str] = {int(row): why for row, why in told.items()}


def build_cache(cases: Sequence[Case], size: int, folder: Path, workers: int = 0, progress: bool = True) -> ImageCache:
    """The cache of these cases under `folder`; decoded unless it is there, by `workers` processes (0: this one)."""
    home = folder / cache_key(cases, size)
    with made_once(home) as wanted:
        if wanted:
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir(parents=True)
            allocate(
                home,
                {
                    "images": (np.uint8, (len(cases), 3, size, size)),
                    "truth": (np.bool_, (len(cases), size, size)),
                    "sizes": (np.int64, (len(cases), 2)),
                },
            )
            broken: dict[int, str] = {}
            work = partial(_decode, home=home, size=size)
            pool: Any = ProcessPoolExecutor(workers, get_context("spawn")) if workers > 1 else nullcontext()
            with (
                pool,
                tqdm(total=len(cases), unit="image", desc="reading images", disable=None if progress else True) as bar,
            ):
                tasks = list(enumerate(cases))
                for row, why in pool.map(work, tasks, chunksize=16) if workers > 1 else map(work, tasks):
                    broken |= {row: why} if why else {}
                    bar.update()
            write_json(home / "done", broken)
    return ImageCache(home)


def allocate(home: Path, arrays: Mapping[str, tuple[type, tuple[int, ...]]]) -> None:
    """Memory maps of zeros by name, (dtype, shape) each; SqpError where the disk has no room for them."""
    need = sum(np.dtype(dtype).itemsize * math.prod(shape) for dtype, shape in arrays.values())
    if need > shutil.disk_usage(home).free:
        raise SqpError(
            f"the training cache needs {need / 1e9:.1f} GB in {home}: free some space, or choose a smaller --size or "
            "fewer images (--max_images)"
        )
    for name, (dtype, shape) in arrays.items():
        reserved_memmap(home / f"{name}.npy", dtype, shape)


def read_pair(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Image uint8 `[h, w, 3]` and truth bool `[h, w]`, the first rater's, empty where there is none.

    CaseError where a file is broken or their sizes differ.
    """
    image = read_image(case.image_path)
    truth = np.zeros_like(image[..., 0], bool)
    for path in case.truth_paths[:1]:
        truth = read_mask(path, case.labels)
        check_same_size(case.image_path, image.shape[:2], path, truth.shape)
    return image, truth


def _decode(task: tuple[int, Case], home: Path, size: int) -> tuple[int, str]:
    """Fill one row; its number, and why it could not be read."""
    row, case = task
    try:
        image, truth = read_pair(case)
    except CaseError as error:
        return row, str(error)
    frame = Frame(truth.shape, size)
    h, w = frame.grid
    pixels = frame.image_to_input(image)[0].round().clamp(0, 255).byte().numpy()
    open_memmap(home / "images.npy", "r+")[row, :, :h, :w] = pixels
    open_memmap(home / "truth.npy", "r+")[row, :h, :w] = frame.mask_to_grid(truth).numpy()
    open_memmap(home / "sizes.npy", "r+")[row] = h, w
    return row, ""


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
