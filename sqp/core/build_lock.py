"""A folder that several processes want and one of them makes: what the caches of the trainings have in common."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

DONE = "done"


@contextmanager
def made_once(home: Path) -> Iterator[bool]:
    """Whether the caller must make the folder `home`, which is whole once its file `done` is there.

    While one process makes it, others say that they wait, and then find it whole. The lock dies with its process, so
    a folder that was left half made is made by the next one.
    """
    if (home / DONE).exists():
        yield False
        return
    home.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home.parent / f"{home.name}.lock")
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        print(f"another run is making {home}: waiting for it", file=sys.stderr, flush=True)
        held = lock.acquire()
    with held:
        yield not (home / DONE).exists()
