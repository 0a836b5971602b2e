"""What had a part in a run's masks and was itself fitted, and on rows of which licences: kept with what it makes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sqp.config.generate import GenerateConfig
from sqp.data.licences import UNKNOWN
from sqp.io import RecordSet
from sqp.io.hashing import sha256_of
from sqp.networks.checkpoint import fitted_infos
from sqp.stages.prompter_checks import fitted_checkpoints
from sqp.types import Case


def fitted_parts(files: Iterable[Path]) -> list[dict[str, Any]]:
    """A mapping a network that `sqp fit` wrote, with those that it started from: what, sha256, licences."""
    parts: list[dict[str, Any]] = []
    for file in files:
        for info in fitted_infos(file):
            own = {"what": f"the network {file.name}", "sha256": sha256_of(file)}
            parts += [own | {"licences": info["data"]["licences"]}, *info.get("behind", [])]
    return parts


def parts_of_records(config: GenerateConfig, everything: Sequence[Case]) -> list[dict[str, Any]]:
    """Those behind the records of a config: networks, given masks, a learned fusion, and the masks lent by others."""
    parts = fitted_parts(fitted_checkpoints(config))
    if config.fusion == "learned":
        parts.append({"what": "the learned fusion", "licences": [UNKNOWN]})
    if any("swap" in plan.families and plan.corruptions for plan in config.variants.values()):
        lent = sorted({case.licence or UNKNOWN for case in everything if case.truth_paths})
        parts.append({"what": "masks lent by other images", "licences": lent})
    if any(case.mask_path is not None for case in everything):
        parts += _of_given_masks(config)
    return parts


def _of_given_masks(config: GenerateConfig) -> list[dict[str, Any]]:
    """As `masks_licence` says; else those of the record set in which the masks lie; else unknown."""
    source = config.masks.parent if config.masks is not None else None
    if not config.masks_licence and source is not None and (source / "records.parquet").exists():
        told = RecordSet(source).run.get("fitted")
        if told is not None:
            return list(told)
    return [{"what": "whoever drew the given masks", "licences": list(config.masks_licence) or [UNKNOWN]}]
