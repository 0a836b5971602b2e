import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sqp.core.errors import ConfigError
from sqp.core.frame import Frame
from sqp.core.seeding import torch_generator
from sqp.core.types import Prompt
from sqp.uncertainty import SAMPLERS, sample
from sqp.uncertainty.transforms import Chain, Dihedral, Intensity, Shrink, Zoom
from sqp.uncertainty.tta import draw_transforms, paper_transforms

DIHEDRAL = [Dihedral(turns, flip) for turns in range(4) for flip in (False, True)]


def frames(transform, size):
    """Target and source frame, one grid cell a pixel."""
    moved = transform.image(np.zeros((*size, 3), np.uint8)).shape[:2]
    return Frame(size, max(size)), Frame(moved, max(moved))


@pytest.mark.parametrize("transform", DIHEDRAL, ids=str)
@given(h=st.integers(1, 9), w=st.integers(1, 9))
@settings(deadline=None, max_examples=10)
def test_flips_and_turns_are_undone_exactly(transform, h, w):
    image = np.random.default_rng(h * 10 + w).integers(0, 255, (h, w, 3), dtype=np.uint8)
    target, source = frames(transform, (h, w))
    moved = torch.from_numpy(transform.image(image)[..., 0].astype(np.float32))
    back = transform.inverse(moved, source, target, torch.zeros(h, w))
    assert torch.equal(back, torch.from_numpy(image[..., 0].astype(np.float32)))


@pytest.mark.parametrize(
    "transform",
    [*DIHEDRAL, Chain((Dihedral(1, True), Intensity(0.9))), Zoom((2, 1, 9, 7)), Intensity(1.2)],
    ids=str,
)
def test_the_prompt_moves_with_the_image(transform):
    image = np.full((8, 11, 3), 100, np.uint8)
    image[2:5, 3:5] = 200
    prompt = transform.prompt(Prompt(box=(3, 2, 5, 5), points=((3.5, 2.5),), labels=(1,)), (8, 11))
    moved = transform.image(image)
    bright = moved[..., 0] > 150
    expected = np.zeros_like(bright)
    x0, y0, x1, y1 = (int(value) for value in prompt.box)
    expected[y0:y1, x0:x1] = True
    assert (bright == expected).all()
    image[2, 3] = 0
    ((x, y),) = prompt.points
    assert transform.image(image)[int(y), int(x)].max() == 0


@pytest.mark.parametrize("transform", [Shrink(0.5), Zoom((10, 4, 42, 28))], ids=str)
@pytest.mark.parametrize("size,stride", [((48, 64), 1), ((48, 64), 4), ((50, 70), 4)])
def test_scales_bring_a_linear_map_back_to_where_it_was(transform, size, stride):
    """Interpolation error: none but rounding for a map that is linear in x and y, away from the edges."""
    moved = transform.image(np.zeros((*size, 3), np.uint8)).shape[:2]
    target, source = Frame(size, 128, stride), Frame(moved, 128, stride)

    def ramp(frame, to_original):
        x = (torch.arange(frame.grid[1]) + 0.5) * frame.stride / frame.scale_xy[0]
        y = (torch.arange(frame.grid[0]) + 0.5) * frame.stride / frame.scale_xy[1]
        (ax, bx), (ay, by) = to_original
        return (ax * x + bx)[None] - 2 * (ay * y + by)[:, None]

    if isinstance(transform, Zoom):
        maps = (1, transform.window[0]), (1, transform.window[1])
    else:
        h, w, top, left = transform._place(size)
        maps = (size[1] / w, -left * size[1] / w), (size[0] / h, -top * size[0] / h)
    fallback = torch.full(target.grid, 777.0)
    back = transform.inverse(ramp(source, maps), source, target, fallback)
    known = (back != 777) & torch.from_numpy(np.pad(np.ones((target.grid[0] - 8, target.grid[1] - 8), bool), 4))
    truth = ramp(target, ((1, 0), (1, 0)))
    if isinstance(transform, Zoom):
        x0, y0, x1, y1 = transform.window
        x, y = truth * 0 + ramp(target, ((1, 0), (0, 0))), ramp(target, ((0, 0), (-0.5, 0)))
        assert torch.equal(back != 777, (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1))
        known &= (x >= x0 + 3) & (x <= x1 - 3) & (y >= y0 + 3) & (y <= y1 - 3)
    assert known.sum() > 20
    torch.testing.assert_close(back[known], truth[known], atol=2e-3, rtol=0)


def test_zoom_is_a_half_sized_window_around_the_prompt_that_never_cuts_it():
    assert Zoom.around(Prompt(box=(40, 40, 60, 60)), (100, 200)).window == (0, 25, 100, 75)
    assert Zoom.around(Prompt(points=((199, 1),), labels=(1,)), (100, 200)).window == (100, 0, 200, 50)
    assert Zoom.around(Prompt(), (100, 200)).window == (50, 25, 150, 75)
    x0, y0, x1, y1 = Zoom.around(Prompt(box=(50, 20, 110, 80)), (100, 200)).window
    assert x0 <= 44 and x1 >= 116 and y0 <= 14 and y1 >= 86 and (x1 - x0) == 2 * (y1 - y0)
    assert Zoom.around(Prompt(box=(0, 0, 200, 100)), (100, 200)).window == (0, 0, 200, 100)


def test_outside_of_the_zoom_a_sample_keeps_sample_0(segmenter, image, prompt):
    samples = sample(segmenter, image, prompt, 6, torch_generator(0), sampler="tta")
    zoom = draw_transforms(prompt, (48, 64), 5, torch_generator(0))[4]
    assert isinstance(zoom, Zoom)
    outside = torch.ones(12, 16, dtype=torch.bool)
    x0, y0, x1, y1 = zoom.window
    outside[int(y0 / 4) : int(np.ceil(y1 / 4)), int(x0 / 4) : int(np.ceil(x1 / 4))] = False
    assert outside.any() and torch.equal(samples.logits[5][outside], samples.logits[0][outside])
    assert not torch.equal(samples.logits[5], samples.logits[0])


@pytest.mark.parametrize("size", [(48, 64), (64, 48), (47, 61)])
def test_samples_of_an_equivariant_segmenter_agree_with_sample_0(size, segmenter, prompt):
    """The fake treats every pixel alike, so a transform brought back must land on the same place."""
    yy, xx = np.mgrid[: size[0], : size[1]]
    smooth = 150 + 60 * np.tanh((np.hypot(yy - 20, xx - 26) - 11) / 6)
    image = np.repeat(smooth[..., None], 3, 2).round().astype(np.uint8)
    samples = sample(segmenter, image, prompt, 8, torch_generator(0), sampler="tta")
    # 47 x 61: the last row of the grid is a quarter full, so flipped rows are interpolated (else 1.7)
    limit, inner = (1e-3, slice(None)) if size != (47, 61) else (0.3, slice(1, -1))
    for index in (1, 2, 3, 7):
        error = (samples.logits[index] - samples.logits[0])[inner, inner]
        assert error.abs().max() < limit
    p = torch.sigmoid(samples.logits)
    assert (p[4:6] - p[0]).abs().mean() < 0.06  # scale 0.5 and 2


def test_each_transform_costs_one_encoding_shared_by_prompts(segmenter, image):
    prompts = [Prompt(box=(10, 10, 30, 30)), Prompt(box=(12, 10, 30, 30))]
    SAMPLERS["tta"](segmenter, image, prompts, 5, [torch_generator(0, key) for key in "ab"])
    assert segmenter.encoded == 5 and segmenter.decoded == [2] * 5


def test_a_plain_network_needs_no_prompt(fake, image):
    samples = sample(fake(promptable=False), image, Prompt(), 12, torch_generator(0), sampler="tta")
    assert samples.logits.shape == (12, 12, 16)


def test_the_paper_s_set_is_every_pair_and_triple_the_single_ones_first(prompt):
    size = (48, 64)
    zoom, flip = Zoom.around(prompt, size, 2.0), Dihedral(0, True)
    made = paper_transforms(prompt, size, 29, torch_generator(0))
    assert made[:7] == [flip, Shrink(0.5), zoom, *(Intensity(f) for f in (0.8, 0.9, 1.1, 1.2))]
    assert len(set(made)) == 29 and all(isinstance(one, Chain) for one in made[7:])
    flipped = [one for one in made if one == flip or (isinstance(one, Chain) and flip in one.parts)]
    assert len(flipped) == 15 and Chain((zoom, flip, Intensity(1.2))) in made
    assert paper_transforms(prompt, size, 4, torch_generator(1)) == made[:4]  # nothing is drawn


def test_the_paper_s_samples_of_an_equivariant_segmenter_agree_with_sample_0(segmenter, prompt):
    yy, xx = np.mgrid[:48, :64]
    smooth = 150 + 40 * np.tanh((np.hypot(yy - 20, xx - 26) - 11) / 6)
    image = np.repeat(smooth[..., None], 3, 2).round().astype(np.uint8)
    samples = sample(segmenter, image, prompt, 30, torch_generator(0), sampler="tta", set="paper")
    plain = sample(segmenter, image, prompt, 8, torch_generator(0), sampler="tta", set="paper")
    assert torch.equal(plain.logits, samples.logits[:8]) and samples.logits.shape == (30, 12, 16)
    transforms = [Intensity(1.0), *paper_transforms(prompt, (48, 64), 29, torch_generator(0))]
    parts = [one.parts if isinstance(one, Chain) else (one,) for one in transforms]
    flip = Dihedral(0, True)
    for own, logits in zip(parts, samples.logits, strict=True):  # the flip itself costs nothing, whatever it is with
        if flip in own:
            without = next(k for k, other in enumerate(parts) if set(other) - {Intensity(1.0)} == set(own) - {flip})
            torch.testing.assert_close(logits, samples.logits[without], atol=0.06, rtol=0)


def test_a_set_that_is_too_small_or_unknown_is_refused(segmenter, image, prompt):
    with pytest.raises(ConfigError, match="n_samples is 31, but the set 'paper' has 30"):
        sample(segmenter, image, prompt, 31, torch_generator(0), sampler="tta", set="paper")
    with pytest.raises(ConfigError, match="did you mean 'paper'"):
        sample(segmenter, image, prompt, 3, torch_generator(0), sampler="tta", set="papr")
    assert segmenter.encoded == 0


def test_intensity_scales_and_clips():
    image = np.array([[[0, 100, 250]]], np.uint8)
    assert Intensity(1.2).image(image).ravel().tolist() == [0, 120, 255]
    assert Intensity(0.8).image(image).ravel().tolist() == [0, 80, 200]


def test_what_is_drawn_beyond_the_fixed_set_is_flipped_or_not(prompt):
    drawn = draw_transforms(prompt, (40, 50), 60, torch.Generator().manual_seed(0))[7:]
    assert {chain.parts[0].flip for chain in drawn} == {False, True}
    assert {chain.parts[0].turns for chain in drawn} == {0, 1, 2, 3}
