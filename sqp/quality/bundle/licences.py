"""Under which licences a bundle may be passed on: those of the rows behind every part of it that was fitted."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqp.core.errors import ConfigError
from sqp.data.licences import UNKNOWN
from sqp.records import RecordSet

OWN = "the quality model with its calibration"


def parts_behind(folders: Sequence[str | Path]) -> list[dict[str, Any]]:
    """What had a part in the masks of record sets and was itself fitted: what, sha256, licences; each once.

    A record set that is too old to say so counts as a part of unknown licence.
    """
    parts: list[dict[str, Any]] = []
    for folder in folders:
        unknown = {"what": f"whatever made the records of {Path(folder).name}", "licences": [UNKNOWN]}
        parts += [part for part in RecordSet(folder).run.get("fitted", [unknown]) if part not in parts]
    return parts


def licences_behind(info: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Part of a bundle -> licences of the rows that it was fitted on, out of `Bundle.info`.

    Examples:
        >>> licences_behind({"data": {"licences": ["CC-0"]}, "behind": []})
        {'the quality model with its calibration': ('CC-0',)}
    """
    unknown = [{"what": "whatever made its records", "licences": [UNKNOWN]}]  # of a bundle that is older than this
    licences = {OWN: tuple(info.get("data", {}).get("licences", ()))}
    return licences | {part["what"]: tuple(part["licences"]) for part in info.get("behind", unknown)}


def check_licences(info: Mapping[str, Any], allowed: Collection[str], name: str) -> None:
    """ConfigError naming the part of a bundle that was fitted on rows of another licence, or does not say which."""
    for part, licences in licences_behind(info).items():
        others = sorted({*(licences or [UNKNOWN])} - {*allowed})
        if others:
            raise ConfigError(
                f"{name}: {part} was fitted on rows of licence {', '.join(others)}, only {', '.join(allowed)} is "
                "allowed: fit it again with --licence"
            )


def restriction(info: Mapping[str, Any]) -> str:
    """A sentence for the terminal where a bundle may not be used commercially, else "".

    Args:
        info: `Bundle.info`.

    Returns:
        It names the licences, by Creative Commons' "NC".

    Examples:
        >>> restriction({"data": {"licences": ["CC-0", "CC-BY-NC-4.0"]}, "behind": []})
        'the model learned from images of licence CC-BY-NC-4.0: it is not for commercial use'
    """
    found = {licence for licences in licences_behind(info).values() for licence in licences}
    held = sorted(licence for licence in found if "NC" in licence.upper().replace("_", "-").split("-"))
    return f"the model learned from images of licence {', '.join(held)}: it is not for commercial use" if held else ""
