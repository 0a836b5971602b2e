"""Prompters as a generate config names them: the table's, and its own names for one with options."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sqp.config.generate import GenerateConfig
from sqp.core.errors import lookup
from sqp.core.types import Prompt
from sqp.prompts import PROMPTERS
from sqp.prompts.volume_boxes import VOLUME_PROMPTERS


def prompter_and_options(config: GenerateConfig, name: str) -> tuple[str, dict[str, Any]]:
    """(the table's name, options) of a prompter of this config: of `prompters`, the main one, or a plain one.

    ConfigError for an unknown name.
    """
    if name in config.prompters:
        told = dict(config.prompters[name])
        return str(told.pop("prompter", "")), told
    lookup("prompter", name, {**PROMPTERS, **VOLUME_PROMPTERS, **config.prompters})
    return name, dict(config.prompter_options) if name == config.prompter else {}


def prompter_of(
    config: GenerateConfig, name: str, table: Mapping[str, Callable[..., list[Prompt]]] = PROMPTERS
) -> tuple[Callable[..., list[Prompt]], dict[str, Any]]:
    """(function, options) of it, from the table of images or from that of volumes."""
    kind, options = prompter_and_options(config, name)
    return lookup("prompter", kind, table), options


def used_prompters(config: GenerateConfig) -> Iterator[str]:
    """The main prompter, and those of the variants, each once."""
    names = [config.prompter, *(name for plan in config.variants.values() for name in plan.prompters)]
    yield from dict.fromkeys(names)
