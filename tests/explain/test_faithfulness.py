from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sqp.core.errors import ConfigError
from sqp.explain.faithfulness import STEPS, Curves, blur, curves, faithfulness_table
from sqp.metrics.stats import Resamples
from sqp.quality.model.module import QualityOutput

SIDE, N = 40, 6


class Spots(nn.Module):
    """The Dice falls with the brightness of a square that only this model knows of."""

    def __init__(self) -> None:
        super().__init__()
        self.square = torch.zeros(SIDE, SIDE)
        self.square[10:16, 20:26] = 1

    def forward(self, planes: Tensor, scores: Tensor | None = None) -> QualityOutput:
        bright = (planes[:, 0] * self.square).sum(dim=(1, 2)) / self.square.sum()
        return QualityOutput(1 - bright, torch.ones(len(planes)), planes[:, :, 0, 0])


@pytest.fixture
def made():
    model, planes = Spots(), torch.rand(N, 2, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 0.1
    planes[:, 0, 10:16, 20:26] = 0.9
    return model, planes


def run(made, maps, effect="lowers") -> Curves:
    model, planes = made
    return curves(model, planes, None, maps, effect, np.random.default_rng(0))


def test_ends_are_the_planes_and_their_blur(made):
    model, planes = made
    found = run(made, np.random.default_rng(0).random((N, SIDE, SIDE)))
    with torch.no_grad():
        whole, gone = (1 - model(x).dice.numpy() for x in (planes, blur(planes)))
    assert found.deletion.shape == (N, STEPS + 1)
    assert found.deletion[:, 0] == pytest.approx(whole) and found.deletion[:, -1] == pytest.approx(gone)
    assert found.insertion[:, 0] == pytest.approx(gone) and found.insertion[:, -1] == pytest.approx(whole)


def test_a_map_of_what_matters_is_better_than_random_and_its_inverse_is_not(made):
    true = np.repeat(made[0].square.numpy()[None], N, axis=0)
    random = np.random.default_rng(1).random((N, SIDE, SIDE)).astype(np.float32)
    found = {"true": run(made, true), "inverse": run(made, 1 - true)}
    table = faithfulness_table(found, run(made, random), Resamples.draw(np.arange(N), 100, 0)).set_index("map")
    assert table.loc["true", "note"] == "better than random by deletion and insertion"
    assert table.loc["inverse", "note"] == "worse than random: what it marks has the opposite effect"
    assert table.loc["true", "deletion_difference"] < 0 < table.loc["true", "insertion_difference"]
    assert list(table.index) == ["true", "inverse", "random"]


def test_the_effect_chooses_what_is_followed(made):
    maps = np.zeros((N, SIDE, SIDE), np.float32)
    lowers, raises = run(made, maps), run(made, maps, "raises")
    assert lowers.deletion == pytest.approx(1 - raises.deletion)
    with pytest.raises(ConfigError, match="unknown effect"):
        run(made, maps, "sideways")


def test_area_of_a_straight_line():
    line = np.linspace(1, 0, STEPS + 1)[None]
    deletion, insertion = Curves(line, line[:, ::-1]).areas()
    assert deletion[0] == pytest.approx(0.5) and insertion[0] == pytest.approx(0.5)
