from __future__ import annotations

import pytest
import torch

from sqp.errors import ConfigError
from sqp.quality.module import MIN_SCALE, ModelSpec, QualityModel, TrainingSpec, spec_dict

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


@pytest.mark.parametrize(
    ("kind", "build"),
    [
        ("loss", lambda: model(loss="bce")),
        ("optimizer", lambda: QualityModel(ModelSpec(CHANNELS, 32), TrainingSpec(optimizer="adamv"))),
        ("schedule", lambda: QualityModel(ModelSpec(CHANNELS, 32), TrainingSpec(schedule="cosine"))),
    ],
)
def test_unknown_names(kind: str, build: object) -> None:
    with pytest.raises(ConfigError, match=f"unknown {kind}"):
        build()  # type: ignore[operator]
