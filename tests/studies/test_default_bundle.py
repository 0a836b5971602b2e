"""The recipe of the bundles that come with sqp, end to end on synthetic lesions with small networks."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml
from fakes import put_fake

from sqp import bundles
from sqp.bundles import RECIPES
from sqp.cli.parser import from_mapping
from sqp.commands import predict
from sqp.config.predict import PredictConfig
from sqp.core.errors import ConfigError
from sqp.data import find_cases
from sqp.data.split_files import read_splits, write_splits
from sqp.data.splits import halved, make_splits
from sqp.data.synthetic import write_synthetic
from sqp.networks.checkpoint import fitted_images
from sqp.prompts import PROMPTERS
from sqp.quality import Bundle
from sqp.quality.bundle.licences import licences_behind
from sqp.records import RecordSet
from sqp.records.fitted import image_hash
from sqp.report.tables import write_csv
from studies import default_bundle
from studies.runner import listed, read_config

ROOT = Path(__file__).parents[2]
FREE = "CC0-1.0"
SMALL = {"size": 64, "epochs": 1, "width": 8, "progress": False}
TRAIN = {"size": 32, "epochs": 1, "half": True, "alpha": 0.3, "progress": False}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """OUT of a run of the whole, and its config."""
    home = tmp_path_factory.mktemp("default")
    data = write_synthetic(home / "data", 40, seed=2, size=(48, 64))
    write_splits(home / "splits.json", make_splits(find_cases(data).cases))
    told = {
        "images": str(data),
        "splits": str(home / "splits.json"),
        "licence": [FREE],
        "fit": {
            "localizer": {"command": "fit localizer", "encoder": "mobilenetv2_035", "ship": True} | SMALL,
            "unet": {"command": "fit segmenter", "network": "unet"} | SMALL | {"width": 4},
            "supervised": {"command": "fit segmenter", "network": "unet", "ship": True, "seed": 1}
            | SMALL
            | {"width": 4},
        },
        "generate": {
            "measures": [],
            "sampler": {"name": "deterministic", "n": 1},
            "prompters": {"found": {"prompter": "localizer", "checkpoint": "{localizer}"}},
            "supervised": {"network": "{supervised}", "symmetries": 2},
        },
        "referees": {
            "fake": {"generate": {"referee": {"name": "fake", "localizer": "{localizer}"}}},
            "both": {
                "generate": {
                    "referee": {"name": "fake", "localizer": "{localizer}"},
                    "supervised": {"network": "{supervised}", "more": ["{supervised_2}"], "symmetries": 2},
                },
                "train": "fake",
            },
        },
        "makers": {
            "fake": {
                "images": (counts := {"train": 12, "val": 4, "rest": 10}),
                "segmenter": {"name": "fake"},
                "prompter": "truth_box",
                "variants": {"*": {"prompters": ["found"], "corruptions": 1, "families": ["swap"]}},
            },
            "unet": {"images": counts, "cameras": counts, "segmenter": {"name": "unet", "checkpoint": "{unet}"}},
            "classical": {"images": counts, "cameras": counts, "masks": "classical", "segmenter": {"name": "none"}},
        },
        "train": {
            "default": {
                "inputs": "image+mask+referee+supervised",
                "scores": ["referee_dice", "supervised_dice", "area"],
                "compare": ["supervised/probability", "referee/probability"],
                "calibrate_over": "makers",
                "beside": "both",
            }
            | TRAIN,
            "fast": {"inputs": "image+mask+supervised", "scores": ["supervised_dice", "area"]} | TRAIN,
        },
    }
    (home / "default.yaml").write_text(yaml.safe_dump(told, sort_keys=False))
    with pytest.MonkeyPatch.context() as patch:
        put_fake(patch)
        patch.setattr(bundles, "BUNDLES", {"default": (FREE,), "fast": (FREE,)})
        module = default_bundle
        patch.setattr(module, "BUNDLES", bundles.BUNDLES)
        module.main([str(home / "default.yaml"), str(home / "out")])
    return home / "out", told


def test_no_network_made_a_mask_of_an_image_that_it_was_fitted_on(made):
    out, told = made
    halves = {part: out / "fit" / f"unet_{name}_half" for part, name in (("second", "first"), ("first", "second"))}
    for part, folder in {**halves, "val": halves["second"], "rest": halves["second"]}.items():
        table = RecordSet(out / "records" / "fake" / "unet" / part).table
        seen = set(fitted_images(next(folder.glob("*.safetensors"))))
        assert seen and not seen & {image_hash(name) for name in table["image_id"]}
    splits, both = read_splits(told["splits"]), halved(read_splits(told["splits"]))
    tables = {
        part: RecordSet(out / "records" / "fake" / "fake" / part).table for part in ("first", "second", "val", "rest")
    }
    assert set(tables["second"].group) <= set(both[0].splits["train"])
    assert set(tables["first"].group) <= set(both[1].splits["train"])
    assert set(pd.concat([tables["first"], tables["second"]]).split) == {"train"}
    assert set(tables["val"].split) == {"val"} and splits.splits["test"]
    assert set(tables["rest"].split) == {"calibration", "test"}


def test_the_bundles_are_free_small_and_say_how_they_judge(made):
    out, _ = made
    default, fast = (Bundle.load(out / "bundles" / name) for name in ("default", "fast"))
    assert default.sources == ("referee", "supervised") and fast.sources == ("supervised",)
    assert "image" in default.ood.spaces  # by the network that judges, from images that it has not seen
    assert {licence for part in licences_behind(default.info).values() for licence in part} == {FREE}
    assert any("masks lent" in part for part in licences_behind(default.info))
    hashes = {one["referee"]["localizer_sha256"] for one in default.expects}
    assert len(hashes) == 1  # the shipped one: halves only train
    files = {name: [file.name for file in (out / "bundles" / name).iterdir()] for name in ("default", "fast")}
    assert "localizer.safetensors" in files["default"] and "localizer.safetensors" not in files["fast"]
    assert {"supervised.safetensors", "supervised_2.safetensors"} <= set(files["default"])
    assert "supervised.safetensors" in files["fast"] and "supervised_2.safetensors" not in files["fast"]
    assert fast.conformal != default.conformal


def test_copies_and_classical_masks_are_of_the_same_splits(made):
    home = made[0] / "records" / "fake"
    assert not list((made[0] / "records" / "both").glob("*/first*"))  # of train they are those of the other
    for maker in ("unet", "classical"):
        for part in ("first", "second", "val", "rest"):
            plain, copied = (RecordSet(home / maker / f"{part}{kind}").table for kind in ("", "_cameras"))
            assert set(copied.split) == set(plain.split)
            assert set(copied.image_id.str.removesuffix("-camera")) & set(plain.image_id)
            assert not set(copied.image_id) & set(plain.image_id)
    groups = {split: set() for split in ("train", "val", "calibration", "test")}
    for folder in home.glob("*/*"):
        for split, part in RecordSet(folder).table.groupby("split"):
            groups[split] |= set(part.group)
    assert not groups["train"] & (groups["val"] | groups["calibration"] | groups["test"])


@pytest.mark.parametrize("name", ["default", "fast"])
def test_anyones_masks_are_judged_by_it(made, name, monkeypatch, tmp_path):
    out, told = made
    built = put_fake(monkeypatch)
    config = {"model": out / "bundles" / name, "images": Path(told["images"]) / "images", "out": tmp_path / "out"}
    table = predict.run(PredictConfig(**config, masks=Path(told["images"]) / "masks")).table
    assert len(table) == 40 and table["predicted_dice"].notna().all()
    assert ("referee_dice" in table) == bool(built) == (name == "default")  # image and mask alone need no segmenter


def test_the_config_in_the_repository_is_understood():
    told = yaml.safe_load((ROOT / "configs" / "default_bundle.yaml").read_text())
    module, networks = default_bundle, dict.fromkeys([*told["fit"], "supervised_2"], Path("n.safetensors"))
    assert set(told["train"]) == set(bundles.BUNDLES) - {"any"} and told["licence"] == ["CC-0"]
    for values in told["fit"].values():
        own = {key: value for key, value in values.items() if key not in ("command", "ship")}
        from_mapping(values["command"], {"images": "x", "out": "y", **own})
    for referee in told["referees"].values():
        for maker in told["makers"].values():
            own = {key: value for key, value in maker.items() if key not in ("images", "cameras", "masks")}
            keys = module.filled({**told["generate"], **referee["generate"], **own}, networks)
            drawn = {"masks": "m"} if "masks" in maker else {}
            config = from_mapping("generate", {"images": "x", "out": "y", **keys, **drawn})
            assert not set(config.prompters) & set(PROMPTERS)
            for name in config.used_prompters():
                assert config.prompter_named(name)[0] in PROMPTERS
            assert config.referee.name == "none" or config.referee.prompters == ["supervised"]
    ids = [(maker["segmenter"]["name"], maker.get("seed", 0)) for maker in told["makers"].values()]
    assert len(set(ids)) == len(ids)  # what tells the records of two makers of one image apart
    for values in told["train"].values():
        asked = {key: value for key, value in values.items() if key != module.BESIDE}
        assert values.get(module.BESIDE, "none") in told["referees"]
        from_mapping("train", {"records": ["x"], "out": "y", **asked})
    with pytest.raises(ConfigError, match="unknown network of the config 'fnp', did you mean 'fpn'"):
        module.filled("{fnp}", networks)


def test_several_data_sets_are_one_table_with_their_splits(tmp_path):
    settings = {"images": [], "splits": []}
    cases = find_cases(write_synthetic(tmp_path / "data", 30, size=(24, 32))).cases
    groups = sorted({case.group for case in cases})
    for name, of_set in (("one", groups[::2]), ("two", groups[1::2])):
        rows = [listed(case) for case in cases if case.group in of_set]
        table = write_csv(pd.DataFrame(rows), tmp_path / f"{name}.csv")
        write_splits(tmp_path / f"{name}.json", make_splits(find_cases(table).cases, dataset=name))
        settings["images"].append(str(table))
        settings["splits"].append(str(tmp_path / f"{name}.json"))
    both = default_bundle.pooled(settings, tmp_path / "out")
    cases = find_cases(Path(both["images"])).cases
    read = [read_splits(file).splits for file in settings["splits"]]
    assert len(cases) == 30 and all(case.truth_paths for case in cases)
    for split, groups in read_splits(both["splits"]).splits.items():
        assert groups == {**read[0].get(split, {}), **read[1].get(split, {})}
        assert {case.group for case in cases if case.split == split} == set(groups)
    plain = {"images": "one", "splits": "one.json"}
    assert default_bundle.pooled(plain, tmp_path) == plain


def test_the_research_recipe_is_that_of_default_on_more_rows():
    research, default = (
        read_config(ROOT / "configs" / f"{name}_bundle.yaml", default_bundle.KEYS, default_bundle.OPTIONAL)
        for name in ("research", "default")
    )
    other = {name for name in research if research[name] != default[name]}
    assert other == {"images", "splits", "licence", "train", "domains"}
    assert research["train"]["research"] == default["train"]["default"] and set(research["train"]) <= set(RECIPES)
