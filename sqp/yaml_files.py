"""YAML files, and the configs of the scripts: what cannot be read or is misspelt is told in one sentence."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from sqp.errors import ConfigError, lookup
from sqp.untrusted import parse_yaml, read_text


def read_yaml(path: Path) -> Any:
    """What a YAML file holds. ConfigError naming a file that is not there, or is no YAML."""
    if not path.exists():
        raise ConfigError(f"{path} does not exist: check the path")
    return parse_yaml(read_text(path), str(path))


def script_config(path: Path, required: Collection[str], optional: Collection[str] = ()) -> dict[str, Any]:
    """The config of a script: a mapping that has all `required` keys, and none that is not among these and `optional`.

    ConfigError naming the key that is lacking, or the one that is unknown with the nearest that is not.
    """
    told = read_yaml(path)
    if not isinstance(told, dict):
        raise ConfigError(f"{path} holds no keys; it needs {', '.join(required)}")
    for key in told:
        lookup(f"key in {path}", str(key), dict.fromkeys([*required, *optional]))
    lacking = [key for key in required if key not in told]
    if lacking:
        raise ConfigError(f"{path} lacks the key '{lacking[0]}'; it needs {', '.join(required)}")
    return told
