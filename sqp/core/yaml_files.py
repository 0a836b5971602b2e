"""YAML files and typed values: what is damaged or misspelt is told in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from sqp.core.errors import ConfigError
from sqp.core.untrusted import parse_yaml, read_text

T = TypeVar("T")
LARGEST = 2**53  # of whole numbers in JSON


def read_yaml(path: Path) -> Any:
    """What a YAML file holds. ConfigError naming a file that is not there, or is no YAML."""
    if not path.exists():
        raise ConfigError(f"{path} does not exist: check the path")
    return parse_yaml(read_text(path), str(path))


def read_run(path: Path) -> dict[str, Any]:
    """What a `run.yaml` tells: its `config` and what the run found. ConfigError where it is damaged, or no run's."""
    told = read_yaml(path)
    if not isinstance(told, dict) or not isinstance(told.get("config"), dict):
        raise ConfigError(f"{path} tells of no run of sqp: it has no config; restore it, or make its folder anew")
    return told


def typed(cls: type[T], values: Any) -> T:
    """A dataclass out of what JSON held: lists become tuples. TypeError where a key or a value's type is not its own.

    >>> from sqp.core.types import Prompt
    >>> typed(Prompt, {"prompter": 3})
    Traceback (most recent call last):
    TypeError: prompter is 3
    """
    if not isinstance(values, Mapping):
        raise TypeError(f"{values!r} in place of keys with values")
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    hints = get_type_hints(cls)
    for key, value in given.items():
        if key in hints and not _is(value, hints[key]):
            raise TypeError(f"{key} is {value!r}")
    return cls(**given)


def _is(value: Any, hint: Any) -> bool:
    """Whether a value is of a type: a number, text, a tuple of such, one of several."""
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(_is(one, get_args(hint)[0]) for one in value)
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_args(hint):
        return any(_is(value, one) for one in get_args(hint))
    if hint in (int, float):
        whole = isinstance(value, int) and abs(value) <= LARGEST
        return not isinstance(value, bool) and (whole or (hint is float and isinstance(value, float)))
    return hint is Any or isinstance(value, hint)
