"""The fake segmenter, and an image without any symmetry that could hide a wrong turn."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import FakeSegmenter

from sqp.core.types import Prompt
from sqp.segmenters.by_examples import ByExamples
from sqp.segmenters.ensemble import EnsembleSegmenter


@pytest.fixture
def fake():
    """The class, to be made with other sizes."""
    return FakeSegmenter


@pytest.fixture
def segmenter():
    return FakeSegmenter()


class FakeEnsemble(EnsembleSegmenter):
    """Ten fakes whose logits are shifted by 0, 0.1, 0.2 ..."""

    def __init__(self, kind=FakeSegmenter):
        members = [kind(shift=i / 10) for i in range(10)]
        for i, member in enumerate(members):
            member.weights_sha256 = f"{i:064d}"
        super().__init__(members)

    @property
    def encoded(self):
        """Images that were encoded, by each member."""
        return self.members[0].encoded


class FakeShown(ByExamples):
    """A fake whose logits another half of references shifts."""

    def __init__(self, kind=FakeSegmenter, shift=0.0):
        self.kind, self.fake, self.name = kind, kind(shift=shift), kind.name
        self.encode, self.decode = self.fake.encode, self.fake.decode
        self.network = self.fake.network

    @property
    def encoded(self):
        """Images that were encoded."""
        return self.fake.encoded

    def halves(self, n):
        return [FakeShown(self.kind, (i + 1) / 10) for i in range(n)]


@pytest.fixture
def fake_for():
    """The name of a sampler -> what it can sample from: for `ensemble` ten of a kind, for `support_sets` one that is
    shown references, else one."""
    kinds = {"ensemble": FakeEnsemble, "support_sets": FakeShown}
    return lambda name, kind=FakeSegmenter: kinds[name](kind) if name in kinds else kind()


@pytest.fixture
def image():
    """48 x 64, a dark ellipse left of the middle: no symmetry that could hide a wrong turn."""
    yy, xx = np.mgrid[:48, :64] + 0.5
    dark = ((yy - 20) / 9) ** 2 + ((xx - 26) / 14) ** 2 <= 1
    picture = np.full((48, 64, 3), 200, np.uint8)
    picture[dark] = 60
    picture[:6, :6] = 0
    return picture


@pytest.fixture
def prompt():
    return Prompt(box=(12, 11, 40, 29), prompter="otsu")


@pytest.fixture
def truth(image):
    return image[..., 0] == 60
