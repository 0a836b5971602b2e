"""Segmenters by name: image + prompt -> logits. A new one is one file and one line in `SEGMENTERS`."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from typing import Any, cast

import torch

from sqp.core.errors import ConfigError, lookup
from sqp.core.names import Precision
from sqp.core.types import InContextSegmenter, Segmenter
from sqp.networks.runtime import tell_emulation

__all__ = [
    "IN_CONTEXT_SEGMENTERS",
    "PRECISIONS",
    "SEGMENTERS",
    "build_segmenter",
    "check_device",
    "precision_for",
]

PRECISIONS = ("float32", "bfloat16", "auto")
"""In which precision a segmenter's image encoder may run; auto is what `precision_for` says."""

BFLOAT16 = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
"""torch.cpu's questions for instruction sets that multiply in bfloat16."""


def _later(module: str, builder: str, *first: str) -> Callable[..., Any]:
    """A builder whose module is imported when it is called: timm and torchvision take seconds to import."""

    def build(*args: Any, **options: Any) -> Any:
        return getattr(import_module(f"sqp.segmenters.{module}"), builder)(*first, *args, **options)

    return build


SEGMENTERS: dict[str, Callable[..., Segmenter]] = {
    "litemedsam": _later("tinyvit", "build_litemedsam"),
    "mobilesam": _later("tinyvit", "build_mobilesam"),
    "sam_vit_b": _later("official", "build_sam", "sam_vit_b"),
    "sam_vit_l": _later("official", "build_sam", "sam_vit_l"),
    "sam_vit_h": _later("official", "build_sam", "sam_vit_h"),
    "medsam": _later("official", "build_medsam"),
    "unet": _later("plain", "build_plain", "unet"),
    "fpn_resnet50": _later("plain", "build_plain", "fpn_resnet50"),
    "fpn": _later("plain", "build_plain", "fpn"),
    "swin_unet": _later("plain", "build_plain", "swin_unet"),
    "unet3d": _later("volume_plain", "build_volume_plain", "unet3d"),
    "unet25d": _later("volume_plain", "build_volume_plain", "unet25d"),
    "personalised": _later("by_examples", "build_by_examples", "personalised"),
    "pixel_classifier": _later("by_examples", "build_by_examples", "pixel_classifier"),
    "universeg": _later("by_examples", "build_by_examples", "universeg"),
    "atlas": _later("by_examples", "build_by_examples", "atlas"),
}

IN_CONTEXT_SEGMENTERS: dict[str, Callable[..., InContextSegmenter]] = {
    "personalised": _later("personalised", "build_personalised"),
    "pixel_classifier": _later("pixel_classifier", "build_pixel_classifier"),
    "universeg": _later("universeg", "build_universeg"),
    "atlas": _later("atlas", "build_atlas"),
}
"""name -> (promptable segmenter, file of its own weights, device) -> what segments by examples, for whoever shows it
these himself; `sqp.config.referee.IN_CONTEXT` names them too. In `SEGMENTERS` each stands with its references."""


def build_segmenter(
    name: str,
    checkpoint: str | os.PathLike | None = None,
    device: str | torch.device = "cpu",
    precision: str = "float32",
    runtime: str = "torch",
    **options: Any,
) -> Segmenter:
    """The segmenter of this name with its weights, in eval mode on `device`.

    Args:
        name: a name of `SEGMENTERS`.
        checkpoint: a file; None: the packaged or official one, where there is one.
        device: cpu, cuda, cuda:0, mps.
        precision: float32, bfloat16 or auto.
        runtime: openvino, for segmenters that have `use_openvino`; else PyTorch runs the network.
        **options: the segmenter's own (`multimask`, `chunk`, `references`).

    Returns:
        The segmenter.

    Raises:
        ConfigError: name, device or precision are unknown, or the checkpoint is missing, altered or of another model.
    """
    builder = lookup("segmenter", name, SEGMENTERS)
    if precision not in PRECISIONS:
        raise ConfigError(f"unknown precision '{precision}'. known: {', '.join(PRECISIONS)}")
    device = check_device(device)
    precision = precision_for(precision, device)
    if precision == "bfloat16":
        tell_emulation(device)
    built = builder(checkpoint, device=device, precision=precision, **options)
    if runtime == "openvino" and hasattr(built, "use_openvino"):
        built.use_openvino()
    return built


def precision_for(precision: str, device: str | torch.device) -> Precision:
    """A precision by its name; of auto bfloat16 on a CPU that computes in it (AMX, AVX512-BF16), else float32.

    Args:
        precision: float32, bfloat16 or auto.
        device: cpu, cuda, cuda:0, mps.

    Returns:
        float32 or bfloat16.
    """
    if precision != "auto":
        return cast(Precision, precision)
    asked = [getattr(torch.cpu, name, None) for name in BFLOAT16]  # torch's own, not public yet
    fast = torch.device(device).type == "cpu" and any(known() for known in asked if known is not None)
    return "bfloat16" if fast else "float32"


def check_device(device: str | torch.device) -> torch.device:
    """The device; ConfigError where torch does not know it or does not have it.

    Args:
        device: cpu, cuda, cuda:0, mps.

    Returns:
        The device.

    Raises:
        ConfigError: torch does not know it or does not have it.
    """
    try:
        device = torch.device(device)
    except RuntimeError:
        raise ConfigError(f"unknown device '{device}'; use cpu, cuda, cuda:0, mps") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device '{device}' was asked for, but torch sees no CUDA device; use --device cpu")
    return device
