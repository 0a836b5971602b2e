"""In-context segmenters on tiny tasks: who is fitted on what, the same queries for each, and the report by hand."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from fakes import put_fake
from PIL import Image

from sqp.data.split_files import write_splits
from sqp.data.splits import Splits
from sqp.segmenters import SEGMENTERS
from studies import in_context

MANY = ("seen", "unseen")
SPLIT = {"train": 4, "val": 2}


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Two sets of discs, and volumes of a bright block with two labels."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32]
    names = [(split, f"{split}{i}") for split, n in SPLIT.items() for i in range(n)]
    rows = []
    for folder in (*(f"many/{name}" for name in MANY), "isic2018"):
        for split, name in names:
            mask = np.hypot(x - rng.uniform(10, 22), y - rng.uniform(10, 22)) < 7
            for kind, grey in (("images", 200 - 150 * mask), ("masks", 255 * mask)):
                file = tmp_path / "data" / folder / kind / f"{name}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(grey.astype(np.uint8)).save(file)
            own = {"image_id": name, "group": name, "split": split, "licence": "CC-0"}
            rows += [own | {"dataset": folder.removeprefix("many/")}] if folder.startswith("many") else []
    pd.DataFrame(rows).to_csv(tmp_path / "data" / "many" / "labels.csv", index=False)
    for _, name in names:
        labels = np.zeros((8, 10, 12), np.uint8)
        labels[2:6, 2:5, 3:9], labels[2:6, 5:8, 3:9] = 1, 2
        for kind, voxels in (("images", 50.0 * (labels > 0) + rng.normal(0, 1, labels.shape)), ("labels", labels)):
            folder = tmp_path / "data" / "hippocampus" / kind
            folder.mkdir(parents=True, exist_ok=True)
            kept = voxels.astype(np.float32 if kind == "images" else np.uint8)
            nib.save(nib.Nifti1Image(kept, np.eye(4)), folder / f"{name}.nii.gz")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs" / "splits").mkdir(parents=True)
    by_split = {split: {name: (name,) for s, name in names if s == split} for split in SPLIT}
    for name in ("isic2018", "hippocampus"):
        write_splits(tmp_path / "configs" / "splits" / f"{name}.json", Splits(by_split, name))
    put_fake(monkeypatch)
    monkeypatch.setitem(SEGMENTERS, "litemedsam", SEGMENTERS["fake"])
    return tmp_path / "data"


def test_all_steps(data, tmp_path):
    fit = {
        "train_splits": ["train"],
        "size": 32,
        "width": 4,
        "support": 2,
        "epochs": 1,
        "batch_size": 2,
        "accelerator": "cpu",
    }
    settings = {"data": str(data), "left_out": ["unseen"], "fit": fit, "ks": [1, 2], "sets": 3, "most": 2}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(settings))
    in_context.main([str(tmp_path / "c.yaml"), str(tmp_path / "out")])
    tasks, fitted = (pd.read_csv(tmp_path / "out" / f"{name}.csv") for name in ("tasks", "fit"))
    assert set(tasks.dataset) - set(fitted.dataset) == {"unseen"}
    assert len(tasks) == 6 * (3 + len(in_context.SLICES))
    part = np.asarray(Image.open(tasks[tasks.dataset == "hippocampus-anterior"].truth.iloc[0]))
    assert part.sum() // 255 in (3 * 4, 3 * 6, 4 * 6)  # a slice of the block of label 1 alone
    whole = pd.read_csv(tmp_path / "out" / "dice.csv")
    tables = [whole[whole.segmenter == name].reset_index(drop=True) for name in in_context.NAMES]
    keys = ["task", "image_id", "k", "set"]
    assert tables[0][keys].equals(tables[1][keys]) and set(whole.task) == set(tasks.dataset)
    assert tables[0].groupby("k")["set"].nunique().tolist() == [2, 1]  # two single references, and both
    assert tables[0][["first", "alone", "as referee"]].stack().between(0, 1).all()
    page = (tmp_path / "out" / "in_context.md").read_text()
    one = tables[0][(tables[0].task == "seen") & (tables[0].k == 1)].groupby("image_id")["alone"].mean().mean()
    line = next(line for line in page.splitlines() if line.replace(" ", "").startswith("|seen|1|"))
    assert f"{one:.3f} [" in line
    assert "| mean of unseen tasks" in page
