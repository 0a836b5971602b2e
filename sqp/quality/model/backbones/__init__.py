"""Backbones: planes -> features. One file a network, and any timm model by name as `timm:NAME`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqp.core.errors import ConfigError, unknown_name
from sqp.core.names import TIMM
from sqp.quality.model.backbones.base import Backbone
from sqp.quality.model.backbones.compact import compact
from sqp.quality.model.backbones.siamese import siamese, siamese_slip
from sqp.quality.model.backbones.tabular import tabular
from sqp.quality.model.backbones.timm_model import timm_model
from sqp.quality.model.backbones.volumes import compact3d, slices
from sqp.records import RecordSet

BACKBONES: dict[str, Callable[..., Backbone]] = {
    "compact": compact,
    "siamese": siamese,
    "siamese_slip": siamese_slip,
    "tabular": tabular,
}
"""name -> (channels, size) -> backbone."""

VOLUME_BACKBONES: dict[str, Callable[..., Backbone]] = {"compact3d": compact3d, "slices": slices}
"""The same for record sets of volumes."""


def build_backbone(
    name: str, channels: Sequence[str], size: int, pretrained: bool = False, pretrained_file: str = ""
) -> Backbone:
    """The backbone of this name for these channels at size x size.

    `timm:NAME` is any model of timm; `pretrained` takes its weights from timm's hub, `pretrained_file` from a
    safetensors or pth file with timm's keys. ConfigError for an unknown name, or weights where there are
    none.
    """
    if name.startswith(TIMM):
        return timm_model(name.removeprefix(TIMM), channels, size, pretrained, pretrained_file)
    known = {**BACKBONES, **VOLUME_BACKBONES}
    if name not in known:
        raise unknown_name("backbone", name, [*known, f"{TIMM}NAME"])
    if pretrained or pretrained_file:
        raise ConfigError(f"backbone '{name}' has no pretrained weights, only {TIMM}NAME has: drop --pretrained")
    return known[name](channels, size)


def dims_of(backbone: str) -> int:
    """How many dimensions the planes of a backbone have: 3 for those of volumes."""
    return 3 if backbone in VOLUME_BACKBONES else 2


__all__ = ["BACKBONES", "VOLUME_BACKBONES", "Backbone", "build_backbone", "dims_of"]


def check_dims(records: RecordSet, backbone: str, what: str) -> None:
    """ConfigError where a record set is of volumes and the backbone of `what` is not, or the other way round."""
    if records.volumes and dims_of(backbone) == 2:
        raise ConfigError(
            f"{records.folder} holds volumes, and {what} has the backbone {backbone}, which reads images: "
            f"train one with --backbone {' or '.join(VOLUME_BACKBONES)}"
        )
    if not records.volumes and dims_of(backbone) == 3:
        raise ConfigError(f"{records.folder} holds images, and {what} has the backbone {backbone}, which reads volumes")
