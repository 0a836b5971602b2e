"""Plain networks of volumes as segmenters: a U-Net in 3D, and one in 2.5D, which sees a slice between its neighbours.

The volume is resampled to the network's spacing and goes through it patch by patch, or slice by slice.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from monai.networks.nets import BasicUNet
from torch import Tensor, nn

from sqp.core.errors import CaseError, ConfigError, lookup
from sqp.core.frame import VolumeFrame
from sqp.core.types import Decoded, Embedding, Prompt, Segmenter
from sqp.core.volume import Volume
from sqp.networks.inputs import normalised
from sqp.segmenters.plain import NetworkSegmenter, NetworkSpec, from_checkpoint

DIVISOR = 16  # four halvings
WIDTH = 16
GROUPS = 4


@dataclass(frozen=True)
class VolumeNetwork:
    """A kind: `flat` runs slice by slice (2.5D); else on patches of the volume."""

    build: Callable[[NetworkSpec], nn.Module]
    flat: bool = False


def unet3d(spec: NetworkSpec) -> nn.Module:
    """Voxels `[n, 1, d, h, w]` -> logits of that shape (Çiçek et al. 2016, arXiv 1606.06650; MONAI's `BasicUNet`).

    Group normalisation, since few patches fit into a batch.

    Args:
        spec: what the network is.

    Returns:
        The network.

    Raises:
        ConfigError: the width is no multiple of 4.
    """
    if spec.width % GROUPS:
        raise ConfigError(f"width is {spec.width}; that of unet3d must be a multiple of {GROUPS}")
    return _unet(spec, 3, 1, ("group", {"num_groups": GROUPS}))


def unet25d(spec: NetworkSpec) -> nn.Module:
    """Slices with their neighbours as channels `[n, 2k + 1, h, w]` -> logits of the middle ones `[n, 1, h, w]`.

    Args:
        spec: what the network is.

    Returns:
        The network, by MONAI.
    """
    return _unet(spec, 2, 2 * spec.neighbours + 1, "batch")


def _unet(spec: NetworkSpec, dims: int, channels: int, norm: Any) -> nn.Module:
    w = spec.width or WIDTH
    return BasicUNet(dims, channels, 1, features=(w, w, 2 * w, 4 * w, 8 * w, w), norm=norm, dropout=spec.dropout)


VOLUME_NETWORKS: dict[str, VolumeNetwork] = {
    "unet3d": VolumeNetwork(unet3d),
    "unet25d": VolumeNetwork(unet25d, flat=True),
}


def build_volume_network(spec: NetworkSpec) -> nn.Module:
    """The network of a spec with random weights. ConfigError for an unknown name, or patches that do not halve.

    Args:
        spec: what the network is.

    Returns:
        The network.

    Raises:
        ConfigError: the name is unknown, or the patches do not halve.
    """
    kind = lookup("network of volumes", spec.name, VOLUME_NETWORKS)
    sides = spec.patch[1:] if kind.flat else spec.patch
    if len(spec.patch) != 3 or any(side < DIVISOR or side % DIVISOR for side in sides):
        raise ConfigError(f"the patches of {spec.name} are {list(spec.patch)}; sides must be multiples of {DIVISOR}")
    return kind.build(spec)


OVERLAP = 0.5  # of neighbouring patches, which are weighted by a Gaussian (nnU-Net's)
SLICES = 8  # of a 2.5D network at once


def with_neighbours(volume: Tensor, rows: Tensor, neighbours: int) -> Tensor:
    """Slices `rows` of `[d, h, w]` -> `[n, 2k + 1, h, w]` with the k below and above; beyond the ends the last ones.

    Examples:
        >>> with_neighbours(torch.arange(4.0)[:, None, None], torch.tensor([0, 2]), 1)[..., 0, 0].tolist()
        [[0.0, 0.0, 1.0], [1.0, 2.0, 3.0]]
    """
    around = rows[:, None] + torch.arange(-neighbours, neighbours + 1)
    return volume[around.clamp(0, len(volume) - 1)]


class VolumeSegmenter(NetworkSegmenter):
    """A plain network behind the protocol `sqp.core.types.Segmenter`, for a `Volume`: one answer to every prompt.

    The embedding keeps the normalised voxels at the spec's spacing, which are the grid unless they are too many. The
    network runs once a call of `decode`, over one part at a time, so that memory does not grow with the volume but for
    its own voxels; a call with dropout switched on in `network` draws another sample. Results are on the CPU.
    """

    def encode(self, image: Volume) -> Embedding:
        """Features: normalised voxels `[1, 1, *working]` float32. CaseError for an image that is no volume.

        Args:
            image: the volume.

        Returns:
            The embedding.

        Raises:
            CaseError: the image is no volume.
        """
        if not isinstance(image, Volume):
            raise CaseError(f"{self.name} segments volumes, and this image is 2D: give NIfTI or DICOM, or take unet")
        frame = VolumeFrame.at_spacing(image.shape, image.spacing, self.spec.spacing)
        return Embedding(frame.image_to_input(normalised(image.voxels))[None, None], frame)

    @torch.no_grad()
    def decode(self, embedding: Embedding, prompts: Sequence[Prompt]) -> Decoded:
        """Logits `[n, 1, *grid]` float32, the same for each prompt; IoU `[n, 1]` NaN. Raises CaseError for NaN.

        Args:
            embedding: what `encode` gave.
            prompts: n prompts in voxels of the volume.

        Returns:
            Logits and IoU.

        Raises:
            CaseError: a logit is NaN.
        """
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            output = network_logits(self.network, embedding.features, self.spec, self.device)
        logits = embedding.frame.output_to_grid(output)
        if torch.isnan(logits).any():
            raise CaseError(f"{self.name} returned NaN logits; try precision float32 or look at the volume")
        n = len(prompts)
        return Decoded(logits.expand(n, *logits.shape[1:]), torch.full((n, 1), torch.nan))


def network_logits(network: nn.Module, voxels: Tensor, spec: NetworkSpec, device: torch.device) -> Tensor:
    """Normalised voxels `[1, 1, d, h, w]` -> logits of that shape, float32, on the CPU, in parts.

    Args:
        network: the module, in eval mode.
        voxels: normalised voxels.
        spec: what the network is.
        device: where it runs.

    Returns:
        float32 `[1, 1, d, h, w]`.
    """
    if VOLUME_NETWORKS[spec.name].flat:
        return _by_slices(network, voxels[0, 0], spec, device)[None, None]
    from monai.inferers import sliding_window_inference

    out = sliding_window_inference(
        voxels, spec.patch, 1, network, OVERLAP, mode="gaussian", sw_device=device, device=torch.device("cpu")
    )
    assert isinstance(out, Tensor)
    return out.float()


def _by_slices(network: nn.Module, volume: Tensor, spec: NetworkSpec, device: torch.device) -> Tensor:
    """`[d, h, w]` -> logits `[d, h, w]`."""
    d, h, w = volume.shape
    padded, top, left = _padded(volume, spec.patch)
    parts = []
    for rows in torch.arange(d).split(SLICES):
        part = with_neighbours(padded, rows, spec.neighbours).to(device)
        parts.append(network(part)[:, 0, top : top + h, left : left + w].float().cpu())
    return torch.cat(parts)


def _padded(volume: Tensor, patch: Sequence[int]) -> tuple[Tensor, int, int]:
    """`[d, h, w]` with h and w multiples of `DIVISOR`, as much at either end, and the row and column where it begins.

    What is added is the edge again, but zeros along a side shorter than the patch's: there the training showed them.
    """
    (h, w), (rows, columns) = volume.shape[1:], patch[1:]
    high, wide = -h % DIVISOR, -w % DIVISOR
    top, left = high // 2, wide // 2
    volume = F.pad(volume, (0, 0, top, high - top), "constant" if h < rows else "replicate")
    return F.pad(volume, (left, wide - left, 0, 0), "constant" if w < columns else "replicate"), top, left


def build_volume_plain(name: str, checkpoint: str | os.PathLike | None = None, **options: Any) -> Segmenter:
    """A network of `VOLUME_NETWORKS`. The arguments are those of `from_checkpoint`."""
    return from_checkpoint(name, checkpoint, build_volume_network, VolumeSegmenter, **options)
