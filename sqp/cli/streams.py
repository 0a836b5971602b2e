"""Standard streams as they may be: closed, full, or with a reader that has gone."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import Any

from sqp.core.errors import one_line, printable


def open_streams() -> None:
    """Standard streams that were closed lead to nowhere: else the next file that is opened would get what is printed.

    What a terminal cannot show (names of files that are not UTF-8) is spelt out.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper) and stream.errors != "backslashreplace":
            stream.reconfigure(errors="backslashreplace")


def complain(message: str) -> None:
    """The sentence on stderr, if anybody reads it."""
    try:
        print(f"sqp: {printable(one_line(message))}", file=sys.stderr, flush=True)
    except OSError:
        forget(sys.stderr)


def lost(stream: Any) -> bool:
    """Whether nothing can be written to a stream any more."""
    try:
        stream.flush()
    except OSError:
        return True
    return False


def forget(stream: Any) -> None:
    """What else goes to a stream that nobody reads, or that is full, leads to nowhere."""
    with suppress(OSError, ValueError):  # ValueError: a stream of no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
