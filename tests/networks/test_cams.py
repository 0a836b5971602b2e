"""CAM methods over networks of every known family, against closed forms, and what is refused."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from tiny_prompters import CLASSIFIERS

from sqp.core.errors import ConfigError
from sqp.core.seeding import numpy_generator
from sqp.networks.cams import LAYERS, METHODS, heatmaps, target_layer
from sqp.prompts.classifier import build_classifier

GRIDS = {"cnn": 2, "resnet": 2, "convnext": 2, "vit": 4, "swin": 2}


@pytest.fixture(scope="module")
def models():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return {name: build_classifier(spec).eval().requires_grad_(False) for name, spec in CLASSIFIERS.items()}


@pytest.fixture
def pixels():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_every_family_is_tried(models):
    assert {type(model).__name__ for model in models.values()} == set(LAYERS)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_each_method_on_each_family(models, pixels, name, method):
    model = models[name]
    before = [key for key, _ in model.named_modules()]
    found = heatmaps(model, pixels, [0, 1], method, channels=4, generator=numpy_generator(0))
    assert found.shape == (2, GRIDS[name], GRIDS[name]) and torch.isfinite(found).all()
    assert found.min() == 0 and found.max() <= 1
    assert [key for key, _ in model.named_modules()] == before and not any(
        module._forward_hooks for module in model.modules()
    )


def features(model, pixels):
    with torch.no_grad():
        return model.forward_features(pixels)


def scaled(cam):
    cam = np.maximum(cam, 0)
    return cam / cam.max() if cam.max() > 0 else cam


def test_gradcam_is_cam_where_the_classifier_is_linear(models, pixels):
    """After mean pooling the gradient of a score is the classifier's weight / (h w) (Zhou et al. 2016)."""
    model = models["cnn"]
    maps = features(model, pixels).numpy()
    weight = model.classifier.weight.numpy()
    found = heatmaps(model, pixels, [0, 1], "gradcam").numpy()
    for row, (one, k) in enumerate(zip(maps, (0, 1), strict=True)):
        cam = np.maximum(np.einsum("c,chw->hw", weight[k], one), 0)
        np.testing.assert_allclose(found[row], scaled(cam - cam.min()), atol=1e-4)


def test_ablationcam_is_the_drop_of_the_score(models, pixels):
    """A channel set to 0 takes weight * mean from the score of a linear classifier."""
    model, one = models["cnn"], pixels[:1]
    maps = features(model, one)[0].numpy()
    with torch.no_grad():
        score = float(model(one)[0, 1])
    weight = model.classifier.weight[1].numpy() * maps.mean((1, 2)) / score
    norm = np.linalg.norm(maps.reshape(len(maps), -1), axis=1)
    weight[np.argsort(-norm)[5:]] = 0  # the others are not tried
    cam = np.maximum(np.einsum("c,chw->hw", weight, maps), 0)
    found = heatmaps(model, one, [1], "ablationcam", channels=5)[0].numpy()
    np.testing.assert_allclose(found, scaled(cam - cam.min()), atol=1e-3)


def test_scorecam_looks_at_the_strongest_channels_only(models, pixels):
    calls = []
    model = models["resnet"]
    handle = model.register_forward_hook(lambda module, args, output: calls.append(len(args[0])))
    heatmaps(model, pixels, [0, 0], "scorecam", channels=6)
    handle.remove()
    assert calls == [2, 6, 6]


def test_randomcam_is_its_generator_s(models, pixels):
    one, again, other = (
        heatmaps(models["cnn"], pixels, [0, 1], "randomcam", generator=numpy_generator(0, key)) for key in "aab"
    )
    assert torch.equal(one, again) and not torch.equal(one, other)
    with pytest.raises(ValueError, match="Generator"):
        heatmaps(models["cnn"], pixels, [0, 1], "randomcam")


def test_a_tokens_place_is_its_patch_s():
    """An image that differs in one patch from another differs there most, after one block without mixing."""
    model = timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=2, depth=1).eval()
    from sqp.networks.cams import planes_of

    tokens = torch.zeros(1, 17, 3)
    tokens[0, 0] = 9  # the class token has no place
    tokens[0, 1 + 4 * 2 + 3] = 1
    planes = planes_of(model)(tokens)
    assert planes.shape == (1, 3, 4, 4) and planes[0, 0].nonzero().tolist() == [[2, 3]] and planes.max() == 1


def test_an_unknown_family_or_layer_is_told_with_the_layers(models, pixels):
    model = timm.create_model("mobilenetv3_small_050", num_classes=2).eval()
    with pytest.raises(ConfigError, match=r"MobileNetV3\) is of a family .* as the option layer, of: .*blocks\.5"):
        target_layer(model)
    assert target_layer(model, "blocks.-1") is model.blocks[-1]
    with pytest.raises(ConfigError, match=r"has no layer 'blocks\.77'"):
        target_layer(model, "blocks.77")
    with pytest.raises(ConfigError, match="unknown CAM method 'gradcamm', did you mean 'gradcam'"):
        heatmaps(models["cnn"], pixels, [0, 0], "gradcamm")
    assert heatmaps(models["cnn"], pixels, [0, 0], layer="blocks.3").shape == (2, 4, 4)


def test_nhwc_maps_are_turned():
    from sqp.networks.cams import planes_of

    x = torch.rand(1, 2, 3, 5)
    assert torch.equal(planes_of(SimpleNamespace(output_fmt="NHWC"))(x), x.permute(0, 3, 1, 2))
    assert planes_of(SimpleNamespace())(x) is x
