"""The columns of a record: provenance first, then Dice and IoU, then every score."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from sqp.core.errors import ConfigError
from sqp.core.tables import check_numeric

NATURAL, REFINED, CORRUPTED = "natural", "refined", "corrupted"
_ARROW = {"str": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}


@dataclass
class Record:
    """One (image, mask) with its provenance and scores, and its Dice where truth exists.

    `mask_path` is relative to the record set; image and truth paths are as the cases gave them, absolute.
    `dice` and `iou` are NaN without truth, and the mean over raters where there are several. `referee_own`: the mask
    is, or was made from, the referee's own answer, which therefore says nothing of it. `scores` becomes one column a
    score. `files` is the stamp (`files.stamp_of`) of image and truth: another file makes the record anew. `frames` is
    JSON: a source of maps (`self`, `referee` …) -> how its grid lies over the image (`frame.numbers_of`).
    """

    record_id: str
    image_id: str
    group: str
    split: str
    dataset: str
    licence: str
    diagnosis: str
    image_path: str
    mask_path: str
    truth_path: list[str]
    height: int
    width: int
    spacing: list[float]
    segmenter: str
    weights_sha256: str
    prompter: str
    prompt: str
    sampler: str
    n_samples: int
    seed: int
    variant: str
    severity: float
    natural: bool
    parent_record_id: str
    refined_by: str
    fused_by: str
    dice: float
    iou: float
    scores: dict[str, float] = field(default_factory=dict)
    referee_own: bool = False
    files: str = ""
    frames: str = ""

    def as_row(self) -> dict[str, Any]:
        """Flat, in the order of the columns."""
        row = {name: getattr(self, name) for name in COLUMNS}
        return row | {name: float(value) for name, value in self.scores.items()}


COLUMNS = tuple(f.name for f in dataclasses.fields(Record) if f.name != "scores")

CONTENT = "content"
"""Column of the parquet file alone: the hash of a record's mask and maps (`files.content_of`), for the reader."""

YOUNGER = {"referee_own": False, "files": "", "frames": "", CONTENT: ""}
"""Columns that the first record sets did not have, with what is true of their rows."""

EMBEDDING, REFEREE_EMBEDDING, SUPERVISED_EMBEDDING = "embedding", "referee_embedding", "supervised_embedding"
FEATURE_PREFIX = "features/"
"""Before the name of a vector among the maps of a record, and of its columns."""

RENAMED = {"foreground_certainty": "mean_entropy"}
"""Scores of older record sets, predictions and bundles -> the score of today that is the same number."""


TEXT = (
    *("record_id", "image_id", "group", "split", "dataset", "licence", "image_path"),
    *("segmenter", "prompter", "variant"),
)
NEEDED = (*TEXT, "truth_path", "natural", "dice")
"""Columns that every record set has."""


def check_table(table: pd.DataFrame, path: Path) -> None:
    """ConfigError naming a column of a record set that is missing, or holds what it cannot hold."""
    remedy = "generate the record set again"
    for name in NEEDED:
        if name not in table:
            raise ConfigError(f"{path} has no column '{name}': {remedy}")
    for name in TEXT:
        wrong = [value for value in table[name] if not isinstance(value, str)]
        if wrong:
            raise ConfigError(f"the column '{name}' of {path} holds {wrong[0]!r}, no text: {remedy}")
    check_numeric(table, ["dice", "height", "width"], path, remedy)
    if not pd.api.types.is_bool_dtype(table["natural"]) and not table["natural"].isin([True, False]).all():
        raise ConfigError(
            f"the column 'natural' of {path} holds {table['natural'].iloc[0]!r}, not true or false: {remedy}"
        )
    lists = [v for v in table["truth_path"] if v is not None and not isinstance(v, list | tuple | np.ndarray)]
    if lists:
        raise ConfigError(f"the column 'truth_path' of {path} holds {lists[0]!r}, no list of paths: {remedy}")
    strange = [name for name in table["record_id"] if not name or name in (".", "..") or "/" in name or "\0" in name]
    if strange:
        raise ConfigError(f"{path} has the record_id {strange[0]!r}, which names no file: {remedy}")


def arrow_schema(score_names: list[str]) -> pa.Schema:
    """The parquet schema: `COLUMNS` with their types, `CONTENT`, then a float64 column a score."""
    types = {f.name: str(f.type) for f in dataclasses.fields(Record)}
    lists = {"list[str]": pa.list_(pa.string()), "list[float]": pa.list_(pa.float64())}
    fields = [pa.field(name, lists.get(types[name]) or _ARROW[types[name]]) for name in COLUMNS]
    fields.append(pa.field(CONTENT, pa.string()))
    return pa.schema(fields + [pa.field(name, pa.float64()) for name in score_names])


def kinds(table: pd.DataFrame) -> np.ndarray:
    """Text `[n]`: natural (as a segmenter made it), refined (fused or refined from such a one), or corrupted.

    Tables of predictions may lack the columns of fusion and refinement, or have nothing in them.

    Examples:
        >>> kinds(pd.DataFrame({"variant": ["natural", "natural", "shift"],
        ...     "fused_by": ["", "power_law", None]})).tolist()
        ['natural', 'refined', 'corrupted']
    """
    made = np.zeros(len(table), bool)
    for name in ("refined_by", "fused_by"):
        if name in table:
            made |= (table[name].fillna("").astype(str) != "").to_numpy()
    return np.select([table["variant"].to_numpy(str) != "natural", made], [CORRUPTED, REFINED], NATURAL)


def image_keys(table: pd.DataFrame) -> np.ndarray:
    """Text `[n]` that tells images apart: two data sets may each have an image `001`.

    Args:
        table: rows with image_id and, where images are of several data sets, dataset.

    Returns:
        The same text for the rows of one image.

    Examples:
        >>> image_keys(pd.DataFrame({"dataset": ["a", "b"], "image_id": ["001", "001"]})).tolist()
        ['a/001', 'b/001']
    """
    names = table["image_id"].astype(str)
    return (table["dataset"].fillna("").astype(str) + "/" + names if "dataset" in table else names).to_numpy(str)


def record_id(image_id: str, variant: str, *provenance: object) -> str:
    """A file-safe id: readable stem, variant, and a hash of image id, variant and provenance.

    Examples:
        >>> record_id("ISIC_0000000", "natural", "litemedsam", "otsu", 0)
        'ISIC_0000000-natural-cbf9b526'
    """
    digest = hashlib.sha256("\x1f".join([image_id, variant, *map(str, provenance)]).encode()).hexdigest()[:8]
    stem = re.sub(r"[^\w.-]+", "_", image_id)[:80]
    return f"{stem}-{variant}-{digest}"
