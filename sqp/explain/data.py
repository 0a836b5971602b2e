"""What `explain` works on: the records of a split, their planes, truths, predictions and features."""

from __future__ import annotations

import tempfile
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from sqp.config.explain import ExplainConfig
from sqp.core.errors import CaseError, ConfigError
from sqp.core.files import full_disk_told
from sqp.core.progress import Progress
from sqp.core.seeding import numpy_generator
from sqp.evaluation.rows import frozen_members
from sqp.metrics.stats import Resamples
from sqp.quality.bundle.storage import Bundle
from sqp.quality.judging.predict import predict_batch, read_batch
from sqp.quality.judging.verdict import judged
from sqp.quality.model.backbones import dims_of
from sqp.quality.model.channels import UNREADABLE, resize, space, truth_plane
from sqp.records import RecordSet, read_record_sets
from sqp.records.reader import check_dice
from sqp.records.schema import NATURAL, kinds

EVERY_SPLIT = "all"


@dataclass
class Material:
    """rows: a record each, with its prediction; planes float16 `[n, c, s, s]`; scores float32 `[n, 2k]` or None.

    masks and truths bool `[n, s, s]` in the model's frame, the truth of a record without one is empty and `known`
    False; features `[n, d]`. Planes, masks and truths lie on disk (`OnDisk`). `left_out` maps a record id to why it is
    not among them. Of volumes there is an `s` more.
    """

    bundle: Bundle
    rows: pd.DataFrame
    planes: Tensor
    scores: Tensor | None
    masks: np.ndarray
    truths: np.ndarray
    known: np.ndarray
    features: np.ndarray
    resamples: Resamples
    left_out: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def dims(self) -> int:
        """3 for volumes."""
        return dims_of(self.bundle.model.spec.backbone)

    @property
    def dice(self) -> np.ndarray:
        """True Dice `[n]`, NaN where it is not known."""
        return self.rows["dice"].to_numpy(float)

    @property
    def group(self) -> np.ndarray:
        """Names `[n]`."""
        return self.rows["group"].astype(str).to_numpy()

    def subsets(self) -> dict[str, np.ndarray]:
        """bool `[n]` by name: the natural masks, and all where there are others too."""
        natural = kinds(self.rows) == NATURAL
        result = {NATURAL: natural} if natural.any() else {}
        return result if natural.all() else {**result, "all": np.ones(len(self), bool)}

    def batch(self, index: np.ndarray, device: str) -> tuple[Tensor, Tensor | None]:
        """Planes float32 and scores of some records on the device."""
        scores = None if self.scores is None else self.scores[index].to(device)
        return self.planes[index].float().to(device), scores


class OnDisk:
    """Arrays of one shape, written to a file without a name as they come, and read back as one that lies there: the
    system keeps of it what it has memory for. A full disk is told."""

    def __init__(self, dtype: Any, folder: Path | None = None) -> None:
        self.dtype, self.count, self.shape = np.dtype(dtype), 0, ()
        self.folder = Path(tempfile.gettempdir()) if folder is None else folder
        self.file = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115
        weakref.finalize(self, self.file.close)  # the arrays hold what they show

    def add(self, part: np.ndarray) -> None:
        """The next array."""
        self.count, self.shape = self.count + 1, part.shape
        with full_disk_told(self.folder):
            self.file.write(np.ascontiguousarray(part, self.dtype).data)

    def array(self) -> np.ndarray:
        """All of them, `[count, *shape]`."""
        with full_disk_told(self.folder):
            self.file.flush()
        return np.memmap(self.file, self.dtype, "r+", shape=(self.count, *self.shape))


def load_material(config: ExplainConfig, bundle: Bundle) -> Material:
    """Read and predict; a record that cannot be read, or holds NaN, is left out and counted."""
    rows = chosen_rows(config, bundle)
    sets = {folder: RecordSet(folder) for folder in rows["record_set"].unique()}
    tables, scores, features, known = [], [], [], []
    home = config.out if config.out.is_dir() else None
    planes, masks, truths = (OnDisk(dtype, home) for dtype in (np.float16, np.bool_, np.bool_))
    none = _nothing(bundle)
    left_out: dict[str, str] = {}
    bar = Progress(len(rows), "read and predict", "record")
    with bar, ThreadPoolExecutor(2) as pool:
        for folder, of_set in rows.groupby("record_set", sort=False):
            for start in range(0, len(of_set), config.batch_size):
                part = of_set.iloc[start : start + config.batch_size]
                batch = read_batch(bundle, sets[folder], part, pool)
                table, embedded = predict_batch(bundle, part, batch, config.device)
                table.loc[~np.isfinite(table["predicted_dice"]) & (table["reason"] == ""), "reason"] = "NaN in its maps"
                drawn = list(pool.map(lambda row, s=folder: _masks(sets[s], row, bundle), part.to_dict("records")))
                reasons = [a or b for a, (_, _, b) in zip(table["reason"], drawn, strict=True)]
                kept = np.array([not reason for reason in reasons])
                left_out |= {name: why for name, why in zip(part["record_id"], reasons, strict=True) if why}
                tables.append(table[kept])
                scores.append(batch.scores[kept])
                features.append(embedded[kept])
                for row in np.flatnonzero(kept):
                    mask, truth, _ = drawn[row]
                    planes.add(batch.planes[row].half().numpy())
                    masks.add(mask)
                    truths.add(none if truth is None else truth)
                    known.append(truth is not None)
                bar.update(len(part))
    table = pd.concat(tables, ignore_index=True)
    if table.empty:
        raise ConfigError(f"no record can be read: {next(iter(left_out.values()))}")
    all_scores = torch.from_numpy(np.concatenate(scores))
    return Material(
        bundle,
        judged(table),
        torch.from_numpy(planes.array()),
        all_scores if all_scores.shape[1] else None,
        masks.array(),
        truths.array(),
        np.array(known) & np.isfinite(table["dice"].to_numpy(float)),
        np.concatenate(features),
        Resamples.draw(table["group"].astype(str).to_numpy(), config.n_resamples, config.seed),
        left_out,
    )


def chosen_rows(config: ExplainConfig, bundle: Bundle) -> pd.DataFrame:
    """The records to explain, at most `max_records`, in the order of the record sets.

    ConfigError where the split is empty, or a record set does not fit the bundle.
    """
    table = read_record_sets(list(config.records))
    for folder in config.records:
        bundle.check_records(RecordSet(folder))
    if config.ood_images and dims_of(bundle.model.spec.backbone) == 3:
        raise ConfigError("strange images are 2D, and these records are of volumes: give --ood_images 0")
    rows = table if config.split == EVERY_SPLIT else table[table["split"] == config.split]
    if rows.empty:
        splits = ", ".join(sorted(name or "(none)" for name in set(table["split"].astype(str))))
        raise ConfigError(
            f"no record is in split '{config.split}' (splits found: {splits}); correct --split or --records, or give "
            f"--split {EVERY_SPLIT}"
        )
    if config.frozen:
        rows = frozen_members(rows, config.frozen)
    if config.max_records and len(rows) > config.max_records:
        drawn = numpy_generator(config.seed, "records").choice(len(rows), config.max_records, replace=False)
        rows = rows.iloc[np.sort(drawn)]
    check_dice(rows, ", ".join(map(str, config.records)))
    return rows.reset_index(drop=True)


def _masks(records: RecordSet, row: dict, bundle: Bundle) -> tuple[np.ndarray, np.ndarray | None, str]:  # type: ignore[type-arg]
    """Mask and truth (None without one) in the model's frame, and why they cannot be read, else ''."""
    try:
        mask = resize(records.mask(row["record_id"]), bundle.size) >= 0.5
        paths = list(row["truth_path"]) if row.get("truth_path") is not None else []
        labels = records.labels
        return mask, truth_plane(paths, bundle.size, labels) >= 0.5 if paths else None, ""
    except (CaseError, *UNREADABLE) as error:
        return _nothing(bundle), None, str(error)


def _nothing(bundle: Bundle) -> np.ndarray:
    """An empty mask in the model's frame."""
    return np.zeros(space(bundle.size, dims_of(bundle.model.spec.backbone)), bool)
