"""The checkpoint of a fitted network: one safetensors file, with all that builds the network again in its header.

The header's JSON holds the spec (a dataclass with a class variable `kind`) and what the network was fitted on, so that
config and weights cannot be parted and one sha256 covers both. Nothing is unpickled.

Weights in half precision: rounded once, before anything is measured with them, and then kept without loss.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from safetensors.torch import save
from torch import Tensor, nn

from sqp.core.errors import ConfigError
from sqp.core.files import write_atomic
from sqp.core.untrusted import parse_json, typed
from sqp.networks.weight_files import read_metadata, read_tensors


def rounded(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each float32 tensor at the nearest values of half precision; one that overflows there stays as it is.

    Examples:
        >>> rounded({"w": torch.tensor([1.0001]), "v": torch.tensor([1e6])})
        {'w': tensor([1.]), 'v': tensor([1000000.])}
    """
    return {name: _half_and_back(value) for name, value in state.items()}


def packed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each float32 tensor that half precision holds exactly in half precision: nothing is lost.

    Examples:
        >>> [value.dtype for value in packed({"w": torch.tensor([0.5]), "v": torch.tensor([0.1])}).values()]
        [torch.float16, torch.float32]
    """
    return {name: value.half() if _fits(value) else value for name, value in state.items()}


def _fits(value: Tensor) -> bool:
    return value.dtype == torch.float32 and torch.equal(value.half().float(), value)


def _half_and_back(value: Tensor) -> Tensor:
    near = value.half().float()
    return near if value.dtype == torch.float32 and torch.isfinite(near).all() else value


FORMAT = "1"
PREFIX = "sqp_"  # of the header's key, then the kind; one key only, since safetensors keeps no order among several
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

S = TypeVar("S")


@dataclass(frozen=True)
class Header(Generic[S]):
    """What a checkpoint says of itself. `info`: data (with the hashes of the images it was fitted on), training."""

    spec: S
    info: Mapping[str, Any]


def save_checkpoint(path: Path, state: Mapping[str, Tensor], spec: Any, info: Mapping[str, Any]) -> Path:
    """Write the file whole or not at all; returns the path."""
    told = json.dumps({"format": FORMAT, "spec": asdict(spec), "info": info}, sort_keys=True)
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
    content = save(packed(tensors), {PREFIX + spec.kind: told})
    write_atomic(path, lambda file: file.write(content))
    return path


def read_header(path: Path, cls: type[S]) -> Header[S]:
    """The header alone, weights unread. ConfigError where the file is missing or holds no network of `cls.kind`."""
    kind: str = cls.kind  # type: ignore[attr-defined]
    told = _headers(path, kind).get(PREFIX + kind)
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise ConfigError(f"--checkpoint {path} does not say which network it holds: {_remedy(kind)}")
    try:
        return Header(typed(cls, told["spec"]), dict(told["info"]))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ConfigError(f"--checkpoint {path} is damaged ({error}): {_remedy(kind)}") from error


def fitted_images(path: Path) -> list[str]:
    """Hashes of the images that a network of any kind was fitted on; empty for a file that `sqp fit` did not write."""
    try:
        return [str(name) for info in fitted_infos(path) for name in info["data"]["fitted_images"]]
    except (KeyError, TypeError) as error:
        raise ConfigError(f"--checkpoint {path} does not say which images it was fitted on: fit it again") from error


def fitted_infos(path: Path) -> list[Mapping[str, Any]]:
    """What a checkpoint of any kind says of its data and training; empty for a file that `sqp fit` did not write."""
    infos = [told.get("info") if isinstance(told, dict) else None for told in _headers(path, "segmenter").values()]
    if not all(isinstance(info, dict) for info in infos):
        raise ConfigError(f"--checkpoint {path} is damaged (what it says of its data): {_remedy('segmenter')}")
    return [dict(info or {}) for info in infos]


def load_weights(network: nn.Module, path: Path, kind: str = "segmenter") -> None:
    """Put the weights of a checkpoint into a network built from its spec; ConfigError where they do not fit."""
    try:
        network.load_state_dict(read_tensors(path))
    except RuntimeError as error:
        first = str(error).strip().splitlines()[-1].strip()
        raise ConfigError(
            f"--checkpoint {path}: its weights do not fit its own spec ({first}): {_remedy(kind)}"
        ) from error


def _headers(path: Path, kind: str) -> dict[str, Any]:
    """sqp's keys in the header of a safetensors file."""
    try:
        told = read_metadata(path)
        return {k: parse_json(v, f"--checkpoint {path}: its header") for k, v in told.items() if k.startswith(PREFIX)}
    except ConfigError as error:
        raise ConfigError(f"{error}: {_remedy(kind)}") from error


def _remedy(kind: str) -> str:
    return f"give a checkpoint that `sqp fit {kind}` wrote"
