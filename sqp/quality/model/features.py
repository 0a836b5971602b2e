"""The segmenter's own vectors of a record as columns of its table, so that they stand beside the scores.

`mask_token` is what the decoder knew of its own mask when it drew it (of a plain network the features that its last
layer read, averaged over the image and over its mask, the same for every mask of that image), `embedding` the encoder's
map averaged over the image, `referee_embedding` that of the referee's encoder: they were computed anyway, so quality
costs next to nothing more. A vector becomes the columns `features/NAME/0`, `features/NAME/1` …, and
`tabular.Standardizer` treats each like a score.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from sqp.core.errors import CaseError, ConfigError, lookup
from sqp.quality.bundle.provenance import one_encoder
from sqp.quality.model.channels import UNREADABLE, stored_maps
from sqp.records import RecordSet
from sqp.records.schema import EMBEDDING, FEATURE_PREFIX, REFEREE_EMBEDDING

FEATURES = ("mask_token", EMBEDDING, REFEREE_EMBEDDING)


def features_of(columns: Iterable[str]) -> tuple[str, ...]:
    """The vectors that some columns come from.

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
        part = "referee" if name == REFEREE_EMBEDDING else "segmenter"
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


def with_features(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The table (record_set, record_id) with the columns of these vectors; CaseError naming what cannot be read."""
    if not names:
        return table
    sets = {folder: RecordSet(folder) for folder in table["record_set"].unique()}
    rows = [read_features(sets[s], r, names) for s, r in zip(table["record_set"], table["record_id"], strict=True)]
    return table.join(pd.DataFrame.from_records(rows, table.index))
