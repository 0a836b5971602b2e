"""For the doctests: where sqp ships no bundle, `sqp.load()` finds an untrained one of a fake segmenter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def default_bundle(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only in the doctest of `sqp.load`."""
    if not (isinstance(request.node, pytest.DoctestItem) and request.node.name == "sqp.stages.assess.load"):
        return
    from fakes import FakeSegmenter
    from recordsets import CONFIG

    from sqp import bundles, segmenters
    from sqp.quality.bundle import Bundle
    from sqp.quality.conformal import Conformal
    from sqp.quality.module import QualityModel
    from sqp.quality.ood import OodStatistics
    from sqp.quality.tabular import Standardizer
    from sqp.stages import generate

    if (bundles.HERE / bundles.DEFAULT).exists():
        return
    model = QualityModel({"channels": ("image", "mask", "self/entropy"), "size": 32})
    width = model.features_width
    ood = OodStatistics(np.zeros(width, np.float32), np.eye(width, dtype=np.float32), 1e9, 0.999)
    segmenter = {"name": "fake", "multimask": "auto", "weights_sha256": FakeSegmenter.weights_sha256}
    expects = {**CONFIG, "segmenter": segmenter}
    bundle = Bundle(model, Standardizer((), (), ()), Conformal(1.0, 0.1, 9, 9), ood, [expects])
    bundle.save(tmp_path / bundles.DEFAULT)
    monkeypatch.setattr(bundles, "HERE", tmp_path)
    monkeypatch.setitem(segmenters.SEGMENTERS, "fake", lambda checkpoint=None, **options: FakeSegmenter())
    monkeypatch.setattr(generate, "locate", lambda name, checkpoint: (None, FakeSegmenter.weights_sha256))
