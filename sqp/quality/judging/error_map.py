"""Where a quality model expects a mask to be wrong: its error map, for the records that somebody looks at."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from sqp.quality.bundle.storage import Bundle
from sqp.quality.judging.predict import read_batch
from sqp.quality.model.ensemble import Ensemble
from sqp.quality.model.inference import over_symmetries
from sqp.quality.model.module import QualityModel
from sqp.records import RecordSet


def error_maps(
    bundle: Bundle, table: pd.DataFrame, batch_size: int = 64, device: str = "cpu", threads: int = 2
) -> dict[tuple[str, str], np.ndarray]:
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
    maps: dict[tuple[str, str], np.ndarray] = {}
    if not bundle.model.spec.error_map:
        return maps
    model = bundle.model.to(device).eval()
    with ThreadPoolExecutor(max(1, threads)) as pool:
        for folder, rows in table.groupby("record_set", sort=False):
            records = RecordSet(str(folder))
            for start in range(0, len(rows), batch_size):
                batch = rows.iloc[start : start + batch_size]
                read = read_batch(bundle, records, batch, pool)
                inputs = {name: values.to(device) for name, values in read.inputs().items()}
                values = error_map(model, **inputs).astype(np.float16)
                named = zip(batch["record_id"], values, read.reasons, strict=True)
                maps |= {(str(folder), name): value for name, value, reason in named if not reason}
    return maps


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
