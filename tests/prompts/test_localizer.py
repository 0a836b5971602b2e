"""The prompter localizer: from a coarse heatmap to a box of the image."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tiny_prompters import LOCALIZER, write_classifier, write_localizer

from sqp.core.errors import ConfigError
from sqp.prompts import PROMPTERS
from sqp.prompts.localizer import LocalizerSpec, build_localizer, input_pixels, localizer, map_box

IMAGE = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)


def heatmap_box(heatmap, size):
    return map_box(input_pixels(heatmap[None, None], size)[0])


def box_iou(a, b):
    inside = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    return inside / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inside)


def test_the_box_of_a_perfect_heatmap_is_the_truth_s_to_a_fraction_of_a_cell():
    """Cells hold the lesion's share of their area; edges are then known finer than a cell of 8 pixels."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        x0, y0 = rng.integers(8, 100, 2)
        w, h = rng.integers(60, 110, 2)
        truth = torch.zeros(1, 1, 224, 224)
        truth[..., y0 : y0 + h, x0 : x0 + w] = 1
        box, sure = heatmap_box(F.avg_pool2d(truth, 8)[0, 0], (224, 224))
        assert sure and np.abs(np.subtract(box, (x0, y0, x0 + w, y0 + h))).max() <= 4
        assert box_iou(box, (x0, y0, x0 + w, y0 + h)) > 0.9


def test_the_heaviest_component_wins_and_a_weak_heatmap_is_told():
    heatmap = torch.zeros(8, 8)
    heatmap[1, 1], heatmap[4:7, 4:7] = 1.0, 0.8
    box, sure = heatmap_box(heatmap, (64, 64))
    assert sure and box[0] > 24 and box[1] > 24
    weak, unsure = heatmap_box(heatmap * 0.1, (64, 64))
    assert not unsure and weak[0] > 24
    assert heatmap_box(heatmap, (48, 64))[0][3] == 48  # what lies past the image does not count


def test_boxes_are_in_pixels_of_the_image(tmp_path, monkeypatch):
    path = str(write_localizer(tmp_path / "l.safetensors"))
    module = sys.modules[localizer.__module__]  # the package's attribute of that name is the function
    monkeypatch.setattr(module, "map_box", lambda heatmap, threshold: ((8, 4, 32, 24), True))
    (prompt,) = localizer(IMAGE, checkpoint=path)  # 120 pixels are 64 of the network
    assert prompt.box == pytest.approx((15, 7.5, 60, 45)) and prompt.prompter == "localizer"
    (wide,) = localizer(IMAGE, checkpoint=path, margin=0.1)
    assert wide.box == pytest.approx((10.5, 3.75, 64.5, 48.75))
    monkeypatch.setattr(module, "map_box", lambda heatmap, threshold: ((8, 4, 32, 24), False))
    assert localizer(IMAGE, checkpoint=path)[0].prompter == "localizer_fallback"


@pytest.mark.parametrize("flips", [2, 4])
def test_with_flips_the_box_of_the_flipped_image_is_the_flipped_box(flips, tmp_path):
    path = str(write_localizer(tmp_path / "l.safetensors"))
    options = {"checkpoint": path, "flips": flips, "threshold": 0.01}
    (plain,), (turned,) = (localizer(image, **options) for image in (IMAGE, np.flip(IMAGE, 1)))
    x0, y0, x1, y1 = plain.box
    assert turned.box == pytest.approx((120 - x1, y0, 120 - x0, y1), abs=1e-3)
    with pytest.raises(ConfigError, match="flips is 3; it must be 1, 2 or 4"):
        localizer(IMAGE, checkpoint=path, flips=3)


@pytest.mark.parametrize("shape", [(90, 120), (120, 50), (1, 1), (5, 300)])
def test_images_of_any_shape(shape, tmp_path):
    path = str(write_localizer(tmp_path / "l.safetensors"))
    (prompt,) = PROMPTERS["localizer"](np.full((*shape, 3), 128, np.uint8), checkpoint=path, threshold=0.01)
    x0, y0, x1, y1 = prompt.box
    assert 0 <= x0 < x1 <= shape[1] and 0 <= y0 < y1 <= shape[0]


def test_the_encoder_starts_from_a_file(tmp_path):
    import timm

    with torch.random.fork_rng():
        torch.manual_seed(7)
        source = timm.create_model("mobilenetv2_035")
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    network = build_localizer(LOCALIZER, file=tmp_path / "w.safetensors")
    assert torch.equal(network.encoder.conv_stem.weight, source.conv_stem.weight)
    assert network(torch.rand(2, 3, 64, 96)).shape == (2, 1, 8, 12)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (LocalizerSpec("mobilenetv2_35"), "unknown timm model 'mobilenetv2_35', did you mean"),
        (LocalizerSpec("vit_tiny_patch16_224"), "takes one size of image only"),
        (LocalizerSpec("mobilenetv2_035", size=100), "multiple of 32"),
    ],
)
def test_wrong_encoders(spec, message):
    with pytest.raises(ConfigError, match=message):
        build_localizer(spec)


def test_wrong_options(tmp_path):
    with pytest.raises(ConfigError, match="needs a network: fit one with `sqp fit localizer`"):
        localizer(IMAGE)
    with pytest.raises(ConfigError, match="threshold is 1"):
        localizer(IMAGE, checkpoint="x", threshold=1)
    other = write_classifier(tmp_path / "c.safetensors")
    with pytest.raises(ConfigError, match=r"does not say which network it holds.*`sqp fit localizer`"):
        localizer(IMAGE, checkpoint=str(other))
