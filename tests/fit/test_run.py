"""`sqp fit segmenter` on synthetic lesions: it learns, goes on, makes ensembles, and its checkpoints segment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from plain_networks import SMALL
from pytorch_lightning.callbacks import Callback

from sqp.cli.main import main
from sqp.cli.parser import parse
from sqp.commands import generate
from sqp.config.fit import FitSegmenterConfig
from sqp.config.generate import GenerateConfig, SamplerConfig, SegmenterConfig
from sqp.core.errors import CaseError, ConfigError
from sqp.data.synthetic import write_synthetic
from sqp.fit import run as fit
from sqp.fit import task_of, training
from sqp.fit.cache import CachedImages, build_cache, loader
from sqp.fit.data import fit_cases
from sqp.fit.losses import hard_dice
from sqp.fit.module import Recipe
from sqp.fit.segmenter import SegmenterModule
from sqp.networks.checkpoint import read_header
from sqp.records import RecordSet
from sqp.segmenters import build_segmenter
from sqp.segmenters.plain import NetworkSpec, build_network

FRACTIONS = {"segmenter": 0.5, "train": 0.15, "calibration": 0.1, "val": 0.15, "test": 0.1}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_synthetic(tmp_path_factory.mktemp("data"), 60, seed=3, size=(48, 64), fractions=FRACTIONS)


@pytest.fixture
def config(data, tmp_path):
    return FitSegmenterConfig(
        data, tmp_path / "fit", width=8, size=64, epochs=2, batch_size=4, learning_rate=0.01, augment=False,
        progress=False, accelerator="cpu",
    )  # fmt: skip


@pytest.fixture(scope="module")
def fitted(data, tmp_path_factory):
    """A finished run, not to be changed."""
    config = FitSegmenterConfig(
        data, tmp_path_factory.mktemp("fit"), width=8, size=64, epochs=2, batch_size=4, learning_rate=0.01,
        augment=False, progress=False, accelerator="cpu",
    )  # fmt: skip
    return config, fit.fit_network(config)


def test_two_epochs_beat_the_untrained_network(fitted):
    config, result = fitted
    ((path, dice),) = result.checkpoints.items()
    assert path.name == "unet-seed0.safetensors" and result.exit_status == 0
    header = read_header(path, NetworkSpec)
    _, held = fit_cases(config, task_of(config))
    cache = build_cache(held, 64, config.out / "held", progress=False)
    batch = next(iter(loader(CachedImages(cache, np.arange(len(held)), 16), 64)))

    def val_dice(network):
        module = SegmenterModule(header.spec, network.eval(), Recipe())
        with torch.no_grad():
            return float(hard_dice(module(batch["image"], batch["valid"]), batch["truth"], batch["valid"]).mean())

    trained = val_dice(build_segmenter("unet", path).network)
    assert trained == pytest.approx(dice, abs=1e-4)  # the stored Dice is that of the stored weights
    torch.manual_seed(0)
    assert trained > 0.5 and trained > val_dice(build_network(header.spec)) + 0.15


def test_what_a_run_writes(fitted):
    config, result = fitted
    header = read_header(next(iter(result.checkpoints)), NetworkSpec)
    log = pd.read_csv(config.out / "members" / "0" / "metrics.csv")
    assert log.epoch.tolist() == [0, 1] and {"train/loss", "val/loss", "val/dice"} <= set(log)
    told = yaml.safe_load((config.out / "run.yaml").read_text())
    assert told["val_dice"] == {"unet-seed0.safetensors": pytest.approx(log["val/dice"].max())}
    data = header.info["data"]
    assert data["licences"] == ["CC0-1.0"] and data["counts"]["segmenter"]["images"] == len(data["fitted_images"])
    assert not any(str(config.images) in str(value) for value in header.info["training"].values())
    assert "unet-seed0.safetensors" in result.summary()


def test_a_finished_run_is_answered_and_another_config_refused(fitted, monkeypatch):
    config, result = fitted
    monkeypatch.setattr(fit, "fit_member", None)
    assert fit.fit_network(config).checkpoints == result.checkpoints
    with pytest.raises(ConfigError, match=r"fitted with epochs=2, this run has epochs=3"):
        fit.fit_network(replace(config, epochs=3))


def test_the_checkpoint_segments_in_generate(fitted, tmp_path, capsys):
    config, result = fitted
    checkpoint = str(next(iter(result.checkpoints)))
    args = ["generate", "--images", str(config.images), "--segmenter", "unet", "--checkpoint", checkpoint]
    args += ["--out", str(tmp_path / "r"), "--n", "3", "--only", "test", "train", "--variants.train.corruptions", "1"]
    assert main(args) == 0
    records = RecordSet(tmp_path / "r")
    table = records.table
    assert {"unet"} < set(table.segmenter) <= {"unet", "truth"}  # a corruption of the truth is the truth's
    assert set(table.sampler) == {"tta"} and set(table.n_samples) == {3} and records.config["sampler"]["name"] == "tta"
    assert set(table.weights_sha256) == {build_segmenter("unet", checkpoint).weights_sha256}
    assert table.predicted_iou.isna().all() and table[table.natural].pairwise_dice.between(0, 1).all()
    assert table[table.natural].dice.mean() > 0.5
    assert '"box"' in table.prompt.iloc[0] and records.maps(table.record_id.iloc[0])["self/entropy"].shape == (48, 64)


def test_generate_leaves_out_the_images_it_was_fitted_on(fitted, data, tmp_path, capsys):
    """The data's splits are not those that the network was fitted with."""
    _, result = fitted
    table = pd.read_csv(data / "labels.csv")
    wrong = {"segmenter": "train", "train": "segmenter"}
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("images", "masks"):
        (moved / name).symlink_to(data / name)
    table.assign(split=table.split.replace(wrong)).to_csv(moved / "labels.csv", index=False)
    args = ["generate", "--images", str(moved), "--segmenter", "unet", "--sampler", "deterministic", "--n", "1"]
    args += ["--checkpoint", str(next(iter(result.checkpoints)))]
    assert main([*args, "--out", str(tmp_path / "a"), "--only", "train", "test"]) == 1
    assert set(RecordSet(tmp_path / "a").table.split) == {"test"}
    assert "was fitted on it" in (tmp_path / "a" / "skipped.csv").read_text()
    assert main([*args, "--out", str(tmp_path / "b"), "--only", "train"]) == 2
    assert main([*args, "--out", str(tmp_path / "c"), "--strict"]) == 2
    assert "cannot serve in split train" in capsys.readouterr().err


def test_plain_networks_need_a_checkpoint(data, tmp_path, capsys):
    assert main(["generate", "--images", str(data), "--out", str(tmp_path), "--segmenter", "swin_unet"]) == 2
    assert "swin_unet comes without weights: train it with `sqp fit segmenter`" in capsys.readouterr().err


def test_an_ensemble_and_its_snapshots(config):
    few = replace(config, max_images=20, members=2, cycles=2, seed=5)
    result = fit.fit_network(few)
    names = [path.name for path in result.checkpoints]
    assert names == [f"unet-seed{s}-cycle{k}.safetensors" for s in (5, 6) for k in (1, 2)]
    assert len({path.read_bytes() for path in result.checkpoints}) == 4
    assert [read_header(path, NetworkSpec).info["kept"] for path in result.checkpoints] == ["cycle1", "cycle2"] * 2
    assert {read_header(path, NetworkSpec).info["training"]["seed"] for path in result.checkpoints} == {5, 6}


def test_an_ensemble_s_checkpoints_sample_together(config, data, tmp_path):
    """A sample from each member; the split segmenter may hold images that they were fitted on."""
    result = fit.fit_network(replace(config, max_images=20, epochs=1, members=2))
    plan = GenerateConfig(
        data, tmp_path / "r", only=["test", "segmenter"], max_images=8, sampler=SamplerConfig("ensemble", n=2),
        segmenter=SegmenterConfig("unet", checkpoints=tuple(result.checkpoints)),
    )  # fmt: skip
    assert generate.run(plan).skipped == {}
    records = RecordSet(tmp_path / "r")
    assert set(records.table.n_samples) == {2} and set(records.table.split) == {"test", "segmenter"}
    assert records.maps(records.table.record_id.iloc[0])["self/variance"].max() > 0


def test_the_learning_rate_starts_anew_with_each_cycle(monkeypatch):
    module = SegmenterModule(
        SMALL["unet"], build_network(SMALL["unet"]), Recipe(0.1, schedule="cyclic_cosine", cycles=2)
    )
    monkeypatch.setattr(SegmenterModule, "trainer", type("T", (), {"estimated_stepping_batches": 8}))
    schedule = module.configure_optimizers()["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(8):
        rates.append(schedule.get_last_lr()[0])
        schedule.optimizer.step()
        schedule.step()
    expected = [0.05 * (1 + np.cos(np.pi * k / 4)) for k in range(4)] * 2
    assert rates == pytest.approx(expected)


def test_a_stopped_run_ends_as_one_that_was_not(config, tmp_path, monkeypatch):
    few = replace(config, max_images=20, augment=True)
    whole = next(iter(fit.fit_network(few).checkpoints))
    stopped = replace(few, out=tmp_path / "stopped")

    class Stop(Callback):
        def on_train_epoch_start(self, trainer, module):
            if trainer.current_epoch == 1:
                raise KeyboardInterrupt

    keepers = training._keepers
    monkeypatch.setattr(training, "_keepers", lambda *args: [*keepers(*args), Stop()])
    with pytest.raises(KeyboardInterrupt):
        fit.fit_network(stopped)
    monkeypatch.setattr(training, "_keepers", keepers)
    again = next(iter(fit.fit_network(stopped).checkpoints))
    one, two = (build_segmenter("unet", path).network.state_dict() for path in (whole, again))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_broken_images_are_skipped_or_stop_the_run(config, data, tmp_path):
    broken = tmp_path / "data"
    write_synthetic(broken, 24, seed=4, size=(48, 64), fractions=FRACTIONS)
    table = pd.read_csv(broken / "labels.csv")
    name = table[table.split == "segmenter"].image_id.iloc[0]
    (broken / "images" / f"{name}.jpg").write_bytes(b"")
    result = fit.fit_network(replace(config, images=broken, epochs=1))
    assert set(result.skipped) == {name} and result.exit_status == 1
    with pytest.raises(CaseError, match=name):
        fit.fit_network(replace(config, images=broken, epochs=1, strict=True, out=tmp_path / "strict"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "unett"}, "unknown network 'unett'"),
        ({"size": 72}, "multiple of 16"),
        ({"epochs": 3, "cycles": 2}, "epochs is 3; it must be a multiple of cycles, 2"),
        ({"dropout": 1.0}, "dropout is 1"),
        ({"train_splits": ["segmentr"]}, "unknown split 'segmentr'"),
        ({"train_splits": ["test"]}, "train_splits holds 'test', which is for testing"),
        ({"train_splits": ["val"]}, "for early stopping"),
        ({"train_splits": ["raters"]}, "for testing"),
        ({"pretrained": True}, "unet has no timm encoder"),
        ({"spacing": [1.0, 1.0, 1.0]}, "unet has no option spacing: leave it out"),
        ({"neighbours": 1}, "unet has no option neighbours"),
        (
            {"network": "fpn_resnet50", "encoder": "resnet18"},
            "fpn_resnet50 has the encoder resnet50",
        ),
        ({"network": "fpn", "encoder": "vit_tiny_patch16_224"}, "takes one size of image only"),
        ({"network": "fpn", "encoder": "resnet81"}, r"known: 1,\d+ names, the nearest resnet18, "),
    ],
)
def test_wrong_options(config, changes, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        fit.fit_network(replace(config, out=tmp_path / "out", **changes))
    assert not (tmp_path / "out" / "run.yaml").exists()  # nothing stands in the way of the corrected command


def test_a_machine_that_lightning_does_not_know(config, tmp_path):
    with pytest.raises(ConfigError, match="Lightning refuses"):
        fit.fit_network(replace(config, out=tmp_path / "out", accelerator="toaster"))


def test_the_example_config_is_read():
    path = Path(__file__).parents[2] / "configs" / "fit_fpn_ham10000.yaml"
    config = parse("fit segmenter", ["--config", str(path)])
    assert isinstance(config, FitSegmenterConfig) and config.train_splits == ["segmenter"]
