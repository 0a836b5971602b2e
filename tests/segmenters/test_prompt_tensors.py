from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sqp.core.errors import CaseError
from sqp.core.frame import Frame
from sqp.core.types import Prompt
from sqp.segmenters.sam import check_prompt, prompt_tensors


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (Prompt(), "neither a box nor a point"),
        (Prompt(box=(70, 0, 90, 10)), r"box \(70, 0, 90, 10\) is outside of the image of 64 x 48 pixels"),
        (Prompt(box=(0, -9, 10, 0)), "is outside of the image of 64 x 48"),
        (Prompt(box=(10, 10, 10, 20)), r"box \(10, 10, 10, 20\) has no area .*64 x 48"),
        (Prompt(box=(30, 10, 20, 20)), "has no area"),
        (Prompt(box=(float("nan"), 10, 20, 20)), "has no area"),
        (
            Prompt(points=((65, 5),), labels=(1,)),
            r"point \(65, 5\) is outside of the image of 64 x 48 pixels",
        ),
        (Prompt(points=((5, float("nan")),), labels=(1,)), "is outside"),
    ],
)
def test_prompt_that_cannot_be_used(prompt, message):
    with pytest.raises(CaseError, match=message):
        check_prompt(prompt, (48, 64))


@settings(deadline=None, max_examples=25)
@given(st.tuples(*[st.floats(-100, 100)] * 4))
def test_an_accepted_box_lies_on_the_image_and_is_left_alone_there(box):
    try:
        x0, y0, x1, y1 = check_prompt(Prompt(box=box), (48, 64)).box
    except CaseError:
        assert min(box[2], 64) <= max(box[0], 0) or min(box[3], 48) <= max(box[1], 0)
    else:
        assert 0 <= x0 < x1 <= 64 and 0 <= y0 < y1 <= 48
        assert check_prompt(Prompt(box=(x0, y0, x1, y1)), (48, 64)).box == (x0, y0, x1, y1)


def test_tensors_are_in_input_pixels():
    frame = Frame((48, 64), size=128)
    prompts = [Prompt(box=(1, 2, 3, 4), points=((5, 6), (7, 8)), labels=(1, 0)) for _ in range(3)]
    (points, labels), boxes = prompt_tensors(prompts, frame, torch.device("cpu"))
    assert points.tolist() == [[[10, 12], [14, 16]]] * 3
    assert labels.tolist() == [[1, 0]] * 3
    assert boxes.tolist() == [[2, 4, 6, 8]] * 3


def test_what_is_absent_is_none():
    frame = Frame((48, 64), size=128)
    assert prompt_tensors([Prompt(box=(1, 2, 3, 4))], frame, torch.device("cpu"))[0] is None
    assert prompt_tensors([Prompt(points=((1, 2),), labels=(1,))], frame, torch.device("cpu"))[1] is None
