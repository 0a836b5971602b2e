"""Noisy inference: how much noise, one encoding a noisy image, and who shares it."""

import numpy as np
import pytest

from sqp.core.errors import ConfigError
from sqp.core.seeding import torch_generator
from sqp.core.types import Prompt
from sqp.uncertainty import sample, sample_many
from sqp.uncertainty.noise import add_noise


@pytest.mark.parametrize(("low", "high"), [(100, 150), (60, 200)])
def test_the_noise_is_a_share_of_the_image_s_range(low, high):
    image = np.full((200, 200, 3), (low + high) // 2, np.uint8)
    image[0, 0], image[0, 1] = low, high
    moved = add_noise(image, 0.1, torch_generator(0)).astype(float) - image
    sigma = 0.1 * (high - low)
    # 120,000 draws; rounding to whole grey values adds a variance of 1/12
    assert moved.std() == pytest.approx((sigma**2 + 1 / 12) ** 0.5, rel=0.01)
    assert abs(moved.mean()) < 5 * sigma / 120_000**0.5
    assert np.corrcoef(moved[..., 0].ravel(), moved[..., 1].ravel())[0, 1] == pytest.approx(0, abs=0.03)


def test_values_stay_within_a_byte_and_a_constant_image_as_it_is():
    image = np.zeros((40, 40, 3), np.uint8)
    image[20:] = 255
    noisy = add_noise(image, 0.2, torch_generator(0))
    assert noisy.dtype == np.uint8 and 0.4 < (noisy[:20] == 0).mean() < 0.6 and 0.4 < (noisy[20:] == 255).mean() < 0.6
    flat = np.full((5, 5, 3), 77, np.uint8)
    assert (add_noise(flat, 0.2, torch_generator(0)) == flat).all()


def test_each_sample_costs_one_encoding(segmenter, image, prompt):
    sample(segmenter, image, prompt, 7, torch_generator(0), sampler="noise")
    assert segmenter.encoded == 7


def test_prompts_with_one_generator_s_state_share_the_noisy_images(segmenter, image, prompt):
    other = Prompt(box=(5, 5, 50, 40))
    generators = [torch_generator(0, "image") for _ in range(2)]
    both = sample_many(segmenter, image, [prompt, other], 5, generators, sampler="noise")
    assert segmenter.encoded == 5 and segmenter.decoded == [2] * 5
    alone = sample(segmenter, image, other, 5, torch_generator(0, "image"), sampler="noise")
    assert (both[1].logits == alone.logits).all()


def test_a_larger_sigma_spreads_more_and_a_wrong_one_is_refused(segmenter, image, prompt):
    little, much = (
        sample(segmenter, image, prompt, 8, torch_generator(0), sampler="noise", sigma=sigma).logits.std(0).mean()
        for sigma in (0.02, 0.2)
    )
    assert 0 < little < much / 2
    for sigma in (0, -1, 1.5, float("nan")):
        with pytest.raises(ConfigError, match="sigma is"):
            sample(segmenter, image, prompt, 8, torch_generator(0), sampler="noise", sigma=sigma)
