import numpy as np
import pytest

from sqp.core.errors import CaseError
from sqp.core.seeding import numpy_generator
from sqp.core.volume import Geometry, Volume
from sqp.prompts import PROMPTERS

VOLUME = Volume(np.zeros((6, 10, 12), np.float32), Geometry.plain((6, 10, 12)))


def test_the_box_of_all_slices_and_the_slices_that_it_goes_through():
    mask = np.zeros(VOLUME.shape, bool)
    mask[1, 2:4, 3:5] = mask[4, 5:8, 2:9] = True
    (prompt,) = PROMPTERS["mask_box"](VOLUME, mask=mask)
    assert prompt.box == (2, 2, 9, 8) and prompt.depth == (1, 5) and prompt.prompter == "mask_box"
    (drawn,) = PROMPTERS["truth_box"](VOLUME, truth=mask, generator=numpy_generator(0), jitter=0.2)
    assert drawn.depth == (1, 5) and drawn.box != prompt.box
    assert prompt.as_dict()["depth"] == (1, 5)


def test_nothing_to_point_at():
    nothing = np.zeros(VOLUME.shape, bool)
    assert PROMPTERS["mask_box"](VOLUME, mask=nothing) == []
    with pytest.raises(CaseError, match="ground truth is empty"):
        PROMPTERS["truth_box"](VOLUME, truth=nothing)
    (whole,) = PROMPTERS["whole_image"](VOLUME, truth=nothing)
    assert whole.box == (0, 0, 12, 10) and whole.depth == (0, 6)
