"""Options that are checked before any work is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqp.errors import ConfigError

MANY = 1_000_000
"""The most of anything that is counted: more is a slip of the keyboard, and would run for ever or out of memory."""
RESAMPLES = 100_000
WORKERS = 1024


def check_ranges(config: Any, ranges: Mapping[str, tuple[float, float]]) -> None:
    """ConfigError naming the first option of a config dataclass that lies outside of [low, high], or is NaN."""
    for name, (low, high) in ranges.items():
        check_range(name, getattr(config, name), low, high)


def check_range(name: str, value: float, low: float, high: float) -> None:
    """ConfigError naming the option whose value lies outside of [low, high], or is NaN.

    >>> check_range("epochs", 3, 1, 5)
    """
    if not low <= value <= high:
        end = f"{high:g}" if high < MANY else f"{high:,g}"
        span = f"must be at least {low:g}" if high == float("inf") else f"must lie between {low:g} and {end}"
        raise ConfigError(f"{name} is {value}; it {span}")
