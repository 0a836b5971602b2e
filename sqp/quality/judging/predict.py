"""Records -> predicted Dice, interval, distance and verdict: pure inference, streaming, constant memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from sqp.core.errors import CaseError, ConfigError, SqpError
from sqp.core.progress import Progress
from sqp.core.ray_engine import RayEngine, over_ray
from sqp.quality.bundle.provenance import image_feature
from sqp.quality.bundle.storage import Bundle
from sqp.quality.judging.risk import Choice, at_risk
from sqp.quality.judging.strangeness import IMAGE as IMAGE_FEATURES
from sqp.quality.judging.strangeness import MODEL as MODEL_FEATURES
from sqp.quality.judging.verdict import check_thresholds, judged
from sqp.quality.model.channels import IMAGE, MASK, UNREADABLE, image_planes, plane_names, record_planes, space
from sqp.quality.model.inference import infer
from sqp.quality.model.tabular import has_feature, read_features, vectors_in
from sqp.records import RecordSet
from sqp.records.schema import FEATURE_PREFIX

T = TypeVar("T")
KeepMaps = Callable[[pd.DataFrame, np.ndarray, np.ndarray], None]
"""Rows of a batch, their error maps `[n, h, h]`, and bool `[n]`: could the row not be read."""
Correct = Callable[[pd.DataFrame], pd.DataFrame]  # rows with predictions -> the same, corrected by references
ReadRows = tuple[RecordSet, pd.DataFrame]
"""A record set, and rows of its table."""


def predict_records(
    bundle: Bundle,
    folders: Sequence[str | Path],
    batch_size: int = 64,
    *,
    splits: Sequence[str] | None = None,
    record_ids: Collection[str] | None = None,
    device: str = "cpu",
    threads: int = 2,
    accept: float = 0.80,
    reject: float = 0.70,
    choice: Choice | None = None,
    strict: bool = False,
    progress: bool = True,
    keep_maps: KeepMaps | None = None,
    engine: RayEngine | None = None,
    correct: Correct | None = None,
) -> pd.DataFrame:
    """The rows of record sets with predicted_dice, low, high, verdict and the columns `columns.OTHER`.

    `reason` says why a record is abstained from, else it is empty. A record with NaN in its planes gets NaN and the
    verdict abstain. So does one whose image, mask or maps cannot be read: it is marked `unreadable`, its reason is the
    sentence that says which file; with `strict` that is a CaseError.

    Args:
        bundle: the quality model.
        folders: record sets, at least one.
        batch_size: records at once, at least 1; of volumes one.
        splits: only these splits.
        record_ids: only these records.
        device: cpu, cuda, cuda:0, mps.
        threads: how many read files.
        accept: least low end of an accepted mask, a Dice.
        reject: a mask whose high end is below it is rejected, a Dice.
        choice: of `bundle.choose`: accepted is what is safe at its risk, in place of `accept`.
        strict: True ends at the first record that cannot be read.
        progress: whether progress is shown: a bar on a terminal, else a line a minute.
        keep_maps: what takes the error maps of a batch, where the bundle draws them, in the same pass; not over Ray.
        engine: the cluster that predicts the batches, None for this process.
        correct: what references make of the predictions, before the verdict.

    Returns:
        One row for each record.

    Raises:
        ConfigError: a record set does not fit the bundle, or there is no record to predict.
        CaseError: with `strict`, a record cannot be read.
    """
    if not folders:
        raise ConfigError("no record set given; name at least one with --records DIR")
    if batch_size < 1:
        raise ConfigError(f"batch_size is {batch_size}; at least one record must be predicted at once")
    check_thresholds(accept, reject)
    sets = [RecordSet(folder) for folder in folders]
    for records in sets:
        bundle.check_records(records)
    tables = [_restricted(records, splits, record_ids) for records in sets]
    if bundle.model.spec.dims == 3:
        batch_size = threads = 1  # one volume in memory at a time, at its full size and as planes
    batches: list[ReadRows] = []
    for records, table in zip(sets, tables, strict=True):
        rows = table.sort_values("image_path", kind="stable")
        batches += [(records, rows.iloc[start : start + batch_size]) for start in range(0, len(rows), batch_size)]
    build = partial(Predicting, bundle, device, threads, strict, keep_maps)
    if engine is None:
        predicted: Iterable[pd.DataFrame] = map(build(), batches)
    else:
        sent = [(f"batch {number}", (records.part(rows), rows)) for number, (records, rows) in enumerate(batches)]
        predicted = over_ray(engine, build, sent, _refuse)
    parts = []
    with Progress(sum(map(len, tables)), "predict", "record", shown=progress) as bar:
        for part in predicted:
            parts.append(part)
            bar.update(len(part))
    if not parts:
        raise ConfigError(f"no record to predict in {', '.join(map(str, folders))}: check --records and the splits")
    keys = ["record_set", "record_id"]
    table = pd.concat(parts).set_index(keys).loc[pd.MultiIndex.from_frame(pd.concat(tables)[keys])].reset_index()
    table = judged(table if correct is None else correct(table), accept, reject)
    return table if choice is None else at_risk(table, choice)


def _restricted(records: RecordSet, splits: Sequence[str] | None, record_ids: Collection[str] | None) -> pd.DataFrame:
    """The rows to predict, with the column record_set."""
    table = records.table.assign(record_set=str(records.folder))
    table = table if splits is None else table[table["split"].isin(splits)]
    return table if record_ids is None else table[table["record_id"].isin(list(record_ids))]


class Predicting:
    """`predicting((record set, rows))`: one batch after another, by a model that is there once."""

    def __init__(self, bundle: Bundle, device: str, threads: int, strict: bool, keep_maps: KeepMaps | None) -> None:
        self.bundle, self.device, self.strict, self.keep_maps = bundle, device, strict, keep_maps
        self.pool = ThreadPoolExecutor(max(1, threads))

    def __call__(self, batch: ReadRows) -> pd.DataFrame:
        """The rows with their prediction but the verdict. CaseError with `strict`, where one cannot be read."""
        read = read_batch(self.bundle, *batch, self.pool)
        if self.strict and any(read.reasons):
            raise CaseError(next(filter(None, read.reasons)))
        return predict_batch(self.bundle, batch[1], read, self.device, self.keep_maps)[0]


def _refuse(batch: ReadRows, why: str) -> pd.DataFrame:
    raise SqpError(f"{why}: {batch[1]['record_id'].iloc[0]} and the {len(batch[1]) - 1} records after it")


class Batch(NamedTuple):
    """planes float32 `[n, c, s, s]`, scores `[n, 2k]` (k may be 0), is the mask empty, why a row cannot be read.

    embedding: an encoder's of the image, float32 `[n, d]`, or None where it is not kept or not asked for.
    """

    planes: Tensor
    scores: np.ndarray
    empty: np.ndarray
    reasons: list[str]
    embedding: np.ndarray | None = None

    def inputs(self) -> dict[str, Tensor]:
        """The keywords of the model."""
        return {"planes": self.planes} | ({"scores": torch.from_numpy(self.scores)} if self.scores.shape[1] else {})


def read_batch(bundle: Bundle, records: RecordSet, rows: pd.DataFrame, pool: ThreadPoolExecutor) -> Batch:
    """All that the model reads of these rows.

    Args:
        bundle: the quality model.
        records: the record set.
        rows: rows of its table.
        pool: threads that read files.

    Returns:
        planes, scores and what could not be read.
    """
    planes, empty, reasons = read_planes(bundle, records, rows, pool)
    strange = image_feature(bundle.sources, [*bundle.expects, records.config])
    compared = [strange] if strange and IMAGE_FEATURES in bundle.ood.spaces and has_feature(records, strange) else []
    names = (*bundle.features, *compared)
    tabular, broken = _with_features(bundle, tuple(dict.fromkeys(names)), records, rows, pool)
    reasons = [reason or broken.get(name, "") for reason, name in zip(reasons, rows.record_id, strict=True)]
    embedding = vectors_in(tabular, compared[0]) if compared else None
    return Batch(planes, bundle.standardizer(tabular), empty, reasons, embedding)


def predict_batch(
    bundle: Bundle, rows: pd.DataFrame, batch: Batch, device: str = "cpu", keep_maps: KeepMaps | None = None
) -> tuple[pd.DataFrame, np.ndarray]:
    """The rows with their prediction but the verdict, and the features `[n, d]`; NaN where a row cannot be read.

    Args:
        bundle: the quality model.
        rows: rows of a record set's table.
        batch: what `read_batch` gave for them.
        device: cpu, cuda, cuda:0, mps.
        keep_maps: takes (rows, error maps float32 `[n, h, h]`, bool `[n]` could the row not be read).

    Returns:
        The table, and features `[n, d]`.
    """
    unreadable = np.array([bool(reason) for reason in batch.reasons])
    out = infer(bundle.model, [batch.inputs()], device, error_map=keep_maps is not None, run=bundle.run)
    if keep_maps is not None and out.error_map is not None:
        keep_maps(rows, out.error_map, unreadable)
    for values in (out.dice, out.scale, out.features):
        values[unreadable] = np.nan
    low, high = bundle.conformal.interval(out.dice, out.scale)
    table = rows.assign(
        predicted_dice=out.dice.astype(float),
        scale=out.scale.astype(float),
        low=low,
        high=high,
        mask_empty=batch.empty,
        unreadable=unreadable,
        **bundle.ood.columns({MODEL_FEATURES: out.features, IMAGE_FEATURES: batch.embedding}),
        reason=batch.reasons,
    )
    return table, out.features


def read_planes(
    bundle: Bundle, records: RecordSet, rows: pd.DataFrame, pool: ThreadPoolExecutor
) -> tuple[Tensor, np.ndarray, list[str]]:
    """float32 `[n, c, s, s]` of these rows, bool `[n]` is the mask empty, and why a row cannot be read, else ''.

    An image is read once. The planes of a row that cannot be read are 0.

    Args:
        bundle: the quality model.
        records: the record set.
        rows: rows of its table.
        pool: threads that read files.

    Returns:
        planes, empty masks, reasons.
    """
    channels, size = bundle.channels, bundle.size
    shape = space(size, bundle.model.spec.dims)
    images: dict[str, np.ndarray] = {}
    reasons: dict[str, str] = {}
    if IMAGE in channels:
        paths = list(dict.fromkeys(rows.image_path))
        images, broken = _read_all(pool, partial(image_planes, size=size), [p for p in paths if p not in records.held])
        images |= {path: records.held[path] for path in paths if path in records.held}
        reasons = {name: broken[p] for name, p in zip(rows.record_id, rows.image_path, strict=True) if p in broken}
    own = {row["record_id"]: row for row in rows.to_dict("records")}
    _, changed = _read_all(pool, lambda name: records.check_sources(own[name]), rows.record_id)
    reasons |= changed
    names = [name for name in rows.record_id if name not in reasons]
    read, broken = _read_all(pool, partial(_maps_and_emptiness, bundle, records), names)
    reasons |= broken
    maps = np.zeros((len(rows), len(channels) - (IMAGE in channels), *shape), np.float16)
    empty = np.zeros(len(rows), bool)
    for row, name in enumerate(rows.record_id):
        if name in read:
            maps[row], empty[row] = read[name]  # float16, as the cache keeps them for training
    planes = torch.from_numpy(maps).float()
    if IMAGE in channels:
        before, nothing = channels.index(IMAGE), np.zeros((len(plane_names([IMAGE], len(shape))), *shape), np.uint8)
        colours = np.stack([images.get(path, nothing) for path in rows.image_path])
        planes = torch.cat([planes[:, :before], torch.from_numpy(colours).float().div_(255), planes[:, before:]], dim=1)
    return planes, empty, [reasons.get(name, "") for name in rows.record_id]


def _maps_and_emptiness(bundle: Bundle, records: RecordSet, record_id: str) -> tuple[np.ndarray, bool]:
    """Mask and maps of a record without its image, and whether the mask is empty."""
    maps = record_planes(records, record_id, bundle.channels, bundle.size)
    others = [name for name in bundle.channels if name != IMAGE]
    if MASK in others:
        return maps, not maps[others.index(MASK)].any()
    try:
        return maps, not records.mask(record_id).any()
    except UNREADABLE as error:
        raise CaseError(f"the mask of record {record_id} in {records.folder} cannot be read ({error})") from error


def _with_features(
    bundle: Bundle, names: Sequence[str], records: RecordSet, rows: pd.DataFrame, pool: ThreadPoolExecutor
) -> tuple[pd.DataFrame, dict[str, str]]:
    """The rows with these features, NaN where they cannot be read, and by record why."""
    if not names:
        return rows, {}
    read, broken = _read_all(pool, partial(read_features, records, names=names), rows.record_id)
    columns = dict.fromkeys(name for name in bundle.standardizer.names if name.startswith(FEATURE_PREFIX))
    columns |= dict.fromkeys(next(iter(read.values()), {}))
    values = pd.DataFrame.from_records([read.get(name, {}) for name in rows.record_id], rows.index)
    return rows.join(values.reindex(columns=list(columns))), broken


def _read_all(
    pool: ThreadPoolExecutor, read: Callable[[str], T], names: Iterable[str]
) -> tuple[dict[str, T], dict[str, str]]:
    """What `read` gives by name, and by name what it says where it raises for a single record."""
    values, broken, futures = dict[str, T](), dict[str, str](), {name: pool.submit(read, name) for name in names}
    for name, future in futures.items():
        try:
            values[name] = future.result()
        except (CaseError, ConfigError) as error:
            broken[name] = str(error)
    return values, broken
