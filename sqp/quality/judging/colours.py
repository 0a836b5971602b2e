"""Whether the red and the blue of judged images were changed for each other, as they are where BGR is taken for RGB."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sqp.core.errors import CaseError
from sqp.core.tables import evenly_spaced
from sqp.data import read_image
from sqp.quality.bundle.storage import Bundle
from sqp.quality.model.channels import IMAGE

FEWEST, MOST = 5, 20
"""Images of which too little can be said, and of which enough."""
RED, BLUE = f"{IMAGE}/red", f"{IMAGE}/blue"


def swapped_colours(bundle: Bundle, images: Sequence[str | Path]) -> list[str]:
    """What to look at where most images have more blue than red, and those of the training had more red; or nothing.

    Of dermoscopic images next to none has (0 of 24 of ISIC 2018, 1 of 24 of HAM10000); of stained cells most may.

    Args:
        bundle: the quality model; one that reads no colours says nothing.
        images: the files of the judged images; of many some are looked at.

    Returns:
        One sentence, or none.
    """
    means = dict(zip(bundle.model.spec.planes, bundle.model.mean.tolist(), strict=True))
    files = sorted({str(image) for image in images})
    if RED not in means or means[RED] <= means[BLUE] or len(files) < FEWEST:
        return []
    red, blue = np.transpose([_red_and_blue(files[i]) for i in evenly_spaced(len(files), MOST)])
    more = int((blue > red).sum())
    if 2 * more <= len(red):
        return []
    return [
        f"{more} of {len(red)} images have more blue than red, and those that the model learned from more red: if "
        "their channels are in the order BGR, swap them and judge again"
    ]


def _red_and_blue(file: str) -> tuple[float, float]:
    """The means; equal, which is no evidence, where the file cannot be read as an image."""
    try:
        pixels = read_image(file)[::8, ::8].reshape(-1, 3)
    except CaseError:
        return 0.0, 0.0
    return float(pixels[:, 0].mean()), float(pixels[:, 2].mean())
