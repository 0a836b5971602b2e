"""Tiny localizers and classifiers with random weights as checkpoint files, for every room's tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from sqp.networks.checkpoint import save_checkpoint
from sqp.prompts.classifier import ClassifierSpec, build_classifier
from sqp.prompts.localizer import LocalizerSpec, build_localizer

LOCALIZER = LocalizerSpec("mobilenetv2_035", size=64, width=8)
CLASSIFIERS = {
    "cnn": ClassifierSpec("mobilenetv2_035", 64, ("melanoma", "other")),
    "resnet": ClassifierSpec("resnet10t", 64, ("melanoma", "other")),
    "convnext": ClassifierSpec("convnext_atto", 64, ("melanoma", "other")),
    "vit": ClassifierSpec("vit_tiny_patch16_224", 64, ("melanoma", "other")),
    "swin": ClassifierSpec("swin_tiny_patch4_window7_224", 64, ("melanoma", "other")),
}


def info(fitted_images: tuple[str, ...] = ()) -> dict[str, Any]:
    """What a checkpoint says of the images that it was fitted on, by their hashes."""
    return {"data": {"fitted_images": list(fitted_images)}}


def write_localizer(path: Path, fitted_images: tuple[str, ...] = ()) -> Path:
    """A localizer that sees nothing in particular."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_localizer(LOCALIZER)
    return save_checkpoint(path, network.state_dict(), LOCALIZER, info(fitted_images))


def write_classifier(path: Path, name: str = "cnn", fitted_images: tuple[str, ...] = ()) -> Path:
    """A classifier of `CLASSIFIERS`."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_classifier(CLASSIFIERS[name])
    return save_checkpoint(path, network.state_dict(), CLASSIFIERS[name], info(fitted_images))


def options_of(prompter: str, folder: Path) -> dict[str, str]:
    """What a prompter cannot do without."""
    if prompter == "localizer":
        return {"checkpoint": str(write_localizer(folder / "localizer.safetensors"))}
    return {"checkpoint": str(write_classifier(folder / "classifier.safetensors"))} if prompter == "cam" else {}
