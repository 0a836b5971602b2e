"""The predictions of a run as files: `predictions.csv` for people, `predictions.parquet` for programs."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pandas as pd

from sqp.errors import ConfigError
from sqp.io.atomic import write_atomic, write_text
from sqp.io.reader import check_dice
from sqp.io.tables import check_numeric, csv_text, read_own_csv, read_parquet
from sqp.quality.columns import FIRST
from sqp.report.columns import ordered

REMEDY = "give a predictions table of sqp, .csv or .parquet"


def write_predictions(folder: str | Path, table: pd.DataFrame) -> tuple[Path, Path]:
    """Write both files into `folder`, each whole or not at all; returns their paths (csv, parquet).

    Columns: image_id, record_id, predicted_dice, low, high, verdict, every score, then the rest. The csv has
    six decimals and leaves out list columns and the stamp of the files; the parquet file has everything.
    """
    missing = [name for name in FIRST if name not in table.columns]
    if missing:
        raise ValueError(f"a predictions table needs the columns {', '.join(FIRST)}; it lacks {', '.join(missing)}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    csv, parquet = folder / "predictions.csv", folder / "predictions.parquet"
    table = ordered(table)
    flat = table.drop(columns=[name for name in ("truth_path", "spacing", "files") if name in table.columns])
    write_text(csv, csv_text(flat, float_format="%.6f"))
    write_atomic(parquet, lambda file: table.to_parquet(file, index=False))
    return csv, parquet


def read_predictions(path: str | Path, needed: Collection[str] = ()) -> pd.DataFrame:
    """A predictions table, from .csv or .parquet, or from the folder that holds one.

    Ids are read as text, so `007` stays `007`. ConfigError where it cannot be read, or lacks a column that every such
    table has, or that is `needed`.
    """
    path = Path(path)
    if path.is_dir():
        found = [path / name for name in ("predictions.parquet", "predictions.csv") if (path / name).exists()]
        if not found:
            raise ConfigError(f"{path} holds no predictions.parquet nor predictions.csv; run `sqp predict` first")
        path = found[0]
    if not path.exists():
        raise ConfigError(f"no predictions at {path}; run `sqp predict` first, or correct --predictions")
    if path.suffix == ".parquet":
        table = read_parquet(path, REMEDY)
    else:
        ids = dict.fromkeys(("image_id", "record_id", "group", "split", "variant", "dataset", "reason"), str)
        table = read_own_csv(path, REMEDY, dtype=ids)
    missing = [name for name in ("record_id", "predicted_dice", *needed) if name not in table.columns]
    if missing:
        raise ConfigError(f"{path} has no column {missing[0]}; it is no predictions table of sqp")
    check_numeric(table, ("predicted_dice", "low", "high", "dice"), path, REMEDY)
    check_dice(table, path)
    return table
