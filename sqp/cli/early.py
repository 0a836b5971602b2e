"""What can be told of the options before torch is imported: files that are not there, names that nothing has."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sqp.bundles import check_bundle
from sqp.config.referee import NONE
from sqp.core.errors import ConfigError, unknown_name
from sqp.core.mirror import is_tar, url_of
from sqp.core.names import BACKBONES, PROMPTERS, SEGMENTERS, TIMM
from sqp.core.shards import check_record_set

READ = (
    *("images", "masks", "truth", "probs", "splits", "checkpoint", "checkpoints", "cascade_checkpoint", "weights"),
    *("referee_weights", "localizer", "supervised", "network", "pretrained_file", "references"),
    *("decisions", "audit_decisions", "predictions"),
)
"""Options that name files or folders which a command reads, and nothing else."""
ON_THE_PAGE = "save it on the page of `sqp predict` (save decisions)"
REMEDIES = {
    "splits": "make it with `sqp splits --images DATA --out OUT.json`",
    "decisions": ON_THE_PAGE,
    "audit_decisions": ON_THE_PAGE,
}
"""Option -> what to do where its file is not there; of all others the path is to be checked."""


def check_early(config: Any) -> None:
    """ConfigError for the first option whose file is not there, or whose name nothing has: of a bundle, a segmenter ...

    The commands check it too, with all else that they need; this takes no second.
    """
    for option, path in _files(config):
        if _lost(path) and not comes_later(path):
            raise ConfigError(f"--{option} {path} does not exist: {REMEDIES.get(option, 'check the path')}")
    model = getattr(config, "model", None)
    if isinstance(model, Path):
        check_bundle(model)
    records = getattr(config, "records", None) or ()
    for folder in [records] if isinstance(records, Path) else records:
        check_record_set(folder)
    for what, name, known, table in _names(config):
        if name not in known and table not in sys.modules:  # a table that is loaded may have more: the command asks it
            raise unknown_name(what, name, known)


def _names(config: Any) -> Iterator[tuple[str, str, Sequence[str], str]]:
    """(what it is, the name that is asked for, those that there are, the module of their table)."""
    segmenter, prompter = getattr(getattr(config, "segmenter", None), "name", None), getattr(config, "prompter", None)
    backbone = getattr(config, "backbone", None)
    if isinstance(segmenter, str):
        yield "segmenter", segmenter, (*SEGMENTERS, NONE), "sqp.segmenters"
    if isinstance(prompter, str):
        yield "prompter", prompter, (*PROMPTERS, *getattr(config, "prompters", ())), "sqp.prompts"
    if isinstance(backbone, str) and not backbone.startswith(TIMM):
        yield "backbone", backbone, (*BACKBONES, f"{TIMM}NAME"), "sqp.quality.model.backbones"


def comes_later(path: Path) -> bool:
    """Whether it is an address, or several tar files: looked for when they are opened."""
    return url_of(path) is not None or is_tar(path)


def _files(config: Any, prefix: str = "") -> Iterator[tuple[str, Path]]:
    """(option, path) of all that is read."""
    for field in dataclasses.fields(config) if dataclasses.is_dataclass(config) else ():
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from _files(value, f"{prefix}{field.name}.")
        elif field.name in READ:
            for path in value if isinstance(value, list | tuple) else [value]:
                if isinstance(path, Path):
                    yield prefix + field.name, path


def _lost(path: Path) -> bool:
    """Whether nothing is there; what cannot be looked at is the command's to tell."""
    try:
        return not path.exists()
    except (OSError, ValueError):
        return False
