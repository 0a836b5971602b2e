"""Other cameras: shape, range and reproducibility of every effect; nothing moves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sqp.training.cameras import EFFECTS, as_seen, colour_constancy, photographed


def lesion(n: int = 2, side: int = 48) -> torch.Tensor:
    y, x = np.mgrid[:side, :side] / side
    dark = ((y - 0.5) ** 2 + (x - 0.5) ** 2 < 0.06)[None]
    colours = np.array([0.8, 0.6, 0.5])[:, None, None] * np.where(dark, 0.4, 1) * (0.9 + 0.1 * x)
    return torch.tensor(colours, dtype=torch.float32).repeat(n, 1, 1, 1)


@pytest.mark.parametrize("effect", EFFECTS, ids=lambda effect: effect.__name__)
def test_an_effect_keeps_the_shape_and_comes_again_from_its_seed(effect):
    image = lesion()[0]
    first, again, other = (effect(image.clone(), np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.shape == image.shape
    assert first.dtype == image.dtype
    assert torch.equal(first, again)
    assert not torch.equal(first, image)
    if effect is not colour_constancy:  # it has nothing to draw
        assert not torch.equal(first, other)


@pytest.mark.parametrize("effect", EFFECTS, ids=lambda effect: effect.__name__)
def test_the_lesion_stays_where_it_is(effect):
    image = lesion()[0]
    for seed in range(5):
        seen = effect(image, np.random.default_rng(seed)).clamp(0, 1).mean(0)
        middle, rest = seen[18:30, 18:30].mean(), seen[6:12, 18:30].mean()
        assert middle < rest


def test_photographed_is_in_range_and_each_image_has_its_own_stream():
    images = lesion(6)
    seen = photographed(images, torch.Generator().manual_seed(3))
    assert seen.shape == images.shape
    assert seen.min() >= 0
    assert seen.max() <= 1
    assert torch.equal(seen, photographed(images, torch.Generator().manual_seed(3)))
    assert len({row.mean().item() for row in seen}) > 3
    assert torch.equal(photographed(images[:3], torch.Generator().manual_seed(3)), seen[:3])


def test_each_effect_happens_as_often_as_its_share(monkeypatch):
    counts = dict.fromkeys(EFFECTS, 0)

    def counted(effect):
        def count(image, rng):
            counts[effect] += 1
            return image

        return count

    shares = dict(EFFECTS)
    monkeypatch.setattr("sqp.training.cameras.EFFECTS", {counted(effect): share for effect, share in shares.items()})
    image, n = torch.zeros(3, 2, 2), 2000
    for seed in range(n):
        as_seen(image, np.random.default_rng(seed))
    for effect, share in shares.items():
        assert abs(counts[effect] / n - share) < 4 * np.sqrt(share * (1 - share) / n)
