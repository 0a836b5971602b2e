"""studies/prompters.py on small record sets whose prompters are told apart by run.yaml."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from recordsets import CONFIG, make_record_set

from sqp.core.types import Prompt
from studies import prompters

CAM = {"prompter": "cam", "checkpoint": "nets/toy-melanoma-seed0.safetensors"}
PROMPTERS = {
    "toy-gradcam": CAM | {"method": "gradcam"},
    "toy-layercam": CAM | {"method": "gradcam++"},
    "toy-random": CAM | {"method": "randomcam"},
    "centre_box": {"prompter": "centre", "box": 0.5},
}


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """A record set a prompter, of the same images; RandomCAM is the worst of them, and sampled its box on half."""
    root = tmp_path_factory.mktemp("prompters")
    folders = []
    for name in PROMPTERS:
        folder = make_record_set(root / name, {"test": 8}, ("natural",), config={**CONFIG, "prompters": PROMPTERS})
        path = folder / "records.parquet"
        table = pd.read_parquet(path).assign(prompter=name)
        if name == "toy-random":
            table["dice"] -= 0.3
            ways = [json.dumps(Prompt(prompter=way).as_dict()) for way in ("cam_sampled", "cam_flat", "cam", "cam")]
            table["prompt"] = ways * 2
        if name == "toy-layercam":
            table["dice"] += np.tile([0.02, -0.02], 4)
        table.to_parquet(path)
        folders.append(folder)
    return folders


def test_what_a_prompter_is_comes_from_the_config():
    what = prompters.what
    assert what({"prompters": PROMPTERS}, "toy-gradcam") == {
        "classifier": "toy",
        "fitted": "fine-tuned",
        "method": "gradcam",
    }
    assert what({"prompters": {"z": {"prompter": "cam", "model": "resnet50"}}}, "z")["fitted"] == "zero-shot"
    assert what({}, "otsu") == {"classifier": "", "fitted": "", "method": ""}


def test_table_differences_and_best_of(sets, tmp_path):
    work, out = tmp_path / "work", tmp_path / "out"
    prompters.main([str(work), str(out), *map(str, sets)])
    table = pd.read_csv(out / "prompters.csv").set_index("prompter")
    grad, random = table.loc["toy-gradcam"], table.loc["toy-random"]
    assert grad["n"] == 8 and grad["to_random"] == pytest.approx(0.3)
    assert grad["to_random_low"] == pytest.approx(0.3) and np.isnan(random["to_random"])
    assert random["to_centre_box"] == pytest.approx(-0.3) and random["fallback"] == 0.5 and grad["fallback"] == 0
    oracle = table.loc["best-of by the truth (oracle)"]
    assert oracle["dice"] == pytest.approx(grad["dice"] + 0.01)  # half of the other method's masks are better by 0.02
    assert "best-of by predicted_dice" not in table.index  # no model was given
    assert 0 < grad["precision"] <= 1 and 0 < grad["recall"] <= 1
    assert (out / "iou.png").exists() and (out / "cams.png").exists()
    text = (out / "prompters.md").read_text()
    assert "fine-tuned" in text and "Dice - RandomCAM's" in text


def test_a_cascade_is_told_from_its_first_prompter(tmp_path):
    folder = make_record_set(tmp_path / "c", {"test": 3}, ("natural",), config={**CONFIG, "cascade": "mobilesam"})
    rows = prompters.read_rows(folder, "test", None, tmp_path)
    assert set(rows["prompter"]) == {"otsu > mobilesam > box"}


def test_what_it_refuses(sets, tmp_path):
    from sqp.core.errors import ConfigError

    with pytest.raises(ConfigError, match="holds no natural record with truth of the split val"):
        prompters.main([str(tmp_path), str(tmp_path / "o"), str(sets[0]), "--split", "val"])
