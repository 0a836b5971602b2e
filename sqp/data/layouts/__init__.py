"""How data sets lie on disk: a module a layout, with `recognise(path) -> bool` and `load(path) -> list[Case]`."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from sqp.core.types import Case
from sqp.data.layouts import dicom, folders, ham10000, isic, prepared, table


class Layout(Protocol):
    """A way in which a data set lies on disk: a module with these two functions."""

    def recognise(self, path: Path) -> bool:
        """Whether `path` looks like this layout; cheap."""

    def load(self, path: Path) -> list[Case]:
        """Its cases, in any order, nothing decoded."""


LAYOUTS: dict[str, Layout] = {  # asked in this order; `folders` takes what no other one knows
    "prepared": prepared,
    "isic": isic,
    "ham10000": ham10000,
    "table": table,
    "dicom": dicom,
    "folders": folders,
}
