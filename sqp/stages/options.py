"""Options that are checked before any work is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqp.errors import ConfigError


def check_ranges(config: Any, ranges: Mapping[str, tuple[float, float]]) -> None:
    """ConfigError naming the first option of a config dataclass that lies outside of [low, high], or is NaN."""
    for name, (low, high) in ranges.items():
        value = getattr(config, name)
        if not low <= value <= high:
            span = f"must be at least {low:g}" if high == float("inf") else f"must lie between {low:g} and {high:g}"
            raise ConfigError(f"{name} is {value}; it {span}")
