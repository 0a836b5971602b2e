"""The contract of the table of samplers, and what deterministic and prompt_jitter do beyond it."""

import numpy as np
import pytest
import torch

from sqp.core.errors import CaseError, ConfigError
from sqp.core.seeding import torch_generator
from sqp.core.types import Decoded, Prompt
from sqp.uncertainty import SAMPLERS, sample, sample_many

OTHER = Prompt(box=(5, 5, 50, 40))


@pytest.mark.parametrize("name", SAMPLERS)
def test_samples_have_the_grid_and_sample_0_is_undisturbed(name, fake_for, image, prompt):
    segmenter = fake_for(name)
    samples = sample(segmenter, image, prompt, 8, torch_generator(0, "a"), sampler=name)
    n = 1 if name == "deterministic" else 8
    assert samples.logits.shape == (n, 12, 16) and samples.grid == (12, 16)
    assert samples.logits.dtype == torch.float32 and samples.iou.shape == (n,)
    undisturbed = segmenter.decode(segmenter.encode(image), [prompt]).best()
    torch.testing.assert_close(samples.logits[0], undisturbed.logits[0, 0], rtol=0, atol=0)
    assert float(samples.iou[0]) == pytest.approx(0.9)  # the candidate of highest predicted IoU
    assert samples.token.shape == (5,)
    assert samples.frame.original == (48, 64)
    if n > 1:
        assert len({tuple(row.flatten().tolist()) for row in samples.logits}) == n


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_prompt_is_sampled_alike_alone_and_among_others(name, fake_for, image, prompt):
    segmenter = fake_for(name)
    generators = [torch_generator(0, key) for key in "xyz"]
    many = sample_many(segmenter, image, [OTHER, prompt, OTHER], 10, generators, sampler=name)
    alone = sample(segmenter, image, prompt, 10, torch_generator(0, "y"), sampler=name)
    torch.testing.assert_close(many[1].logits, alone.logits)
    torch.testing.assert_close(many[1].iou, alone.iou)
    assert torch.equal(many[0].logits[0], many[2].logits[0])


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_given_embedding_is_used_and_no_prompts_cost_nothing(name, fake_for, image, prompt):
    segmenter = fake_for(name)
    embedding = segmenter.encode(image)
    sample(segmenter, image, prompt, 1, torch_generator(0), sampler=name, embedding=embedding)
    assert segmenter.encoded == 1
    assert sample_many(segmenter, image, [], 8, [], sampler=name) == []
    assert segmenter.encoded == 1


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_are_a_broken_case(name, bad, fake, fake_for, image, prompt):
    class Broken(fake):
        def decode(self, embedding, prompts):
            decoded = super().decode(embedding, prompts)
            decoded.logits[:, :, 3, 3] = bad
            return Decoded(decoded.logits, decoded.iou)

    with pytest.raises(CaseError, match="'fake' returned NaN or infinite"):
        sample(fake_for(name, Broken), image, prompt, 2, torch_generator(0), sampler=name)


def test_wrong_requests_are_refused_before_anything_is_encoded(fake, image, prompt):
    segmenter = fake()
    with pytest.raises(ConfigError, match="did you mean 'tta'"):
        sample(segmenter, image, prompt, 8, torch_generator(0), sampler="tat")
    with pytest.raises(ConfigError, match="n_samples is 0"):
        sample(segmenter, image, prompt, 0, torch_generator(0))
    with pytest.raises(ConfigError, match="ratio"):
        sample(segmenter, image, prompt, 8, torch_generator(0), ratio=0)
    with pytest.raises(ValueError, match="2 prompts but 1 generators"):
        sample_many(segmenter, image, [prompt, prompt], 8, [torch_generator(0)])
    with pytest.raises(ConfigError, match="ignores prompts"):
        sample(fake(promptable=False), image, prompt, 8, torch_generator(0))
    assert segmenter.encoded == 0


def test_prompt_jitter_encodes_once_and_decodes_all_prompts_in_one_call(segmenter, image, prompt):
    sample_many(segmenter, image, [prompt, OTHER], 8, [torch_generator(0, 1), torch_generator(0, 2)])
    assert segmenter.encoded == 1 and segmenter.decoded == [16]


def test_prompt_jitter_follows_its_generator(segmenter, image, prompt):
    first, again, other = (sample(segmenter, image, prompt, 4, torch_generator(0, key)) for key in "aab")
    assert torch.equal(first.logits, again.logits)
    assert torch.equal(first.logits[0], other.logits[0]) and not torch.equal(first.logits[1], other.logits[1])


@pytest.mark.parametrize("edges", [False, True])
def test_prompt_jitter_draws_uniform_shifts_of_the_box(edges, fake, image):
    boxes = []

    class Recorder(fake):
        def decode(self, embedding, prompts):
            boxes.extend(prompt.box for prompt in prompts)
            return super().decode(embedding, prompts)

    box = (20, 10, 40, 30)
    sample(Recorder(), image, Prompt(box=box), 400, torch_generator(0), ratio=0.1, edges=edges)
    moves = (np.array(boxes) - box)[1:] / (0.1 * 20)
    assert boxes[0] == box and np.abs(moves).max() <= 1
    assert moves.std(0) == pytest.approx(np.full(4, 3**-0.5), abs=0.05) and np.abs(moves.mean(0)).max() < 0.1
    correlation = np.corrcoef(moves[:, 0], moves[:, 2])[0, 1]  # left and right side
    assert abs(correlation) < 0.15 if edges else correlation == pytest.approx(1)


def test_points_are_jittered_too(segmenter, image):
    samples = sample(segmenter, image, Prompt(points=((26, 20),), labels=(1,)), 4, torch_generator(0))
    assert samples.logits.std(0).max() > 0
