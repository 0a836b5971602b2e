"""Tables, parquet or CSV: one that is damaged is told in one sentence, whoever reads it; some rows of many.

In a CSV that sqp writes a name which a spreadsheet would run as a formula is text, and is read back the same.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from sqp.core.errors import ConfigError
from sqp.core.untrusted import check_regular, read_text

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


SEPARATORS = (",", ";", "\t")
QUOTED = re.compile(r'"[^"]*"')


def header_of(text: str) -> tuple[list[str], str]:
    """The names in the first line of a CSV that is not blank, and what parts them: `,`, `;` (spreadsheets in Europe) or
    a tab, whichever is there most outside of quotes.

    Examples:
        >>> header_of('\\nimage; mask ;"a, b"\\n')
        (['image', 'mask', 'a, b'], ';')
    """
    line = next((line for line in text.splitlines() if line.strip()), "")
    bare = QUOTED.sub("", line)
    separator = max(SEPARATORS, key=bare.count)
    return [
        name.strip() for name in next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
    ], separator


def read_texts(path: Path, remedy: str) -> pd.DataFrame:
    """A CSV that anybody wrote, as strings without blanks around them; rows that are too short end in "".

    ConfigError where it is none, names a column twice, or has a row of more cells than columns: a cell that holds the
    separator unquoted would move all that come after it.
    """
    if not check_regular(path).exists():
        raise ConfigError(f"{path} is no file where a table is needed: {remedy}")
    text = read_text(path)
    if "\0" in text:
        raise ConfigError(f"{path} is no table, it holds bytes of 0: {remedy}")
    with damage_told(path, remedy):
        names, separator = header_of(text)
        options: dict[str, Any] = {"delimiter": separator, "skipinitialspace": True, "strict": True}
        lines = [line for line in csv.reader(io.StringIO(text, newline=""), **options) if any(map(str.strip, line))]
    if not lines:
        raise ConfigError(f"{path} is empty: {remedy}")
    while names and not names[-1]:
        names.pop()
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ConfigError(f"{path} has two columns '{twice[0]}': rename one")
    rows = [[cell.strip() for cell in line] for line in lines[1:]]
    for number, row in enumerate(rows, start=2):
        if any(row[len(names) :]):
            raise ConfigError(
                f"{path}, row {number}: {len(row)} cells for {len(names)} columns: put a cell that holds "
                f"'{separator}' in quotes, or name every column"
            )
    width = len(names)
    return pd.DataFrame([row[:width] + [""] * (width - len(row)) for row in rows], columns=names, dtype=str)


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


JUDGED = ("mask_path", "mask", "masks", "probability_path", "probability", "probs", "prob")
"""Columns of a CSV of images that hold masks to be judged, or what is behind them."""
HEAD = 100_000  # characters in which its first line ends


def table_of_masks(images: Path | None) -> bool:
    """Whether `--images` is a CSV that brings the masks to be judged, by its first line."""
    if images is None or images.suffix.lower() != ".csv" or not images.is_file():
        return False
    with images.open(encoding="utf-8-sig", errors="replace") as file:
        names, _ = header_of(file.read(HEAD))
    return not {name.lower() for name in names}.isdisjoint(JUDGED)


def evenly_spaced(n: int, most: int) -> np.ndarray:
    """Which of n rows to take where so many are enough: int `[m]`, ascending, the first and the last with them.

    Examples:
        >>> evenly_spaced(3, 9).tolist(), evenly_spaced(9, 3).tolist()
        ([0, 1, 2], [0, 4, 8])
    """
    return np.unique(np.linspace(0, n - 1, min(most, n)).astype(int))
