"""timm's models by name, their weights from a file or timm's hub: checked, and errors told in one sentence."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sqp.core.errors import ConfigError, unknown_name
from sqp.networks.weight_files import read_tensors, without_prefixes

DIVISOR = 32  # deepest stride of a convolutional model: what the sides of its input are multiples of


def told(name: str) -> Any:
    """What timm knows of a model: normalisation, size; None where it has no weights of it. ConfigError: no model."""
    import timm  # takes seconds, as torchvision does

    if not timm.is_model(name):
        raise unknown_name("timm model", name, timm.list_models())
    return timm.get_pretrained_cfg(name)


def fixed_size(name: str) -> bool:
    """Whether the model's positions are laid out for one size of image (ViT, Swin ...)."""
    known = told(name)
    return bool(known is not None and known.fixed_input_size)


def pixels_of(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation that timm's weights of this model were trained with."""
    known = told(name)
    return (tuple(known.mean), tuple(known.std)) if known else ((0.5,) * 3, (0.5,) * 3)


def create(name: str, pretrained: bool = False, file: Path | None = None, **options: Any) -> Any:
    """`timm.create_model` with the weights of `file`, or of timm's hub, or random ones.

    A classifier of another number of classes starts at random. A weight that is infinite in a file of half precision
    becomes its largest number: so a huge running variance is stored, and it would never train away. ConfigError for an
    unknown model, a missing file, one of another model or with NaN in it, and whatever else timm cannot do.
    """
    import timm

    told(name)
    if file is not None and not file.exists():
        raise ConfigError(f"pretrained_file {file} does not exist: check the path")
    state = None if file is None else _timm_state(file)
    log = logging.getLogger("timm.models._builder")  # it warns of the classifier's weights, which nobody asked for
    level = log.level
    try:
        log.setLevel(logging.ERROR)
        model = timm.create_model(
            name,
            pretrained=pretrained or file is not None,
            pretrained_cfg_overlay=None if state is None else {"state_dict": dict(state), "custom_load": False},
            **options,
        )
    except (RuntimeError, KeyError, OSError, ValueError, AttributeError, TypeError) as error:
        why = (str(error) or type(error).__name__).splitlines()[0].rstrip(": ")
        if file:
            if isinstance(error, KeyError):  # so older releases of timm, where they look for the first layer
                raise ConfigError(_another_model(file, name, error.args[0])) from error
            raise ConfigError(
                f"timm's {name}: cannot load the weights of {file} ({why}): give a safetensors or pth file of timm's "
                f"weights of {name}"
            ) from error
        raise ConfigError(f"timm's {name}: cannot {'load its weights' if pretrained else 'build it'}: {why}") from error
    finally:
        log.setLevel(level)
    if file is not None and state is not None:
        kept: Any = model.pretrained_cfg
        kept["state_dict"] = None  # timm keeps what it was given, twice the memory
        _check_keys(model, state, file, name)
        _mend_overflow(model, file)
    return model


def _timm_state(file: Path) -> dict[str, torch.Tensor]:
    """The weights of a file as timm takes them: it must not open the file itself, since older releases unpickle."""
    return without_prefixes(read_tensors(file, "pretrained_file"))


def _check_keys(model: nn.Module, state: Mapping[str, torch.Tensor], file: Path, name: str) -> None:
    """timm loads what it finds; a file that lacks a weight is of another model. (In feature maps stem_0 is stem.0.)"""
    found = {key.replace("_", ".") for key in state}
    wanted = [key for key in model.state_dict() if "num_batches_tracked" not in key]
    lacking = [key for key in wanted if key.replace("_", ".") not in found]
    if lacking:
        raise ConfigError(_another_model(file, name, lacking[0]))


def _another_model(file: Path, name: str, key: str) -> str:
    return f"{file} holds no weights of {name} in timm's keys: no {key} in it"


def _mend_overflow(model: nn.Module, file: Path) -> None:
    largest = torch.finfo(torch.float16).max
    for key, value in model.state_dict().items():  # shares its memory with the model
        if torch.isnan(value).any():
            raise ConfigError(f"{file} holds NaN in {key}: get the file again")
        if value.is_floating_point():
            value.nan_to_num_(posinf=largest, neginf=-largest)
