from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from explain.conftest import SIZE, network

from sqp.core.errors import ConfigError
from sqp.explain.cams import CAMS, branch_maps, cam_maps, choose_layer, spatial_layers
from sqp.explain.faithfulness import shuffled_weights
from sqp.explain.target import Logit
from sqp.quality.model.augment import dihedral
from sqp.quality.model.ensemble import Ensemble


def by_hand(model, planes, layer, sign):
    """Grad-CAM written out: channel weights are the mean gradients; ReLU; scaled to 0-1, brought up, scaled again."""
    kept = []
    handle = layer.modules[0].register_forward_hook(lambda m, i, out: kept.append(out))
    value = sign * Logit(model, None)(planes).sum()
    handle.remove()
    (gradient,) = torch.autograd.grad(value, kept[0])
    cam = (gradient.mean(dim=(2, 3), keepdim=True) * kept[0]).sum(dim=1).relu()
    cam = F.interpolate(scaled(cam)[:, None], (SIZE, SIZE), mode="bilinear", align_corners=False)[:, 0]
    return scaled(cam).detach().numpy()


def scaled(cam):
    cam = cam - cam.amin(dim=(1, 2), keepdim=True)
    return cam / (1e-7 + cam.amax(dim=(1, 2), keepdim=True))


@pytest.mark.parametrize(("effect", "sign"), [("lowers", -1.0), ("raises", 1.0)])
def test_grad_cam_is_the_formula(model, planes, effect, sign):
    layer = choose_layer(spatial_layers(model), "stages.0")
    expected = by_hand(model, planes, layer, sign)
    assert expected.max() > 0.5
    found = cam_maps(model, planes, None, layer, "grad_cam", effect)
    assert found == pytest.approx(expected, abs=0.01)  # the package brings it up by OpenCV


def test_the_two_effects_are_not_the_same(model, planes):
    layer = choose_layer(spatial_layers(model))
    lowers, raises = (cam_maps(model, planes, None, layer, "grad_cam", e) for e in ("lowers", "raises"))
    assert np.abs(lowers - raises).max() > 0.1


@pytest.mark.parametrize("name", CAMS)
@pytest.mark.parametrize("options", [{}, {"error_map": True, "flips": 4}])
def test_every_cam_on_every_kind_of_model(name, options, planes):
    model = network(**options)
    layer = choose_layer(spatial_layers(model))
    maps = cam_maps(model, planes, None, layer, name)
    assert maps.shape == (3, SIZE, SIZE) and maps.dtype == np.float32
    assert (maps >= 0).all() and (maps <= 1).all() and maps.max() > 0
    assert not any(module._forward_hooks for module in model.modules())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_a_model_with_scores(planes):
    model = network(scores=("c_lesion", "area"))
    scores = torch.rand(3, 4, generator=torch.Generator().manual_seed(0))
    layer = choose_layer(spatial_layers(model))
    one = cam_maps(model, planes, scores, layer)
    alone = cam_maps(model, planes[1:2], scores[1:2], layer)
    assert one[1:2] == pytest.approx(alone, abs=1e-4)


def test_averaged_symmetries_turn_with_the_planes(planes):
    model = network(flips=8)
    layer = choose_layer(spatial_layers(model), "stages.0")
    maps = torch.from_numpy(cam_maps(model, planes, None, layer, "hires_cam"))
    for turn in (1, 4, 7):
        turns = torch.full((3,), turn)
        turned = cam_maps(model, dihedral(planes, turns), None, layer, "hires_cam")
        assert turned == pytest.approx(dihedral(maps[:, None], turns)[:, 0].numpy(), abs=5e-3)


def test_each_branch_has_a_cam_of_its_own():
    model = network("siamese", 128)
    planes = torch.rand(2, 5, 128, 128, generator=torch.Generator().manual_seed(0))
    layers = spatial_layers(model)
    maps = branch_maps(model, planes, None, layers)
    assert list(maps) == ["image", "mask", "self/entropy"]
    whole = cam_maps(model, planes, None, layers["branches"])
    mean = np.mean(list(maps.values()), axis=0)
    top = mean.max(axis=(1, 2), keepdims=True)
    assert whole == pytest.approx(mean / np.where(top > 0, top, 1), abs=0.05)


def test_a_trunk_has_no_branches(model, planes):
    assert branch_maps(model, planes, None, spatial_layers(model)) == {}


def test_unknown_names(model, planes):
    layer = choose_layer(spatial_layers(model))
    with pytest.raises(ConfigError, match="unknown CAM 'gradcam', did you mean 'grad_cam'"):
        cam_maps(model, planes, None, layer, "gradcam")
    with pytest.raises(ConfigError, match="unknown effect 'lower', did you mean 'lowers'"):
        cam_maps(model, planes, None, layer, "grad_cam", "lower")


def test_an_ensemble_has_the_layers_of_all_members(planes):
    one, other = network(), shuffled_weights(network(), 1)
    both = Ensemble([one, other])
    layer = spatial_layers(both)["stages.0"]
    assert len(layer.modules) == 2
    maps = cam_maps(both, planes, None, layer, "hires_cam")
    singles = [cam_maps(m, planes, None, spatial_layers(m)["stages.0"], "hires_cam") for m in (one, other)]
    mean = np.mean(singles, axis=0)
    mean = mean - mean.min(axis=(1, 2), keepdims=True)
    assert maps == pytest.approx(mean / mean.max(axis=(1, 2), keepdims=True), abs=0.05)
