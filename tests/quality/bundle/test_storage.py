from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from recordsets import CONFIG, make_record_set
from safetensors.torch import load_file, save_file

from sqp.core.errors import ConfigError
from sqp.quality import Bundle, predict_records
from sqp.quality.judging.strangeness import MODEL
from sqp.records import RecordSet


@pytest.fixture
def bundle(trained: Path) -> Bundle:
    return Bundle.load(trained / "bundle")


def test_two_files_and_no_pickle(trained: Path) -> None:
    assert sorted(p.name for p in (trained / "bundle").iterdir()) == ["bundle.json", "model.safetensors"]
    tensors = load_file(trained / "bundle" / "model.safetensors")
    assert {"model.mean", "model.std", "ood.mean", "ood.precision", "ood.reference", "risk.low"} <= set(tensors)


def test_who_may_read_it_is_the_users_to_say(bundle: Bundle, tmp_path: Path) -> None:
    for mask, mode in ((0o022, 0o644), (0o027, 0o640)):
        before = os.umask(mask)
        try:
            bundle.save(tmp_path / "copy")
        finally:
            os.umask(before)
        assert {path.stat().st_mode & 0o777 for path in (tmp_path / "copy").iterdir()} == {mode}


def test_what_it_tells(trained: Path, record_set: Path) -> None:
    told = json.loads((trained / "bundle" / "bundle.json").read_text())
    assert told["target"] == "dice" and told["model"]["channels"][:2] == ["image", "mask"]
    assert list(told["planes"])[:4] == ["image/red", "image/green", "image/blue", "mask"]
    assert told["calibration"]["groups"] == 12 and told["calibration"]["alpha"] == 0.1
    assert told["data"]["counts"]["train"] == {"records": 48, "images": 16, "groups": 16}
    assert "test" not in told["data"]["counts"] and told["data"]["licences"] == ["CC0"]
    assert told["expects"][0]["sampler"]["n"] == 8 and len(told["groups_sha256"]) == 34
    text = (trained / "bundle" / "bundle.json").read_text()
    assert str(record_set) not in text and str(trained) not in text
    assert '  "target": "dice",' in text.splitlines()  # a key a line: people read it, and compare two by line


def test_load_gives_back_what_was_saved(bundle: Bundle, tmp_path: Path) -> None:
    again = Bundle.load(bundle.save(tmp_path / "copy"))
    planes = torch.rand(3, 9, bundle.size, bundle.size)
    with torch.inference_mode():
        one, two = bundle.model(planes), again.model(planes)
    assert torch.equal(one.dice, two.dice) and torch.equal(one.scale, two.scale)
    assert bundle.risk is not None and again.risk is not None
    assert all((getattr(again.risk, name) == values).all() for name, values in vars(bundle.risk).items())
    assert again.conformal == bundle.conformal and again.expects == bundle.expects
    found, same = (b.ood.columns({MODEL: out.features.numpy()}) for b, out in ((bundle, one), (again, two)))
    assert all((found[name] == same[name]).all() for name in ("ood_distance", "ood_knn_distance"))
    for name in ("bundle.json", "model.safetensors"):
        assert (Path(bundle.name) / name).read_bytes() == (tmp_path / "copy" / name).read_bytes()


def test_a_bundle_from_before_the_neighbours(trained: Path, record_set: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(trained / "bundle", tmp_path / "bundle")
    told = json.loads((copy / "bundle.json").read_text())
    del told["ood"]["neighbours"]
    (copy / "bundle.json").write_text(json.dumps(told))
    tensors = load_file(copy / "model.safetensors")
    save_file({key: value for key, value in tensors.items() if key != "ood.reference"}, copy / "model.safetensors")
    table = predict_records(Bundle.load(copy), [record_set], splits=["val"], progress=False)
    assert table.ood_knn_distance.isna().all() and table.ood_distance.notna().all() and not table.ood.all()


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is no bundle: no bundle\.json .*make one with `sqp train`"):
        Bundle.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("bundle.json", b"{", "is damaged"),
        ("model.safetensors", b"short", "is damaged"),
        ("bundle.json", b'{"format": 99}', "has bundle format 99, this sqp reads 1"),
        ("bundle.json", b"[1]", r"bundle\.json is damaged \(it is no JSON object\)"),
        ("bundle.json", b'{"format": 1}', "is damaged .it lacks 'target'.*: copy it again or train anew"),
    ],
)
def test_a_damaged_bundle(trained: Path, tmp_path: Path, name: str, content: bytes, message: str) -> None:
    copy = shutil.copytree(trained / "bundle", tmp_path / "bundle")
    (copy / name).write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        Bundle.load(copy)


@pytest.mark.parametrize("key", ["model", "scores", "calibration", "ood", "expects"])
@pytest.mark.parametrize("value", [None, {"nonsense": 1}, 3])
def test_a_part_of_another_shape(trained: Path, tmp_path: Path, key: str, value: object) -> None:
    copy = shutil.copytree(trained / "bundle", tmp_path / "bundle")
    told = json.loads((copy / "bundle.json").read_text())
    (copy / "bundle.json").write_text(json.dumps(told | {key: value}))
    with pytest.raises(ConfigError, match="is damaged"):
        Bundle.load(copy)


def test_weights_that_do_not_fit(trained: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(trained / "bundle", tmp_path / "bundle")
    told = json.loads((copy / "bundle.json").read_text())
    told["model"]["channels"] = ["mask"]
    (copy / "bundle.json").write_text(json.dumps(told))
    with pytest.raises(ConfigError, match=r"weights do not fit its bundle\.json"):
        Bundle.load(copy)


def test_records_that_fit(bundle: Bundle, record_set: Path) -> None:
    bundle.check_records(RecordSet(record_set))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sampler": {**CONFIG["sampler"], "n": 4}}, r"generated with sampler\.n=4, .* expects 8"),
        ({"sampler": {"name": "deterministic", "n": 8}}, r"sampler\.name='deterministic'"),
        (
            {"segmenter": {**CONFIG["segmenter"], "weights_sha256": "ff"}},
            r"segmenter\.weights_sha256='ff', .* expects '00'",
        ),
    ],
)
def test_records_made_otherwise(bundle: Bundle, tmp_path: Path, change: dict, message: str) -> None:
    records = make_record_set(tmp_path, {"test": 1}, config={**CONFIG, **change})
    with pytest.raises(ConfigError, match=message):
        bundle.check_records(RecordSet(records))


def test_another_prompter_or_precision_is_no_other_kind_of_record(bundle: Bundle, tmp_path: Path) -> None:
    config = {**CONFIG, "prompter": "mask_box", "segmenter": {**CONFIG["segmenter"], "precision": "bfloat16"}}
    bundle.check_records(RecordSet(make_record_set(tmp_path, {"test": 1}, config=config)))


def test_records_that_lack_a_channel(bundle: Bundle, tmp_path: Path) -> None:
    records = make_record_set(tmp_path, {"test": 1}, maps=("probability", "entropy"))
    with pytest.raises(ConfigError, match="lacks the channels self/mutual_information, self/epkl, self/variance"):
        bundle.check_records(RecordSet(records))


def test_the_pairs_that_a_risk_is_tested_on(bundle: Bundle, record_set: Path) -> None:
    """One record of each calibration group, with the low end that it has when it is predicted anew."""
    table = predict_records(bundle, [record_set], splits=["calibration"], progress=False)
    assert bundle.risk is not None and len(bundle.risk.low) == table[table["verdict"] != "abstain"]["group"].nunique()
    known = {(round(low, 4), round(dice, 4)) for low, dice in zip(table["low"], table["dice"], strict=True)}
    pairs = zip(bundle.risk.low.astype(float), bundle.risk.dice.astype(float), strict=True)
    assert {(round(low, 4), round(dice, 4)) for low, dice in pairs} <= known


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("calibration", "quantile"), float("nan")),
        (("calibration", "quantile"), -0.1),
        (("calibration", "alpha"), 1.5),
        (("calibration", "alpha"), 0),
        (("calibration", "groups"), 0),
        (("ood", "threshold"), -1),
        (("ood", "threshold"), float("nan")),
        (("ood", "neighbours", "k"), 0),
        (("ood", "quantile"), 2),
        (("planes", "mask", "std"), 0),
        (("planes", "mask", "mean"), float("nan")),
        (("model", "size"), 10**9),
    ],
)
def test_a_number_that_cannot_be(trained: Path, tmp_path: Path, keys: tuple[str, ...], value: float) -> None:
    copy = shutil.copytree(trained / "bundle", tmp_path / "bundle")
    told = json.loads((copy / "bundle.json").read_text())
    part = told
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = value
    (copy / "bundle.json").write_text(json.dumps(told))
    with pytest.raises(ConfigError, match=f"{keys[-1]}.* is {value}, which cannot be"):
        Bundle.load(copy)


@pytest.mark.parametrize(
    ("start", "value"), [("model.", float("nan")), ("risk.dice", 17.0), ("ood.mean", float("inf"))]
)
def test_a_tensor_that_cannot_be(trained: Path, tmp_path: Path, start: str, value: float) -> None:
    copy = shutil.copytree(trained / "bundle", tmp_path / "bundle")
    tensors = load_file(copy / "model.safetensors")
    name = next(key for key, t in sorted(tensors.items()) if key.startswith(start) and t.is_floating_point())
    tensors[name].view(-1)[0] = value
    save_file(tensors, copy / "model.safetensors")
    with pytest.raises(ConfigError, match=f"{name} is {value}, which cannot be"):
        Bundle.load(copy)
