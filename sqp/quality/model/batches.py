"""Batches out of the cache, each read at once; their order depends on seed and epoch alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from sqp.core.seeding import numpy_generator
from sqp.quality.model.cache import PlaneCache


@dataclass
class CachedRecords(Dataset):  # type: ignore[type-arg]
    """`data[[3, 8]]` -> the batch of these rows: planes, dice, weight, and scores and truth where there are any.

    `rows` maps a row of this split to the cache's; dice and weight `[n]`, scores `[n, 2k]` or None.
    """

    cache: PlaneCache
    rows: np.ndarray
    dice: Tensor
    weight: Tensor
    scores: Tensor | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Sequence[int]) -> dict[str, Tensor]:
        batch = {
            "planes": self.cache.planes(self.rows[np.asarray(index)]),
            "dice": self.dice[index],
            "weight": self.weight[index],
        }
        if self.scores is not None:
            batch["scores"] = self.scores[index]
        truth = self.cache.truth(self.rows[np.asarray(index)])
        return batch if truth is None else batch | {"truth": truth}


class BatchPlan(Sampler[list[int]]):
    """Lists of rows: every row once an epoch, shuffled by (seed, epoch), dealt to `world` ranks.

    Lightning calls `set_epoch`. A last batch of one row joins the one before it (BatchNorm needs two), and
    ranks get equally many batches.
    """

    def __init__(self, n: int, batch_size: int, seed: int | None = None, rank: int = 0, world: int = 1) -> None:
        self.n, self.batch_size, self.seed, self.rank, self.world = n, batch_size, seed, rank, world
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """The epoch whose order comes next."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        order = np.arange(self.n)
        if self.seed is not None:
            order = numpy_generator(self.seed, "order", self.epoch).permutation(self.n)
        cuts = list(range(self.batch_size, self.n, self.batch_size))
        if cuts and self.n - cuts[-1] == 1 and self.n > 2:
            cuts.pop()
        batches = [part.tolist() for part in np.split(order, cuts)]
        for index in range(self.rank, len(self) * self.world, self.world):
            yield batches[index % len(batches)]

    def __len__(self) -> int:
        full, rest = divmod(self.n, self.batch_size)
        batches = full + (rest > 1 or (rest == 1 and full == 0))
        return -(-batches // self.world)


def loader(data: CachedRecords, plan: BatchPlan, workers: int = 0) -> DataLoader:  # type: ignore[type-arg]
    """Batches of the plan, read in this process: a memory map is quicker than sending tensors."""
    return DataLoader(data, sampler=plan, batch_size=None, num_workers=workers, pin_memory=torch.cuda.is_available())
