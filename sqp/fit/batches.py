"""Batches out of the cache, each read at once; their order depends on seed and epoch alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, DistributedSampler

from sqp.fit.cache import ImageCache


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
