import numpy as np
import pytest
import torch

from sqp.core.frame import Frame
from sqp.core.seeding import torch_generator
from sqp.core.types import Samples
from sqp.metrics.overlap import dice
from sqp.uncertainty import mask_from_logits, mask_on_grid, mean_probability_map, sample


def samples_of(logits, frame):
    return Samples(logits, torch.full((len(logits),), torch.nan), frame)


def test_the_mean_is_taken_of_probabilities_not_of_logits():
    logits = torch.tensor([[60.0], [-1.0], [-1.0]])
    expected = (1 + 2 / (1 + np.e)) / 3  # the mean logit would be far above 0, the vote below one half
    assert float(mean_probability_map(logits)) == pytest.approx(expected, abs=1e-6)


def test_mask_is_the_upsampled_probability_cut_at_one_half():
    frame = Frame((8, 12), 12, 4)
    logits = torch.tensor([[[60.0, -60, -60], [60, -60, -60]]])
    mask = mask_from_logits(samples_of(logits, frame))
    assert mask.shape == (8, 12) and mask.dtype == bool
    assert (mask == (np.arange(12) + 0.5 <= 4)).all()  # half way between the cells' centres at 2 and 6


def test_exactly_one_half_is_foreground():
    frame = Frame((4, 4), 4, 4)
    assert mask_from_logits(samples_of(torch.zeros(1, 1, 1), frame)).all()


def test_a_mask_reaches_the_grid_by_the_mean_of_each_cell():
    frame = Frame((4, 8), 8, 4)
    mask = np.zeros((4, 8), bool)
    mask[:2] = True  # 8 of 16 pixels of each cell
    mask[0, 7] = False
    assert mask_on_grid(mask, samples_of(torch.zeros(1, 1, 2), frame)).tolist() == [[True, False]]


@pytest.mark.parametrize("sampler", ["deterministic", "prompt_jitter", "tta"])
def test_the_fake_lesion_is_segmented_at_the_images_size(sampler, segmenter, image, prompt, truth):
    samples = sample(segmenter, image, prompt, 6, torch_generator(0), sampler=sampler)
    mask = mask_from_logits(samples)
    assert mask.shape == truth.shape and dice(mask, truth) > 0.7
