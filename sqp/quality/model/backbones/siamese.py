"""The peer's network (Sikha O K et al. 2025, arXiv 2508.01460, its notebook): one branch a channel.

Faithful with three channels (image, mask, one uncertainty map) at size 300: grey input (ITU-R 601 luma, as cv2 and
Pillow make it), five 3x3 convolutions without padding (64-64-32-32-16) with 2x2 max-pooling between, so 14x14x16 a
branch; concatenated, flattened, dense 128-128 and the output. 1,430,705 parameters with `loss: mse`. Its training is
mse, Adam at a constant rate, no weight decay, no dropout, no augmentation: `configs/peer_siamese.yaml` has all of it.
What differs from the notebook: a sigmoid at the end, standardised planes, EPKL as log(1 + EPKL), clipped gradients, and
every image weighs the same however many records it has; in that config, too, the epochs, the batch size and bfloat16.
The branches share no weights; the paper's word for the network is three-branch.

`siamese_slip` is the same network with the notebook's slip: its test cell fills the image's branch with the uncertainty
map. It has the same weights, so a trained `siamese` can be tested with the slip, or one be trained with it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sqp.core.errors import ConfigError
from sqp.quality.model.backbones.base import Backbone
from sqp.quality.model.channels import IMAGE, map_channels, plane_names

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601: red, green, blue
FILTERS = (64, 64, 32, 32, 16)


class Siamese(Backbone):
    """A branch a channel name (the image's three planes become grey), features `[n, 128]`.

    `slip`: the image's branch gets the first uncertainty map in place of the image.
    """

    width = 128
    grey = True

    def __init__(self, channels: Sequence[str], size: int, slip: bool = False) -> None:
        super().__init__()
        self.channels = tuple(channels)
        if slip and not (IMAGE in self.channels and map_channels(self.channels)):
            raise ConfigError(
                "backbone 'siamese_slip' needs the image and an uncertainty map, as in image+mask+self/epkl"
            )
        self.sources = [self._planes(name, slip) for name in self.channels]
        self.luma: Tensor
        self.register_buffer("luma", torch.tensor(LUMA)[:, None, None], persistent=False)
        side = branch_side(size)
        if side < 1:
            raise ConfigError(f"backbone 'siamese' needs a size of at least 78, not {size}; its own is 300")
        self.branches = nn.ModuleList(_branch() for _ in self.channels)
        self.dense = nn.Sequential(
            nn.Linear(len(self.channels) * FILTERS[-1] * side**2, 128),
            nn.ReLU(),
            nn.Linear(128, 128),
            nn.ReLU(),
        )

    def forward(self, planes: Tensor) -> Tensor:
        """`[n, c, s, s]` -> `[n, 128]`."""
        outputs = []
        for (start, count), branch in zip(self.sources, self.branches, strict=True):
            plane = planes[:, start : start + count]
            outputs.append(branch((plane * self.luma).sum(dim=1, keepdim=True) if count > 1 else plane))
        return self.dense(torch.cat(outputs, dim=1).flatten(1))

    def _planes(self, name: str, slip: bool) -> tuple[int, int]:
        """First plane of a branch's input, and how many it has."""
        source = map_channels(self.channels)[0] if slip and name == IMAGE else name
        before = self.channels[: self.channels.index(source)]
        return len(plane_names(before)), len(plane_names([source]))


def branch_side(size: int) -> int:
    """Side of a branch's output.

    Examples:
        >>> branch_side(300)
        14
    """
    for index in range(len(FILTERS)):
        size = (size // 2 if index else size) - 2
    return size


def _branch() -> nn.Sequential:
    layers: list[nn.Module] = []
    for index, (before, after) in enumerate(zip((1, *FILTERS), FILTERS, strict=False)):
        layers += [nn.MaxPool2d(2)] * bool(index) + [nn.Conv2d(before, after, 3), nn.ReLU()]
    return nn.Sequential(*layers)


def siamese(channels: Sequence[str], size: int) -> Siamese:
    """Build it."""
    return Siamese(channels, size)


def siamese_slip(channels: Sequence[str], size: int) -> Siamese:
    """Build it with the uncertainty map in the image's branch. ConfigError without image or map."""
    return Siamese(channels, size, slip=True)
