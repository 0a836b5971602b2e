from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from sqp.core.errors import ConfigError
from sqp.quality.model.learner import QualityLearner, TrainingSpec
from sqp.quality.model.module import MIN_SCALE, ModelSpec, QualityModel, spec_dict
from sqp.quality.model.truth_map import EVIDENCE, compare

CHANNELS = ("image", "mask", "self/epkl")


def model(**spec: object) -> QualityModel:
    torch.manual_seed(0)
    return QualityModel(ModelSpec(CHANNELS, 32, **spec)).eval()  # type: ignore[arg-type]


def test_output() -> None:
    out = model()(torch.rand(4, 5, 32, 32) * 10)
    assert out.dice.shape == out.scale.shape == (4,)
    assert (out.dice > 0).all() and (out.dice < 1).all() and (out.scale >= MIN_SCALE).all()
    assert out.features.shape == (4, 384) and out.error_map is None


def test_features_are_the_penultimate_layer() -> None:
    m = model()
    out = m(torch.rand(2, 5, 32, 32))
    torch.testing.assert_close(torch.sigmoid(m.head(out.features)[:, 0]), out.dice)


def test_mse_has_no_scale_of_its_own() -> None:
    assert model(loss="mse")(torch.rand(3, 5, 32, 32)).scale.tolist() == [1, 1, 1]


def test_a_broken_row_stays_alone() -> None:
    m, planes = model(), torch.rand(3, 5, 32, 32)
    expected = m(planes).dice
    planes[1, 4, 3, 3] = torch.nan
    got = m(planes).dice
    assert got[1].isnan() and torch.allclose(got[[0, 2]], expected[[0, 2]])


def test_scores_enter_and_are_asked_for() -> None:
    m, planes = model(scores=("c_lesion", "area")), torch.rand(2, 5, 32, 32)
    assert m(planes, torch.zeros(2, 4)).features.shape == (2, 384 + 32)
    assert not torch.equal(m(planes, torch.zeros(2, 4)).dice, m(planes, torch.ones(2, 4)).dice)
    with pytest.raises(ConfigError, match="needs the scores c_lesion, area"):
        m(planes)


def test_planes_are_normalised_inside() -> None:
    m, planes = model(), torch.rand(2, 5, 32, 32)
    expected = m(planes).dice
    m.set_normalization([1, 2, 3, 4, 5], [2, 2, 2, 2, 2])
    shifted = planes * 2 + torch.tensor([1.0, 2, 3, 4, 5])[:, None, None]
    torch.testing.assert_close(m(shifted).dice, expected)


def test_pretrained_weights_keep_their_normalisation_of_the_image() -> None:
    m = model()
    m.backbone.image_mean, m.backbone.image_std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    m.set_normalization([9] * 5, [8] * 5)
    assert m.mean.tolist() == pytest.approx([0.1, 0.2, 0.3, 9, 9])
    assert m.std.tolist() == pytest.approx([0.4, 0.5, 0.6, 8, 8])


def test_a_constant_plane_is_not_divided_by_zero() -> None:
    m = model()
    m.set_normalization([0] * 5, [0] * 5)
    assert m(torch.zeros(2, 5, 32, 32)).dice.isfinite().all()


def test_the_spec_survives_json() -> None:
    spec = ModelSpec(CHANNELS, 32, scores=("area",))
    assert QualityModel(spec_dict(spec)).spec == spec


@pytest.mark.parametrize("backbone", ["compact", "timm:mobilenetv3_small_050", "timm:vit_tiny_patch16_224"])
def test_error_map_of_any_backbone_with_levels(backbone: str) -> None:
    m, planes = model(backbone=backbone, error_map=True), torch.rand(2, 5, 32, 32)
    out = m(planes)
    assert out.error_map is not None and out.truth_logits is not None
    assert out.error_map.shape == out.truth_logits[:, 0].shape and out.error_map.shape[1] <= 32
    assert out.error_map.min() >= 0 and out.error_map.max() <= 1
    assert out.features.shape == (2, m.backbone.width + EVIDENCE)


@pytest.mark.parametrize("backbone", ["compact", "timm:test_efficientnet"])
def test_each_level_that_the_second_head_skips_halves_its_map(backbone: str) -> None:
    planes, sides = torch.rand(2, 5, 64, 64), []
    for skip in (0, 1, 2):
        m = model(backbone=backbone, error_map=True, error_skip=skip)
        out = m(planes)
        sides.append(out.error_map.shape[-1])
        out.truth_logits.sum().backward()
        assert all(p.grad is not None for p in m.truth_decoder.parameters())  # nothing is left over
    assert sides == [sides[0], sides[0] // 2, sides[0] // 4]


def test_the_prediction_starts_from_the_dice_with_the_expected_truth() -> None:
    m, planes = model(error_map=True), torch.rand(2, 5, 32, 32)
    torch.nn.init.zeros_(m.head.weight), torch.nn.init.zeros_(m.head.bias)
    out = m(planes)
    torch.testing.assert_close(out.dice, compare(out.truth_logits, planes[:, 3]).soft_dice)


def test_a_training_step_with_an_error_map_teaches_both_heads() -> None:
    m = QualityLearner(ModelSpec(CHANNELS, 32, error_map=True), TrainingSpec(augment=True))
    m.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    m._trainer = SimpleNamespace(global_step=0, global_rank=0)  # type: ignore[assignment]
    batch = {"planes": torch.rand(4, 5, 32, 32), "dice": torch.rand(4), "weight": torch.ones(4)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(QualityLearner, "global_step", 0)
        patch.setattr(QualityLearner, "global_rank", 0)
        m.training_step(batch | {"truth": (torch.rand(4, 32, 32) > 0.5).float()}, 0).backward()
    assert m.truth_decoder is not None
    for part in (m.truth_decoder.out[-1].weight, m.head.weight, m.backbone.stem[0][0].weight):  # type: ignore[index]
        assert part.grad is not None and part.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"channels": ("image", "self/epkl"), "size": 32}, "needs the channel 'mask'"),
        ({"channels": CHANNELS, "size": 80, "backbone": "siamese"}, "has no maps to draw an error map from"),
        ({"channels": CHANNELS, "size": 32, "error_skip": 4}, "error_skip is 4, but .*compact' has only 4 levels"),
    ],
)
def test_error_map_is_refused_where_there_can_be_none(spec: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        QualityModel(ModelSpec(**spec, error_map=True))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "build"),
    [
        ("loss", lambda: model(loss="bce")),
        ("optimizer", lambda: QualityLearner(ModelSpec(CHANNELS, 32), TrainingSpec(optimizer="adamv"))),
        ("schedule", lambda: QualityLearner(ModelSpec(CHANNELS, 32), TrainingSpec(schedule="cosine"))),
    ],
)
def test_unknown_names(kind: str, build: object) -> None:
    with pytest.raises(ConfigError, match=f"unknown {kind}"):
        build()  # type: ignore[operator]


def test_what_trains_it_is_the_same_network():
    """Bit for bit: a bundle, and a checkpoint, holds what a prediction loads."""
    spec = ModelSpec(CHANNELS, 32, scores=("area",), error_map=True)
    torch.manual_seed(0)
    learner = QualityLearner(spec)
    torch.manual_seed(0)
    plain = QualityModel(spec)
    assert list(learner.state_dict()) == list(plain.state_dict())
    assert all(torch.equal(value, plain.state_dict()[key]) for key, value in learner.state_dict().items())


REFEREED = ("image", "mask", "supervised/probability", "referee/probability")


def refereed(**options) -> QualityModel:
    torch.manual_seed(0)
    spec = ModelSpec(REFEREED, 32, compare=("supervised/probability", "referee/probability"), **options)
    return QualityModel(spec).eval()


@pytest.mark.parametrize("error_map", [False, True])
def test_a_mask_is_compared_with_the_maps_and_the_first_is_where_it_starts(error_map):
    """With a head that adds nothing the prediction is the soft Dice of the mask with the first map."""
    model = refereed(error_map=error_map)
    torch.nn.init.zeros_(model.head.weight)
    torch.nn.init.zeros_(model.head.bias)
    planes = torch.rand(3, 6, 32, 32)
    planes[:, 3] = (planes[:, 3] > 0.5).float()
    planes[:, 4] = 0.1 + 0.8 * planes[:, 3]
    with torch.no_grad():
        out = model(planes)
    m, p = planes[:, 3].flatten(1), planes[:, 4].flatten(1)
    expected = 2 * (m * p).sum(1) / (m.sum(1) + p.sum(1))
    torch.testing.assert_close(out.dice, expected, atol=2e-3, rtol=0)
    assert model.features_width == model.backbone.width + 8 * (2 + error_map)


def test_the_comparison_is_stored_with_the_model_and_older_ones_have_none(tmp_path):
    model = refereed()
    again = QualityModel(spec_dict(model.spec))
    assert again.spec.compare == REFEREED[2:]
    again.load_state_dict(model.state_dict())
    old = {key: value for key, value in spec_dict(ModelSpec(CHANNELS, 32)).items() if key != "compare"}
    assert QualityModel(old).spec.compare == ()


@pytest.mark.parametrize("name", ["referee/entropy", "referee/probability", "self/probability"])
def test_what_cannot_be_compared_is_refused(name):
    with pytest.raises(ConfigError, match=f"compare names {name}: it must be a probability map among the inputs"):
        QualityModel(ModelSpec(("image", "mask", "referee/entropy"), 32, compare=(name,)))
