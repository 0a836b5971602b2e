"""A predictions table for readers: laid out, sorted, written as `.csv` and `.parquet`, read back, summed up."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sqp.core.errors import ConfigError
from sqp.core.files import write_atomic, write_text
from sqp.core.tables import check_numeric, csv_text, read_own_csv, read_parquet
from sqp.data.left_aside import by_cause
from sqp.prompts import SIMULATED_MANUAL
from sqp.quality.judging.columns import DIGEST, FIRST, score_names
from sqp.quality.judging.risk import Choice
from sqp.quality.judging.verdict import VERDICTS
from sqp.records import RecordSet
from sqp.records.reader import check_dice
from sqp.report.findings import risk_sentence

SIMULATED = "simulated manual"


def prompter_label(prompter: object) -> str:
    """A prompter's name; one that knows the ground truth is called what it is.

    Examples:
        >>> prompter_label("truth_box"), prompter_label("otsu")
        ('truth_box (simulated manual)', 'otsu')
    """
    return f"{prompter} ({SIMULATED})" if prompter in SIMULATED_MANUAL else str(prompter)


def ordered(table: pd.DataFrame) -> pd.DataFrame:
    """The same table with the columns of predictions.csv (`DIGEST`) in front, then image_id, every score, the rest.

    `image` and `mask` are the paths of the record where they are not there yet; what else the table lacks of these
    columns is empty (`referee_dice`: `supervised_dice`). Where there is a `prompter`, its label is the last column.
    """
    if "prompter" in table.columns:
        table = table.assign(prompter_label=[prompter_label(name) for name in table["prompter"]])
    if "supervised_dice" in table.columns:
        own = table["supervised_dice"]
        table = table.assign(referee_dice=table.get("referee_dice", own).fillna(own))
    if "image" not in table.columns:
        table = table.assign(image=table["image_path"] if "image_path" in table.columns else table["image_id"])
    if "mask" not in table.columns:
        table = with_masks(table, {})
    table = table.assign(**{name: "" if name == "reason" else np.nan for name in DIGEST if name not in table.columns})
    first = [*DIGEST, "image_id"]
    scores = [name for name in score_names(table) if name not in first]
    return table[[*first, *scores, *[name for name in table.columns if name not in {*first, *scores}]]]


def with_masks(table: pd.DataFrame, given: Mapping[str, str]) -> pd.DataFrame:
    """The table with the column `mask`: the file that was given for an image's id, else that of the record."""
    own = [""] * len(table)
    if {"record_set", "mask_path"} <= set(table.columns):
        own = [str(Path(folder) / name) for folder, name in zip(table["record_set"], table["mask_path"], strict=True)]
    return table.assign(mask=[given.get(name, file) for name, file in zip(table["image_id"], own, strict=True)])


def shown_names(table: pd.DataFrame) -> list[str]:
    """What a reader knows each record by: its image's file, with the id where several are of one file.

    Examples:
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
        (f"{file} · {record_id}" if twice else file) if file else record_id
        for file, record_id, twice in zip(files, ids, several, strict=True)
    ]


def worst_first(table: pd.DataFrame) -> pd.DataFrame:
    """Abstentions of every kind first, then by predicted Dice, lowest first; ties by id."""
    judged = table["predicted_dice"].notna()
    if "verdict" in table.columns:
        judged &= table["verdict"] != "abstain"
    keys = pd.DataFrame({"judged": judged, "dice": table["predicted_dice"], "id": table["record_id"]})
    order = keys.reset_index(drop=True).sort_values(["judged", "dice", "id"], na_position="first").index
    return table.iloc[order].reset_index(drop=True)


REMEDY = "give a predictions table of sqp, .csv or .parquet"


def write_predictions(folder: str | Path, table: pd.DataFrame) -> tuple[Path, Path]:
    """Write both files into `folder`, each whole or not at all; returns their paths (csv, parquet).

    predictions.csv has the columns of `columns.DIGEST`, with six decimals; predictions.parquet has these and every
    other column (`ordered`).
    """
    missing = [name for name in FIRST if name not in table.columns]
    if missing:
        raise ValueError(f"a predictions table needs the columns {', '.join(FIRST)}; it lacks {', '.join(missing)}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    csv, parquet = folder / "predictions.csv", folder / "predictions.parquet"
    table = ordered(table)
    write_text(csv, csv_text(table[list(DIGEST)], float_format="%.6f"))
    write_atomic(parquet, lambda file: table.to_parquet(file, index=False))
    return csv, parquet


def read_predictions(path: str | Path, needed: Collection[str] = ()) -> pd.DataFrame:
    """A predictions table, from .csv or .parquet, or from the folder that holds one.

    Of a folder the parquet is read: it has all columns. Ids are read as text, so `007` stays `007`. ConfigError where
    it cannot be read, or lacks a column that every such table has, or that is `needed`.
    """
    path = Path(path)
    if path.is_dir():
        files = [path / name for name in ("predictions.parquet", "predictions.csv") if (path / name).exists()]
        if not files:
            raise ConfigError(f"{path} holds no predictions.parquet nor predictions.csv; run `sqp predict` first")
        path = files[0]
    if not path.exists():
        raise ConfigError(f"no predictions at {path}; run `sqp predict` first, or correct --predictions")
    if path.suffix == ".parquet":
        table = read_parquet(path, REMEDY)
    else:
        texts = ("image", "mask", "image_id", "record_id", "group", "split", "variant", "dataset", "reason")
        ids = dict.fromkeys(texts, str)
        table = read_own_csv(path, REMEDY, dtype=ids)
    missing = [name for name in ("record_id", "predicted_dice", *needed) if name not in table.columns]
    if missing:
        whole = f": give {whole_table(path)}, which has all columns" if whole_table(path) else ""
        raise ConfigError(f"{path} has no column {missing[0]}{whole or '; it is no predictions table of sqp'}")
    check_numeric(table, ("predicted_dice", "low", "high", "dice"), path, REMEDY)
    check_dice(table, path)
    return table


def whole_table(path: str | Path | None) -> Path | None:
    """The predictions.parquet beside a predictions.csv, which is a digest of it; None where there is none."""
    beside = None if path is None else Path(path).with_suffix(".parquet")
    return beside if beside is not None and Path(str(path)).suffix == ".csv" and beside.is_file() else None


BARS = 40  # characters of the longest bar


def prediction_summary(table: pd.DataFrame, worst: int = 5) -> str:
    """Counts per verdict, distribution of the predicted Dice, and the `worst` records, as plain text."""
    n, images = len(table), table["image_id"].nunique()
    if n == 0:
        return "no records"
    lines = [f"{n:,} record{'s' * (n != 1)} of {images:,} image{'s' * (images != 1)}", "", "verdict"]
    counts = table["verdict"].value_counts()
    for verdict in [*VERDICTS, *sorted(set(counts.index) - set(VERDICTS))]:
        count = int(counts.get(verdict, 0))
        lines.append(f"  {verdict:<8}{count:>8,}  {count / n:>6.1%}")
    lines += ["", *_distribution(table["predicted_dice"].to_numpy(float))]
    return "\n".join([*lines, "", *_worst(table, worst)])


def _distribution(predicted: np.ndarray) -> list[str]:
    """Median, quartiles and a text histogram."""
    finite = predicted[np.isfinite(predicted)]
    if not len(finite):
        return ["predicted Dice: none (all abstained)"]
    low, median, high = np.percentile(finite, [25, 50, 75])
    lines = [f"predicted Dice: median {median:.3f}, quartiles {low:.3f} to {high:.3f}"]
    counts, edges = np.histogram(np.clip(finite, 0, 1), bins=10, range=(0, 1))
    for left, right, count in zip(edges[:-1], edges[1:], counts, strict=True):
        bar = "#" * round(BARS * count / counts.max()) or ("." if count else "")
        lines.append(f"  {left:.1f}-{right:.1f} {count:>8,}  {bar}".rstrip())
    if len(finite) < len(predicted):
        lines.append(f"  none    {len(predicted) - len(finite):>8,}  (no prediction)")
    return lines


def _worst(table: pd.DataFrame, count: int) -> list[str]:
    """Abstentions and lowest predictions, with interval, verdict, reason, and truth where it is known."""
    rows = worst_first(table.assign(shown=shown_names(table))).head(count)
    width = max(len(name) for name in rows["shown"])
    lines = [f"abstentions, then lowest predicted Dice ({len(rows)} of {len(table):,})"]
    for row in rows.to_dict("records"):
        predicted = interval(row["predicted_dice"], row["low"], row["high"])
        text = f"  {row['shown']:<{width}}  {predicted:<22}  {row['verdict']}"
        lines.append("  ".join([text, *remarks(row)]))
    return lines


def remarks(row: Mapping[str, Any]) -> list[str]:
    """What else a reader of a record must know: `warnings`, and the true Dice where it is known."""
    truth = row.get("dice", np.nan)
    return warnings(row) + ([f"true {truth:.3f}"] if np.isfinite(truth) else [])


def warnings(row: Mapping[str, Any]) -> list[str]:
    """The reason of an abstention, and a prompt that knew the truth."""
    reason, label = row.get("reason"), prompter_label(row.get("prompter"))
    return ([str(reason)] if isinstance(reason, str) and reason else []) + [label] * (SIMULATED in label)


def interval(value: float, low: float, high: float) -> str:
    """A number with its interval.

    Examples:
        >>> interval(0.81234, 0.7, 0.9), interval(0.5, float("nan"), float("nan")), interval(float("nan"), 0, 1)
        ('0.812 [0.700, 0.900]', '0.500', 'none')
    """
    if not np.isfinite(value):
        return "none"
    if not (np.isfinite(low) and np.isfinite(high)):
        return f"{value:.3f}"
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


@dataclass
class PredictResult:
    """The predictions of a run, and where they are. `skipped` maps an image id to why it has none.

    `notes` are sentences on the files that were given, `files` by its name what was written for a tool.
    """

    out: Path
    table: pd.DataFrame
    skipped: dict[str, str] = field(default_factory=dict)
    fail_under: float | None = None
    choice: Choice | None = None
    label: list[int | str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    files: dict[str, list[Path]] = field(default_factory=dict)

    @property
    def below(self) -> int:
        """Number of records whose predicted Dice is below `fail_under`, or that were abstained from."""
        if self.fail_under is None:
            return 0
        met = (self.table["predicted_dice"] >= self.fail_under) & (self.table["verdict"] != "abstain")
        return int((~met).sum())

    @property
    def unreadable(self) -> int:
        """Number of records of which a file could not be read."""
        return int(self.table["unreadable"].sum())

    @property
    def exit_status(self) -> int:
        """3 if `fail_under` is not met, 1 if images were skipped or records could not be read, else 0."""
        return 3 if self.below else 1 if self.skipped or self.unreadable else 0

    def summary(self) -> str:
        """What the terminal shows at the end."""
        lines = [prediction_summary(self.table), ""]
        if self.skipped:
            reasons = [f"  {line}" for line in by_cause(self.skipped)[:5]]
            where = "" if (self.out / "skipped.csv").exists() else "records/"  # of volumes there is the first
            lines += [f"{len(self.skipped)} skipped ({where}skipped.csv has all)", *reasons, ""]
        lines += [*self.notes, ""] if self.notes else []
        if self.unreadable:
            lines += [f"{self.unreadable} records cannot be read; the column reason says why", ""]
        if len(self.table) and self.table["mask_empty"].all():
            lines += [f"every mask is empty{_no_label(self.label)}", ""]
        if self.choice is not None:
            lines += [f"accept: {risk_sentence(self.choice)}", ""]
        if self.fail_under is not None:
            lines.append(f"--fail-under {self.fail_under:g}: {self._bar()}")
        lines.append(f"predictions: {self.out / 'predictions.csv'} (all columns: .parquet)")
        lines += [f"report: {page}" for page in [self.out / "report.html"] if page.exists()]  # of a part there is none
        lines += [f"for {name}: {files[0]}" for name, files in self.files.items() if files]
        return "\n".join(lines)

    def _bar(self) -> str:
        """Whether `fail_under` is met, and by what; nothing is known of images that were skipped."""
        n = len(self.table)
        missed = f"{self.below} of {n} below {self.fail_under:g} or abstained from" if self.below else ""
        if not self.skipped:
            return missed or "met"
        return f"{missed or f'met by the {n} that were judged'}; {len(self.skipped)} skipped, not judged"


def _no_label(label: Sequence[int | str]) -> str:
    """What may be wrong where no mask has a pixel of the labels asked for."""
    return f": no pixel has --label {' '.join(map(str, label))}, look whether that is the value" if label else ""


def open_sets(table: pd.DataFrame) -> dict[str, RecordSet] | None:
    """The record sets of a predictions table by name; None where it names none, or one has been moved away."""
    if "record_set" not in table.columns:
        return None
    try:
        return {str(name): RecordSet(name) for name in table["record_set"].unique()}
    except (ConfigError, TypeError):
        return None
