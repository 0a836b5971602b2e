"""Batches out of the cache, each read at once, in an order of seed and epoch alone; and a model's outputs on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from sqp.core.seeding import numpy_generator
from sqp.core.tables import evenly_spaced
from sqp.quality.model.cache import PlaneCache
from sqp.quality.model.ensemble import Ensemble
from sqp.quality.model.inference import Outputs, infer
from sqp.quality.model.losses import record_weights
from sqp.quality.model.module import QualityModel
from sqp.quality.model.tabular import Standardizer
from sqp.records.schema import image_keys


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


def plane_statistics(data: CachedRecords, most: int = 2048, batch: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each plane, over at most `most` evenly spaced records; float64 `[c]`."""
    rows = evenly_spaced(len(data), most)
    means, squares = [], []
    for start in range(0, len(rows), batch):
        planes = data.cache.planes(data.rows[rows[start : start + batch]]).double()
        means.append(planes.flatten(2).mean(dim=2))
        squares.append(planes.square().flatten(2).mean(dim=2))
    mean, square = (torch.cat(parts).mean(0).numpy() for parts in (means, squares))
    return mean, np.sqrt(np.maximum(square - mean**2, 0))


def split_records(
    cache: PlaneCache, rows: pd.DataFrame, split: str, standardizer: Standardizer, balance: float = 0.0
) -> CachedRecords:
    """What batches of a split are made of; the index of `rows` is the row of the cache."""
    part = rows[rows["split"] == split]
    dice = torch.tensor(part["dice"].to_numpy(np.float32))
    scores = torch.from_numpy(standardizer(part)) if standardizer.names else None
    weight = record_weights(image_keys(part).tolist(), dice, balance)
    return CachedRecords(cache, part.index.to_numpy(), dice, weight, scores)


def outputs_by_split(
    model: QualityModel | Ensemble,
    data: Mapping[str, CachedRecords],
    batch_size: int,
    device: str | torch.device = "cpu",
) -> dict[str, Outputs]:
    """The outputs on all splits, in their order. Of train only the features count, which the first member gives."""
    first = model.first if isinstance(model, Ensemble) else model
    return {
        name: infer(first if name == "train" else model, loader(part, BatchPlan(len(part), batch_size)), device)
        for name, part in data.items()
    }
