"""Errors that the user can mend, each one clear sentence: what is wrong, where, what to do."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")

MOST_NAMES = 100  # more are no help to read


class SqpError(Exception):
    """An error that the user can mend. The command line prints it without a traceback, exit status 2."""


class CaseError(SqpError):
    """One case (image, mask) is broken. A batch reports it, skips it and goes on, unless `--strict`."""


class ConfigError(SqpError):
    """An option, a name or a file of the configuration is wrong."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> ConfigError:
    """The error for a name that a table does not hold, with the nearest one; of many names only the nearest few.

    >>> print(unknown_name("sampler", "tat", ["deterministic", "tta"]))
    unknown sampler 'tat', did you mean 'tta'? known: deterministic, tta
    """
    names = list(known)
    near = difflib.get_close_matches(name, names, n=5, cutoff=0.4)
    hint = f", did you mean '{near[0]}'?" if near else "."
    few = len(names) <= MOST_NAMES
    shown = ", ".join(names) if few else f"{len(names):,} names, the nearest {', '.join(near) or 'far from it'}"
    return ConfigError(f"unknown {kind} '{name}'{hint} known: {shown}")


def lookup(kind: str, name: str, table: Mapping[str, T]) -> T:
    """`table[name]`, or the error that names the nearest entry.

    >>> lookup("measure", "entropy", {"entropy": 1})
    1
    """
    try:
        return table[name]
    except KeyError:
        raise unknown_name(kind, name, table) from None


def script_status(name: str, main: Callable[[], object]) -> int:
    """The exit status of a script: 0, or 2 after one sentence where its `main` raises an SqpError."""
    try:
        main()
    except SqpError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    return 0
