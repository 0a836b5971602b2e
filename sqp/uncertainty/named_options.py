"""The options of a variant that is chosen by name, checked before any work is done."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from sqp.core.errors import ConfigError, lookup


def check_options(what: str, run: Callable[..., Any], options: Mapping[str, Any], trial: Callable[[], Any]) -> None:
    """ConfigError for an option that `run` does not have (keyword-only parameters count), or one that is missing.

    `trial` runs it once on next to nothing: numbers out of range and values of a wrong type come out here.
    """
    parameters = inspect.signature(run).parameters
    own = {name: p for name, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}
    if not own and options:
        raise ConfigError(f"{what} has no options, but {', '.join(options)} is given: take it out")
    for name in options:
        lookup(f"option of {what}", name, own)
    missing = [name for name, p in own.items() if p.default is inspect.Parameter.empty and name not in options]
    if missing:
        raise ConfigError(f"{what} needs the option {missing[0]}, which has no default: choose it on val")
    try:
        trial()
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{what} cannot use the options {dict(options)}: {error}") from error
