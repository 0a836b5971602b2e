"""The hash that says which file it was."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path


def sha256_of(path: str | Path) -> str:
    """sha256 of a file, as 64 hex digits; read in pieces."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_all(paths: Iterable[str | Path]) -> str:
    """sha256 of the hashes of several files, whatever their order: what was made from them is old where it differs."""
    return hashlib.sha256("".join(sorted(map(sha256_of, paths))).encode()).hexdigest()
