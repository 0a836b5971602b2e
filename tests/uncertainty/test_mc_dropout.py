"""MC dropout: what is encoded and decoded, that samples stand alone, and what it refuses."""

import pytest
import torch
from fakes import FakeSegmenter
from tiny_sam import tiny_sam
from torch import nn

from sqp.core.errors import ConfigError
from sqp.core.seeding import torch_generator
from sqp.core.types import Prompt
from sqp.segmenters.sam import PromptableSegmenter, standardise
from sqp.uncertainty import sample, sample_many
from sqp.uncertainty.mc_dropout import mc_dropout


class Counted(PromptableSegmenter):
    """A tiny SAM that counts what it encodes and how many prompts each call decodes."""

    def __init__(self, **options):
        super().__init__("tiny", tiny_sam(), standardise, multimask=False, **options)
        self.encoded, self.decoded = 0, []

    def encode(self, image):
        self.encoded += 1
        return super().encode(image)

    def decode(self, embedding, prompts):
        self.decoded.append(len(prompts))
        return super().decode(embedding, prompts)


def run(segmenter, image, prompt, n=30, **options):
    return sample(segmenter, image, prompt, n, torch_generator(0, "m"), sampler="mc_dropout", **options)


def test_thirty_samples_of_the_decoder_encode_once_in_batches(image, prompt):
    segmenter = Counted(chunk=8)
    samples = run(segmenter, image, prompt)
    assert segmenter.encoded == 1 and segmenter.decoded == [1, 8, 8, 8, 5]
    assert len({tuple(row.flatten().tolist()) for row in samples.logits}) == 30
    assert samples.iou.shape == (30,) and samples.token.shape == (32,)


@pytest.mark.parametrize("sites", [["encoder"], ["decoder", "neck"]])
def test_sites_in_the_encoder_encode_for_every_sample(image, prompt, sites):
    segmenter = Counted()
    samples = run(segmenter, image, prompt, 5, sites=sites, p=0.1)
    assert segmenter.encoded == 5 and segmenter.decoded == [1] * 5
    assert len({tuple(row.flatten().tolist()) for row in samples.logits}) == 5


@pytest.mark.parametrize("sites", [["decoder"], ["decoder", "decoder_image"]])
def test_samples_do_not_depend_on_how_many_are_decoded_together(image, prompt, sites):
    one, four = (run(Counted(chunk=chunk), image, prompt, 7, sites=sites, p=0.1) for chunk in (1, 4))
    torch.testing.assert_close(one.logits, four.logits, atol=1e-5, rtol=1e-5)
    fewer = run(Counted(), image, prompt, 3, sites=sites, p=0.1)
    torch.testing.assert_close(one.logits[:3], fewer.logits, atol=1e-5, rtol=1e-5)


def test_a_prompt_of_sam_is_sampled_alike_alone_and_among_others(image, prompt):
    prompts = [Prompt(box=(5, 5, 50, 40)), prompt]
    generators = [torch_generator(0, "l"), torch_generator(0, "m")]
    many = sample_many(Counted(), image, prompts, 4, generators, sampler="mc_dropout", p=0.1)
    torch.testing.assert_close(many[1].logits, run(Counted(), image, prompt, 4, p=0.1).logits, atol=1e-5, rtol=1e-5)


def test_the_segmenter_is_what_it_was_before(image, prompt):
    segmenter = Counted()
    embedding = segmenter.encode(image)
    before = segmenter.decode(embedding, [prompt])
    run(segmenter, image, prompt, 3)
    assert torch.equal(segmenter.decode(embedding, [prompt]).logits, before.logits)
    hooked = [m for m in segmenter.sam.modules() if m._forward_hooks or m._forward_pre_hooks or "forward" in m.__dict__]
    assert hooked == [] and not any(m.training for m in segmenter.sam.modules())


def test_a_larger_rate_spreads_more(image, prompt):
    little, much = (run(Counted(), image, prompt, p=p).logits.std(0).mean() for p in (0.01, 0.2))
    assert 0 < little < much / 2


def test_a_plain_network_runs_once_a_sample_with_its_own_dropout(image):
    segmenter = FakeSegmenter(promptable=False)
    samples = run(segmenter, image, Prompt(), 6, p=0.01)
    assert segmenter.encoded == 1 and segmenter.decoded == [1] * 6
    before, after = samples.logits[0] - 1, samples.logits[1:] - 1  # the fake's best candidate adds 1 to its network's
    gone = after.abs() < 1e-6
    torch.testing.assert_close(after[~gone], (1.25 * before).expand_as(after)[~gone])
    assert 0.15 < float(gone.float().mean()) < 0.25  # 960 draws at the layer's own rate 0.2: 4 standard errors


def test_samples_that_are_identical_are_refused_with_the_sites_that_exist(image, prompt):
    class Deaf(FakeSegmenter):
        """Its network has sites, but its output does not go through them."""

        def __init__(self):
            super().__init__()
            self.idle = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1))

        def decode(self, embedding, prompts):
            active, self.network = self.network, nn.Identity()
            try:
                return super().decode(embedding, prompts)
            finally:
                self.network = active

    with pytest.raises(ConfigError, match=r"changes nothing in 'fake' with p = 0.01 at auto.*it has: own"):
        run(Deaf(), image, prompt, 3)
    assert len(run(Deaf(), image, prompt, 1).logits) == 1  # one sample has nothing to differ from


def test_wrong_requests_are_refused_before_anything_is_encoded(image, prompt):
    segmenter = Counted()
    for options, message in (
        ({"sites": ["convolutions"]}, "no site 'convolutions'; it has: decoder, decoder_image, neck, encoder"),
        ({"p": 1.5}, "p is 1.5"),
        ({"n": 0}, "n_samples is 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            mc_dropout(segmenter, image, [prompt], **{"n": 3, "generators": [torch_generator(0)], **options})
    assert segmenter.encoded == 0
