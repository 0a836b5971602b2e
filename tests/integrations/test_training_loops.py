"""Callbacks of training loops: the masks of unlabelled images are judged each epoch, by Lightning and by MONAI."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from torch import nn

from sqp.core.errors import CaseError, ConfigError
from sqp.integrations.lightning import PredictedDice
from sqp.integrations.monai import PredictedDiceHandler
from sqp.integrations.unlabelled import Unlabelled, segment
from sqp.training.trainer import _quiet


class Area:
    """Judges by the area of the mask, so that a test can say what must come out."""

    def __init__(self) -> None:
        self.masks: list[np.ndarray] = []

    def assess(self, image: np.ndarray, mask: np.ndarray) -> SimpleNamespace:
        assert image.dtype == np.uint8 and image.shape[:2] == mask.shape and mask.dtype == bool
        self.masks.append(mask)
        share = float(mask.mean())
        verdict = "abstain" if not share else "accept" if share > 0.4 else "review"
        return SimpleNamespace(dice=share if share else float("nan"), verdict=verdict)


class Network(pl.LightningModule):
    """Its logit is the brightness less a threshold that training hardly lowers; half the size of the image."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.tensor(0.5))
        self.dropout = nn.Dropout(0.9)
        self.channels = channels

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        grey = self.dropout(pixels.mean(dim=1, keepdim=True)) - self.threshold
        grey = nn.functional.avg_pool2d(grey, 2)
        return grey if self.channels == 1 else torch.cat([torch.zeros_like(grey), grey], dim=1)

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        return self.threshold * batch[0].mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-3)


def image(share: float) -> np.ndarray:
    """16 x 20 pixels, so many of whose columns are bright."""
    pixels = np.zeros((16, 20, 3), np.uint8)
    pixels[:, : round(share * 20)] = 255
    return pixels


IMAGES = [image(0.5), image(0.2), image(0.0)]


@pytest.mark.parametrize("channels", [1, 2])
def test_the_numbers_are_those_of_the_masks(channels, tmp_path):
    judge, network = Area(), Network(channels)
    Image.fromarray(IMAGES[0]).save(tmp_path / "a.png")
    found = Unlabelled(judge, [tmp_path / "a.png", *IMAGES[1:]]).judge(network.train())
    assert [round(mask.mean(), 2) for mask in judge.masks] == [0.5, 0.2, 0]
    assert found == pytest.approx({"predicted_dice": 0.35, "accepted": 1 / 3, "abstained": 1 / 3})
    assert network.training and network.dropout.training  # and while it segmented nothing was dropped


def test_without_a_prediction_there_is_no_mean():
    assert np.isnan(Unlabelled(Area(), IMAGES[2:]).judge(Network())["predicted_dice"])


def test_what_was_frozen_in_eval_mode_stays_there():
    network = Network().train()
    network.dropout.eval()
    Unlabelled(Area(), IMAGES).judge(network)
    assert network.training and not network.dropout.training


def test_no_image_and_a_mask_of_another_size_are_told():
    with pytest.raises(ConfigError, match="no unlabelled image is given"):
        Unlabelled(Area(), [])
    with pytest.raises(CaseError, match=r"the network's mask is \(2, 2\), its image \(16, 20\)"):
        Unlabelled(Area(), IMAGES, lambda network, pixels: np.zeros((2, 2), bool)).judge(Network())


def test_lightning_logs_them_each_epoch(tmp_path):
    seen = []

    class Kept(pl.Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            seen.append({key: value.item() for key, value in trainer.callback_metrics.items()})

    options = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    callbacks = [PredictedDice(Area(), IMAGES, every_n_epochs=2), Kept()]
    trainer = pl.Trainer(max_epochs=4, accelerator="cpu", callbacks=callbacks, default_root_dir=tmp_path, **options)
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(1, 1)), num_workers=0)
    network = Network()
    with _quiet():
        trainer.fit(network, data)
    assert seen[0] == {} and seen[1]["unlabelled/predicted_dice"] == pytest.approx(0.35)
    assert seen[3]["unlabelled/accepted"] == pytest.approx(1 / 3, abs=1e-6)
    with pytest.raises(ValueError, match="every_n_epochs is 0"):
        PredictedDice(Area(), IMAGES, every_n_epochs=0)


def test_monai_finds_them_in_the_state_of_its_engine():
    from ignite.engine import Engine

    network, seen = Network(), []
    engine = Engine(lambda engine, batch: None)
    PredictedDiceHandler(network, Area(), IMAGES, interval=2, name="new").attach(engine)
    from ignite.engine import Events

    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: seen.append(dict(engine.state.metrics)))
    engine.run([0], max_epochs=2)
    assert seen[0] == {} and seen[1]["new_predicted_dice"] == pytest.approx(0.35)
    assert set(seen[1]) == {"new_predicted_dice", "new_accepted", "new_abstained"}


def test_a_missing_ignite_and_a_wrong_interval_are_told(monkeypatch):
    import sys

    handler = PredictedDiceHandler(Network(), Area(), IMAGES)
    monkeypatch.setitem(sys.modules, "ignite.engine", None)
    with pytest.raises(ConfigError, match=r"need pytorch-ignite, .* pip install 'sqp\[monai\]'"):
        handler.attach(SimpleNamespace())
    with pytest.raises(ValueError, match="interval is 0"):
        PredictedDiceHandler(Network(), Area(), IMAGES, interval=0)


def test_a_network_without_parameters_segments_too():
    assert segment(nn.AvgPool2d(2), np.full((4, 4, 3), 9, np.uint8)).shape == (4, 4)
