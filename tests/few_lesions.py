"""A few of the lesions of the fixture `lesions` in a folder of their own."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path


def copy_lesions(lesions: Path, folder: Path, names: Iterable[str]) -> Path:
    """FOLDER/images and FOLDER/masks of the lesions of these names -> FOLDER."""
    chosen = list(names)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
        for name in chosen:
            shutil.copy(next((lesions / kind).glob(f"{name}.*")), folder / kind)
    return folder


def names_of(lesions: Path) -> list[str]:
    """The names of all, sorted."""
    return sorted(path.stem for path in (lesions / "masks").iterdir())
