"""The sampler of ensembles: sample i is member i's."""

import pytest
import torch

from sqp.core.errors import ConfigError
from sqp.core.seeding import torch_generator
from sqp.uncertainty import sample, sample_many


def test_sample_i_is_member_i_s_own_output(fake_for, image, prompt):
    segmenter = fake_for("ensemble")
    samples = sample(segmenter, image, prompt, 4, torch_generator(0), sampler="ensemble")
    for i, member in enumerate(segmenter.members[:4]):
        expected = member.decode(member.encode(image), [prompt]).best()
        assert torch.equal(samples.logits[i], expected.logits[0, 0]) and samples.iou[i] == expected.iou[0, 0]


def test_every_member_encodes_once_for_all_prompts(fake_for, image, prompt):
    segmenter = fake_for("ensemble")
    generators = [torch_generator(0), torch_generator(1)]
    sample_many(segmenter, image, [prompt, prompt], 10, generators, sampler="ensemble")
    assert [(member.encoded, member.decoded) for member in segmenter.members] == [(1, [2])] * 10


def test_what_it_cannot_sample_from(segmenter, fake_for, image, prompt):
    with pytest.raises(ConfigError, match=r"needs several checkpoints of 'fake': give segmenter\.checkpoints"):
        sample(segmenter, image, prompt, 2, torch_generator(0), sampler="ensemble")
    many = fake_for("ensemble")
    with pytest.raises(ConfigError, match="n_samples is 11, but the ensemble has 10 members: give n = 10"):
        sample(many, image, prompt, 11, torch_generator(0), sampler="ensemble")
    assert segmenter.encoded == many.encoded == 0
