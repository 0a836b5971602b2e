"""What every run writes of itself: its config as plain values, a fingerprint of its data, the versions used."""

from __future__ import annotations

import dataclasses
import hashlib
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

import sqp
from sqp.core.errors import ConfigError
from sqp.core.files import write_text
from sqp.core.untrusted import read_run
from sqp.data.licences import UNKNOWN
from sqp.records.writer import first_difference, with_defaults

LIBRARIES = ("torch", "timm", "segment-anything", "pytorch-lightning", "numpy", "pandas", "scipy", "scikit-image")
OPTIONAL = ("openvino",)


def versions() -> dict[str, str]:
    """sqp's, Python's and the libraries' versions."""
    own = {"sqp": sqp.__version__, "python": platform.python_version()}
    there = [name for name in OPTIONAL if find_spec(name) is not None]
    return own | {name: version(name) for name in (*LIBRARIES, *there)}


def plain(value: Any) -> Any:
    """A config value as YAML and JSON keep it: paths as text, tuples as lists, dataclasses as mappings.

    Examples:
        >>> plain({"out": Path("runs"), "size": (1, 2)})
        {'out': 'runs', 'size': [1, 2]}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def write_run(out: Path, config: Mapping[str, Any], seconds: float | None = None, **facts: Any) -> Path:
    """OUT/run.yaml: the config alone as a run starts; at its end, with its seconds, what is known of it as well."""
    end = {} if seconds is None else {**facts, "versions": versions(), "seconds": round(seconds, 2)}
    write_text(out / "run.yaml", yaml.safe_dump({"config": dict(config), **end}, sort_keys=False))
    return out / "run.yaml"


def execution(config: Any, keys: Iterable[str]) -> dict[str, Any]:
    """What a config has of the keys that only say how a run goes, as plain values."""
    return {key: plain(getattr(config, key)) for key in keys if hasattr(config, key)}


class MaySkip:
    """What a command gives back that goes on where a case is broken: by name, why each was skipped."""

    skipped: dict[str, str]

    @property
    def exit_status(self) -> int:
        """1 where cases were skipped."""
        return 1 if self.skipped else 0


def stored_config(config: Any, leave_out: Iterable[str] = ()) -> dict[str, Any]:
    """A config dataclass as plain values, without the keys that only say how a run goes."""
    left_out = set(leave_out)
    return {key: value for key, value in plain(config).items() if key not in left_out}


def described(config: Any, leave_out: Iterable[str]) -> dict[str, Any]:
    """`stored_config` of a training: of the file of pretrained weights it keeps only the name."""
    values = stored_config(config, leave_out)
    if config.pretrained_file:
        values["pretrained_file"] = Path(config.pretrained_file).name
    return values


def earlier_run(
    out: Path, stored: Mapping[str, Any], what: str, younger: Mapping[str, Any] | None = None
) -> dict[str, Any] | None:
    """What `run.yaml` in OUT tells of an earlier run of the same config; None without one.

    ConfigError naming the key where it was made otherwise; `what` is its product, as in "a model trained". `younger`:
    keys that the first runs did not have, with what they did.
    """
    path = out / "run.yaml"
    if not path.exists():
        return None
    told = read_run(path)
    difference = first_difference(with_defaults(told.get("config", {}), younger or {}), stored)
    if difference:
        key, old, new = difference
        raise ConfigError(
            f"{out} holds {what} with {key}={old!r}, this run has {key}={new!r}; "
            "choose another --out, or --overwrite to start anew"
        )
    return told


def fingerprint(table: pd.DataFrame) -> dict[str, Any]:
    """What a model was made from: a hash of (image_id, group, split), counts a split, data sets, licences."""
    rows = (
        table[["image_id", "group", "split"]].astype(str).drop_duplicates().sort_values(["image_id", "group", "split"])
    )
    text = "\n".join("\x1f".join(row) for row in rows.itertuples(index=False, name=None))
    counts = {
        str(split): {
            "records": len(part),
            "images": int(part.image_id.nunique()),
            "groups": int(part.group.nunique()),
        }
        for split, part in table.groupby("split")
    }
    return {
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "counts": counts,
        "datasets": sorted(set(table.dataset.astype(str)) - {""}),
        "licences": sorted(set(table.licence.astype(str).replace("", UNKNOWN))),
    }
