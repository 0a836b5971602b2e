"""Tables of somebody's, parquet or CSV: one that is damaged is told in one sentence, whoever reads it."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from sqp.errors import ConfigError


@contextmanager
def damage_told(path: Path, remedy: str) -> Iterator[None]:
    """What pandas and pyarrow raise where a table is missing, cut off or none at all -> ConfigError with a remedy."""
    if not path.is_file():
        raise ConfigError(f"{path} is {'a folder' if path.is_dir() else 'no file'} where a table is needed: {remedy}")
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, OverflowError, EOFError, csv.Error, pa.ArrowException) as error:
        raise ConfigError(f"{path} is damaged, cannot read the table ({error}): {remedy}") from error


def read_parquet(path: Path, remedy: str) -> pd.DataFrame:
    """A parquet file. ConfigError where it is none."""
    with damage_told(path, remedy):
        return pd.read_parquet(path)


def read_csv(path: Path, remedy: str, needed: Collection[str] = (), **options: Any) -> pd.DataFrame:
    """A CSV by pandas' `options`. ConfigError where it is none, or lacks a column that is `needed`."""
    with damage_told(path, remedy):
        table = pd.read_csv(path, **options)
    for name in needed:
        if name not in table.columns:
            raise ConfigError(f"{path} has no column '{name}': {remedy}")
    return table


def check_numeric(table: pd.DataFrame, names: Collection[str], path: Path, remedy: str) -> None:
    """ConfigError naming a column, of those that are there, which holds no numbers."""
    for name in names:
        if name in table and not pd.api.types.is_numeric_dtype(table[name]):
            raise ConfigError(f"the column '{name}' of {path} holds {table[name].dtype}, no numbers: {remedy}")
