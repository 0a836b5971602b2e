"""Splits as files, and the checker: no image and no group may sit in two splits."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from sqp.core.errors import ConfigError, unknown_name
from sqp.core.files import write_text
from sqp.core.names import SPLITS
from sqp.core.types import Case
from sqp.core.untrusted import read_json
from sqp.data.splits import REMEDY, Splits


def write_splits(path: str | Path, splits: Splits) -> None:
    """JSON with provenance and counts first and a line per group, so that differences can be read."""
    check_splits(splits)
    head = {
        "dataset": splits.dataset,
        "seed": splits.seed,
        "rule": splits.rule,
        "labels_sha256": splits.labels_sha256,
        "counts": splits.counts(),
    }
    if splits.left_out:
        head["left_out"] = {group: list(ids) for group, ids in sorted(splits.left_out.items())}
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    parts = []
    for split, groups in splits.splits.items():
        rows = ",\n".join(
            f"      {json.dumps(group)}: {json.dumps(list(ids))}" for group, ids in sorted(groups.items())
        )
        parts.append(f"    {json.dumps(split)}: {{\n{rows}\n    }}")
    body = ",\n".join(parts)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "{\n" + "\n".join(lines) + '\n  "splits": {\n' + body + "\n  }\n}\n")


def read_splits(path: str | Path) -> Splits:
    """The splits of a JSON file, checked. Raises `ConfigError` where it is missing, broken or leaks."""
    path = Path(path)
    try:
        content = read_json(path, object_pairs_hook=_refuse_repeats)
    except FileNotFoundError:
        raise ConfigError(f"split file {path} does not exist: make it with {REMEDY}") from None
    except (OSError, ConfigError) as error:
        raise ConfigError(f"split file {path} is broken ({error}): make it again with {REMEDY}") from error
    try:
        splits = Splits(
            {s: {g: _names(ids) for g, ids in groups.items()} for s, groups in content["splits"].items()},
            **{key: content[key] for key in ("dataset", "seed", "rule", "labels_sha256") if key in content},
            left_out={g: _names(ids) for g, ids in content.get("left_out", {}).items()},
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f'split file {path} lacks {{"splits": {{split: {{group: [image ids]}}}}}}: make it again with {REMEDY}'
        ) from error
    try:
        check_splits(splits)
    except ConfigError as error:
        raise ConfigError(f"split file {path}: {error}") from None
    return splits


def check_splits(splits: Splits, cases: Iterable[Case] | None = None) -> None:
    """Raise `ConfigError` naming an image or a group that sits in two splits, or an image listed in two
    groups.

    With `cases`, their own groups count too: a lesion of the data must not be cut by a file that lists its
    images as different groups, nor lie partly in a split and partly in none, unless the file says that these images
    are left out.
    """
    left_out = {image_id for ids in splits.left_out.values() for image_id in ids}
    group_of: dict[str, str] = {}
    rows = []
    for split, groups in splits.splits.items():
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        for group, ids in groups.items():
            for image_id in ids:
                rows.append((image_id, group, split))
                if image_id in left_out:
                    raise ConfigError(f"image {image_id} is in the split {split} and among those left out: keep one")
                if group_of.setdefault(image_id, group) != group:
                    raise ConfigError(
                        f"image {image_id} is listed in the groups {group_of[image_id]} and {group}: keep one"
                    )
    _check_rows(rows)
    if cases is not None:
        split_of = {image_id: split for image_id, _, split in rows}
        rest = [case for case in cases if case.image_id not in left_out]
        _check_rows([(case.image_id, case.group, split_of.get(case.image_id, "no split")) for case in rest])


def check_no_leakage(rows: pd.DataFrame | Iterable[Mapping[str, Any]]) -> None:
    """Raise `ConfigError` if an image or a group of these records sits in two splits.

    `rows` have `image_id`, `group` and `split`: a table or mappings, of one record set or several joined. Ids
    are compared whatever the data set, since ISIC archives share images under one id. Rows of split "" do not
    count.
    """
    if isinstance(rows, pd.DataFrame):
        missing = {"image_id", "group", "split"} - set(rows.columns)
        if missing:
            raise ConfigError(f"cannot check for leakage: no column {', '.join(sorted(missing))}")
        table = rows[["image_id", "group", "split"]].drop_duplicates().fillna("").astype(str)
        triples = list(table.itertuples(index=False, name=None))
    else:
        triples = [(str(row["image_id"]), str(row["group"]), str(row["split"] or "")) for row in rows]
    _check_rows([triple for triple in triples if triple[2]])


def check_one_group(table: pd.DataFrame) -> None:
    """Raise `ConfigError` if an image of a data set is in two groups, which would be resampled as if unrelated.

    Args:
        table: records with dataset, image_id and group, of one record set or several joined.

    Raises:
        ConfigError: an image has two groups.
    """
    known = table[["dataset", "image_id", "group"]].drop_duplicates()
    twice = known[known.duplicated(["dataset", "image_id"], keep=False)]
    if len(twice):
        image = twice["image_id"].iloc[0]
        groups = sorted(twice.loc[twice["image_id"] == image, "group"].astype(str))
        raise ConfigError(
            f"image {image} is in the group {groups[0]} and in the group {groups[1]}: generate its record sets again "
            "with the same groups (a CSV with a column group, or the same --splits)"
        )


def _check_rows(rows: Iterable[tuple[str, str, str]]) -> None:
    """Raise for the first image or group of the (image_id, group, split) that has a second split."""
    image_split: dict[str, str] = {}
    group_split: dict[str, str] = {}
    for image_id, group, split in rows:
        for kind, name, known in (("image", image_id, image_split), ("group", group, group_split)):
            if name and known.setdefault(name, split) != split:
                raise ConfigError(
                    f"leakage: {kind} {name} sits in two splits, {known[name]} and {split}; "
                    f"make the splits again by group, with {REMEDY}, where DATA is a CSV of all cases if they are of "
                    "several data sets"
                )


def _names(ids: Any) -> tuple[str, ...]:
    """Image ids. TypeError where they are no list of text."""
    if not isinstance(ids, list) or not all(isinstance(name, str) for name in ids):
        raise TypeError("image ids are no list of text")
    return tuple(ids)


def _refuse_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON silently keeps the last of two equal keys, which would hide a leak."""
    out = dict(pairs)
    if len(out) < len(pairs):
        names = [name for name, _ in pairs]
        raise ConfigError(f"'{next(n for n in names if names.count(n) > 1)}' is listed twice")
    return out
