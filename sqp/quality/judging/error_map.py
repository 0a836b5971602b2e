"""Where a quality model expects a mask to be wrong: its error map, for the records that somebody looks at."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from sqp.quality.bundle.storage import Bundle
from sqp.quality.judging.predict import predict_batch, read_batch
from sqp.quality.model.ensemble import Ensemble
from sqp.quality.model.inference import over_symmetries
from sqp.quality.model.module import QualityModel
from sqp.records import RecordSet

Key = tuple[str, str]
"""(record_set, record_id) of a row."""
KEPT = 64 * 2**20
"""Bytes of maps that are kept of a run's own pass, 4,096 at 88 x 88. Those of further records are drawn anew where they
are shown."""


class ErrorMapStore:
    """`maps(rows)`: the error maps of rows of a table, each drawn once.

    `keep` takes those that `predict_records` makes while it predicts, the first `most` bytes; the others are drawn when
    they are asked for, and kept.
    """

    def __init__(
        self, bundle: Bundle, batch_size: int = 64, device: str = "cpu", threads: int = 2, most: int = KEPT
    ) -> None:
        self.bundle, self.batch_size, self.device, self.threads = bundle, batch_size, device, threads
        self.most = most
        self._maps: dict[Key, np.ndarray | None] = {}
        self._bytes = 0

    def keep(self, rows: pd.DataFrame, maps: np.ndarray, unreadable: np.ndarray) -> None:
        """Maps `[n, h, h]` of rows, of which `[n]` could not be read: these have none."""
        if self._bytes < self.most:
            self._bytes += 2 * maps.size  # float16
            self._add(rows, maps, unreadable)

    def _add(self, rows: pd.DataFrame, maps: np.ndarray, unreadable: np.ndarray) -> None:
        for key, values, lost in zip(_keys(rows), maps.astype(np.float16), unreadable, strict=True):
            self._maps[key] = None if lost else values

    def __call__(self, table: pd.DataFrame) -> dict[Key, np.ndarray]:
        """float16 `[h, h]` in 0-1 over the squashed frame, by (record_set, record_id): is the mask wrong there.

        Args:
            table: rows with record_set and record_id.

        Returns:
            What is drawn; nothing of a record that cannot be read, nor of a bundle without `error_map`.
        """
        if not self.bundle.model.spec.error_map:
            return {}
        lacking = table[[key not in self._maps for key in _keys(table)]]
        with ThreadPoolExecutor(max(1, self.threads)) as pool:
            for folder, rows in lacking.groupby("record_set", sort=False):
                records = RecordSet(str(folder))
                for start in range(0, len(rows), self.batch_size):
                    part = rows.iloc[start : start + self.batch_size]
                    predict_batch(
                        self.bundle, part, read_batch(self.bundle, records, part, pool), self.device, self._add
                    )
        found = {key: self._maps[key] for key in _keys(table)}
        return {key: values for key, values in found.items() if values is not None}


def error_maps(
    bundle: Bundle, table: pd.DataFrame, batch_size: int = 64, device: str = "cpu", threads: int = 2
) -> dict[Key, np.ndarray]:
    """float16 `[h, h]` in 0-1 over the squashed frame, by (record_set, record_id): is the mask wrong there.

    A record that cannot be read has none, nor has any where the model was trained without the second head
    (`error_map`).

    Args:
        bundle: the quality model.
        table: rows with record_set and record_id.
        batch_size: records at once.
        device: cpu, cuda, cuda:0, mps.
        threads: how many read files.

    Returns:
        (record_set, record_id) -> float16 `[h, h]` in 0-1.
    """
    return ErrorMapStore(bundle, batch_size, device, threads)(table)


def _keys(table: pd.DataFrame) -> list[Key]:
    return list(zip(table["record_set"].astype(str), table["record_id"].astype(str), strict=True))


@torch.inference_mode()
def error_map(model: QualityModel | Ensemble, planes: Tensor, scores: Tensor | None = None) -> np.ndarray:
    """The second head's error map float32 `[n, h, h]` of planes `[n, c, s, s]`, h <= s.

    Averaged over the symmetries that the predicted Dice is averaged over.

    Args:
        model: a network with a second head.
        planes: float32 `[n, c, s, s]`.
        scores: float32 `[n, 2k]`, where the model reads scores.

    Returns:
        float32 `[n, h, h]` in 0-1, the probability that a pixel is wrong.
    """

    def make(turned: Tensor) -> np.ndarray:
        return model.eval()(turned, scores).error_map.float().cpu().numpy()

    return over_symmetries(make, planes, model.spec.flips)
