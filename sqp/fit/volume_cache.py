"""Volumes and true structures at the network's spacing, read once; and the patches of them that it is trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from sqp.core.files import write_atomic
from sqp.core.frame import VolumeFrame
from sqp.core.seeding import derive_seed, numpy_generator
from sqp.core.types import Case
from sqp.fit.cache import CaseCache, cache_key, fill_cache, read_pair
from sqp.networks.inputs import normalised
from sqp.prompts.volume_localizer import cube
from sqp.segmenters.plain import NetworkSpec

PATCHES = 4  # of a volume in an epoch: every other one lies around a voxel of the structure
FORMAT = 1


class VolumeCache(CaseCache):
    """A pair of files a case: voxels float16 (normalised) and truth bool, `[d, h, w]` each.

    Of volumes squashed to cubes the truth is float16, the structure's share of each cell.
    """

    def read(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Memory maps of voxels and truth."""
        image, truth = (np.load(self.folder / f"{row}-{name}.npy", mmap_mode="r") for name in ("image", "truth"))
        return image, truth


def build_volume_cache(
    cases: Sequence[Case], working: tuple[float, ...] | int, folder: Path, workers: int = 0, progress: bool = True
) -> VolumeCache:
    """The cache of these cases under `folder`; read unless it is there, by `workers` processes (0: this one).

    `working` is the spacing (d, h, w) in mm, 0 for an axis as it is, or the side of a cube to which all are squashed.
    """
    labels = [case.labels for case in cases]
    home = folder / cache_key(cases, "volumes", FORMAT, working, labels)
    fill_cache(home, cases, partial(_read, home=home, working=working), workers, progress, unit="volume")
    return VolumeCache(home)


def _read(row: int, case: Case, home: Path, working: tuple[float, ...] | int) -> None:
    """Write the files of one row."""
    volume, truth = read_pair(case)
    voxels, kept = normalised(volume.voxels), np.float16
    if isinstance(working, int):
        arrays = {
            "image": cube(voxels, working).numpy().astype(kept),
            "truth": cube(truth, working).numpy().astype(kept),
        }
    else:
        at = VolumeFrame.at_spacing(volume.shape, volume.spacing, working)
        frame = VolumeFrame(at.original, at.working, at.working)  # the truth as fine as the voxels
        image = frame.image_to_input(voxels).numpy().astype(kept)
        arrays = {"image": image, "truth": frame.mask_to_grid(truth).numpy()}
    for name, array in arrays.items():
        write_atomic(home / f"{row}-{name}.npy", partial(np.save, arr=array))


class Patches(Dataset):  # type: ignore[type-arg]
    """`data[[(row, draw), ...]]` -> a batch of patches; `data[row]` -> a whole volume, as a batch of one.

    A batch: image float32 `[n, c, *patch]`, truth and valid (what lies in the volume) bool `[n, 1, *patch]`. In 3D c is
    1; flat (2.5D) the patch is `[h, w]` and c are the slice and its neighbours, but a whole volume stays `[d, h, w]`.
    """

    def __init__(self, cache: VolumeCache, rows: np.ndarray, spec: NetworkSpec, flat: bool) -> None:
        self.cache, self.rows, self.spec, self.flat = cache, rows, spec, flat

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int | Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        if isinstance(index, int):
            image, truth = (torch.from_numpy(np.array(x))[None, None] for x in self.cache.read(int(self.rows[index])))
            return {"image": image.float(), "truth": truth, "valid": torch.ones_like(truth)}
        parts = [self._patch(int(self.rows[row]), draw) for row, draw in index]
        return {name: torch.stack([part[name] for part in parts]) for name in parts[0]}

    def _patch(self, row: int, draw: int) -> dict[str, Tensor]:
        """One patch at a place that depends on `draw` alone; an odd draw's middle lies on the structure.

        A smaller volume lies anywhere in the patch: what is empty of it must not tell which way the volume was flipped.
        """
        image, truth = self.cache.read(row)
        rng = np.random.default_rng(draw)
        low, high = np.array([0.5] * 3), np.array(image.shape) - 0.5
        centre = rng.uniform(low, high)
        inside = np.flatnonzero(truth) if draw % 2 else ()
        if len(inside):
            centre = np.array(np.unravel_index(inside[int(rng.integers(len(inside)))], truth.shape)) + 0.5
        sides = np.array(self.spec.patch)
        start = np.floor(centre - sides / 2 + 0.5).astype(int)
        fits = np.array(image.shape) - sides
        start = np.where(fits < 0, rng.integers(np.minimum(fits, 0), 1), np.clip(start, 0, np.maximum(fits, 0)))
        reach = np.array([self.spec.neighbours if self.flat else 0, 0, 0])
        voxels, valid = _cut(image, start - reach, sides + 2 * reach, edge=self.flat)
        target, _ = _cut(truth, start, sides, edge=False)
        if self.flat:
            return {"image": voxels, "truth": target.bool(), "valid": valid[reach[0] : reach[0] + 1]}
        return {"image": voxels[None], "truth": target[None].bool(), "valid": valid[None]}


def _cut(array: np.ndarray, start: np.ndarray, sides: np.ndarray, edge: bool) -> tuple[Tensor, Tensor]:
    """A part `[*sides]` float32, zeros beyond the array (with `edge` its end slices again), and what lies in it."""
    indices = [np.arange(at, at + side) for at, side in zip(start, sides, strict=True)]
    inside = [(index >= 0) & (index < n) for index, n in zip(indices, array.shape, strict=True)]
    if edge:
        inside[0][:] = True
    held = [np.clip(index, 0, n - 1) for index, n in zip(indices, array.shape, strict=True)]
    valid = inside[0][:, None, None] & inside[1][:, None] & inside[2]
    low, high = [index[0] for index in held], [index[-1] + 1 for index in held]
    part = np.asarray(array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))], dtype=np.float32)
    part = part[np.ix_(*(index - index[0] for index in held))]
    return torch.from_numpy(part * valid), torch.from_numpy(valid)


class PatchPlan(Sampler[list[tuple[int, int]]]):
    """Lists of (row, draw): every volume `PATCHES` times an epoch, shuffled by (seed, epoch). Lightning sets it."""

    def __init__(self, n: int, batch_size: int, seed: int) -> None:
        self.n, self.batch_size, self.seed, self.epoch = n, batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """The epoch whose patches come next."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = numpy_generator(self.seed, "order", self.epoch).permutation(np.repeat(np.arange(self.n), PATCHES))
        draws = [2 * (derive_seed(self.seed, "patch", self.epoch, k) // 2) + k % 2 for k in range(len(order))]
        pairs = list(zip(order.tolist(), draws, strict=True))
        yield from (pairs[k * self.batch_size : (k + 1) * self.batch_size] for k in range(len(self)))

    def __len__(self) -> int:
        return max(1, self.n * PATCHES // self.batch_size)


def patch_loader(data: Patches, batch_size: int, seed: int | None = None) -> DataLoader:  # type: ignore[type-arg]
    """Batches of patches; without a seed whole volumes in order."""
    plan: Any = range(len(data)) if seed is None else PatchPlan(len(data), batch_size, seed)
    return DataLoader(data, sampler=plan, batch_size=None)
