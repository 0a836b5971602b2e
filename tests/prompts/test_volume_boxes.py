import numpy as np
import pytest

from sqp.core.errors import CaseError
from sqp.core.seeding import numpy_generator
from sqp.core.volume import Geometry, Volume
from sqp.prompts.volume_boxes import VOLUME_PROMPTERS

VOLUME = Volume(np.zeros((6, 10, 12), np.float32), Geometry.plain((6, 10, 12)))


def test_the_box_of_all_slices_and_the_slices_that_it_goes_through():
    mask = np.zeros(VOLUME.shape, bool)
    mask[1, 2:4, 3:5] = mask[4, 5:8, 2:9] = True
    (prompt,) = VOLUME_PROMPTERS["mask_box"](VOLUME, mask=mask)
    assert prompt.box == (2, 2, 9, 8) and prompt.depth == (1, 5) and prompt.prompter == "mask_box"
    (drawn,) = VOLUME_PROMPTERS["truth_box"](VOLUME, truth=mask, generator=numpy_generator(0), jitter=0.2)
    assert drawn.depth == (1, 5) and drawn.box != prompt.box
    assert prompt.as_dict()["depth"] == (1, 5)


def test_nothing_to_point_at():
    nothing = np.zeros(VOLUME.shape, bool)
    assert VOLUME_PROMPTERS["mask_box"](VOLUME, mask=nothing) == []
    with pytest.raises(CaseError, match="ground truth is empty"):
        VOLUME_PROMPTERS["truth_box"](VOLUME, truth=nothing)
    (whole,) = VOLUME_PROMPTERS["whole_image"](VOLUME, truth=nothing)
    assert whole.box == (0, 0, 12, 10) and whole.depth == (0, 6)
