"""Tables, parquet or CSV: one that is damaged is told in one sentence, whoever reads it.

In a CSV that sqp writes a name which a spreadsheet would run as a formula is text, and is read back the same.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from sqp.core.errors import ConfigError
from sqp.core.untrusted import check_regular

FORMULA = re.compile(r"('*)([=+\-@\t\r].+)", re.DOTALL)
"""How a cell begins that Excel, LibreOffice and Google Sheets take for a formula; numbers aside."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf|[+-]?nan", re.IGNORECASE)


@contextmanager
def damage_told(path: Path, remedy: str) -> Iterator[None]:
    """What pandas and pyarrow raise where a table is missing, cut off or none at all -> ConfigError with a remedy."""
    if not check_regular(path).exists():
        raise ConfigError(f"{path} is no file where a table is needed: {remedy}")
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


def read_own_csv(path: Path, remedy: str, needed: Collection[str] = (), **options: Any) -> pd.DataFrame:
    """`read_csv` of a table that `csv_text` wrote, as it was."""
    return _texts(read_csv(path, remedy, needed, **options), as_it_was)


def check_numeric(table: pd.DataFrame, names: Collection[str], path: Path, remedy: str) -> None:
    """ConfigError naming a column, of those that are there, which holds no numbers."""
    for name in names:
        if name in table and not pd.api.types.is_numeric_dtype(table[name]):
            raise ConfigError(f"the column '{name}' of {path} holds {table[name].dtype}, no numbers: {remedy}")


def csv_text(table: pd.DataFrame, **options: Any) -> str:
    """The table as CSV without its index; `options` are those of `DataFrame.to_csv`. Text that begins as a formula does
    (`=1+1.png`) gets an apostrophe before it, which spreadsheets take for the sign of text."""
    texts = _texts(table, as_text)
    text = texts.to_csv(index=False, lineterminator="\n", **options)
    if "\r" in text:  # what ends a line for whoever reads it is quoted for them only where all is
        text = texts.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_ALL, **options)
    return text


def as_text(cell: object) -> object:
    """A cell that no spreadsheet runs.

    Examples:
        >>> as_text("=1+1.png"), as_text("-0.5"), as_text("a=b"), as_text("'=1")
        ("'=1+1.png", '-0.5', 'a=b', "''=1")
    """
    return f"'{cell}" if isinstance(cell, str) and _runs(cell) else cell


def as_it_was(cell: object) -> object:
    """The cell that `as_text` was given."""
    return cell[1:] if isinstance(cell, str) and cell[:1] == "'" and _runs(cell) else cell


def _runs(cell: str) -> bool:
    found = FORMULA.fullmatch(cell)
    return found is not None and not _NUMBER.fullmatch(found[2])


def _texts(table: pd.DataFrame, change: Callable[[object], object]) -> pd.DataFrame:
    """The table with `change` made to the cells of its columns of text."""
    table = table.copy(deep=False)
    for name in table.columns:
        if not pd.api.types.is_numeric_dtype(table[name]):
            table[name] = table[name].map(change).astype(table[name].dtype)
    return table
