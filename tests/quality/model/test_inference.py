from __future__ import annotations

import numpy as np
import pytest
import torch

from sqp.quality.model.inference import SYMMETRIES, infer, over_symmetries
from sqp.quality.model.module import ModelSpec, QualityModel


def model(flips: int) -> QualityModel:
    torch.manual_seed(0)
    return QualityModel(ModelSpec(("mask", "self/entropy"), 32, flips=flips)).eval()


@pytest.mark.parametrize("flips", [2, 4, 8])
def test_flips_are_averaged(flips: int) -> None:
    planes = torch.rand(3, 2, 32, 32)
    moved = [planes, planes.flip(-1), planes.rot90(2, (-2, -1)), planes.flip(-2)]
    moved += [x.rot90(1, (-2, -1)) for x in moved]
    expected = torch.stack([model(1)(x).dice for x in moved[:flips]]).mean(0)
    got = infer(model(flips), [{"planes": planes}])
    assert got.dice == pytest.approx(expected.detach().numpy(), abs=1e-6)
    assert got.features.shape == (3, 384)


def test_all_eight_make_the_answer_blind_to_turns() -> None:
    planes = torch.rand(2, 2, 32, 32)
    straight, turned = (infer(model(8), [{"planes": x}]).dice for x in (planes, planes.rot90(1, (-2, -1)).flip(-1)))
    assert straight == pytest.approx(turned, abs=1e-6)
    assert sorted(SYMMETRIES) == list(range(8))


def test_each_map_is_turned_back() -> None:
    planes = torch.rand(3, 2, 32, 32)
    found = over_symmetries(lambda x: x[:, 0].numpy(), planes, 8)
    assert found.dtype == np.float32 and found == pytest.approx(planes[:, 0].numpy(), abs=1e-6)


def test_nothing_gives_nothing() -> None:
    out = infer(model(1), [])
    assert out.dice.shape == (0,) and out.features.shape == (0, 384) and out.features.dtype == np.float32
