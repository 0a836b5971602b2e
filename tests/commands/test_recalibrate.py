"""A trained network calibrated anew: the same where nothing changed, distances of the image where records have it."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import torch
from recordsets import SPLITS, make_record_set

from sqp.cli.main import main
from sqp.core.errors import ConfigError
from sqp.quality import Bundle, predict_records
from sqp.quality.bundle.calibration import recalibrate, training_config
from sqp.quality.bundle.expected_config import LOCALIZER
from sqp.quality.judging.conformal import group_quantile
from sqp.quality.judging.strangeness import IMAGE, MODEL


@pytest.fixture(scope="module")
def with_embeddings(tmp_path_factory):
    """The record set that was trained on, with the segmenter's embedding of the image."""
    return make_record_set(tmp_path_factory.mktemp("again") / "records", features=("embedding",))


def test_the_same_records_give_the_same_bundle(trained, record_set, tmp_path):
    bundle = Bundle.load(trained / "bundle")
    config = training_config(bundle, [record_set], tmp_path, progress=False)
    assert (config.size, config.alpha, config.batch_size) == (32, 0.1, 8)
    made, _ = recalibrate(bundle, config)
    assert made.conformal.quantile == pytest.approx(bundle.conformal.quantile, rel=1e-6)
    assert made.ood.spaces[MODEL].threshold == pytest.approx(bundle.ood.spaces[MODEL].threshold, rel=1e-5)
    assert made.info["val"] == pytest.approx(bundle.info["val"], rel=1e-6)


def test_older_bundles_get_what_they_lack(trained, with_embeddings, tmp_path):
    new = Bundle.load(trained / "bundle")
    old = replace(new, ood=replace(new.ood, spaces={MODEL: replace(new.ood.spaces[MODEL], neighbours=None)}))
    config = training_config(old, [with_embeddings], tmp_path, progress=False, alpha=0.2, ood_quantile=0.9)
    made = Bundle.load(recalibrate(old, config)[0].save(tmp_path / "bundle"))
    assert list(made.ood.spaces) == [MODEL, IMAGE] and made.ood.quantile == 0.9
    assert made.conformal.quantile < new.conformal.quantile and made.info["training"]["alpha"] == 0.2
    for name, value in new.model.state_dict().items():
        assert torch.equal(made.model.state_dict()[name], value)
    table = predict_records(made, [with_embeddings], splits=["calibration"], progress=False)
    assert table["ood_image_distance"].notna().all() and table["ood_image_knn_distance"].notna().all()
    assert 1 - table.groupby("group")["ood"].mean().mean() >= 0.9
    plain = make_record_set(tmp_path / "plain")  # as a plain network leaves them
    without = predict_records(made, [plain], splits=["calibration"], progress=False)
    assert without["ood_image_distance"].isna().all() and not without["ood"].all()


def test_val_may_grow_and_widen_the_interval(trained, tmp_path):
    bundle = Bundle.load(trained / "bundle")
    more = make_record_set(tmp_path / "more", {**SPLITS, "val": SPLITS["val"] + 9})
    asked = {"calibrate_splits": ["calibration", "val"], "alpha": 0.2, "progress": False}
    made, _ = recalibrate(bundle, training_config(bundle, [more], tmp_path, **asked))
    alone, _ = recalibrate(bundle, training_config(bundle, [more], tmp_path, alpha=0.2, progress=False))
    val = predict_records(alone, [more], splits=["val"], progress=False)
    residual = (val["dice"] - val["predicted_dice"]).abs() / val["scale"]
    of_val = group_quantile(residual, val["group"], 0.2)
    assert made.conformal.quantile == pytest.approx(max(alone.conformal.quantile, of_val), rel=1e-3)
    assert made.conformal.groups == alone.conformal.groups + val["group"].nunique()
    assert made.info["data"]["counts"]["val"]["images"] == val["image_id"].nunique()
    assert not set(bundle.info["groups_sha256"]) - set(made.info["groups_sha256"])  # a test group is still told apart
    grown = make_record_set(tmp_path / "grown", {**SPLITS, "train": SPLITS["train"] + 1})
    with pytest.raises(ConfigError, match="was not trained on"):
        recalibrate(bundle, training_config(bundle, [grown], tmp_path, **asked))
    with pytest.raises(ConfigError, match=r"give \[calibration\], or \[calibration, val\]"):
        recalibrate(bundle, training_config(bundle, [more], tmp_path, calibrate_splits=["val"]))


def test_other_records_are_refused(trained, tmp_path):
    other = make_record_set(tmp_path / "other", {**SPLITS, "train": 5})
    bundle = Bundle.load(trained / "bundle")
    with pytest.raises(ConfigError, match="was not trained on the images and splits of"):
        recalibrate(bundle, training_config(bundle, [other], tmp_path, progress=False))


def test_the_command_writes_a_new_bundle_with_another_quantile_and_level(trained, record_set, tmp_path, capsys):
    old, new = tmp_path / "old", tmp_path / "bundle"
    shutil.copytree(trained / "bundle", old)
    (old / LOCALIZER).write_bytes(b"of the referee")
    argv = ["recalibrate", "--model", str(old), "--records", str(record_set), "--cache", str(trained / "cache")]
    argv += ["--alpha", "0.2", "--ood_quantile", "0.9", "--progress", "false", "--out"]
    assert main([*argv, str(new)]) == 0
    made = Bundle.load(new)
    assert (made.ood.quantile, made.conformal.alpha) == (0.9, 0.2)
    assert (new / LOCALIZER).read_bytes() == b"of the referee"
    assert {file.name for file in new.iterdir()} == {file.name for file in old.iterdir()}  # no cache in the bundle
    assert "quantile of the distances: 0.98 -> 0.9" in capsys.readouterr().out
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    for out, message in (
        (new, "is a bundle already; choose another folder, or --overwrite"),
        (tmp_path / "mine", "holds other files and no bundle"),
        (tmp_path / "mine" / "thesis.txt", "is a file where the folder"),
    ):
        assert main([*argv, str(out)]) == 2
        assert message in capsys.readouterr().err
