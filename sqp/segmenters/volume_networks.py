"""Plain networks of volumes: a U-Net in 3D, and one in 2.5D, which sees a slice between its neighbours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from monai.networks.nets import BasicUNet
from torch import nn

from sqp.errors import ConfigError, lookup
from sqp.segmenters.checkpoint import NetworkSpec

DIVISOR = 16  # four halvings
WIDTH = 16
NEIGHBOURS = 2
GROUPS = 4


@dataclass(frozen=True)
class VolumeNetwork:
    """A kind: `flat` runs slice by slice (2.5D); else on patches of the volume."""

    build: Callable[[NetworkSpec], nn.Module]
    flat: bool = False


def unet3d(spec: NetworkSpec) -> nn.Module:
    """Voxels `[n, 1, d, h, w]` -> logits of that shape (Çiçek et al. 2016, arXiv 1606.06650; MONAI's `BasicUNet`).

    Group normalisation, since few patches fit into a batch. ConfigError for a width that is no multiple of 4.
    """
    if spec.width % GROUPS:
        raise ConfigError(f"width is {spec.width}; that of unet3d must be a multiple of {GROUPS}")
    return _unet(spec, 3, 1, ("group", {"num_groups": GROUPS}))


def unet25d(spec: NetworkSpec) -> nn.Module:
    """Slices with their neighbours as channels `[n, 2k + 1, h, w]` -> logits of the middle ones `[n, 1, h, w]`."""
    return _unet(spec, 2, 2 * spec.neighbours + 1, "batch")


def _unet(spec: NetworkSpec, dims: int, channels: int, norm: Any) -> nn.Module:
    w = spec.width or WIDTH
    return BasicUNet(dims, channels, 1, features=(w, w, 2 * w, 4 * w, 8 * w, w), norm=norm, dropout=spec.dropout)


VOLUME_NETWORKS: dict[str, VolumeNetwork] = {
    "unet3d": VolumeNetwork(unet3d),
    "unet25d": VolumeNetwork(unet25d, flat=True),
}


def build_volume_network(spec: NetworkSpec) -> nn.Module:
    """The network of a spec with random weights. ConfigError for an unknown name, or patches that do not halve."""
    kind = lookup("network of volumes", spec.name, VOLUME_NETWORKS)
    sides = spec.patch[1:] if kind.flat else spec.patch
    if len(spec.patch) != 3 or any(side < DIVISOR or side % DIVISOR for side in sides):
        raise ConfigError(f"the patches of {spec.name} are {list(spec.patch)}; sides must be multiples of {DIVISOR}")
    return kind.build(spec)
