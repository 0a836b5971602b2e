"""What every training run of sqp shares: a loss that is not finite ends it, with what was good kept."""

from __future__ import annotations

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from sqp.errors import ConfigError
from sqp.training import run_trainer


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
