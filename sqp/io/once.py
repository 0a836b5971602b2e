"""A folder that several processes want and one of them makes: what the caches of the trainings have in common."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

DONE = "done"


@contextmanager
def made_once(home: Path) -> Iterator[bool]:
    """Whether the caller must make the folder `home`, which is whole once its file `done` is there.

    While one process makes it, others wait, and then find it whole. The lock dies with its process, so a folder that
    was left half made is made by the next one.
    """
    if (home / DONE).exists():
        yield False
        return
    home.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(home.parent / f"{home.name}.lock"):
        yield not (home / DONE).exists()
