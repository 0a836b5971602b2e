"""LiteMedSAM and one embedding of it, once a session."""

from __future__ import annotations

import numpy as np
import pytest

from sqp.core.seeding import numpy_generator
from sqp.segmenters import build_segmenter


@pytest.fixture(scope="session")
def image():
    """A bright disc on a dark, noisy ground, uint8 `[48, 64, 3]`; centre (32, 24), radius 14."""
    y, x = np.mgrid[:48, :64] + 0.5
    disc = (x - 32) ** 2 + (y - 24) ** 2 < 14**2
    noise = numpy_generator(0, "image").integers(0, 30, (48, 64, 3))
    return (np.where(disc[..., None], 190, 40) + noise).astype(np.uint8)


@pytest.fixture(scope="session")
def litemedsam():
    """With its real weights."""
    return build_segmenter("litemedsam")


@pytest.fixture(scope="session")
def lite_embedding(litemedsam, image):
    """The disc, encoded by LiteMedSAM."""
    return litemedsam.encode(image)
