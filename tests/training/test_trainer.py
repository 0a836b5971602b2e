"""What every training run of sqp shares: a loss that is not finite ends it, with what was good kept."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from sqp.core.errors import ConfigError, SqpError
from sqp.training.trainer import run_trainer


class Diverges(pl.LightningModule):
    """Fits y = x until `epoch`, whose last loss is infinite or NaN."""

    def __init__(self, epoch: int, bad: float) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.epoch, self.bad = epoch, bad

    def training_step(self, batch, batch_idx):
        (x,) = batch
        loss = (self.layer(x) - x).square().mean()
        if self.current_epoch == self.epoch:
            loss = loss * self.bad
        self.log("train/loss", loss, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_ends_the_run_and_the_epochs_before_stay(bad, tmp_path):
    data = {"train_dataloaders": DataLoader(TensorDataset(torch.arange(4.0)[:, None]), 2)}
    options = {"callbacks": [], "progress": False, "options": {"accelerator": "cpu"}}
    with pytest.raises(
        ConfigError, match=r"training loss of epoch 2 is (nan|inf): start anew .* lower --learning_rate"
    ):
        run_trainer(Diverges(2, bad), data, tmp_path, 5, 0, **options)
    kept = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["epoch"] == 1 and all(v.isfinite().all() for v in kept["state_dict"].values())
    trainer = run_trainer(Diverges(9, bad), data, tmp_path, 5, 0, **options)  # goes on from there
    assert trainer.current_epoch == 5


def test_bfloat16_on_a_cpu_without_it_is_told(tmp_path, monkeypatch, recwarn):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    data = {"train_dataloaders": DataLoader(TensorDataset(torch.arange(4.0)[:, None]), 2)}
    for precision in ("32-true", "bf16-mixed"):
        asked = {"accelerator": "cpu", "precision": precision}
        run_trainer(Diverges(9, 1.0), data, tmp_path / precision, 1, 0, callbacks=[], progress=False, options=asked)
        told = [str(one.message) for one in recwarn if "emulates bfloat16" in str(one.message)]
        assert len(told) == (precision == "bf16-mixed")


@pytest.mark.parametrize("length", [0, 300])
def test_half_a_checkpoint_is_told_and_the_training_starts_anew(length, tmp_path, capsys):
    data = {"train_dataloaders": DataLoader(TensorDataset(torch.arange(4.0)[:, None]), 2)}
    options = {"callbacks": [], "progress": False, "options": {"accelerator": "cpu"}}
    run_trainer(Diverges(9, 1.0), data, tmp_path / "whole", 2, 0, **options)
    run_trainer(Diverges(9, 1.0), data, tmp_path / "cut", 2, 0, **options)
    last = tmp_path / "cut" / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:length])
    (last.parent / "mine.txt").touch()
    assert run_trainer(Diverges(9, 1.0), data, tmp_path / "cut", 2, 0, **options).current_epoch == 2
    told = capsys.readouterr().err
    assert f"{last} is damaged" in told and told.strip().endswith("the training starts anew")
    assert (last.parent / "mine.txt").exists()
    kept = [torch.load(tmp_path / run / "checkpoints" / "last.ckpt", weights_only=True) for run in ("whole", "cut")]
    assert kept[0]["epoch"] == kept[1]["epoch"] == 1


def test_a_full_disk_leaves_the_checkpoint_before_and_names_its_folder(tmp_path, monkeypatch):
    data = {"train_dataloaders": DataLoader(TensorDataset(torch.arange(4.0)[:, None]), 2)}
    options = {"callbacks": [], "progress": False, "options": {"accelerator": "cpu"}}
    run_trainer(Diverges(9, 1.0), data, tmp_path, 1, 0, **options)
    before = (tmp_path / "checkpoints" / "last.ckpt").read_bytes()

    def full(self, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(SqpError, match=rf"the disk is full in {tmp_path}"):
            run_trainer(Diverges(9, 1.0), data, tmp_path, 3, 0, **options)
    assert (tmp_path / "checkpoints" / "last.ckpt").read_bytes() == before
    assert run_trainer(Diverges(9, 1.0), data, tmp_path, 3, 0, **options).current_epoch == 3


def test_logs_and_checkpoints_of_others_stay_where_a_run_starts_anew(tmp_path):
    data = {"train_dataloaders": DataLoader(TensorDataset(torch.arange(4.0)[:, None]), 2)}
    options = {"callbacks": [], "progress": False, "options": {"accelerator": "cpu"}}
    for name in ("logs/mine/metrics.csv", "checkpoints/mine.txt"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("mine")
    for _ in range(2):
        run_trainer(Diverges(9, 1.0), data, tmp_path, 1, 0, resume=False, **options)
    for name in ("logs/mine/metrics.csv", "checkpoints/mine.txt"):
        assert (tmp_path / name).read_text() == "mine"
    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == ["0", "mine"]
