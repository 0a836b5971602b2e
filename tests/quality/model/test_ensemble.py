"""An ensemble of quality models is the mean of its members, in one bundle, with an interval of its own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from sqp.commands.train import run
from sqp.config.train import TrainConfig
from sqp.core.errors import ConfigError
from sqp.quality import Bundle, predict_records
from sqp.quality.judging.conformal import Conformal
from sqp.quality.model import training
from sqp.quality.model.ensemble import Ensemble, one_model
from sqp.quality.model.module import ModelSpec, QualityModel


def config(records: Path, out: Path, **changes: object) -> TrainConfig:
    base = {"inputs": "mask+uncertainty", "size": 32, "epochs": 2, "batch_size": 16, "progress": False}
    return TrainConfig([records], out, **base | changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def bundle(record_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(config(record_set, tmp_path_factory.mktemp("ensemble"), members=2, seed=3)).bundle


def test_the_mixture_in_closed_form() -> None:
    members = [QualityModel(ModelSpec(("mask",), 32, error_map=True)).eval() for _ in range(3)]
    planes = torch.rand(4, 1, 32, 32)
    with torch.no_grad():
        outs, whole = [member(planes) for member in members], Ensemble(members).eval()(planes)
    dice, scale = (np.stack([out[i].numpy() for out in outs]) for i in (0, 1))
    np.testing.assert_allclose(whole.dice, dice.mean(0), rtol=1e-5)
    second_moment = (scale.astype(float) ** 2 + dice.astype(float) ** 2).mean(0)
    np.testing.assert_allclose(whole.scale, np.sqrt(second_moment - dice.astype(float).mean(0) ** 2), rtol=1e-4)
    assert torch.equal(whole.features, outs[0].features)
    torch.testing.assert_close(whole.error_map, torch.stack([out.error_map for out in outs]).mean(0))
    assert one_model(members[:1]) is members[0]


def test_a_member_sees_its_own_planes_and_no_scores() -> None:
    first = QualityModel(ModelSpec(("mask", "image", "self/epkl"), 32, scores=("area",), flips=2)).eval()
    blind = QualityModel(ModelSpec(("image", "mask"), 32, flips=2)).eval()
    planes, scores = torch.rand(4, 5, 32, 32), torch.rand(4, 2)
    own = torch.cat([planes[:, 1:4], planes[:, :1]], dim=1)
    with torch.no_grad():
        whole = Ensemble([first, blind]).eval()(planes, scores)
        mean = (first(planes, scores).dice + blind(own).dice) / 2
    torch.testing.assert_close(whole.dice, mean)


@pytest.mark.parametrize("error_map", [False, True])
def test_one_alone_says_what_its_member_says(error_map: bool) -> None:
    member = QualityModel(ModelSpec(("mask",), 32, error_map=error_map)).eval()
    with torch.no_grad():
        alone, whole = (model(torch.full((2, 1, 32, 32), 0.5)) for model in (member, Ensemble([member]).eval()))
    for name, value in alone._asdict().items():
        torch.testing.assert_close(getattr(whole, name), value)


def test_a_member_of_the_same_planes_in_another_order_sees_them_in_its_own() -> None:
    first, other = (QualityModel(ModelSpec(names, 32)).eval() for names in (("image", "mask"), ("mask", "image")))
    planes = torch.rand(4, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    own = planes[:, [3, 0, 1, 2]]
    with torch.no_grad():
        seen, turned = other(own).features[0], other(planes).features[0]
        other.head.weight[0] = (seen - turned) / (seen - turned).square().sum()  # tells the orders apart
        other.head.bias[0] = -other.head.weight[0] @ turned
        whole = Ensemble([first, other]).eval()(planes)
        mean, wrong = ((first(planes).dice + other(order).dice) / 2 for order in (own, planes))
    torch.testing.assert_close(whole.dice, mean)
    assert mean[0] - wrong[0] > 0.05


VIEWED = {"inputs": "image+mask+self/epkl", "scores": ["area"], "views": ["image+mask"], "error_map": True}


def test_views_are_the_models_of_these_inputs(record_set: Path, tmp_path: Path) -> None:
    whole = Bundle.load(run(config(record_set, tmp_path / "both", members=2, **VIEWED)).bundle)
    assert [member.spec.channels for member in whole.model.members] == [
        *[("image", "mask", "self/epkl")] * 2,
        *[("image", "mask")] * 2,
    ]
    told = json.loads((tmp_path / "both" / "bundle" / "bundle.json").read_text())
    assert told["views"][2] == ["image", "mask"] and told["members"] == 4 and "views" not in whole.info
    for inputs, scores, members in (("image+mask+self/epkl", ["area"], (0, 1)), ("image+mask", [], (2, 3))):
        for seed, member in enumerate(members):
            kept = {"inputs": inputs, "scores": scores, "error_map": True, "seed": seed}
            alone = Bundle.load(run(config(record_set, tmp_path / f"{inputs}{seed}", **kept)).bundle)
            for key, value in alone.model.state_dict().items():
                assert torch.equal(whole.model.members[member].state_dict()[key], value), (key, member)
    copy = whole.save(tmp_path / "copy")
    both = [predict_records(b, [record_set], splits=["test"], progress=False) for b in (whole, Bundle.load(copy))]
    assert both[0].predicted_dice.tolist() == both[1].predicted_dice.tolist()


@pytest.mark.parametrize(
    ("views", "message"),
    [
        (
            ["image+mask+self/entropy"],
            "view image\\+mask\\+self/entropy reads self/entropy, which is not among the inputs",
        ),
        (["image+mask", "image+mask"], "the view image\\+mask is there already"),
        (["image+mask+self/epkl"], "is there already"),
        (["image"], "an error map needs the channel 'mask'"),
    ],
)
def test_views_that_make_no_sense(record_set: Path, tmp_path: Path, views: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(config(record_set, tmp_path, **VIEWED | {"views": views}))
    assert not (tmp_path / "run.yaml").exists()


def test_members_are_the_models_of_these_seeds(record_set: Path, bundle: Path, tmp_path: Path) -> None:
    whole = Bundle.load(bundle)
    assert isinstance(whole.model, Ensemble) and len(whole.model.members) == 2
    assert json.loads((bundle / "bundle.json").read_text())["members"] == 2 and "members" not in whole.info
    alone = [Bundle.load(run(config(record_set, tmp_path / str(seed), seed=seed)).bundle) for seed in (3, 4)]
    for member, other in zip(whole.model.members, alone, strict=True):
        for key, value in other.model.state_dict().items():
            assert torch.equal(member.state_dict()[key], value), key
    tables = [predict_records(b, [record_set], splits=["test"], progress=False) for b in (whole, *alone)]
    mean = np.mean([table.predicted_dice for table in tables[1:]], axis=0)
    np.testing.assert_allclose(tables[0].predicted_dice, mean, atol=1e-6)


def test_its_interval_is_calibrated_on_the_mean(record_set: Path, bundle: Path) -> None:
    whole = Bundle.load(bundle)
    held = predict_records(whole, [record_set], splits=["calibration"], progress=False)
    again = Conformal.fit(held.predicted_dice, held.scale, held.dice, held.group)
    assert whole.conformal.quantile == pytest.approx(again.quantile, rel=1e-4)


def test_saved_and_loaded_it_says_the_same(bundle: Path, tmp_path: Path) -> None:
    copy = Bundle.load(bundle).save(tmp_path / "copy")
    assert (copy / "bundle.json").read_bytes() == (bundle / "bundle.json").read_bytes()
    assert (copy / "model.safetensors").read_bytes() == (bundle / "model.safetensors").read_bytes()


def test_a_bundle_from_before_ensembles_is_a_single_model(trained: Path, tmp_path: Path) -> None:
    copy = Bundle.load(trained / "bundle").save(tmp_path / "copy")
    told = json.loads((copy / "bundle.json").read_text())
    assert told.pop("members") == 1
    (copy / "bundle.json").write_text(json.dumps(told))
    assert isinstance(Bundle.load(copy).model, QualityModel)


def test_a_finished_member_is_not_trained_again(
    record_set: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, runs = training.fit, []

    def stop_in_the_second(*args: object, **options: object) -> object:
        runs.append(1)
        if len(runs) == 2:
            raise KeyboardInterrupt
        return fit(*args, **options)  # type: ignore[arg-type]

    asked = config(record_set, tmp_path / "cut", members=2, seed=3)
    monkeypatch.setattr(training, "fit", stop_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        run(asked)
    again = run(asked)
    assert len(runs) == 3
    assert (again.bundle / "model.safetensors").read_bytes() == (bundle / "model.safetensors").read_bytes()
    val = pd.read_csv(again.bundle.parent / "predictions_val.csv")
    assert np.abs(val.predicted_dice - val.dice).mean() == pytest.approx(again.metrics["mae"], abs=1e-5)
