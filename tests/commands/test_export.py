"""export: an ONNX file with the numbers of predict, a card with those of the bundle; one sentence for a mistake."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import recordsets
import torch

from sqp.commands import export, train
from sqp.config.export import ExportConfig
from sqp.config.train import TrainConfig
from sqp.core.errors import ConfigError
from sqp.data.images import read_image
from sqp.quality import Bundle, error_maps, predict_records
from sqp.quality.bundle.onnx_graph import TESTED
from sqp.records import RecordSet
from sqp.report.model_card import model_card

SIZES = {
    (48, 64): (24, 32),
    (75, 61): (64, 52),
    (400, 610): (42, 64),
    (3000, 30): (64, 8),
    (30, 3000): (8, 64),
}  # image -> grid


@pytest.fixture(scope="module")
def rich(record_set, tmp_path_factory) -> Path:
    """A bundle with all that there is: two members, flips, scores, an error map."""
    out = tmp_path_factory.mktemp("rich")
    options = {"scores": ["all"], "error_map": True, "flips": 4, "members": 2, "epochs": 1, "progress": False}
    folder = train.run(TrainConfig([record_set], out, size=32, **options)).bundle
    bundle = Bundle.load(folder)
    with torch.no_grad():
        for member in bundle.model.members:  # an error map that is not flat, and another one for each turn
            member.truth_decoder.out[-1].weight.mul_(300)
    return bundle.save(folder)


def test_onnx_says_what_predict_says(rich, tmp_path, monkeypatch):
    onnxruntime = pytest.importorskip("onnxruntime")
    try:
        result = export.run(ExportConfig(rich, onnx=tmp_path / "deep" / "model.onnx", card=tmp_path / "card.md"))
    except ConfigError as error:
        if tuple(map(int, torch.__version__.split(".")[:2])) >= tuple(map(int, TESTED.split("."))):
            raise
        pytest.skip(str(error))
    assert "neither the segmenter" in result.summary() and result.files == [
        tmp_path / "deep" / "model.onnx",
        tmp_path / "card.md",
    ]
    session = onnxruntime.InferenceSession(str(result.files[0]), providers=["CPUExecutionProvider"])
    names = json.loads(session.get_modelmeta().custom_metadata_map["scores"])
    bundle = Bundle.load(rich)
    assert names == list(bundle.standardizer.names)
    card = (tmp_path / "card.md").read_text()
    kinds = {"tensor(uint8)": "uint8", "tensor(bool)": "bool", "tensor(float)": "float32", "tensor(double)": "float64"}
    for one in session.get_inputs():  # the card says what the file itself says
        shape = ", ".join(map(str, one.shape))
        assert re.search(rf"\| {one.name} +\| +{kinds[one.type]} \| +\[{shape}\] \|", card)
    assert [f"- `{one.name}`: " in card for one in session.get_outputs()] == [True] * 5
    assert f"in order (the file's metadata say it too): {', '.join(f'`{name}`' for name in names)}." in card
    for size, grid in SIZES.items():
        monkeypatch.setattr(recordsets, "SIZE", size)
        monkeypatch.setattr(recordsets, "GRID", grid)
        folder = recordsets.make_record_set(tmp_path / f"{size[0]}", {"test": 1})
        table, records = predict_records(bundle, [folder], progress=False), RecordSet(folder)
        drawn = error_maps(bundle, table)
        for row in table.to_dict("records"):
            maps = records.maps(row["record_id"])
            given = {name: maps[name].astype(np.float32) for name in bundle.channels if name in maps}
            given |= {"image": read_image(row["image_path"]), "mask": records.mask(row["record_id"])}
            given |= {"scores": np.array([row[name] for name in names], np.float64)}
            dice, low, high, scale, error = session.run(None, given)
            expected = [row[name] for name in ("predicted_dice", "low", "high", "scale")]
            assert [dice, low, high, scale] == pytest.approx(expected, abs=1e-4)
            told = drawn[row["record_set"], row["record_id"]]
            assert np.ptp(told) > 0.1 and np.abs(told - told[:, ::-1]).max() > 0.1
            np.testing.assert_allclose(error, told, atol=1e-4 + 2**-12)  # kept as float16


def test_the_card_tells_what_the_bundle_knows(trained, tmp_path):
    evaluation = tmp_path / "evaluation"
    evaluation.mkdir()
    figures = {"subset": "natural", "dataset": "all", "n": 531, "sd_dice": 0.211, "pearson": 0.7504, "mae": 0.09378}
    methods = [{"method": "quality_model", **figures}, {"method": "area", **figures, "pearson": 0.1234}]
    pd.DataFrame(methods).to_csv(evaluation / "evaluation.csv")
    result = export.run(ExportConfig(trained / "bundle", card=tmp_path / "card.md", evaluation=evaluation))
    text, told = (tmp_path / "card.md").read_text(), json.loads((trained / "bundle" / "bundle.json").read_text())
    assert result.summary() == f"written: {tmp_path / 'card.md'}"
    for title in ("Data", "Licences", "Protocol", "Figures", "Accepting at a risk", "Limits", "What it is not for"):
        assert f"\n## {title}\n\n" in text
    assert told["data"]["sha256"] in text and "| train " in text and "calibrated on 12 groups (36 records)" in text
    assert "| the quality model with its calibration | " in text and "CC0 |" in text
    assert f"{told['val']['mae']:.3f}" in text and "0.750" in text and "0.094" in text and "0.123" not in text
    assert "`--risk 0.05`: nothing is accepted, since no threshold is safe: tested on" in text
    assert "The bundle does not say" not in text and "neither the segmenter" in text
    maker = told["expects"][0]["segmenter"]["name"]
    assert f"It learned from masks of {maker}, and of what was made from them. What it reads of samples" in text
    assert "Its referee" not in text and "ONNX file\n" not in text
    assert text.startswith(f"# Model card: {trained.name}/bundle, predicted quality of a segmentation\n")
    assert "By name (a plain folder's is its own): toy; fingerprint" in text


def test_the_card_names_the_referee_that_must_be_at_hand(trained):
    bundle = Bundle.load(trained / "bundle")
    bundle.expects[0]["referee"] = {"name": "litemedsam"}
    channels = ("image", "mask", "referee/probability")
    bundle.model.spec = replace(bundle.model.spec, channels=channels, scores=("referee_dice",))
    text = model_card(bundle)
    assert "from `image`, `mask`, `referee/probability` and the score `referee_dice`, at" in text
    assert "Its referee is litemedsam, which segments the image beside the mask." in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "export needs --onnx FILE, --card FILE or both"),
        ({"onnx": "model.pt"}, r"model\.pt does not end in \.onnx"),
        ({"card": "there.md"}, r"there\.md is there already; choose another file, or --overwrite"),
        ({"onnx": "m.onnx", "evaluation": "."}, "--evaluation is for the model card"),
        ({"card": "c.md", "evaluation": "."}, r"holds no evaluation\.csv"),
    ],
)
def test_wrong_options(trained, tmp_path, options, message):
    (tmp_path / "there.md").write_text("")
    with pytest.raises(ConfigError, match=message):
        export.run(ExportConfig(trained / "bundle", **{name: tmp_path / file for name, file in options.items()}))
    assert len(list(tmp_path.iterdir())) == 1


def test_without_the_extra(trained, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(ConfigError, match=r"--onnx needs onnx, which is not installed: pip install 'sqp\[onnx\]'"):
        export.run(ExportConfig(trained / "bundle", onnx=tmp_path / "model.onnx"))
