"""CSV tables: a name that a spreadsheet would run as a formula is written as text, and read back the same."""

from __future__ import annotations

import csv
import os
import re
from typing import Any

import pandas as pd

from sqp.untrusted import check_regular

FORMULA = re.compile(r"('*)([=+\-@\t\r].+)", re.DOTALL)
"""How a cell begins that Excel, LibreOffice and Google Sheets take for a formula; numbers aside."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf|[+-]?nan", re.IGNORECASE)


def csv_text(table: pd.DataFrame, **options: Any) -> str:
    """The table as CSV without its index; `options` are those of `DataFrame.to_csv`. Text that begins as a formula does
    (`=1+1.png`) gets an apostrophe before it, which spreadsheets take for the sign of text."""
    texts = _texts(table, as_text)
    text = texts.to_csv(index=False, lineterminator="\n", **options)
    if "\r" in text:  # what ends a line for whoever reads it is quoted for them only where all is
        text = texts.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_ALL, **options)
    return text


def read_csv(path: str | os.PathLike, **options: Any) -> pd.DataFrame:
    """A table that `csv_text` wrote, as it was; `options` are those of `pandas.read_csv`."""
    return _texts(pd.read_csv(check_regular(path), **options), as_it_was)


def as_text(cell: object) -> object:
    """A cell that no spreadsheet runs.

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


def _texts(table: pd.DataFrame, change: Any) -> pd.DataFrame:
    """The table with `change` made to the cells of its columns of text."""
    table = table.copy(deep=False)
    for name in table.columns:
        if not pd.api.types.is_numeric_dtype(table[name]):
            table[name] = table[name].map(change).astype(table[name].dtype)
    return table
