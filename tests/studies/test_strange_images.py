"""What the bundle `fast` says of tiny tasks that it does not know: every mask has one verdict, colours are swapped."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from tiny_tasks import write_tasks

from sqp.core.types import Case
from sqp.quality.judging.verdict import VERDICTS
from studies import strange_images


def test_every_mask_has_one_verdict(tmp_path):
    labels = write_tasks(tmp_path / "data", ["dark", "bright"])
    source = {"labels": str(labels), "split": "test"}
    settings = {"bundles": ["fast"], "tasks": {"dark": source, "bright": source}, "most": 2, "swapped": ["dark"]}
    (tmp_path / "strange.yaml").write_text(yaml.safe_dump({**settings, "n_resamples": 20}, sort_keys=False))
    strange_images.main([str(tmp_path / "strange.yaml"), str(tmp_path / "out")])
    table = pd.read_csv(tmp_path / "out" / "strange_images.csv").set_index("images")
    assert list(table.index) == ["dark", f"dark, {strange_images.SWAPPED}", "bright"] and (table["n"] == 2).all()
    assert table[[*VERDICTS]].sum(axis=1).to_numpy() == pytest.approx(1)
    assert table["predicted"].iloc[1] == pytest.approx(table["predicted"].iloc[0])  # grey stays grey
    assert "mean predicted Dice" in (tmp_path / "out" / "strange_images.md").read_text()


def test_a_swapped_copy_has_the_blue_of_the_image_as_its_red(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    copy = strange_images.swapped(Case("a", tmp_path / "a.png"), tmp_path / "swapped")
    assert (np.asarray(Image.open(copy.image_path)) == pixels[..., ::-1]).all() and copy.image_id == "a"
