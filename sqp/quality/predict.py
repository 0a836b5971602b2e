"""Records -> predicted Dice, interval, distance and verdict: pure inference, streaming, constant memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from sqp.errors import ConfigError
from sqp.io import RecordSet
from sqp.quality.bundle import Bundle
from sqp.quality.channels import IMAGE, MASK, image_planes, record_planes
from sqp.quality.inference import infer
from sqp.quality.verdict import abstention, verdict


def predict_records(
    bundle: Bundle,
    folders: Sequence[str | Path],
    batch_size: int = 64,
    *,
    splits: Sequence[str] | None = None,
    device: str = "cpu",
    threads: int = 2,
    accept: float = 0.80,
    reject: float = 0.70,
    progress: bool = True,
) -> pd.DataFrame:
    """The rows of record sets with predicted_dice, scale, low, high, ood_distance, ood, verdict, reason.

    `splits` restricts the rows; `reason` says why a record is abstained from, else it is empty. A record with
    NaN in its planes gets NaN and the verdict abstain. ConfigError where a record set does not fit the
    bundle; CaseError where a file of a record cannot be read.
    """
    if not folders:
        raise ConfigError("no record set given; name at least one with --records DIR")
    sets = [RecordSet(folder) for folder in folders]
    for records in sets:
        bundle.check_records(records)
    tables = [r.table if splits is None else r.table[r.table["split"].isin(splits)] for r in sets]
    bar = tqdm(total=sum(map(len, tables)), unit="record", desc="predict", disable=None if progress else True)
    with bar, ThreadPoolExecutor(max(1, threads)) as pool:
        parts = []
        for records, table in zip(sets, tables, strict=True):
            table = table.assign(record_set=str(records.folder)).sort_values("image_path", kind="stable")
            for start in range(0, len(table), batch_size):
                rows = table.iloc[start : start + batch_size]
                parts.append(_predict_rows(bundle, records, rows, pool, device))
                bar.update(len(rows))
    if not parts:
        raise ConfigError(f"no record to predict in {', '.join(map(str, folders))}: check --records and the splits")
    out = pd.concat(parts)
    order = pd.concat([t.assign(record_set=str(r.folder)) for r, t in zip(sets, tables, strict=True)])
    keys = ["record_set", "record_id"]
    out = out.set_index(keys).loc[pd.MultiIndex.from_frame(order[keys])].reset_index()
    columns = (out.low, out.high, out.predicted_dice, out.pop("mask_empty"), out.ood)
    judged = list(zip(*columns, strict=True))
    out["verdict"] = [verdict(*row, accept=accept, reject=reject) for row in judged]
    out["reason"] = [abstention(predicted, empty, far) for _, _, predicted, empty, far in judged]
    return out


def _predict_rows(
    bundle: Bundle, records: RecordSet, rows: pd.DataFrame, pool: ThreadPoolExecutor, device: str
) -> pd.DataFrame:
    """One batch."""
    planes, empty = read_planes(bundle, records, rows, pool)
    out = infer(bundle.model, _one_batch(planes, bundle.standardizer(rows)), device)
    low, high = bundle.conformal.interval(out.dice, out.scale)
    distance = bundle.ood.distance(out.features)
    return rows.assign(
        predicted_dice=out.dice.astype(float),
        scale=out.scale.astype(float),
        low=low,
        high=high,
        mask_empty=empty,
        ood_distance=distance,
        ood=bundle.ood.is_out(distance),
    )


def read_planes(
    bundle: Bundle, records: RecordSet, rows: pd.DataFrame, pool: ThreadPoolExecutor
) -> tuple[Tensor, np.ndarray]:
    """float32 `[n, c, s, s]` of these rows, and bool `[n]`: is the mask empty; an image is read once."""
    channels, size = bundle.channels, bundle.size
    images: dict[str, np.ndarray] = {}
    if IMAGE in channels:
        paths = list(dict.fromkeys(rows.image_path))
        images = dict(zip(paths, pool.map(partial(image_planes, size=size), paths), strict=True))
    read = list(pool.map(lambda name: record_planes(records, name, channels, size), rows.record_id))
    maps = np.stack(read)
    others = [name for name in channels if name != IMAGE]
    if MASK in others:
        empty = np.array([not plane.any() for plane in maps[:, others.index(MASK)]])
    else:
        empty = np.array(list(pool.map(lambda name: not records.mask(name).any(), rows.record_id)))
    # as the cache keeps them for training
    planes = torch.from_numpy(maps.astype(np.float16)).float()
    if images:
        before = channels.index(IMAGE)
        colours = torch.from_numpy(np.stack([images[path] for path in rows.image_path])).float().div_(255)
        planes = torch.cat([planes[:, :before], colours, planes[:, before:]], dim=1)
    return planes, empty


def _one_batch(planes: Tensor, scores: np.ndarray) -> Iterator[dict[str, Tensor]]:
    yield ({"planes": planes} if not scores.shape[1] else {"planes": planes, "scores": torch.from_numpy(scores)})
