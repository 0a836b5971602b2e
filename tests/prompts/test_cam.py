"""The prompter cam: from a classifier's heatmap to a prompt in pixels of the image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny_prompters import CLASSIFIERS, write_classifier, write_localizer

from sqp.core.errors import CaseError, ConfigError
from sqp.core.seeding import numpy_generator
from sqp.networks import cams
from sqp.prompts import PROMPTERS
from sqp.prompts.cam import at_image, class_heatmap
from sqp.prompts.classifier import build_classifier, load_classifier

IMAGE = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)


def cam(image=IMAGE, seed=0, **options):
    (prompt,) = PROMPTERS["cam"](image, generator=numpy_generator(seed), **options)
    return prompt


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return str(write_classifier(tmp_path_factory.mktemp("c") / "classifier.safetensors"))


@pytest.fixture
def planted(monkeypatch):
    """Every heatmap of a 64-pixel input is this one, 2 x 2 cells of 32 pixels."""

    def plant(grid):
        monkeypatch.setattr(cams, "heatmaps", lambda *args, **options: torch.tensor([grid]))

    return plant


def test_arms_share_their_box_and_points(checkpoint):
    both, box, points = (cam(checkpoint=checkpoint, use=use) for use in ("both", "box", "points"))
    assert both.box == box.box and both.points == points.points and len(points.points) == 5
    assert box.points == () and points.box is None and set(both.labels) == {1}
    assert cam(checkpoint=checkpoint) == both != cam(seed=1, checkpoint=checkpoint)


@pytest.mark.parametrize("name", ["vit", "swin"])
def test_transformers_prompt_too(name, tmp_path):
    path = write_classifier(tmp_path / "c.safetensors", name)
    box = cam(checkpoint=str(path), method="gradcam++", target="melanoma").box
    assert 0 <= box[0] < box[2] <= 120 and 0 <= box[1] < box[3] <= 90


def test_on_the_native_grid_a_cell_is_a_box(checkpoint, planted):
    """The image of 90 x 120 is 48 x 64 pixels of the network: the grid's 32-pixel cells are 60 of the image."""
    planted([[0.0, 1.0], [0.2, 0.9]])
    prompt = cam(checkpoint=checkpoint, threshold_at="grid", percentile=99, num_points=1, amplification=200)
    assert prompt.prompter == "cam_sampled" and prompt.box == (60, 0, 120, 60) and prompt.points == ((90, 30),)
    low = cam(checkpoint=checkpoint, threshold_at="grid", percentile=0, num_points=1)
    assert low.prompter == "cam" and low.box == (0, 0, 120, 90)
    sized = cam(checkpoint=checkpoint, percentile=80)
    assert sized.prompter == "cam" and 60 < sized.box[0] < 90 and sized.box[2] == 120


def test_a_constant_heatmap_is_the_whole_image_and_counted(checkpoint, planted):
    for value in (0.0, 0.7):
        planted([[value, value], [value, value]])
        prompt = cam(checkpoint=checkpoint)
        assert prompt.prompter == "cam_flat" and prompt.box == (0, 0, 120, 90)
    planted([[0.0, float("nan")], [0.0, 1.0]])
    with pytest.raises(CaseError, match="gradcam gave a heatmap that is not finite"):
        cam(checkpoint=checkpoint)


def test_what_lies_past_the_image_does_not_count(checkpoint, planted):
    """The network sees 48 rows of the image and 16 of padding, which is a quarter of the lower cells."""
    planted([[0.0, 0.5], [0.0, 1.0]])
    grid, frame = class_heatmap(load_classifier(checkpoint), IMAGE, "gradcam")
    assert frame.grid == (2, 2) and frame.stride == 32
    found = at_image(grid, frame)
    assert found.shape == (90, 120) and found.min() == 0 and found.max() == 1
    assert found[-1, -1] == 1 and float(found[0, -1]) == pytest.approx(0.5, abs=0.02)


def test_an_image_smaller_than_the_grid_is_refused(tmp_path):
    path = write_classifier(tmp_path / "c.safetensors", "vit")  # 4 x 4 tokens
    with pytest.raises(CaseError, match="the image is 3 x 3 pixels, smaller than the heatmap's grid of 4 x 4"):
        cam(IMAGE[:3, :3], checkpoint=str(path))
    assert cam(IMAGE[:4, :4], checkpoint=str(path)).box


def test_the_target_class(checkpoint):
    classifier = load_classifier(checkpoint)
    logits = torch.tensor([0.1, 0.9])
    assert [classifier.class_index(t, logits) for t in ("predicted", "melanoma", "0", "1")] == [1, 0, 0, 1]
    for target in ("2", "-1"):
        with pytest.raises(ConfigError, match=f"class index {target} is out of range; the model has 2 classes"):
            cam(checkpoint=checkpoint, target=target)
    with pytest.raises(ConfigError, match="no class 'naevus'; known: predicted, melanoma, other"):
        cam(checkpoint=checkpoint, target="naevus")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"use": "boxes"}, "unknown value of cam's use 'boxes', did you mean 'box'"),
        ({"threshold_at": "pixels"}, "unknown value of cam's threshold_at"),
        ({"percentile": 101}, "percentile is 101; it must lie between 0 and 100"),
        ({"num_points": 0}, "num_points is 0"),
        ({"channels": -1}, "channels is -1"),
        ({"method": "scorcam"}, "unknown CAM method 'scorcam', did you mean 'scorecam'"),
        ({"layer": "nowhere"}, "has no layer 'nowhere'.*of: conv_stem"),
        ({"model": "resnet10t"}, "give one of --prompter_options.checkpoint FILE"),
        ({"checkpoint": "nowhere.safetensors"}, "nowhere.safetensors: no such file"),
    ],
)
def test_wrong_options(checkpoint, options, message):
    with pytest.raises(ConfigError, match=message):
        cam(**({"checkpoint": checkpoint} | options))


def test_a_checkpoint_of_another_kind_and_a_missing_generator(checkpoint, tmp_path):
    other = write_localizer(tmp_path / "l.safetensors")
    with pytest.raises(ConfigError, match=r"does not say which network it holds.*`sqp fit classifier`"):
        cam(checkpoint=str(other))
    with pytest.raises(ValueError, match="Generator"):
        PROMPTERS["cam"](IMAGE, checkpoint=checkpoint)


def test_zero_shot_takes_a_file_of_imagenet_s_classes(tmp_path):
    spec = CLASSIFIERS["resnet"]
    model = build_classifier(type(spec)(spec.model, 64, tuple(map(str, range(1000)))))
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    classifier = load_classifier(model=spec.model, weights=str(tmp_path / "w.safetensors"), size=64)
    assert len(classifier.spec.classes) == 1000
    assert torch.equal(classifier.network.fc.weight, model.fc.weight)
    options = {"model": spec.model, "weights": str(tmp_path / "w.safetensors"), "size": 64}
    assert cam(**options, target="999").box
    with pytest.raises(ConfigError, match="class index 1000 is out of range; the model has 1000 classes"):
        cam(**options, target="1000")
    with pytest.raises(ConfigError, match=r"no class 'melanoma'; known: predicted, numbers from 0 to 999"):
        cam(**options, target="melanoma")
