"""What a config checks of itself: names out of a list, numbers in their range; nothing here reads a file."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from sqp.core.errors import ConfigError, lookup
from sqp.core.names import Split

Layout = Literal["auto", "prepared", "isic", "ham10000", "table", "dicom", "folders"]

KINDS: dict[tuple[Any, ...], str] = {typing.get_args(Split): "split", typing.get_args(Layout): "layout"}
"""What the names of a list are called, where that is not the option's own name."""


def choices(hint: Any) -> tuple[Any, ...]:
    """The names that an annotation lists: of a Literal, or of a list, a tuple or an optional one of it; else none.

    >>> choices(list[Literal["a", "b"]])
    ('a', 'b')
    """
    if typing.get_origin(hint) is Literal:
        return typing.get_args(hint)
    inner = [choices(part) for part in typing.get_args(hint)]
    return next((names for names in inner if names), ())


def check_choices(config: Any) -> None:
    """ConfigError for the first option of a config dataclass that holds a name which its annotation does not list.

    `KINDS` of the class, by option, or of this module, by list, say what the names are called.
    """
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        names, value = choices(hints[field.name]), getattr(config, field.name)
        if not names or value is None:
            continue
        own = getattr(config, "KINDS", {})
        kind = own.get(field.name) or KINDS.get(names, field.name.replace("_", " "))
        for one in value if isinstance(value, list | tuple) else [value]:
            lookup(kind, one, dict.fromkeys(names))


def check_thresholds(accept: float, reject: float) -> None:
    """ConfigError unless 0 <= reject <= accept <= 1."""
    for name, value in (("accept", accept), ("reject", reject)):
        if not 0 <= value <= 1:
            raise ConfigError(f"{name} is {value}; it is a Dice and must lie between 0 and 1")
    if reject > accept:
        raise ConfigError(f"reject is {reject}, accept {accept}: reject must not be above accept")


Range = tuple[float, float]
LARGEST = 2**31 - 1  # of whole numbers that no range bounds more closely
SHORT = 100_000  # a bound from here on is no help to whoever gave too little
ANY: Range = (-math.inf, math.inf)
COUNT: Range = (0, 10**6)  # of anything that is counted: more is a slip, and would run for ever or out of memory
RANGES: dict[str, Range] = {
    "seed": (0, 2**32 - 1),  # what NumPy, scikit-learn and UMAP take
    "workers": (0, 1024),
    "devices": (-1, 1024),  # -1: all
    "num_nodes": (1, 10_000),
    "batch_size": (1, 10**6),
    **dict.fromkeys(("max_images", "max_records", "worst", "gallery", "overlays"), COUNT),
    **dict.fromkeys(("checked", "neighbours", "cases", "thumbnails", "ood_images"), COUNT),
    "images": (0, 100_000),
    "samples": (1, 1000),  # logits of a sample take a quarter of a megabyte and more
    "n": (1, 1000),
    "n_resamples": (1, 100_000),
    "prompts": (1, 1000),
    "corruptions": (0, 10_000),  # of one image
    "truth_jitter": (0, 10_000),
    "truth_jitter_max": (0, 100),
    "target_alpha": (1e-3, 1e3),
    "target_beta": (1e-3, 1e3),
    "p": (0, 1),
    "risk": (0, 1),
    "failure": (0, 1),
    "confidence": (0, 1),
    "fail_under": (0, 1),
    "label": ANY,
    "segmenter.window": ANY,
}
"""Least and greatest value of an option by its name or the last part of it, in every command; others are 0 or more."""


def check_ranges(config: Any, ranges: Mapping[str, Range] | None = None) -> None:
    """ConfigError naming the first number of a config dataclass that is NaN, infinite or out of its range.

    That is the one of `ranges`, which name options in full, else of `RANGES`; those of free keys (`prompter_options`)
    need only be finite. Nested configs, lists and mappings are looked into.
    """
    for name, value, own in _numbers(config):
        known = {**RANGES, **(ranges or {})}
        low, high = (known.get(name) or known.get(name.rpartition(".")[2], (0, math.inf))) if own else ANY
        unbounded = high == math.inf
        most = LARGEST if unbounded and isinstance(value, int) else high
        if math.isfinite(value) if isinstance(value, float) else True:
            if low <= value <= most:
                continue
        elif not own or low == -math.inf:
            raise ConfigError(f"{name} is {value}; it must be a finite number")
        if most < SHORT or value > most:
            span = f"must lie between {low:g} and {_plain(most)}"
        else:
            span = f"must be at least {low:g}"
        raise ConfigError(f"{name} is {value}; it {span}")


def _plain(bound: float) -> str:
    """A bound as people write it.

    >>> _plain(65_536), _plain(10**6), _plain(0.95)
    ('65536', '1,000,000', '0.95')
    """
    return f"{bound:g}" if bound != int(bound) else f"{int(bound):,}" if bound >= SHORT else f"{int(bound)}"


def _numbers(config: Any, prefix: str = "", own: bool = True) -> Iterator[tuple[str, int | float, bool]]:
    """(dotted name, number, is it an option of sqp's own) of all that a config holds."""
    if dataclasses.is_dataclass(config):
        for field in dataclasses.fields(config):
            yield from _numbers(getattr(config, field.name), f"{prefix}{field.name}.")
    elif isinstance(config, Mapping):
        for key, value in config.items():
            yield from _numbers(value, f"{prefix}{key}.", own=False)
    elif isinstance(config, list | tuple):
        for value in config:
            yield from _numbers(value, prefix, own)
    elif isinstance(config, int | float) and not isinstance(config, bool):
        yield prefix.rstrip("."), config, own
