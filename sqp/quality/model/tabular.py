"""The optional tabular branch: analytic scores and the segmenter's own vectors, standardised, beside the planes.

The vectors: `mask_token` is what the decoder knew of its own mask when it drew it (of a plain network the features that
its last layer read, averaged over the image and over its mask, the same for every mask of that image), `embedding` the
encoder's map averaged over the image, `referee_embedding` that of the referee's encoder: they were computed anyway, so
quality costs next to nothing more. A vector becomes the columns `features/NAME/0`, `features/NAME/1` …, and
`Standardizer` treats each like a score.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch import Tensor, nn

from sqp.core.errors import CaseError, ConfigError, lookup, unknown_name
from sqp.quality.bundle.provenance import ENCODERS, one_encoder
from sqp.quality.judging.columns import score_names, with_former_scores
from sqp.quality.model.channels import UNREADABLE, stored_maps
from sqp.records import RecordSet
from sqp.records.schema import EMBEDDING, FEATURE_PREFIX, REFEREE_EMBEDDING, RENAMED, SUPERVISED_EMBEDDING

CLIP = 5.0  # a standardised score further out than this says no more
ALL = "all"


@dataclass(frozen=True)
class Standardizer:
    """Scores -> (x - median) / IQR, clipped at ±5; NaN becomes 0 with an indicator of 1."""

    names: tuple[str, ...]
    median: tuple[float, ...]
    iqr: tuple[float, ...]

    @classmethod
    def fit(cls, table: pd.DataFrame, names: Sequence[str]) -> Standardizer:
        """From training records; ConfigError for a score that the table lacks or that is NaN in all of it."""
        for name in names:
            if name not in table.columns:
                raise unknown_name("score", name, score_names(table))
            if not np.isfinite(table[name].to_numpy(float)).any():
                raise ConfigError(f"score '{name}' has no value in any training record; take it out of --scores")
        low, median, high = (
            [float(np.nanquantile(table[name].to_numpy(float), q)) for name in names] for q in (0.25, 0.5, 0.75)
        )
        iqr = [h - lo if h - lo > 1e-6 else 1.0 for lo, h in zip(low, high, strict=True)]
        return cls(tuple(names), tuple(median), tuple(iqr))

    def __call__(self, table: pd.DataFrame) -> np.ndarray:
        """float32 `[n, 2k]`: k standardised scores, then k indicators of missing values.

        ValueError where the table was not given the features that are among them.
        """
        unread = [name for name in self.names if name.startswith(FEATURE_PREFIX) and name not in table.columns]
        if unread:
            raise ValueError(f"the table has no {unread[0]}: read it first (`with_features`)")
        table = with_former_scores(table, self.names)
        values = table.reindex(columns=list(self.names)).to_numpy(float).reshape(len(table), len(self.names))
        missing = ~np.isfinite(values)
        scaled = (np.where(missing, self.median, values) - np.array(self.median)) / np.array(self.iqr)
        return np.concatenate([scaled.clip(-CLIP, CLIP), missing], axis=1).astype(np.float32)


def resolve_scores(table: pd.DataFrame, names: Sequence[str]) -> tuple[str, ...]:
    """`all` -> every score that has a value in the table; a score's former name -> its name of today."""
    if list(names) != [ALL]:
        return tuple(dict.fromkeys(RENAMED.get(name, name) for name in names))
    return tuple(n for n in score_names(table) if np.isfinite(table[n].to_numpy(float)).any())


class ScoreBranch(nn.Module):
    """Standardised scores with indicators `[n, 2k]` -> `[n, width]`, a small MLP."""

    def __init__(self, scores: int, width: int = 32) -> None:
        super().__init__()
        self.width = width
        self.layers = nn.Sequential(nn.Linear(2 * scores, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())

    def forward(self, scores: Tensor) -> Tensor:
        """The branch's features."""
        return self.layers(scores)


FEATURES = ("mask_token", EMBEDDING, REFEREE_EMBEDDING, SUPERVISED_EMBEDDING)


def features_of(columns: Iterable[str]) -> tuple[str, ...]:
    """The vectors that some columns come from.

    Examples:
        >>> features_of(["c_lesion", "features/mask_token/0", "features/mask_token/1"])
        ('mask_token',)
    """
    return tuple(dict.fromkeys(name.split("/")[1] for name in columns if name.startswith(FEATURE_PREFIX)))


def has_feature(records: RecordSet, name: str) -> bool:
    """Do the records keep this vector; those of a plain network have no embedding."""
    return f"{FEATURE_PREFIX}{name}" in stored_maps(records)


def vectors_in(table: pd.DataFrame, name: str) -> np.ndarray | None:
    """A vector's values `[n, d]` float32 among the columns of a table with features; None where it has none."""
    columns = [column for column in table.columns if column.startswith(f"{FEATURE_PREFIX}{name}/")]
    return table[columns].to_numpy(np.float32) if columns else None


def check_features(records: RecordSet, names: Sequence[str]) -> None:
    """ConfigError for a name that is no feature, and for one that a record set lacks."""
    for name in names:
        lookup("feature", name, dict.fromkeys(FEATURES))
        if not has_feature(records, name):
            raise ConfigError(
                f"{records.folder} has no feature '{name}', as masks judged without a segmenter have none, networks of "
                "volumes neither, and plain networks no embedding: take it out of --features, or generate records of "
                "an earlier version again"
            )


def check_one_network(sets: Sequence[RecordSet], names: Sequence[str]) -> None:
    """ConfigError for a feature that comes from several networks: its numbers would say another thing in each set."""
    for name in names:
        part = ENCODERS.get(name, "segmenter")
        if len(sets) > 1 and not one_encoder([records.config for records in sets], part):
            raise ConfigError(
                f"the feature '{name}' of these record sets comes from several networks, whose vectors do not compare: "
                f"take it out of --features, or give record sets of one {part} with the same weights"
            )


def read_features(records: RecordSet, record_id: str, names: Sequence[str]) -> dict[str, float]:
    """A record's vectors as `column -> value`. CaseError where its file cannot be read or lacks one."""
    try:
        maps = records.maps(record_id, [f"{FEATURE_PREFIX}{name}" for name in names])
    except (*UNREADABLE, ConfigError) as error:
        raise CaseError(
            f"record {record_id} in {records.folder} cannot be read ({error}): generate it again"
        ) from error
    return {f"{key}/{i}": float(value) for key, vector in maps.items() for i, value in enumerate(vector)}


def with_features(table: pd.DataFrame, names: Sequence[str], broken: dict[str, str] | None = None) -> pd.DataFrame:
    """The table (record_set, record_id) with the columns of these vectors.

    CaseError naming what cannot be read; with `broken` such a record gets NaN, and there by its id why.
    """
    if not names:
        return table
    sets = {folder: RecordSet(folder) for folder in table["record_set"].unique()}
    rows: list[dict[str, float]] = []
    for folder, record_id in zip(table["record_set"], table["record_id"], strict=True):
        try:
            rows.append(read_features(sets[folder], record_id, names))
        except CaseError as error:
            if broken is None:
                raise
            broken[record_id] = str(error)
            rows.append({})
    return table.join(pd.DataFrame.from_records(rows, table.index))
