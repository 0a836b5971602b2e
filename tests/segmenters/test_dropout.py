"""Dropout that is injected: where, how much, and that nothing of it stays."""

import pytest
import torch
from tiny_sam import tiny_sam
from torch import nn

from sqp.core.errors import ConfigError
from sqp.core.seeding import torch_generator
from sqp.segmenters.dropout import SITES, find_sites, injected_dropout, network_of
from sqp.segmenters.sam import PromptableSegmenter, standardise
from sqp.segmenters.tinyvit import network


def state_of(network):
    """What a context must put back: hooks, modes, patched forwards, weights."""
    hooks = {name: (len(m._forward_hooks), len(m._forward_pre_hooks)) for name, m in network.named_modules()}
    modes = {name: (m.training, "forward" in m.__dict__) for name, m in network.named_modules()}
    return hooks, modes, {name: value.clone() for name, value in network.state_dict().items()}


def assert_same(before, after):
    assert before[:2] == after[:2] and all(torch.equal(before[2][name], after[2][name]) for name in before[2])


@pytest.fixture
def plain():
    layers = [nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 1, 1)]
    return nn.Sequential(*layers)


def test_the_sites_of_each_family(plain):
    for sam in (tiny_sam(), network(full_resolution_stem=True)):
        assert list(find_sites(sam)) == ["decoder", "decoder_image", "neck", "encoder"]
    assert find_sites(plain) == {"convolutions": ["0"]}
    own = nn.Sequential(nn.Dropout2d(0.3), nn.Dropout(0.0), nn.Conv2d(3, 1, 1))
    assert find_sites(own) == {"own": ["0"]}


def test_every_decoder_site_is_in_the_decoder_and_the_encoder_s_in_the_encoder():
    sites = find_sites(tiny_sam())
    # a layer: act and lin2 of the MLP, 2 attentions; the last attention; 2 hidden layers of 4 hypernetworks
    assert len(sites["decoder"]) == 2 * 4 + 1 + 8 and len(sites["decoder_image"]) == 2
    with injected_dropout(tiny_sam(), ["decoder", "decoder_image"]) as dropout:
        assert not dropout.in_encoder
    for site in ("neck", "encoder"):
        with injected_dropout(tiny_sam(), [site]) as dropout:
            assert dropout.in_encoder


@pytest.mark.parametrize("rate", [0.01, 0.3])
def test_elements_vanish_at_the_rate_and_the_mean_stays(rate):
    network = nn.Sequential(nn.Conv2d(1, 50, 1), nn.Identity(), nn.Conv2d(50, 1, 1))
    nn.init.constant_(network[0].weight, 1), nn.init.zeros_(network[0].bias)
    kept = []
    network[1].register_forward_hook(lambda _module, _args, output: kept.append(output))
    with injected_dropout(network, ["convolutions"], rate) as dropout, dropout.drawing([torch_generator(0)]):
        network(torch.ones(1, 1, 40, 40))
    (values,) = kept  # 80,000 Bernoulli draws: 5 standard errors
    assert float((values == 0).float().mean()) == pytest.approx(rate, abs=5 * (rate * (1 - rate) / 80_000) ** 0.5)
    torch.testing.assert_close(values[values > 0].unique(), torch.tensor([1 / (1 - rate)]))


@pytest.mark.parametrize(("kind", "shape"), [(nn.Dropout2d, (2, 40, 5, 6)), (nn.Dropout3d, (2, 40, 3, 4, 5))])
def test_own_layers_drop_at_their_own_rate_whole_channels_where_they_did(kind, shape):
    network = nn.Sequential(kind(0.5))
    generators = [torch_generator(0, key) for key in "ab"]
    with injected_dropout(network, p=0.01) as dropout, dropout.drawing(generators):
        out = network(torch.ones(shape)).flatten(2)
    assert torch.equal(out, out[..., :1].expand_as(out)) and set(out.unique().tolist()) == {0, 2}
    assert not torch.equal(out[0], out[1])


def test_a_row_draws_from_its_own_generator_only(plain):
    x = torch.rand(1, 3, 8, 8).expand(3, -1, -1, -1)
    with injected_dropout(plain, p=0.3) as dropout:
        with dropout.drawing([torch_generator(0, key) for key in "abc"]):
            together = plain(x)
        with dropout.drawing([torch_generator(0, "b")]):
            alone = plain(x[:1])
        torch.testing.assert_close(together[1:2], alone)
        state = torch.random.get_rng_state()
        undisturbed = plain(x)
    torch.testing.assert_close(undisturbed[0], undisturbed[1])  # where a row lies in a batch may move its last bit
    assert not torch.allclose(together[0], together[2])
    assert torch.equal(torch.random.get_rng_state(), state)  # nothing comes from the global generator


@pytest.mark.parametrize("fails", [False, True])
def test_the_network_is_put_back_as_it_was(plain, fails):
    plain[0].eval()  # a mixture of modes
    statistics = plain[1].running_mean.clone()
    before = state_of(plain)
    try:
        with injected_dropout(plain, p=0.5) as dropout, dropout.drawing([torch_generator(0)]):
            assert not any(module.training for module in plain.modules())
            plain(torch.rand(1, 3, 4, 4))
            if fails:
                raise RuntimeError
    except RuntimeError:
        assert fails
    assert_same(before, state_of(plain))
    assert torch.equal(plain[1].running_mean, statistics)


@pytest.mark.parametrize(
    ("sites", "p", "message"),
    [
        (["encoder"], 0.01, "no site 'encoder'; it has: convolutions"),
        (["everywhere"], 0.01, "no site 'everywhere'; it has: convolutions"),
        ([], 0.01, "no site is given; this network has: convolutions"),
        (["auto"], 0.0, "p is 0.0"),
        (["auto"], 1.0, "p is 1.0"),
        (["auto"], float("nan"), "p is nan"),
    ],
)
def test_what_cannot_be_is_refused(plain, sites, p, message):
    before = state_of(plain)
    with pytest.raises(ConfigError, match=message), injected_dropout(plain, sites, p):
        pass
    assert_same(before, state_of(plain))


def test_a_network_without_any_site_and_a_segmenter_without_a_network():
    with pytest.raises(ConfigError, match="no site 'auto'; it has: none"), injected_dropout(nn.Linear(2, 2)):
        pass

    class Other:
        name = "other"

    with pytest.raises(ConfigError, match="'other' is no torch network"):
        network_of(Other())
    segmenter = PromptableSegmenter("tiny", tiny_sam(), standardise)
    assert network_of(segmenter) is segmenter.sam


@pytest.mark.parametrize("site", [site for site in SITES if site not in ("own", "convolutions")])
def test_every_site_of_sam_changes_the_output(site):
    sam = tiny_sam()
    pixels = torch.rand(1, 3, 64, 64, generator=torch_generator(0))

    def run():
        with torch.no_grad():
            sparse, dense = sam.prompt_encoder(None, torch.tensor([[5.0, 5, 40, 40]]), None)
            image = sam.image_encoder(pixels)
            return sam.mask_decoder(image, sam.prompt_encoder.get_dense_pe(), sparse, dense, True)[0]

    undisturbed = run()
    with injected_dropout(sam, [site], 0.2) as dropout:
        assert torch.equal(run(), undisturbed)
        with dropout.drawing([torch_generator(0, "x")]):
            assert not torch.equal(run(), undisturbed)
    assert torch.equal(run(), undisturbed)
