"""Where a quality model expects a mask to be wrong: its error map, for the records that somebody looks at."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import torch

from sqp.io import RecordSet
from sqp.quality.bundle import Bundle
from sqp.quality.predict import read_batch


@torch.inference_mode()
def error_maps(
    bundle: Bundle, table: pd.DataFrame, batch_size: int = 64, device: str = "cpu", threads: int = 2
) -> dict[tuple[str, str], np.ndarray]:
    """float16 `[s, s]` in 0-1 over the squashed frame, by (record_set, record_id): is the mask wrong there.

    A record that cannot be read has none, nor has any where the model was trained without the second head
    (`error_map`). The map is that of the record as it is: no mean over flips.
    """
    found: dict[tuple[str, str], np.ndarray] = {}
    if not bundle.model.spec.error_map:
        return found
    model = bundle.model.to(device).eval()
    with ThreadPoolExecutor(max(1, threads)) as pool:
        for folder, rows in table.groupby("record_set", sort=False):
            records = RecordSet(str(folder))
            for start in range(0, len(rows), batch_size):
                batch = rows.iloc[start : start + batch_size]
                read = read_batch(bundle, records, batch, pool)
                maps = model(**{name: values.to(device) for name, values in read.inputs().items()}).error_map
                values = maps.float().cpu().numpy().astype(np.float16)
                named = zip(batch["record_id"], values, read.reasons, strict=True)
                found |= {(str(folder), name): value for name, value, reason in named if not reason}
    return found
