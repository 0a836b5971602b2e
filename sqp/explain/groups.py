"""The input groups of a quality model: the image (three planes, of a volume one), the mask, each map.

Scores have no pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqp.quality.channels import plane_names


def plane_groups(channels: Sequence[str], dims: int = 2) -> dict[str, list[int]]:
    """Channel name -> indices of its planes; `dims` is 3 for volumes.

    >>> plane_groups(("image", "mask", "self/entropy"))
    {'image': [0, 1, 2], 'mask': [3], 'self/entropy': [4]}
    """
    names = [name.split("/")[0] if name.startswith("image/") else name for name in plane_names(channels, dims)]
    return {channel: [i for i, name in enumerate(names) if name == channel] for channel in channels}
