"""The input groups of a quality model: the image (three planes), the mask, each map; scores are a group without pixels."""

from __future__ import annotations

from collections.abc import Sequence

from sqp.quality.channels import plane_names


def plane_groups(channels: Sequence[str]) -> dict[str, list[int]]:
    """Channel name -> indices of its planes.

    >>> plane_groups(("image", "mask", "self/entropy"))
    {'image': [0, 1, 2], 'mask': [3], 'self/entropy': [4]}
    """
    planes = [name.split("/")[0] if name.startswith("image/") else name for name in plane_names(channels)]
    return {name: [i for i, plane in enumerate(planes) if plane == name] for name in channels}


def lacking(wanted: Sequence[str], channels: Sequence[str]) -> list[str]:
    """Which of the names are no channel of the model."""
    return [name for name in wanted if name not in channels]
