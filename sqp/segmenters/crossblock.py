"""The network of UniverSeg (Butoi et al. 2023, arXiv 2304.06131): query and examples go through it together.

A query image and n support pairs (image, mask), grey and of one size, go through an encoder and a decoder of
`CrossBlock`s. Each convolves the query with every support, and the mean over the supports is the new query, so neither
the order of the supports nor their number is fixed. As in the authors' release the query has a convolution of its own
after the mean, and no activation stands between both.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH, LEVELS = 64, 4
"""Of the paper: channels of every layer, levels of the encoder."""
DIVISOR = 2 ** (LEVELS - 1)
"""What the sides of its input are multiples of."""


class CrossConv2d(nn.Conv2d):
    """A convolution of every pair (query, support), their channels concatenated.

    Since it is linear the query's half is computed once, and added to that of each support.
    """

    def __init__(self, of_query: int, of_support: int, channels: int, kernel: int = 3) -> None:
        super().__init__(of_query + of_support, channels, kernel, padding=kernel // 2)
        self.of_query = of_query

    def forward(self, query: Tensor, support: Tensor) -> Tensor:  # type: ignore[override]
        """Query `[b, c, h, w]` and support `[b, n, c', h, w]` -> `[b, n, channels, h, w]`."""
        first, second = self.weight[:, : self.of_query], self.weight[:, self.of_query :]
        once = F.conv2d(query, first, self.bias, padding=self.padding)
        return once[:, None] + each(lambda x: F.conv2d(x, second, padding=self.padding), support)


def each(layer: Callable[[Tensor], Tensor], group: Tensor) -> Tensor:
    """A layer of images on each of a group `[b, n, c, h, w]`."""
    out = layer(group.flatten(0, 1))
    return out.view(*group.shape[:2], *out.shape[1:])


class CrossBlock(nn.Module):
    """Query and supports, crossed: `(query [b, c, h, w], support [b, n, c, h, w])` -> both anew, of `channels`.

    The last block of the network has no supports to hand on (`ends`): their convolution is left out.
    """

    def __init__(self, of_query: int, of_support: int, channels: int, ends: bool = False) -> None:
        super().__init__()
        self.cross = CrossConv2d(of_query, of_support, channels)
        self.query = nn.Conv2d(channels, channels, 3, padding=1)
        self.support = None if ends else nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, query: Tensor, support: Tensor) -> tuple[Tensor, Tensor]:
        """Both anew; the supports as they are crossed where the block ends."""
        pairs = self.cross(query, support)
        query = F.leaky_relu(self.query(pairs.mean(dim=1)))
        return query, pairs if self.support is None else F.leaky_relu(each(self.support, pairs))


class UniverSeg(nn.Module):
    """`network(query [b, 1, h, w], images [b, n, 1, h, w], masks [b, n, 1, h, w])` -> logits `[b, 1, h, w]`.

    Grey in 0..1, masks 0 or 1, sides multiples of `DIVISOR`. 1.2 M parameters at width 64.
    """

    def __init__(self, width: int = WIDTH, levels: int = LEVELS) -> None:
        super().__init__()
        w = width
        self.encoder = nn.ModuleList(CrossBlock(w if i else 1, w if i else 2, w) for i in range(levels))
        self.decoder = nn.ModuleList(CrossBlock(2 * w, 2 * w, w, ends=i == levels - 2) for i in range(levels - 1))
        self.head = nn.Conv2d(w, 1, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                linear = layer is self.head or isinstance(layer, CrossConv2d)  # no activation follows
                nn.init.kaiming_normal_(layer.weight, nonlinearity="linear" if linear else "leaky_relu")
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, query: Tensor, images: Tensor, masks: Tensor) -> Tensor:
        """Logits of the query."""
        support = torch.cat([images, masks], dim=2)
        passed: list[tuple[Tensor, Tensor]] = []
        for block in self.encoder:
            if passed:
                query, support = F.max_pool2d(query, 2), each(lambda x: F.max_pool2d(x, 2), support)
            query, support = block(query, support)
            passed.append((query, support))
        passed.pop()
        for block in self.decoder:
            beside, beside_support = passed.pop()
            query = torch.cat([_doubled(query), beside], dim=1)
            support = torch.cat([each(_doubled, support), beside_support], dim=2)
            query, support = block(query, support)
        logits: Tensor = self.head(query)
        return logits


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
