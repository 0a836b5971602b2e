"""UR-SAM by hand on small scenes, its degenerate cases, its rivals, and properties."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import rgb2gray

from sqp.core.errors import ConfigError
from sqp.uncertainty.rectify import COMPARATORS, RULES, class_threshold, high_uncertainty, luminance, rectify, ur_sam

OWN = {"printed": {"alpha_h": 1.2}, "midpoint": {}}
SEEDS = st.integers(0, 2**31)


@pytest.fixture
def scene():
    """A dark lesion of 6 x 6 (brightness 60) on skin (200); M is one column short on the left, one too wide right."""
    truth = torch.zeros(12, 12, dtype=torch.bool)
    truth[3:9, 3:9] = True
    mask, u = truth.roll(1, 1), torch.zeros(12, 12)
    u[3:9, 3] = u[3:9, 9] = 1.0  # what M leaves out, and what it takes too much
    x = torch.where(truth, 60.0, 200.0)
    return truth, mask, u, x


def random_scene(seed):
    g = torch.Generator().manual_seed(seed)
    return torch.rand(9, 9, generator=g) > 0.5, torch.rand(9, 9, generator=g), 255 * torch.rand(9, 9, generator=g)


def test_midpoint_puts_both_edges_right(scene):
    truth, mask, u, x = scene
    found = ur_sam(mask, u, x, box_area=49.0)
    assert torch.equal(found.mask, truth) and found.unchanged == ""
    assert found.threshold == pytest.approx((36 + 49) / 98) and int(found.uncertain.sum()) == 12


def test_midpoint_does_not_care_which_is_brighter(scene):
    truth, mask, u, x = scene
    assert torch.equal(ur_sam(mask, u, 255 - x, box_area=49.0).mask, truth)


def test_the_printed_rule_by_its_own_bounds(scene):
    truth, mask, u, x = scene
    found = ur_sam(mask, u, x, 49.0, "printed", alpha_h=1.2)  # I_t 60, I_b 200: -70 < x < 72
    assert torch.equal(found.mask, truth)
    assert torch.equal(ur_sam(mask, u, x, 49.0, "printed", alpha_h=4.0).mask, truth | mask)  # x < 240: all of M_unc
    assert torch.equal(ur_sam(mask, u, x, 49.0, "printed", alpha_h=0.5).mask, truth & mask)  # x < 30: none
    bright = 255 - x  # I_t 195, I_b 55: 70 < x < alpha 195
    assert torch.equal(ur_sam(mask, u, bright, 49.0, "printed", alpha_h=1.2).mask, truth)
    assert torch.equal(ur_sam(mask, u, bright, 49.0, "printed", alpha_h=0.9).mask, truth & mask)


def test_the_means_leave_the_uncertain_pixels_out(scene):
    truth, mask, u, x = scene
    noisy = x.clone()
    noisy[3:9, 9] = 131.0  # beyond half way of 60 and 200; were they in I_t, half way would lie at 136
    assert torch.equal(ur_sam(mask, u, noisy, 49.0).mask, truth)


@given(seed=SEEDS, box_area=st.floats(1, 200), rule=st.sampled_from(sorted(RULES)))
@settings(deadline=None, max_examples=50)
def test_a_pixel_by_pixel_loop_agrees_and_certain_pixels_never_move(seed, box_area, rule):
    mask, u, x = random_scene(seed)
    found = ur_sam(mask, u, x, box_area, rule, **OWN[rule])
    m, un, lum = mask.numpy(), u.double().numpy(), x.double().numpy()
    t = un.min() + (m.sum() + box_area) / (2 * box_area) * (un.max() - un.min())
    assert found.threshold == pytest.approx(t)
    unc = found.uncertain.numpy()
    assert (unc == (un > t)).all() and (found.mask.numpy() == m)[~unc].all()
    if found.unchanged:
        assert torch.equal(found.mask, mask)
        return
    i_t, i_b = lum[m & ~unc].mean(), lum[~m & ~unc].mean()
    for row, col in np.argwhere(unc):
        value = lum[row, col]
        by_rule = {
            "printed": (i_t - i_b) / 2 < value < 1.2 * i_t,
            "midpoint": abs(value - i_t) < abs(value - i_b),
        }
        assert bool(found.mask[row, col]) == by_rule[rule]


@given(seed=SEEDS, rule=st.sampled_from(sorted(RULES)), scale=st.sampled_from([1 / 255, 1.0, 10.0]))
@settings(deadline=None, max_examples=25)
def test_neither_the_range_of_x_nor_the_unit_of_u_matters(seed, rule, scale):
    mask, u, x = random_scene(seed)
    x = x.round()
    plain = ur_sam(mask, u, x, 60.0, rule, **OWN[rule]).mask
    assert torch.equal(plain, ur_sam(mask, u * math.log(2), x, 60.0, rule, **OWN[rule]).mask)
    moved = ur_sam(mask, u, x * scale, 60.0, rule, **OWN[rule]).mask
    assert int((moved != plain).sum()) <= 1  # a value right at a bound may round either way


@given(seed=SEEDS)
@settings(deadline=None, max_examples=25)
def test_a_mask_as_large_as_its_box_or_larger_stays(seed):
    mask, u, x = random_scene(seed)
    for box_area in (float(mask.sum()), 0.5 * float(mask.sum())):
        found = ur_sam(mask, u, x, box_area)
        assert torch.equal(found.mask, mask) and found.unchanged == "no uncertain pixel"
        assert found.threshold >= float(u.max())


def test_what_cannot_be_rectified_stays_and_says_why(scene):
    _, mask, u, x = scene
    empty, full = torch.zeros_like(mask), torch.ones_like(mask)
    cases = {
        "constant uncertainty": (mask, torch.full_like(u, 0.3), x, 49.0, None),
        "box without area": (mask, u, x, 0.0, None),
        "empty mask": (empty, u, x, 49.0, None),
        "no certain pixel of the target": (mask, mask.float(), x, 49.0, 0.5),
        "no certain pixel of the background": (mask, (~mask).float(), x, 49.0, 0.5),
        "no uncertain pixel": (mask, u, x, 49.0, 1.0),
        "target and background are equally bright": (mask, u, torch.full_like(x, 9.0), 49.0, None),
    }
    for reason, (m, unc, lum, area, threshold) in cases.items():
        found = ur_sam(m, unc, lum, area, threshold=threshold)
        assert found.unchanged == reason and torch.equal(found.mask, m)
    assert ur_sam(empty, torch.zeros_like(u), x, 49.0).unchanged == "empty mask"
    assert ur_sam(full, u, x, 144.0).unchanged == "no uncertain pixel"
    assert math.isnan(class_threshold(u, 10, 0.0)) and not high_uncertainty(u, math.nan).any()


@given(seed=SEEDS, threshold=st.floats(0, 1))
@settings(deadline=None, max_examples=25)
def test_the_rivals_are_set_operations(seed, threshold):
    mask, u, _ = random_scene(seed)
    unc = high_uncertainty(u, threshold)
    removed, added, both = (COMPARATORS[name](mask, unc) for name in ("unc_fpc", "unc_fnc", "unc_fpnc"))
    assert torch.equal(removed, mask & ~unc) and torch.equal(added, mask | unc)
    assert torch.equal(both, (removed & mask) | (added & ~mask))


def test_luminance_is_rec_601():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    found = luminance(image)
    expected = image.astype(float) @ [0.299, 0.587, 0.114]
    assert found.dtype == torch.float32 and np.abs(found.numpy() - expected).max() < 1e-4
    assert np.abs(found.numpy() / 255 - rgb2gray(image)).mean() < 0.1  # Rec. 709 weights are near, not the same
    assert float(luminance(np.full((1, 1, 3), 255, np.uint8))) == pytest.approx(255)


def test_an_unknown_rule_is_named(scene):
    _, mask, u, x = scene
    with pytest.raises(ConfigError, match="did you mean 'midpoint'"):
        rectify(mask, u > 0, x, "midpont")


def test_the_bounds_of_the_printed_rule_are_outside_of_it():
    x = torch.tensor([70.0, 70.5, 194.5, 195.0])  # I_t 195, I_b 55
    assert RULES["printed"](x, 195.0, 55.0, alpha_h=1.0).tolist() == [False, True, True, False]
