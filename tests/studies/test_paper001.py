"""Paper 001 on discs: three sets, of which one is judged, with tiny networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from fakes import put_fake
from PIL import Image

from sqp import segmenters
from sqp.core.errors import ConfigError
from studies import paper001
from studies.methods_report import METRICS

SPLITS = ("train",) * 4 + ("val",) * 2 + ("test",) * 3
ROOT = Path(__file__).parents[2]


def write_set(home: Path, name: str, rng: np.random.Generator) -> list[dict[str, str]]:
    """A disc an image."""
    y, x = np.mgrid[:32, :48]
    rows = []
    for number, split in enumerate(SPLITS):
        mask = np.hypot(x - rng.uniform(16, 32), y - rng.uniform(12, 20)) < rng.uniform(5, 10)
        grey = np.where(mask, 30, 220) + rng.integers(-9, 10, mask.shape)
        for kind, pixels in (("images", np.repeat(grey[..., None], 3, 2)), ("masks", mask * 255)):
            (home / name / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(home / name / kind / f"{number:02d}.png")
        rows.append({"dataset": name, "image_id": f"{number:02d}", "group": f"{number}", "split": split})
    return rows


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, Path]:
    """The study's config, and the folder of a whole run."""
    home, rng = tmp_path_factory.mktemp("paper001"), np.random.default_rng(0)
    labels = home / "data" / "labels.csv"
    rows = [row for name in ("mr", "a", "b") for row in write_set(labels.parent, name, rng)]
    pd.DataFrame(rows).assign(licence="CC0").to_csv(labels, index=False)
    settings = yaml.safe_load((ROOT / "configs" / "paper001.yaml").read_text()) | {
        "tasks": {name: {"labels": str(labels)} for name in ("mr", "a", "b")},
        "judged": ["mr"],
        "most": dict.fromkeys(("train", "val", "test"), 4),
        "references": 3,
        "n_resamples": 20,
    }
    tiny = {"epochs": 1, "batch_size": 2, "width": 4, "size": 32, "progress": False, "train_splits": ["train"]}
    settings["fit"] = {"unet": tiny, "universeg": tiny | {"support": 2}}
    settings["samplers"] = {name: one | {"n": min(one["n"], 3)} for name, one in settings["samplers"].items()}
    settings["samplers"]["mc_dropout"]["p"] = 0.2
    settings["steps"][0]["options"] = [{}]
    (home / "paper001.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    with pytest.MonkeyPatch.context() as patch:
        put_fake(patch)
        patch.setitem(segmenters.SEGMENTERS, "litemedsam", segmenters.SEGMENTERS["fake"])
        paper001.main([str(home / "paper001.yaml"), str(home / "out"), "--max_images", "2"])
    return home / "paper001.yaml", home / "out"


def test_every_segmenter_is_measured_in_the_papers_six_modes(made):
    table = pd.read_csv(made[1] / "paper001.csv")
    for kind in ("unet", "litemedsam", "universeg"):
        part = table[table.segmenter == kind]
        assert part["mode"].tolist() == list(paper001.MODES.values()) and (part["n"] == 2).all()
        assert part[[f"{metric}_median" for metric in METRICS if metric != "certainty"]].notna().all().all()
        assert part["dice_gain"].isna().tolist() == [True, *[False] * 5]
        assert ((part.dice_gain_low <= part.dice_gain) & (part.dice_gain <= part.dice_gain_high))[1:].all()
    text = (made[1] / "paper001.md").read_text()
    assert "## universeg on mr (n = 2, groups 2)" in text and "CRF, which loses a little" in text


def test_nothing_that_is_judged_was_fitted_on_or_shown(made):
    home = made[1]
    cases, shown = pd.read_csv(home / "mr" / "cases.csv"), pd.read_csv(home / "mr" / "references.csv")
    assert set(shown.split) == {"train"} and len(shown) == 3 and set(shown.image_id) < set(cases.image_id)
    assert set(pd.read_csv(home / "fit.csv").dataset) == {"a", "b"}
    judged = {path.stem for path in (home / "mr" / "universeg" / "test").iterdir()}
    assert judged and judged <= set(cases.image_id[cases.split == "test"])


def test_a_run_goes_on_where_it_stopped(made):
    file = made[1] / "mr" / "fit" / "unet-seed0.safetensors"
    before = file.stat().st_mtime_ns
    with pytest.MonkeyPatch.context() as patch:
        put_fake(patch)
        patch.setitem(segmenters.SEGMENTERS, "litemedsam", segmenters.SEGMENTERS["fake"])
        paper001.main([str(made[0]), str(made[1]), "--max_images", "2"])
    assert file.stat().st_mtime_ns == before


def test_an_unknown_set_is_told(made):
    with pytest.raises(ConfigError, match="unknown set 'ct'"):
        paper001.main([str(made[0]), str(made[1]), "--only", "ct"])
