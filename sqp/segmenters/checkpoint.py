"""The checkpoint of a plain network: one safetensors file, with all that builds the network again in its header.

The header's JSON holds the `NetworkSpec` and what the network was fitted on, so that config and weights cannot be
parted and one sha256 covers both. Nothing is unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from sqp.errors import ConfigError
from sqp.io.atomic import write_atomic

FORMAT = "1"
KEY = "sqp_segmenter"  # of the header; there is one key only, since safetensors keeps no order among several
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
REMEDY = "give a checkpoint that `sqp fit segmenter` wrote"


@dataclass(frozen=True)
class NetworkSpec:
    """What a plain network is: enough to build it again before its weights are read.

    size: longer side of its input in pixels; dropout: share dropped in its MC-dropout layers; encoder: a timm
    model's name (fpn); width: channels of its narrowest stage (unet, swin_unet) or of its pyramid (fpn), 0 the
    network's own; mean, std: of the pixels in 0-1, by channel.
    """

    name: str
    size: int = 192
    dropout: float = 0.1
    encoder: str = ""
    width: int = 0
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD


@dataclass(frozen=True)
class Header:
    """What a checkpoint says of itself. `info`: data (with the hashes of the images it was fitted on), training."""

    spec: NetworkSpec
    info: Mapping[str, Any]


def save_checkpoint(path: Path, state: Mapping[str, Tensor], spec: NetworkSpec, info: Mapping[str, Any]) -> Path:
    """Write the file whole or not at all; returns the path."""
    told = json.dumps({"format": FORMAT, "spec": asdict(spec), "info": info}, sort_keys=True)
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
    content = save(tensors, {KEY: told})
    write_atomic(path, lambda file: file.write(content))
    return path


def read_header(path: Path) -> Header:
    """The header alone, weights unread. ConfigError where the file is missing or no checkpoint of a plain network."""
    if not path.is_file():
        raise ConfigError(f"--checkpoint {path}: no such file")
    try:
        with safe_open(path, "pt") as file:
            told = json.loads((file.metadata() or {}).get(KEY, "null"))
    except (SafetensorError, OSError, ValueError) as error:
        raise ConfigError(f"--checkpoint {path} is no safetensors file ({error}): {REMEDY}") from error
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise ConfigError(f"--checkpoint {path} does not say which network it holds: {REMEDY}")
    try:
        values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in told["spec"].items()}
        return Header(NetworkSpec(**values), dict(told["info"]))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ConfigError(f"--checkpoint {path} is damaged ({error}): {REMEDY}") from error


def load_weights(network: nn.Module, path: Path) -> None:
    """Put the weights of a checkpoint into a network built from its spec; ConfigError where they do not fit."""
    try:
        network.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        first = str(error).strip().splitlines()[-1].strip()
        raise ConfigError(f"--checkpoint {path}: its weights do not fit its own spec ({first}): {REMEDY}") from error
