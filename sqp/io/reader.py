"""Reading record sets: the table, and for a record its mask and maps."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from sqp.errors import ConfigError
from sqp.io.arrays import read_array
from sqp.io.schema import YOUNGER, check_table
from sqp.io.tables import read_parquet
from sqp.io.volume_files import SUFFIX, read_volume_mask
from sqp.volume import Geometry
from sqp.yaml_files import json_of, read_run


class RecordSet:
    """One folder that `generate` wrote. A run that was interrupted is readable: its rows count too."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / "records.parquet").exists() and not any(self.folder.glob("rows/*.json")):
            raise ConfigError(f"{self.folder} is no record set: no records.parquet; make one with `sqp generate`")

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row per record, columns as in `io/schema.py`, index 0..n-1."""
        path = self.folder / "records.parquet"
        parts = [read_parquet(path, "generate the record set again")] if path.exists() else []
        rows = [read_row(p) for p in sorted(self.folder.glob("rows/*.json"))]
        if rows:
            parts.append(pd.DataFrame(rows))
        for part in parts:
            check_table(part, path)
        table = pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]
        for name, value in YOUNGER.items():
            known = table[name].astype(object) if name in table else pd.Series(value, table.index)
            table[name] = known.where(known.notna(), value).astype(type(value))
        return table.drop_duplicates("record_id", keep="last", ignore_index=True)

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
        with Image.open(self.mask_file(record_id)) as image:
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
        """The values of the label maps that made the truth of volumes."""
        return tuple(self.config.get("label") or ())

    def volume_mask(self, record_id: str) -> tuple[np.ndarray, Geometry]:
        """The mask of a volume and where it lies."""
        return read_volume_mask(self.mask_file(record_id))

    def maps(self, record_id: str, names: Iterable[str] | None = None) -> dict[str, np.ndarray]:
        """float16 arrays by name (`self/entropy` …); `names` None reads all. A name that is not there is an error."""
        path = self.folder / "maps" / f"{record_id}.npz"
        with zipfile.ZipFile(path) as archive:
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

    def map_names(self) -> tuple[str, ...]:
        """Names of the maps, read off the first record."""
        with zipfile.ZipFile(self.folder / "maps" / f"{self.table.record_id.iloc[0]}.npz") as archive:
            return _names(archive)


def _names(archive: zipfile.ZipFile) -> tuple[str, ...]:
    return tuple(name.removesuffix(".npy") for name in archive.namelist())


def _array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """One array of a npz."""
    with archive.open(f"{name}.npy") as file:
        return read_array(file, archive.getinfo(f"{name}.npy").file_size)


def read_row(path: Path) -> dict[str, Any]:
    """The row of one record that is not yet in the table. ConfigError where the file is damaged."""
    try:
        row = json_of(path.read_bytes())
        if not isinstance(row, dict) or not isinstance(row.get("record_id"), str):
            raise ValueError("it is no row of a record")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is damaged ({error}): remove it, and generate that record again") from error
    return row


def read_record_sets(folders: Sequence[str | Path]) -> pd.DataFrame:
    """The tables of several record sets in one, with the column `record_set` (the folder as a string)."""
    if not folders:
        raise ConfigError("no record set given; name at least one with --records DIR")
    tables = [RecordSet(folder).table.assign(record_set=str(folder)) for folder in folders]
    return pd.concat(tables, ignore_index=True) if len(tables) > 1 else tables[0]
