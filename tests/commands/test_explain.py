"""explain end to end on a tiny bundle; what a user may get wrong, in one sentence each."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from recordsets import make_record_set

from sqp.cli.main import main
from sqp.commands import explain
from sqp.config.explain import Attribution, Cam, Effect, ExplainConfig
from sqp.core.errors import ConfigError
from sqp.core.files import write_maps
from sqp.data.images import read_image
from sqp.explain import embedding as embeddings
from sqp.explain import explain_records
from sqp.explain.attribution import ATTRIBUTIONS
from sqp.explain.cams import CAMS
from sqp.explain.cases import choose_cases
from sqp.explain.data import load_material
from sqp.explain.strangeness import study_strangeness, write_strange
from sqp.explain.target import EFFECTS
from sqp.quality import Bundle
from sqp.records import RecordSet


@pytest.fixture
def quick(monkeypatch):
    """UMAP compiles for half a minute: its picture is PCA's here."""

    def projections(features, neighbours, seed=0):
        embeddings.check_enough(len(features), neighbours)
        flat = embeddings.PCA(2).fit_transform(features)
        return {"pca": flat, "umap": flat}, 0.9

    monkeypatch.setattr(embeddings, "projections", projections)


@pytest.fixture
def config(trained: Path, record_set: Path, tmp_path: Path) -> ExplainConfig:
    return ExplainConfig(
        trained / "bundle", tmp_path / "out", [record_set], cams=["grad_cam"], layer="stages.0", checked=4,
        neighbours=3, cases=1, n_resamples=30, thumbnails=2,
    )  # fmt: skip


def test_everything_is_written(config, quick):
    result = explain.run(config)
    tables = ["attribution", "embedding", "faithfulness", "importance", "localisation", "neighbours", "sanity"]
    assert sorted(result.tables) == tables and result.exit_status == 0
    for name in (
        *(f"{t}.csv" for t in tables),
        "points.csv",
        "explain.md",
        "report.html",
        "embedding.html",
        "run.yaml",
    ):
        assert (config.out / name).stat().st_size > 100, name
    for name in ("localisation", "faithfulness", "importance", "embedding_pca", "embedding_umap", "contact_sheet"):
        assert (config.out / f"{name}.png").stat().st_size > 5000, name
    assert [path.name for path in config.out.glob("contact_sheet*")] == ["contact_sheet.png"]  # one CAM, no error map
    drawn = len(list((config.out / "cases").iterdir()))
    assert 2 <= drawn <= 3
    points = pd.read_csv(config.out / "points.csv")
    assert len(points) == 18 and points["record_id"].is_unique
    local = result.tables["localisation"]
    assert {"grad_cam", "self/entropy", "self/epkl", "mask against probability", "border of the mask", "random",
            "grad_cam, shuffled weights"} <= set(local["map"])  # fmt: skip
    of_all = local[(local["error"] == "all") & (local["subset"] == "all")].set_index("map")
    assert of_all.loc["mask against probability", "auroc"] > 0.9 > of_all.loc["random", "auroc"]
    assert of_all.loc["grad_cam, shuffled weights", "n"] <= 4 < of_all.loc["grad_cam", "n"]
    told = yaml.safe_load((config.out / "run.yaml").read_text())
    assert told["layer"] == "stages.0" and told["counts"] == {"records": 18, "with_truth": 18, "left_out": 0}
    assert "grad_cam at stages.0" in result.summary() and "report:" in result.summary()
    with pytest.raises(ConfigError, match="holds a finished run already; choose another --out, or --overwrite"):
        explain.run(config)


def test_without_truth_cams_and_embedding_remain(config, tmp_path):
    records = make_record_set(tmp_path / "records", {"": 3}, truth=False)
    result = explain.run(replace(config, records=[records], split="all", neighbours=0))
    assert sorted(result.tables) == ["attribution", "faithfulness", "sanity"]
    assert (config.out / "contact_sheet.png").exists()


def test_without_cams_the_attribution_is_drawn(config):
    result = explain.run(replace(config, cams=[], neighbours=0, permute=False, max_records=4, cases=1))
    assert sorted(result.tables) == ["attribution", "localisation"]
    assert (config.out / "contact_sheet.png").exists() and yaml.safe_load((config.out / "run.yaml").read_text())[
        "layer"
    ] is None


def test_records_that_cannot_be_read_are_left_out_and_told(config, tmp_path):
    records = make_record_set(tmp_path / "records", {"test": 3})
    first, second = RecordSet(records).table.record_id[:2]
    (records / "masks" / f"{first}.png").write_bytes(b"")
    write_maps(records / "maps" / f"{second}.npz", {k: v * np.nan for k, v in RecordSet(records).maps(second).items()})
    bundle = Bundle.load(config.model)
    material = load_material(replace(config, records=[records]), bundle)
    assert set(material.left_out) == {first, second} and len(material) == 7 == len(material.planes)
    assert "NaN" in material.left_out[second] and first in material.left_out[first]


def test_material_is_what_predict_and_the_record_set_say(config, record_set):
    material = load_material(replace(config, max_records=7), Bundle.load(config.model))
    assert len(material) == 7 and material.known.all() and material.masks.shape == (7, 32, 32)
    both = 2 * (material.masks & material.truths).sum(axis=(1, 2))
    dice = both / (material.masks.sum(axis=(1, 2)) + material.truths.sum(axis=(1, 2)))
    assert dice == pytest.approx(material.dice, abs=0.1)  # squashed to 32 x 32
    assert list(material.subsets()) == ["natural", "all"]


def test_best_worst_and_most_wrong_are_of_different_images():
    rows = pd.DataFrame(
        {"image_id": list("aabcd"), "dice": [0.9, 0.8, 0.5, 0.1, np.nan], "predicted_dice": [0.9, 0.1, 0.5, 0.2, 0.9]}
    )
    chosen = list(choose_cases(rows, 2).values())
    assert chosen == [[0, 2], [3, 2], [1, 3]]
    assert list(choose_cases(rows.assign(dice=np.nan), 1)) == [
        "best: highest predicted Dice",
        "worst: lowest predicted Dice",
    ]
    assert choose_cases(rows, 0) == {}


def test_strange_images_are_made_segmented_and_judged(config, tmp_path, monkeypatch):
    """The segmenter's part is played by a record set; images that lie there are kept, others are made anew."""
    made: list[Path] = []

    def segment(_):
        made.append(make_record_set(tmp_path / f"strange{len(made)}", {"": 2}, ("natural",), truth=False, seed=9))
        ids = RecordSet(made[-1]).table["record_id"].tolist()
        return SimpleNamespace(out=made[-1], record_ids=ids)

    monkeypatch.setattr(explain, "make_record_set", segment)
    config = replace(config, ood_images=2, ood_folders=[tmp_path / "moon"])
    (tmp_path / "moon").mkdir()
    Image.fromarray(np.full((9, 9), 77, np.uint8)).save(tmp_path / "moon" / "a.png")
    material = load_material(config, Bundle.load(config.model))
    table = study_strangeness(config, material, explain.record_maker(config, material.bundle))
    kinds = ["flipped polarity", "blank image", "strong blur", "natural photo", "moon"]
    assert list(dict.fromkeys(table["images"])) == kinds and len(made) == 5
    assert set(table["distance"]) == {"model, Mahalanobis", "model, k-NN"}  # these records keep no embedding
    assert (table["n"] == 2).all() and (table["n_inside"] == 6).all() and table["auroc"].between(0, 1).all()
    drawn = config.out / "ood" / "blank_image"
    assert [len(np.unique(read_image(path))) <= 3 for path in (drawn / "images").iterdir()] == [True, True]
    (drawn / "kept").touch()
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(drawn / "images" / "blank_image_000.png")
    write_strange(config, material.rows)
    assert (drawn / "kept").exists() and len(list((drawn / "images").iterdir())) == 2
    assert read_image(drawn / "images" / "blank_image_000.png").any()
    (drawn / "images" / "mine.png").touch()
    with pytest.raises(ConfigError, match=r"mine\.png, which sqp did not write"):
        write_strange(config, material.rows)


def test_the_groups_of_training_are_told(config):
    result = explain.run(replace(config, split="val", neighbours=0, permute=False, cams=[], cases=0))
    assert result.sentences[0].startswith("The model was trained, tuned or calibrated on some of these groups")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"records": []}, "explain needs --records DIR"),
        ({"split": "tests"}, r"no record is in split 'tests' \(splits found: calibration, test, train, val\)"),
        ({"cams": ["gradcam"]}, "unknown CAM 'gradcam', did you mean 'grad_cam'"),
        ({"layer": "stages.9"}, "unknown layer 'stages.9'"),
        ({"effect": "up"}, "unknown effect 'up'"),
        ({"attribution": "x"}, "unknown attribution 'x'"),
        ({"neighbours": 15}, "18 records are too few for an embedding with 15 neighbours, it needs more than 30"),
        ({"neighbours": 1}, "UMAP needs at least 2"),
        ({"max_records": -1}, "max_records is -1; it must be at least 0"),
        ({"n_resamples": 0}, "n_resamples is 0"),
    ],
)
def test_wrong_options(config, changes, message):
    with pytest.raises(ConfigError, match=message):
        explain.run(replace(config, **changes))
    assert not (config.out / "run.yaml").exists()


def test_a_missing_channel_is_one_sentence_and_exit_status_2(config, tmp_path, capsys):
    records = make_record_set(tmp_path / "records", {"test": 1}, maps=("probability", "entropy"))
    assert main(["explain", "--model", str(config.model), "--records", str(records), "--out", str(tmp_path / "o")]) == 2
    err = capsys.readouterr().err
    assert "lacks the channels self/mutual_information" in err and "Traceback" not in err
    assert len(err.strip().splitlines()) == 1


def test_a_damaged_bundle(config, tmp_path, capsys):
    copy = shutil.copytree(config.model, tmp_path / "bundle")
    (copy / "model.safetensors").write_bytes(b"")
    assert (
        main(["explain", "--model", str(copy), "--records", str(config.records[0]), "--out", str(tmp_path / "o")]) == 2
    )
    assert "is damaged" in capsys.readouterr().err


def test_the_choices_of_the_config_are_the_methods_that_there_are():
    for choices, table in ((Cam, CAMS), (Effect, EFFECTS), (Attribution, ATTRIBUTIONS)):
        assert list(get_args(choices)) == list(table)


def test_strange_images_need_what_makes_their_records(config):
    with pytest.raises(ValueError, match="ood_images needs make_records"):
        explain_records(replace(config, ood_images=2), Bundle.load(config.model))
