"""Reading record sets: the table, and for a record its mask and maps."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from sqp.core.errors import CaseError, ConfigError
from sqp.core.files import changed_source, content_of
from sqp.core.frame import Frame
from sqp.core.shards import check_record_set
from sqp.core.tables import read_parquet
from sqp.core.untrusted import check_regular, parse_json, read_array, read_json, read_run
from sqp.core.volume import SUFFIX, Geometry, read_volume_mask
from sqp.data.annotations.cases import holds_annotations
from sqp.records.schema import CONTENT, YOUNGER, check_table


class AlteredError(CaseError, ValueError):
    """A file of a record is not the one that was written: unreadable, as far as its readers are concerned."""


class RecordSet:
    """One folder that `generate` wrote. A run that was interrupted is readable: its rows count too.

    `held` are the planes of images that are in memory, uint8 `[3, s, s]` by image_path; the others are read.
    """

    held: Mapping[str, np.ndarray] = MappingProxyType({})

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        check_record_set(self.folder)

    @property
    def table(self) -> pd.DataFrame:
        """A row per record, columns as in `io/schema.py`, index 0..n-1."""
        return self._read[0]

    @cached_property
    def _read(self) -> tuple[pd.DataFrame, dict[str, str]]:
        """The table, and by record the hash of its mask and maps."""
        path = self.folder / "records.parquet"
        parts = [read_parquet(path, "generate the record set again")] if path.exists() else []
        rows = [read_row(p) for p in sorted(self.folder.glob("rows/*.json"))]
        if rows:
            parts.append(pd.DataFrame(rows))
        for part in parts:
            check_table(part, path)
            check_unique(part, self.folder)
        table = pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]
        for name, value in YOUNGER.items():
            known = table[name].astype(object) if name in table else pd.Series(value, table.index)
            table[name] = known.where(known.notna(), value).astype(type(value))
        table = table.drop_duplicates("record_id", keep="last", ignore_index=True)
        return table.drop(columns=CONTENT), dict(zip(table["record_id"], table[CONTENT], strict=True))

    def part(self, rows: pd.DataFrame) -> RecordSet:
        """The same set with these rows of its table alone, and nothing left to be read of it: for another machine."""
        part = RecordSet.__new__(RecordSet)
        part.folder = self.folder.absolute()
        names = rows["record_id"].tolist()
        part.__dict__.update(_read=(rows, {name: self.contents[name] for name in names}), run=self.run)
        return part

    @property
    def contents(self) -> dict[str, str]:
        """By record the hash of its mask and maps (`files.content_of`), "" where it is older than that."""
        return self._read[1]

    @cached_property
    def run(self) -> dict[str, Any]:
        """What `run.yaml` tells: the config, and what the run found."""
        path = self.folder / "run.yaml"
        if not path.exists():
            raise ConfigError(f"{self.folder} has no run.yaml; make the record set again with `sqp generate`")
        return read_run(path)

    @property
    def config(self) -> dict[str, Any]:
        """The config that made the records."""
        return self.run["config"]

    def mask(self, record_id: str) -> np.ndarray:
        """bool `[h, w]` at the image's own size, of a volume `[d, h, w]` in the canonical orientation."""
        if self.volumes:
            return self.volume_mask(record_id)[0]
        content = io.BytesIO(self._bytes(record_id, self.mask_file(record_id), 0))
        with Image.open(content, formats=("PNG",)) as image:
            return np.asarray(image) > 127

    def mask_file(self, record_id: str) -> Path:
        """Where the mask of a record lies."""
        return self.folder / "masks" / f"{record_id}{SUFFIX if self.volumes else '.png'}"

    @cached_property
    def volumes(self) -> bool:
        """Whether the records are of volumes."""
        return any(str(path).endswith(SUFFIX) for path in self.table.get("mask_path", pd.Series(dtype=str)).head(1))

    @property
    def labels(self) -> tuple[int, ...]:
        """The values of the label maps that made the truth; of annotations a label chose the category, no value."""
        masks = self.config.get("masks")
        chosen = masks and holds_annotations(Path(masks))
        return () if chosen else tuple(self.config.get("label") or ())

    def volume_mask(self, record_id: str) -> tuple[np.ndarray, Geometry]:
        """The mask of a volume and where it lies."""
        return read_volume_mask(self._bytes(record_id, self.mask_file(record_id), 0))

    def maps(self, record_id: str, names: Iterable[str] | None = None) -> dict[str, np.ndarray]:
        """float16 arrays by name (`self/entropy` …); `names` None reads all. A name that is not there is an error."""
        path = self.folder / "maps" / f"{record_id}.npz"
        with zipfile.ZipFile(io.BytesIO(self._bytes(record_id, path, 1))) as archive:
            known = _names(archive)
            wanted = list(known if names is None else names)
            missing = [name for name in wanted if name not in known]
            if missing:
                raise ConfigError(
                    f"record {record_id} in {self.folder} has no map '{missing[0]}'; it has: {', '.join(known)}"
                )
            found = {name: _array(archive, name) for name in wanted}
        flat = [name for name, array in found.items() if array.ndim < 2 and not name.startswith("features/")]
        if flat:
            raise ValueError(f"the map '{flat[0]}' has shape {found[flat[0]].shape}")
        return found

    def check_sources(self, row: Mapping[str, Any]) -> None:
        """CaseError naming the image or truth of a row that is another file than the one that the record was made of.

        One that is gone cannot be told; whoever needs it, will.
        """
        truths = row.get("truth_path")
        paths = [row["image_path"], *(truths if truths is not None else ())]
        changed = changed_source(str(row.get("files") or ""), paths)
        if changed is not None:
            raise CaseError(
                f"{changed} has changed since record {row['record_id']} in {self.folder} was made of it: generate the "
                "record again"
            )

    def _bytes(self, record_id: str, path: Path, part: int) -> bytes:
        """The mask (part 0) or the maps (1) of a record. AlteredError where it is not the file that was written."""
        data = check_regular(path, error=AlteredError).read_bytes()
        if self._altered(record_id, data, part) and RecordSet(self.folder)._altered(record_id, data, part):
            raise AlteredError(
                f"{path} is not the file that was written for record {record_id} (altered, or cut off): generate the "
                "record again"
            )
        return data

    def _altered(self, record_id: str, data: bytes, part: int) -> bool:
        """Whether a file is another than the table, as it was read, says; an older record has no hash."""
        stamped = self._read[1].get(record_id, "").split(";")
        return len(stamped) > part and bool(stamped[part]) and stamped[part] != content_of([data])

    def frame_numbers(self, record_id: str, name: str) -> list[int] | None:
        """`frame.numbers_of` a record's map's frame; None where the record was made before these were kept."""
        return self._frames[record_id][0].get(name.partition("/")[0])

    def covered(self, record_id: str, name: str, grid: Sequence[int]) -> tuple[float, float]:
        """(rows, columns) of a map `[*grid]` that the image takes (`Frame.covered`), of a volume those of a slice.

        All of them where the record does not tell. CaseError where the map is not of its frame.
        """
        _, height, width = self._frames[record_id]
        numbers = self.frame_numbers(record_id, name)
        if not numbers:
            return grid[-2], grid[-1]
        frame = Frame((height, width), *numbers)
        if frame.grid != tuple(grid[-2:]):
            raise CaseError(
                f"record {record_id} in {self.folder}: the map {name} has {tuple(grid[-2:])} cells where its frame has "
                f"{frame.grid}; generate it again"
            )
        return frame.covered

    @cached_property
    def _frames(self) -> dict[str, tuple[dict[str, list[int]], int, int]]:
        """Record -> frames by source of maps, height and width of its image."""
        columns = (self.table[name] for name in ("record_id", "frames", "height", "width"))
        what = f"the column frames of {self.folder}"
        return {key: (parse_json(text or "{}", what), int(h), int(w)) for key, text, h, w in zip(*columns, strict=True)}

    def map_names(self) -> tuple[str, ...]:
        """Names of the maps, read off the first record."""
        with zipfile.ZipFile(self.folder / "maps" / f"{self.table.record_id.iloc[0]}.npz") as archive:
            return _names(archive)


def check_unique(table: pd.DataFrame, folder: Path) -> None:
    """ConfigError naming a record that a table holds twice: which of the two is true nobody can tell.

    A row of `rows/` may stand for one of the table, as a record that was made anew.
    """
    twice = table.loc[table["record_id"].duplicated(), "record_id"]
    if len(twice):
        raise ConfigError(
            f"{folder} holds the record {twice.iloc[0]} twice ({len(twice)} rows too many): remove what is not its "
            "row, or generate the record set again"
        )


def check_dice(table: pd.DataFrame, where: object) -> None:
    """ConfigError for a Dice, an IoU or a predicted Dice outside of 0 to 1, and for an interval upside down.

    NaN says that there is none. `where` is the file or folder of the table, which has record_id.
    """
    for name in ("dice", "iou", "predicted_dice"):
        values = pd.to_numeric(table[name], errors="coerce") if name in table else pd.Series(dtype=float)
        for row in np.flatnonzero(values.lt(0) | values.gt(1))[:1]:
            raise ConfigError(
                f"{where} has {name} = {values.iloc[row]:g} for record {table['record_id'].iloc[row]}, and it must lie "
                "between 0 and 1: make the table again"
            )
    if "low" in table and "high" in table:
        for row in np.flatnonzero(table["low"].gt(table["high"]))[:1]:
            raise ConfigError(
                f"{where} has an interval with its low end above its high end, of record "
                f"{table['record_id'].iloc[row]}: make the table again"
            )


def _names(archive: zipfile.ZipFile) -> tuple[str, ...]:
    return tuple(name.removesuffix(".npy") for name in archive.namelist())


def _array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """One array of a npz."""
    with archive.open(f"{name}.npy") as file:
        return read_array(file, archive.getinfo(f"{name}.npy").file_size)


def read_row(path: Path) -> dict[str, Any]:
    """The row of one record that is not yet in the table. ConfigError where the file is damaged."""
    try:
        row = read_json(path)
        if not isinstance(row, dict) or not isinstance(row.get("record_id"), str):
            raise ValueError("it is no row of a record")
    except (OSError, ConfigError, ValueError) as error:
        raise ConfigError(f"{path} is damaged ({error}): remove it, and generate that record again") from error
    return row


def read_record_sets(folders: Sequence[str | Path]) -> pd.DataFrame:
    """The tables of several record sets in one, with the column `record_set` (the folder as a string)."""
    if not folders:
        raise ConfigError("no record set given; name at least one with --records DIR")
    tables = [RecordSet(folder).table.assign(record_set=str(folder)) for folder in folders]
    return pd.concat(tables, ignore_index=True) if len(tables) > 1 else tables[0]
