"""`--runtime`: predictions of a bundle that comes with sqp are the same by OpenVINO, and run.yaml says which it was."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import yaml

import sqp
from sqp.cli.main import main
from sqp.data.synthetic import write_synthetic
from sqp.networks import runtime

IMAGES = 3


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_synthetic(tmp_path_factory.mktemp("data") / "lesions", IMAGES, seed=1, size=(64, 96))


def predicted(data, out, *options: str) -> pd.DataFrame:
    told = ["--images", str(data / "images"), "--masks", str(data / "masks"), "--out", str(out), "--model", "fast"]
    assert main(["predict", *told, "--workers", "0", *options]) == 0
    return pd.read_parquet(out / "predictions.parquet")


def test_the_same_predictions(data, tmp_path, recwarn):
    pytest.importorskip("openvino")
    by = {name: predicted(data, tmp_path / name, "--runtime", name) for name in ("torch", "openvino")}
    for name in ("predicted_dice", "low", "high", "supervised_dice", "strangeness"):
        np.testing.assert_allclose(by["openvino"][name], by["torch"][name], atol=1e-4)
    assert list(by["openvino"]["verdict"]) == list(by["torch"]["verdict"])
    for name in by:
        told = yaml.safe_load((tmp_path / name / "records" / "run.yaml").read_text())
        assert told["execution"]["runtime"] == name and told["versions"]["openvino"]
    assert not [one for one in recwarn.list if "OpenVINO" in str(one.message)]


def test_a_short_run_by_auto_is_pytorchs_to_the_last_bit(data, tmp_path):
    assert predicted(data, tmp_path / "auto").equals(
        predicted(data, tmp_path / "torch", "--runtime", "torch").assign(record_set=str(tmp_path / "auto" / "records"))
    )


def test_another_runtime_is_no_other_run(data, tmp_path, capsys):
    """Finished records stay, as with another number of workers."""
    pytest.importorskip("openvino")
    predicted(data, tmp_path / "out")
    capsys.readouterr()
    predicted(data, tmp_path / "out", "--runtime", "openvino")
    told = yaml.safe_load((tmp_path / "out" / "records" / "run.yaml").read_text())
    assert told["counts"]["written"] == 0


def test_from_python(data):
    pytest.importorskip("openvino")
    images, masks = (sorted((data / kind).iterdir()) for kind in ("images", "masks"))
    one, other = (sqp.to_frame(sqp.load("fast", runtime=name).judge(images, masks)) for name in ("torch", "openvino"))
    np.testing.assert_allclose(other["predicted_dice"], one["predicted_dice"], atol=1e-4)


def test_without_openvino_it_is_one_sentence(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runtime, "find_spec", lambda name: None)
    told = ["predict", "--images", str(data / "images"), "--masks", str(data / "masks"), "--out", str(tmp_path / "o")]
    assert main([*told, "--runtime", "openvino"]) == 2
    assert "sqp: --runtime openvino needs OpenVINO: pip install 'sqp[openvino]'" in capsys.readouterr().err
    assert not (tmp_path / "o" / "records").exists()


def test_several_threads_give_what_one_gives(data):
    """Where masks are compared with a network, images are prepared side by side."""
    images, masks = (sorted((data / kind).iterdir()) * 4 for kind in ("images", "masks"))
    model = sqp.load("fast")
    one, many = (sqp.to_frame(model.judge(images, masks, threads=threads, batch_size=5)) for threads in (1, 4))
    pd.testing.assert_frame_equal(many, one)
