"""What the prompters with a network of their own check of their options."""

from __future__ import annotations

from pathlib import Path

from sqp.core.errors import ConfigError


def checkpoint_file(prompter: str, checkpoint: str, fit: str) -> Path:
    """The file of the option `checkpoint`. ConfigError where none is given, naming the command that makes one.

    Args:
        prompter: its name.
        checkpoint: the option's value; may be empty.
        fit: what of `sqp fit` makes it.

    Returns:
        The file.

    Raises:
        ConfigError: none is given.
    """
    if not checkpoint:
        raise ConfigError(
            f"the prompter '{prompter}' needs a network: fit one with `sqp fit {fit}`, then give "
            "--prompter_options.checkpoint FILE"
        )
    return Path(checkpoint).expanduser()


def check_threshold(threshold: float) -> None:
    """ConfigError for a heatmap's threshold outside of 0 to 1.

    Args:
        threshold: the option's value.

    Raises:
        ConfigError: it lies outside of 0 to 1.
    """
    if not 0 < threshold < 1:
        raise ConfigError(f"localizer: threshold is {threshold}; it must lie between 0 and 1")
