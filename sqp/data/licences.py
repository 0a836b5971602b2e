"""Cases by licence: what may be in a bundle that anyone may use."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqp.core.errors import ConfigError
from sqp.core.types import Case

UNKNOWN = "unknown"
"""Stands for a case, or a file, that does not say its licence."""


def of_licences(cases: Sequence[Case], licences: Collection[str]) -> list[Case]:
    """The cases of these licences, by the data's own words; all of them where no licence is named.

    ConfigError where none is left.
    """
    if not licences:
        return list(cases)
    kept = [case for case in cases if (case.licence or UNKNOWN) in licences]
    if not kept:
        found = sorted({case.licence or UNKNOWN for case in cases})
        raise ConfigError(f"no case has the licence {', '.join(licences)}; the data has: {', '.join(found)}")
    return kept
