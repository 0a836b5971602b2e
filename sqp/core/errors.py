"""Errors that the user can mend, each one clear sentence: what is wrong, where, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")

MOST_NAMES = 100  # more are no help to read
LONGEST = 1200  # signs of a message


def printable(text: str) -> str:
    r"""The text with what is no Unicode spelt out: bytes of a file's name that are not UTF-8 (surrogates), nulls.

    Examples:
        >>> printable("caf\udce9.png")
        'caf\\udce9.png'
    """
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def one_line(text: str) -> str:
    r"""Without line breaks, and cut in its middle where it is longer than `LONGEST`: what others say of a file can be.

    Examples:
        >>> one_line("a\n  b")
        'a b'
    """
    flat = " ".join(text.split()) if "\n" in text or "\r" in text else text
    return flat if len(flat) <= LONGEST else f"{flat[: LONGEST // 2]} … {flat[-LONGEST // 2 :]}"


class SqpError(Exception):
    """An error that the user can mend. The command line prints it without a traceback, exit status 2.

    Its text is one line that can be printed and written anywhere, whatever names and reasons are in it.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(one_line(printable(str(message))))


class CaseError(SqpError):
    """One case (image, mask) is broken. A batch reports it, skips it and goes on, unless `--strict`."""


class ConfigError(SqpError):
    """An option, a name or a file of the configuration is wrong."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> ConfigError:
    """The error for a name that a table does not hold, with the nearest one; of many names only the nearest few.

    Examples:
        >>> print(unknown_name("sampler", "tat", ["deterministic", "tta"]))
        unknown sampler 'tat', did you mean 'tta'? known: deterministic, tta
    """
    names = [name for name in known if name]  # an empty one is a choice, too, but none to be named
    near = difflib.get_close_matches(name, names, n=5, cutoff=0.4)
    hint = f", did you mean '{near[0]}'?" if near else "."
    few = len(names) <= MOST_NAMES
    shown = ", ".join(names) if few else f"{len(names):,} names, the nearest {', '.join(near) or 'far from it'}"
    return ConfigError(f"unknown {kind} '{name}'{hint} known: {shown}")


def lookup(kind: str, name: str, table: Mapping[str, T]) -> T:
    """`table[name]`, or the error that names the nearest entry.

    Examples:
        >>> lookup("measure", "entropy", {"entropy": 1})
        1
    """
    try:
        return table[name]
    except KeyError:
        raise unknown_name(kind, name, table) from None
