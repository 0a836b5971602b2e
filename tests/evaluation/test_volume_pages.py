"""Records of volumes through evaluate, predict, explain and export, as a user's would go."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from tiny_volumes import write_data
from volumesets import make_volume_set

from sqp import api
from sqp.commands import evaluate, explain, export, predict, train
from sqp.config.evaluate import EvaluateConfig
from sqp.config.explain import ExplainConfig
from sqp.config.export import ExportConfig
from sqp.config.predict import PredictConfig
from sqp.config.train import TrainConfig
from sqp.core.errors import ConfigError
from sqp.evaluation.pixels import read_pixels
from sqp.metrics.overlap import worst_slice
from sqp.metrics.segmentation import surface_distances
from sqp.records import RecordSet


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return make_volume_set(
        tmp_path_factory.mktemp("pages") / "records", {"train": 6, "val": 2, "calibration": 10, "test": 3}
    )


@pytest.fixture(scope="module")
def bundle(records, tmp_path_factory):
    out = tmp_path_factory.mktemp("model")
    told = {"inputs": "image+mask", "backbone": "compact3d", "size": 32, "epochs": 1, "flips": 2, "error_map": True}
    return train.run(TrainConfig([records], out, progress=False, accelerator="cpu", **told)).bundle


def cases_of(page):
    return json.loads(re.search(r'id="cases">(.*?)</script>', page.read_text(), re.S)[1])


def test_evaluate_measures_in_mm_and_by_slice(records, bundle, tmp_path):
    result = evaluate.run(EvaluateConfig(out=tmp_path, records=[records], model=bundle, n_resamples=20, overlays=1))
    table = pd.read_csv(tmp_path / "segmentation.csv").set_index("quantity")
    natural = result.predictions[result.predictions["natural"]]
    source = RecordSet(records)
    pixels = [read_pixels(source, row) for row in natural.to_dict("records")]
    slices = [worst_slice(one.mask, one.truths[0])[0] for one in pixels]
    masd = [surface_distances(one.mask, one.truths[0], (3.0, 1.0, 0.75)).masd for one in pixels]
    assert table.loc["Dice of the worst slice", "mean"] == pytest.approx(np.mean(slices), abs=1e-6)
    assert table.loc["MASD", "mean"] == pytest.approx(np.mean(masd), abs=1e-6) and table.loc["MASD", "unit"] == "mm"
    assert all(one["slices"] for one in cases_of(tmp_path / "report.html"))
    assert len(list((tmp_path / "overlays").iterdir())) == 1


def test_predict_judges_given_masks_of_a_structure(bundle, tmp_path):
    data = write_data(tmp_path / "data", 2)
    masks = shutil.copytree(data / "labels", tmp_path / "masks")
    told = {"images": data / "images", "masks": masks, "truth": data / "labels", "model": bundle}
    result = predict.run(PredictConfig(out=tmp_path / "both", label=[1, 2], **told))
    assert result.skipped == {} and (result.table["dice"] == 1).all() and result.table["predicted_dice"].notna().all()
    assert all(one["slices"] for one in cases_of(tmp_path / "both" / "report.html"))
    with pytest.raises(ConfigError, match=r"holds the labels 1, 2: choose with --label"):
        predict.run(PredictConfig(out=tmp_path / "none", **told))


def test_explain_draws_three_views(records, bundle, tmp_path):
    more = {"neighbours": 0, "permute": True, "checked": 2, "cases": 1, "n_resamples": 20}
    config = ExplainConfig(bundle, tmp_path, [records], cams=["grad_cam"], **more)
    result = explain.run(config)
    assert result.left_out == {} and {"localisation", "faithfulness", "sanity", "importance"} <= set(result.tables)
    maps = result.tables["localisation"].set_index(["subset", "map", "error"])
    assert maps.loc[("all", "border of the mask", "all"), "auroc"] > 0.7  # errors lie near the outline
    assert len(list((tmp_path / "cases").iterdir())) >= 2 and (tmp_path / "contact_sheet.png").exists()
    assert " x 8 x 8 cells)" in (tmp_path / "explain.md").read_text()
    with pytest.raises(ConfigError, match="records are of volumes: give --ood_images 0"):
        explain.run(ExplainConfig(bundle, tmp_path / "ood", [records], ood_images=2))


def test_what_models_of_volumes_do_not_have(bundle, tmp_path):
    with pytest.raises(ConfigError, match=r"reads volumes \(backbone compact3d\): use `sqp predict`"):
        export.run(ExportConfig(bundle, onnx=tmp_path / "a.onnx"))
    export.run(ExportConfig(bundle, card=tmp_path / "card.md"))
    assert "32 x 32 x 32 voxels" in (tmp_path / "card.md").read_text()
    with pytest.raises(ConfigError, match=r"judges volumes, which sqp.load\(\) does not take"):
        api.load(bundle)
