"""Episodes: a query image and examples of its task, drawn anew for every step.

A task is the value of the column `dataset`. The examples of a query are images of its task and of other groups.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Sampler

from sqp.core.errors import ConfigError
from sqp.core.seeding import numpy_generator
from sqp.core.types import Case
from sqp.fit.cache import ImageCache, Images
from sqp.segmenters.universeg import grey

HELD_SUPPORT = 8
"""Examples that a query of val is shown."""
MOST_HELD = 32
"""Queries of val a task: a large set must not take the time of all others."""


@dataclass(frozen=True)
class Episode:
    """Rows of a cache: the query, and its examples."""

    query: int
    support: tuple[int, ...]


class Tasks:
    """The rows of each task that may be shown, and how episodes are drawn of them. Randomness is an argument."""

    def __init__(self, rows: Sequence[int], cases: Sequence[Case]) -> None:
        self.cases = cases
        self.rows: dict[str, list[int]] = {}
        for row in rows:
            self.rows.setdefault(cases[row].dataset, []).append(int(row))

    def others(self, query: int) -> list[int]:
        """The rows that may be shown to a query, which need not be one of these itself."""
        case = self.cases[query]
        return [row for row in self.rows.get(case.dataset, []) if self.cases[row].group != case.group]

    def episode(self, query: int, k: int, rng: np.random.Generator) -> Episode:
        """The query with k examples; where there are fewer some come again."""
        others = self.others(query)
        return Episode(query, tuple(int(row) for row in rng.choice(others, k, replace=len(others) < k)))

    def draw(self, k: int, rng: np.random.Generator) -> Episode:
        """One of any task, small or large, with k examples."""
        names = sorted(self.rows)
        rows = self.rows[names[int(rng.integers(len(names)))]]
        return self.episode(rows[int(rng.integers(len(rows)))], k, rng)

    def check(self) -> None:
        """ConfigError for a task of a single group, whose images have no other for an example; and for none at all."""
        if not self.rows:
            raise ConfigError("every mask that is to be fitted on is empty: nothing shows a task")
        for task, rows in self.rows.items():
            if len({self.cases[row].group for row in rows}) < 2:
                raise ConfigError(
                    f"the task '{task}' (column dataset) has masks of one group only to be fitted on, and an example "
                    "must come from another one: leave it out, or give more images"
                )


class Episodes(Images):
    """Episodes as batches: image float in 0..1, truth and valid bool, `[b, 1 + k, 1, size, size]`, the query first.

    Of val also weight `[b]`: each task counts alike.
    """

    def __init__(
        self,
        cache: ImageCache,
        tasks: Tasks,
        held: Sequence[Episode] = (),
        weights: Mapping[int, float] = {},  # of a query's row; 1 for others
    ) -> None:
        self.cache, self.tasks, self.held, self.weights = cache, tasks, list(held), weights

    def __len__(self) -> int:
        return len(self.held) or sum(map(len, self.tasks.rows.values()))

    def __getitems__(self, index: Sequence[Any]) -> dict[str, Tensor]:
        """The batch of these `Episode`s, all with as many examples."""
        rows = np.array([[one.query, *one.support] for one in index])
        flat = rows.ravel()
        sizes = torch.from_numpy(self.cache.sizes[flat])
        side = torch.arange(self.cache.truth.shape[-1])
        valid = (side[:, None] < sizes[:, 0, None, None]) & (side < sizes[:, 1, None, None])
        image = grey(torch.from_numpy(self.cache.images[flat]), valid[:, None])
        truth = torch.from_numpy(self.cache.truth[flat])
        shape = (*rows.shape, 1, *truth.shape[1:])
        batch = {"image": image.view(shape), "truth": truth.view(shape), "valid": valid.view(shape)}
        weight = torch.tensor([self.weights.get(int(row), 1.0) for row in rows[:, 0]])
        return batch | {"weight": weight}


class EpisodeSampler(Sampler[Episode]):
    """Episodes by (seed, epoch): as many an epoch as there are images, in batches of one support size, 1 to `most`."""

    def __init__(self, tasks: Tasks, queries: int, batch_size: int, most: int, seed: int) -> None:
        self.tasks, self.batch_size, self.most, self.seed = tasks, batch_size, most, seed
        self.batches = max(1, queries // batch_size)
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.batches * self.batch_size

    def __iter__(self) -> Iterator[Episode]:
        rng = numpy_generator(self.seed, "episodes", self.epoch)
        for _ in range(self.batches):
            k = int(rng.integers(1, self.most + 1))
            yield from (self.tasks.draw(k, rng) for _ in range(self.batch_size))


def fitted_episodes(cache: ImageCache, rows: np.ndarray, cases: Sequence[Case]) -> Episodes:
    """Of the rows that are fitted on."""
    tasks = Tasks(with_structure(cache, rows), cases)
    tasks.check()
    return Episodes(cache, tasks)


def held_episodes(cache: ImageCache, rows: np.ndarray, fitted: np.ndarray, cases: Sequence[Case]) -> Episodes:
    """The same ones in every epoch and for every seed: queries of `rows`, shown `HELD_SUPPORT` fitted images.

    Of a task that is not fitted on the examples are other images of `rows`; without such it is left out.
    """
    shown, among = (Tasks(with_structure(cache, part), cases) for part in (fitted, rows))
    episodes: list[Episode] = []
    weights: dict[int, float] = {}
    for task, queries in among.rows.items():
        rng = numpy_generator(0, "held episodes", task)
        tasks = shown if task in shown.rows else among
        able = [int(row) for row in rng.permutation(queries) if tasks.others(int(row))][:MOST_HELD]
        episodes += [tasks.episode(row, HELD_SUPPORT, rng) for row in able]
        weights |= dict.fromkeys(able, 1 / max(1, len(able)))
    if not episodes:
        raise ConfigError("no image of val has an example of its task and of another group: give more images")
    return Episodes(cache, shown, episodes, weights)


def with_structure(cache: ImageCache, rows: np.ndarray) -> list[int]:
    """The rows on which something is drawn: an empty mask shows no task."""
    return [int(row) for row in rows if cache.truth[row].any()]


def episode_loader(data: Episodes, batch_size: int, most: int, seed: int | None = None) -> DataLoader:  # type: ignore[type-arg]
    """Batches that are drawn by the seed; without one those of val."""
    order: Any = data.held
    if seed is not None:
        order = EpisodeSampler(data.tasks, len(data), batch_size, most, seed)
    batches = BatchSampler(order, batch_size, drop_last=False)
    return DataLoader(data, batch_sampler=batches, collate_fn=lambda batch: batch)
