"""The comparison table as text: numbers with intervals, three decimals, aligned markdown, CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from sqp.core.files import write_text
from sqp.core.tables import csv_text

# column of the numeric table -> heading; `X_low` and `X_high` beside a column X are its interval
HEADINGS = {
    "method": "method",
    "n": "n",
    "n_groups": "groups",
    "sd_dice": "SD(Dice)",
    "pearson": "Pearson",
    "spearman": "Spearman",
    "within_spearman": "within-image Spearman",
    "n_within": "images of it",
    "r2": "R2",
    "mae": "MAE",
    "rmse": "RMSE",
    "spearman_difference": "Spearman: model - method",
    "mae_difference": "MAE: model - method",
    "coverage": "coverage",
    "width": "width",
    "note": "note",
}


def formatted(table: pd.DataFrame, headings: Mapping[str, str] = HEADINGS) -> pd.DataFrame:
    """The numeric table as strings under `headings`: `0.812 [0.790, 0.833]`, counts as integers, `–` for NaN.

    A column that is NaN or empty all the way down is left out; columns that `headings` does not name too. Counts are
    `n` and what begins with `n_`; `p` and what begins with `p_` are p values.

    Examples:
        >>> formatted(pd.DataFrame({"mae": [0.1], "mae_low": [0.05], "mae_high": [0.2]}))["MAE"][0]
        '0.100 [0.050, 0.200]'
    """
    out = {}
    for name, heading in headings.items():
        if name not in table.columns or table[name].replace("", np.nan).isna().all():
            continue
        if not pd.api.types.is_numeric_dtype(table[name]):
            out[heading] = [str(value) for value in table[name]]
            continue
        low, high = (table.get(f"{name}_{end}", pd.Series(np.nan, table.index)) for end in ("low", "high"))
        if name == "p" or name.startswith("p_"):
            out[heading] = [p_value(value) for value in table[name]]
            continue
        counts = name == "n" or name.startswith("n_") or pd.api.types.is_integer_dtype(table[name])
        digits = 0 if counts else 3
        out[heading] = [_cell(*values, digits) for values in zip(table[name], low, high, strict=True)]
    return pd.DataFrame(out, index=table.index)


def markdown(table: pd.DataFrame) -> str:
    """Strings as an aligned markdown table: the first column and `note` to the left, the rest to the right.

    Examples:
        >>> print(markdown(pd.DataFrame({"method": ["area"], "n": ["12"]})))
        | method |  n |
        | :----- | -: |
        | area   | 12 |
    """
    names = [str(name) for name in table.columns]
    rows = [[str(cell).replace("|", "\\|") for cell in row] for row in table.itertuples(index=False)]
    widths = [max(2, *(len(row[i]) for row in [names, *rows])) for i in range(len(names))]
    left = [i == 0 or name == "note" for i, name in enumerate(names)]

    def line(cells: Sequence[str]) -> str:
        padded = [c.ljust(w) if to_left else c.rjust(w) for c, w, to_left in zip(cells, widths, left, strict=True)]
        return f"| {' | '.join(padded)} |"

    rule = [":" + "-" * (w - 1) if to_left else "-" * (w - 1) + ":" for w, to_left in zip(widths, left, strict=True)]
    return "\n".join([line(names), line(rule), *map(line, rows)])


def brief(table: pd.DataFrame) -> str:
    """The comparison for a terminal: a block a subset, methods by Spearman, without intervals."""
    blocks = []
    names = {
        "method": "method",
        "n": "n",
        "pearson": "Pearson",
        "spearman": "Spearman",
        "mae": "MAE",
        "rmse": "RMSE",
    }
    for subset, part in table[table["dataset"] == "all"].groupby("subset", sort=False):
        shown = part.sort_values("spearman", ascending=False, na_position="last")[list(names)].rename(columns=names)
        for name in list(names.values())[2:]:
            shown[name] = [_cell(value, np.nan, np.nan, 3) for value in shown[name]]
        blocks.append(f"{subset} (SD(Dice) {part['sd_dice'].iloc[0]:.3f})\n{shown.to_string(index=False)}")
    return "\n\n".join(blocks)


def write_csv(table: pd.DataFrame, path: str | Path) -> Path:
    """The numeric table with six decimals, NaN as an empty cell."""
    write_text(Path(path), csv_text(table, float_format="%.6f"))
    return Path(path)


def _cell(value: float, low: float, high: float, digits: int) -> str:
    if not np.isfinite(value):
        return "–"
    value, low, high = (round(float(number), digits) + 0.0 for number in (value, low, high))  # no "-0.000"
    text = f"{value:.{digits}f}"
    return text + (f" [{low:.{digits}f}, {high:.{digits}f}]" if np.isfinite(low) and np.isfinite(high) else "")


def p_value(p: float) -> str:
    """`0.012`, `< 0.001`."""
    return "–" if not np.isfinite(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"
