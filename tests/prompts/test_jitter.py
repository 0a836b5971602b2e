import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqp.core.types import Prompt
from sqp.prompts.jitter import jitter_prompt, n_draws

UNIT = st.floats(-1, 1)


@given(draws=st.tuples(UNIT, UNIT), ratio=st.floats(0.01, 0.3))
@settings(deadline=None, max_examples=25)
def test_whole_box_is_shifted_by_the_formula(draws, ratio):
    prompt = Prompt(box=(300, 400, 400, 600), prompter="otsu")
    x0, y0, x1, y1 = jitter_prompt(prompt, draws, ratio, (1000, 1000)).box
    assert (x0 - 300, y0 - 400) == pytest.approx((draws[0] * ratio * 100, draws[1] * ratio * 200))
    assert (x1 - x0, y1 - y0) == pytest.approx((100, 200))


def test_edges_move_by_themselves():
    prompt = Prompt(box=(300, 400, 400, 600))
    moved = jitter_prompt(prompt, (-1, 1, 1, 0.5), 0.1, (1000, 1000), edges=True)
    assert moved.box == pytest.approx((290, 420, 410, 610))
    assert n_draws(prompt) == 2 and n_draws(prompt, edges=True) == 4


def test_box_at_the_border_is_clipped_not_moved_out():
    moved = jitter_prompt(Prompt(box=(0, 0, 40, 40)), (-1, -1), 0.5, (100, 100))
    assert moved.box == (0, 0, 20, 20)


def test_points_move_by_the_short_side_and_keep_labels_and_prompter():
    prompt = Prompt(points=((50, 50), (199, 99)), labels=(1, 0), prompter="centre")
    moved = jitter_prompt(prompt, (1, -1, 1, 1), 0.1, (100, 200))
    assert moved.points == ((60, 40), (199.5, 99.5))
    assert (moved.labels, moved.prompter, moved.box) == ((1, 0), "centre", None)
    assert n_draws(prompt) == 4
