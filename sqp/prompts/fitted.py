"""What the prompters with a network of their own check of their options."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import nn

from sqp.core.errors import ConfigError
from sqp.networks.checkpoint import load_weights, read_header


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


@lru_cache(maxsize=8)
def fitted_network(path: Path, spec: type, build: Callable[[Any], nn.Module], fit: str) -> tuple[Any, Any]:
    """Spec and network (in eval mode) of a checkpoint; read once a process. ConfigError where it is of another kind.

    Args:
        path: the checkpoint.
        spec: class of its spec.
        build: spec -> network.
        fit: what of `sqp fit` makes such a checkpoint.

    Returns:
        The two.

    Raises:
        ConfigError: it is missing, damaged, or of another kind.
    """
    known: Any = read_header(path, spec).spec
    network = build(known)
    load_weights(network, path, fit)
    return known, network.eval().requires_grad_(False)


def check_threshold(threshold: float) -> None:
    """ConfigError for a heatmap's threshold outside of 0 to 1.

    Args:
        threshold: the option's value.

    Raises:
        ConfigError: it lies outside of 0 to 1.
    """
    if not 0 < threshold < 1:
        raise ConfigError(f"localizer: threshold is {threshold}; it must lie between 0 and 1")
