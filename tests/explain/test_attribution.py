from __future__ import annotations

import numpy as np
import pytest
import torch
from explain.conftest import CHANNELS, network
from torch import Tensor, nn

from sqp.core.errors import ConfigError
from sqp.explain import attribution
from sqp.explain.attribution import ATTRIBUTIONS, group_maps, plane_groups, shares
from sqp.explain.target import Logit

GROUPS = plane_groups(CHANNELS)


class Linear(nn.Module):
    """The logit is a sum of weighted pixels, so every attribution is known."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, planes: Tensor) -> Tensor:
        return (planes * self.weight).sum(dim=(1, 2, 3))[:, None]


@pytest.mark.parametrize("name", ATTRIBUTIONS)
def test_of_a_linear_function_it_is_weight_times_difference(name):
    generator = torch.Generator().manual_seed(0)
    weight, planes = (torch.randn(n, 5, 8, 8, generator=generator) for n in (1, 2))
    baseline = torch.full((1, 5, 1, 1), 0.25)
    found = ATTRIBUTIONS[name](Linear(weight), planes, baseline, GROUPS)  # type: ignore[arg-type]
    expected = weight * (planes - baseline)
    if name == "occlusion":  # a window of one pixel at this size; its planes fall together
        for index in GROUPS.values():
            share = expected[:, index].sum(dim=1, keepdim=True) / len(index)
            expected[:, index] = share.expand(-1, len(index), -1, -1)
    assert found.detach().numpy() == pytest.approx(expected.numpy(), abs=1e-5)


@pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients")
def test_integrated_gradients_add_up_to_the_difference_of_the_logits(model, planes, monkeypatch):
    monkeypatch.setattr(attribution, "STEPS", 64)
    maps = group_maps(model, planes, None, "integrated_gradients", "raises")
    baseline = model.mean[None, :, None, None].expand_as(planes)
    with torch.no_grad():
        expected = (Logit(model, None)(planes) - Logit(model, None)(baseline))[:, 0].numpy()
    assert sum(values.sum(axis=(1, 2)) for values in maps.values()) == pytest.approx(expected, rel=0.05, abs=0.02)


def test_the_effect_turns_the_sign(model, planes):
    lowers, raises = (group_maps(model, planes, None, effect=effect) for effect in ("lowers", "raises"))
    assert list(lowers) == list(CHANNELS)
    for name in CHANNELS:
        assert lowers[name] == pytest.approx(-raises[name]) and np.abs(lowers[name]).max() > 0


def test_scores_are_repeated_for_captums_steps(planes):
    model = network(scores=("area",))
    maps = group_maps(model, planes, torch.zeros(3, 2), "integrated_gradients")
    assert maps["mask"].shape == planes.shape[:1] + planes.shape[2:]


def test_shares_add_up_to_one():
    maps = {"a": np.array([[[1.0, -1.0]], [[0.0, 0.0]]]), "b": np.array([[[2.0, 0.0]], [[0.0, 0.0]]])}
    found = shares(maps)
    assert found["a"][0] == found["b"][0] == 0.5 and np.isnan(found["a"][1])


def test_captum_that_is_not_installed(model, planes, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "captum.attr", None)
    with pytest.raises(ConfigError, match=r"need captum: pip install 'sqp\[attribution\]', or choose"):
        group_maps(model, planes, None, "occlusion")
    with pytest.raises(ConfigError, match="unknown attribution 'occlude', did you mean 'occlusion'"):
        group_maps(model, planes, None, "occlude")
