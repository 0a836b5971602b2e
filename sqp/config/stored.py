"""A config out of what a run's `run.yaml` keeps of it."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from sqp.core.errors import ConfigError

T = TypeVar("T")


def config_of(cls: type[T], values: Mapping[str, Any], where: object) -> T:
    """The config that a run stored as plain values; what is no option (hashes of its files) is left out.

    Args:
        cls: dataclass of the command.
        values: the stored config.
        where: the file, for the error.

    Returns:
        The config, checked like its options.

    Raises:
        ConfigError: the values are no such config.
    """
    import jsonargparse

    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(cls, None)
    try:
        read = parser.parse_object(_options(cls, values))
    except jsonargparse.ArgumentError as error:
        raise ConfigError(
            f"{where} holds a config that this sqp cannot read ({error}): run the command again"
        ) from error
    return cls(**parser.instantiate(read).as_dict())


def _options(cls: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the fields of a dataclass, and of those in it."""
    hints = typing.get_type_hints(cls)
    return {
        field.name: _options(hints[field.name], values[field.name])
        if dataclasses.is_dataclass(hints[field.name])
        else values[field.name]
        for field in dataclasses.fields(cls)
        if field.name in values
    }
