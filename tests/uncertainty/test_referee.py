"""What a referee says of a mask: numbers by hand, signs, and the conventions for empty masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sqp.metrics.overlap import dice
from sqp.uncertainty import Moments
from sqp.uncertainty.referee import REFEREE_SCORES, Answers, referee_scores, soft_agreement


def square(x0, x1, side=16):
    mask = torch.zeros(side, side, dtype=torch.bool)
    mask[4:12, x0:x1] = True
    return mask


def answers(*masks, own=None, sure=60.0):
    """Answers that are masks, as sure as `sure`; the answer to the mask's own box is `own`."""
    logits = torch.stack([torch.where(mask, sure, -sure) for mask in masks])
    return Answers(Moments.of(logits), torch.sigmoid(torch.where(masks[0] if own is None else own, sure, -sure)))


def test_sure_answers_give_the_dice_of_masks():
    lesion, off, half = square(4, 12), square(6, 14), square(4, 8)
    found = referee_scores(answers(lesion, off, own=half), lesion)
    between = dice(off.numpy(), lesion.numpy())
    assert found["referee_dice_max"] == pytest.approx(1) and found["referee_dice_min"] == pytest.approx(between)
    assert found["referee_dice"] == pytest.approx(2 * (48 + 8) / (64 + 64))  # p is 1 on 48 cells of M, 0.5 on 16, 16
    assert found["referee_self_dice"] == pytest.approx(dice(half.numpy(), lesion.numpy()))
    assert found["referee_agreement"] == pytest.approx(between)


@pytest.mark.parametrize(
    "name", [name for name in REFEREE_SCORES if name not in ("referee_agreement", "referee_confidence")]
)
def test_a_good_mask_scores_higher_than_a_bad_one(name):
    lesion = square(4, 12)
    told = answers(lesion, square(5, 12), square(4, 11), own=lesion, sure=3.0)
    good, bad = (REFEREE_SCORES[name](told, mask) for mask in (lesion, square(10, 16)))
    assert good > bad + 0.2


def test_answers_that_agree_score_higher_than_such_that_do_not():
    alike, apart = answers(square(4, 12), square(4, 12)), answers(square(4, 12), square(10, 16))
    of = REFEREE_SCORES["referee_agreement"]
    assert of(alike, square(4, 12)) == 1 > of(apart, square(4, 12))
    assert np.isnan(of(answers(square(4, 12)), square(4, 12)))


def test_a_referee_that_is_sure_of_itself_says_so_whatever_the_mask():
    of = REFEREE_SCORES["referee_confidence"]
    sure, unsure = (answers(square(4, 12), sure=logit) for logit in (8.0, 0.5))
    assert of(sure, square(4, 12)) == of(sure, square(10, 16)) > 0.95 > of(unsure, square(4, 12))


def test_empty_masks_as_in_the_convention_of_dice():
    empty = torch.zeros(16, 16, dtype=torch.bool)
    found = referee_scores(answers(square(4, 12), sure=2.0), empty)
    assert found["referee_dice"] == found["referee_dice_min"] == found["referee_self_dice"] == 0
    assert referee_scores(answers(empty, sure=2.0), empty)["referee_dice"] == 1
    assert 0 < referee_scores(answers(empty, sure=2.0), square(4, 12))["referee_dice"] < 0.3


@given(st.lists(st.floats(0, 1, width=32), min_size=9, max_size=9), st.lists(st.booleans(), min_size=9, max_size=9))
def test_soft_agreement_lies_within_0_and_1(values, cells):
    assert 0 <= soft_agreement(torch.tensor(values).view(3, 3), torch.tensor(cells).view(3, 3)) <= 1


def test_a_mask_on_another_grid_is_refused():
    with pytest.raises(ValueError, match="referee's grid"):
        referee_scores(answers(square(4, 12)), torch.zeros(8, 8, dtype=torch.bool))
