"""How a predictions table is laid out and sorted for readers."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from sqp.prompts import SIMULATED_MANUAL
from sqp.quality.judging.columns import FIRST, score_names

SIMULATED = "simulated manual"


def prompter_label(prompter: object) -> str:
    """A prompter's name; one that knows the ground truth is called what it is.

    >>> prompter_label("truth_box"), prompter_label("otsu")
    ('truth_box (simulated manual)', 'otsu')
    """
    return f"{prompter} ({SIMULATED})" if prompter in SIMULATED_MANUAL else str(prompter)


def ordered(table: pd.DataFrame) -> pd.DataFrame:
    """The same table: `FIRST`, every score, then the rest; a column that it lacks stays away.

    Where there is a `prompter`, its label is the last column.
    """
    if "prompter" in table.columns:
        table = table.assign(prompter_label=[prompter_label(name) for name in table["prompter"]])
    scores = score_names(table)
    first = [name for name in FIRST if name in table.columns]
    rest = [name for name in table.columns if name not in {*first, *scores}]
    return table[[*first, *scores, *rest]]


def shown_names(table: pd.DataFrame) -> list[str]:
    """What a reader knows each record by: its image's file, with the id where several are of one file.

    >>> paths = ["in/a.png", "in/b.png", "in/b.png", ""]
    >>> shown_names(pd.DataFrame({"record_id": ["r1", "r2", "r3", "r4"], "image_path": paths}))
    ['a.png', 'b.png · r2', 'b.png · r3', 'r4']
    """
    ids = table["record_id"].astype(str)
    if "image_path" not in table.columns:
        return ids.tolist()
    paths = table["image_path"].fillna("").astype(str)
    files = paths.map(lambda path: Path(path).name)
    several = files.duplicated(keep=False)
    return [
        (f"{file} · {one}" if twice else file) if file else one
        for file, one, twice in zip(files, ids, several, strict=True)
    ]


def worst_first(table: pd.DataFrame) -> pd.DataFrame:
    """Abstentions of every kind first, then by predicted Dice, lowest first; ties by id."""
    judged = table["predicted_dice"].notna()
    if "verdict" in table.columns:
        judged &= table["verdict"] != "abstain"
    keys = pd.DataFrame({"judged": judged, "dice": table["predicted_dice"], "id": table["record_id"]})
    order = keys.reset_index(drop=True).sort_values(["judged", "dice", "id"], na_position="first").index
    return table.iloc[order].reset_index(drop=True)
