"""Robustness on a few synthetic lesions with the bundle `fast`: what moves, and what is exact."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sqp.commands import generate
from sqp.config.generate import GenerateConfig, RefereeConfig, SegmenterConfig
from studies import robustness


@pytest.fixture(scope="module")
def made(lesions, tmp_path_factory):
    home = tmp_path_factory.mktemp("robustness")
    config = GenerateConfig(
        lesions / "images",
        home / "drawn",
        masks=lesions / "masks",
        segmenter=SegmenterConfig("none"),
        referee=RefereeConfig("none"),
        max_images=12,
    )
    table = pd.read_parquet(generate.run(config).out / "records.parquet")
    table["split"] = "test"
    table["dice"] = np.linspace(0.2, 0.9, len(table))
    table.to_parquet(config.out / "records.parquet")
    robustness.main([str(config.out), "fast", "--out", str(home / "out"), "--images", "8"])
    return home / "out"


def test_every_change_has_its_row_over_the_same_masks(made):
    table = pd.read_csv(made / "robustness.csv")
    assert table.change.tolist() == list(robustness.CHANGES)
    assert (table.n == 8).all() and (table.abstained_before.nunique() == 1)
    assert ((table["median"] <= table["most"]) & (table["median_low"] <= table["median"])).all()
    page = (made / "robustness.md").read_text()
    assert "JPEG quality 20" in page and "abstained after" in page and "Pearson after" in page


def test_a_flip_moves_less_than_darkness(made):
    """The model averages two symmetries, the left-right flip among them, so that this one is nearly exact."""
    moves = pd.read_csv(made / "robustness.csv").set_index("change")["mean"]
    assert moves["left-right flip"] < 0.002 < moves["brightness x 0.6"]
    assert 5 * moves["left-right flip"] < moves["brightness x 0.6"]


@pytest.mark.parametrize("name", robustness.CHANGES)
def test_a_change_keeps_or_halves_the_sides(name):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    change, of_mask = robustness.CHANGES[name]
    sides = {"half size": (30, 20), "quarter turn": (40, 60)}.get(name, (60, 40))
    assert change(image).size == sides
    assert of_mask is None or of_mask(image.convert("L")).size == sides
    assert not np.array_equal(np.asarray(change(image)), np.asarray(image))
