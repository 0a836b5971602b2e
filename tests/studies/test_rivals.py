"""Models, referees and cleanlab on the same rows of tiny record sets; the annotators' floor by hand."""

from __future__ import annotations

import json
import shutil
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from recordsets import SPLITS, make_record_set

from sqp.commands import train
from sqp.config.train import TrainConfig
from sqp.core.errors import ConfigError
from sqp.core.frame import Frame
from sqp.metrics.overlap import dice
from sqp.records import RecordSet
from studies import rivals


def softmin(labels, probabilities, method, verbose):
    """cleanlab's formula: the probabilities of the given classes, weighted by their softmin at temperature 0.1."""
    assert method == "softmin" and not verbose
    given = np.take_along_axis(probabilities, labels[:, None], axis=1).reshape(len(labels), -1)
    weights = np.exp((1 - given) / 0.1)
    return (weights * given).sum(axis=1) / weights.sum(axis=1), None


@pytest.fixture
def cleanlab(monkeypatch):
    """The one function that is asked of it: the package itself is for benchmarks alone."""
    for name in ("cleanlab", "cleanlab.segmentation", "cleanlab.segmentation.rank"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["cleanlab.segmentation.rank"].get_label_quality_scores = softmin


@pytest.fixture
def sets(tmp_path):
    """Two makers with a supervised referee whose map is the record's own probability."""
    for maker, variants in (("fpn", ("natural", "erosion")), ("unet", ("shift", "natural"))):
        folder = make_record_set(tmp_path / "root" / maker / "rest", {**SPLITS, "test": 12}, variants)
        table = pd.read_parquet(folder / "records.parquet")
        for name in table["record_id"]:
            file = folder / "maps" / f"{name}.npz"
            maps = dict(np.load(file))
            np.savez(file, **maps, **{rivals.MAP: maps["self/probability"]})
            grid = maps["self/probability"].shape
        frame = json.dumps({"supervised": [max(grid), 1]})
        table["frames"] = frame
        table["supervised_dice"] = (table["dice"] + np.random.default_rng(0).normal(0, 0.1, len(table))).clip(0, 1)
        table.drop(columns="content", errors="ignore").to_parquet(folder / "records.parquet")
    return tmp_path


def test_everybody_judges_the_same_rows(sets, cleanlab, tmp_path):
    records = sorted((sets / "root").glob("*/*"))
    config = TrainConfig(records, sets / "train", "mask+self/entropy", size=32, epochs=1, progress=False)
    bundle = train.run(config).bundle
    shutil.copytree(sets / "root" / "fpn" / "rest", sets / "root" / "fpn" / "ham10000")  # another data set's, left out
    rivals.main([str(sets / "root"), str(bundle), "--out", str(sets / "out"), "--n_resamples", "30",
                 "--isic", str(tmp_path / "none")])  # fmt: skip
    table = pd.read_csv(sets / "out" / "test" / "rivals.csv")
    assert set(table.subset) == {"natural", "all"}
    assert {"quality_model", "supervised_dice", "cleanlab", "predict_the_median"} <= set(table.method)
    assert table[table.subset == "all"].n.max() == 48
    (kept,) = (sets / "out" / "test").glob("cleanlab-*.csv")
    first = pd.read_csv(kept).iloc[0]
    opened = RecordSet(first.record_set)
    p = opened.maps(first.record_id, [rivals.MAP])[rivals.MAP].astype(float)
    mask = opened.mask(first.record_id)
    on_grid = Frame(mask.shape, max(p.shape)).mask_to_grid(mask).numpy().astype(int)
    expected, _ = softmin(on_grid[None], np.stack([1 - p, p])[None], "softmin", False)
    assert first.cleanlab == pytest.approx(expected[0], abs=1e-6)


def test_without_cleanlab_there_is_a_sentence(monkeypatch):
    for name in ("cleanlab", "cleanlab.segmentation", "cleanlab.segmentation.rank"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match="pip install cleanlab"):
        rivals.quality(SimpleNamespace(), "a")


def test_the_annotators_floor_is_their_dice(tmp_path):
    rng, expected = np.random.default_rng(0), []
    for name in ("a", "b"):
        both = [rng.random((8, 9)) > 0.5 for _ in range(2)]
        for folder, mask in zip(("masks", "masks_2017"), both, strict=True):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / folder / f"{name}.png")
        expected.append(dice(*both))
    assert rivals.annotators(tmp_path)["dice"].tolist() == pytest.approx(expected)
