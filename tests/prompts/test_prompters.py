"""The contract over the table, and the prompters that look at nothing, at the truth, or at a mask."""

import numpy as np
import pytest
from tiny_prompters import options_of

from sqp.core.errors import CaseError, ConfigError
from sqp.core.seeding import numpy_generator
from sqp.core.volume import Geometry, Volume
from sqp.prompts import PROMPTERS, SIMULATED_MANUAL, prompter_for


def lesion(h=90, w=120, centre=(40, 70), radii=(15, 25)):
    """Image and truth of one dark ellipse; centre and radii as (y, x)."""
    yy, xx = np.mgrid[:h, :w] + 0.5
    truth = ((yy - centre[0]) / radii[0]) ** 2 + ((xx - centre[1]) / radii[1]) ** 2 <= 1
    image = np.full((h, w, 3), (220, 180, 160), np.uint8)
    image[truth] = (110, 70, 60)
    return image, truth


OF_IMAGES = sorted(name for name, prompter in PROMPTERS.items() if prompter.images)
OF_VOLUMES = sorted(name for name, prompter in PROMPTERS.items() if prompter.volumes and not prompter.fit)


def test_what_a_prompter_works_on_and_its_options():
    assert prompter_for("localizer", volumes=False) is prompter_for("localizer", volumes=True)
    assert PROMPTERS["localizer"].options(volumes=False).keys() - PROMPTERS["localizer"].options(True) == {"flips"}
    assert PROMPTERS["truth_box"].options(volumes=True)["perturbation"] == 0.0
    with pytest.raises(ConfigError, match=r"unknown prompter of volumes 'otsu'.* known: whole_image, truth_box"):
        prompter_for("otsu", volumes=True)
    with pytest.raises(ConfigError, match="'landmarks' works on volumes, and these cases are images"):
        prompter_for("landmarks", volumes=False)
    with pytest.raises(ConfigError, match="works on volumes alone"):
        PROMPTERS["landmarks"](lesion()[0])


@pytest.mark.parametrize("name", OF_VOLUMES)
def test_each_prompter_of_volumes_answers_inside_the_volume(name):
    mask = np.zeros((6, 10, 12), bool)
    mask[1:4, 2:5, 3:9] = True
    volume = Volume(np.zeros(mask.shape, np.float32), Geometry.plain(mask.shape))
    (prompt,) = PROMPTERS[name](volume, truth=mask, mask=mask, generator=numpy_generator(0))
    x0, y0, x1, y1 = prompt.box
    assert prompt.prompter == name and 0 <= x0 < x1 <= 12 and 0 <= y0 < y1 <= 10
    assert 0 <= prompt.depth[0] < prompt.depth[1] <= 6


@pytest.mark.parametrize("name", OF_IMAGES)
def test_each_prompter_answers_inside_the_image_under_its_name(name, tmp_path):
    image, truth = lesion()
    options = options_of(name, tmp_path)
    prompts = PROMPTERS[name](image, truth=truth, mask=truth, generator=numpy_generator(0, "a"), **options)
    assert prompts
    for prompt in prompts:
        assert prompt.prompter == name
        assert prompt.box is not None or prompt.points
        if prompt.box is not None:
            x0, y0, x1, y1 = prompt.box
            assert 0 <= x0 < x1 <= 120 and 0 <= y0 < y1 <= 90
        assert all(0 <= x <= 120 and 0 <= y <= 90 for x, y in prompt.points)


@pytest.mark.parametrize("name", sorted(set(OF_IMAGES) - SIMULATED_MANUAL))
def test_prompters_that_are_not_named_simulated_manual_do_not_see_the_truth(name, tmp_path):
    image, truth = lesion()
    options = options_of(name, tmp_path)
    seen, unseen = (
        PROMPTERS[name](image, truth=shown, mask=~truth, generator=numpy_generator(0), **options)
        for shown in (truth, np.zeros_like(truth))
    )
    assert seen == unseen


@pytest.mark.parametrize("name", sorted(SIMULATED_MANUAL))
def test_truth_prompters_refuse_a_missing_or_empty_or_unlike_truth(name):
    image, truth = lesion()
    with pytest.raises(CaseError, match="needs a ground truth"):
        PROMPTERS[name](image)
    with pytest.raises(CaseError, match="empty"):
        PROMPTERS[name](image, truth=np.zeros_like(truth))
    with pytest.raises(CaseError, match=r"45 x 120 .* 90 x 120"):
        PROMPTERS[name](image, truth=truth[::2])


@pytest.mark.parametrize("name", sorted(SIMULATED_MANUAL))
def test_truth_jitter_follows_the_generator_and_its_ratio(name):
    image, truth = lesion()
    (still,) = PROMPTERS[name](image, truth=truth)
    (first,), (again,), (other,) = (
        PROMPTERS[name](image, truth=truth, generator=numpy_generator(0, key), jitter=0.1) for key in "aab"
    )
    assert first == again != other
    moved = np.ravel(first.box or first.points) - np.ravel(still.box or still.points)
    limits = np.tile([0.1 * 50, 0.1 * 30], len(moved) // 2)
    assert (np.abs(moved) <= limits + 1e-9).all() and np.abs(moved).max() > 0
    with pytest.raises(ValueError, match="Generator"):
        PROMPTERS[name](image, truth=truth, jitter=0.1)


def test_centre_and_whole_image_and_boxes_by_hand():
    image, truth = lesion()
    assert PROMPTERS["centre"](image)[0].points == ((60, 45),)
    assert PROMPTERS["whole_image"](image)[0].box == (0, 0, 120, 90)
    assert PROMPTERS["truth_box"](image, truth=truth)[0].box == (45, 25, 95, 55)
    assert PROMPTERS["truth_box"](image, truth=truth, margin=0.1)[0].box == (40, 22, 100, 58)
    assert PROMPTERS["mask_box"](image, mask=truth, margin=0.1)[0].box == (40, 22, 100, 58)
    assert PROMPTERS["truth_centroid"](image, truth=truth)[0].points[0] == pytest.approx((70, 40))


def test_centroid_of_a_ring_is_moved_into_the_ring():
    image, truth = lesion(radii=(30, 30))
    ring = truth & ~lesion(radii=(15, 15))[1]
    ((x, y),) = PROMPTERS["truth_centroid"](image, truth=ring)[0].points
    assert ring[int(y), int(x)]


def test_mask_box_of_an_empty_mask_is_no_prompt_and_of_no_mask_an_error():
    image, truth = lesion()
    assert PROMPTERS["mask_box"](image, mask=np.zeros_like(truth)) == []
    with pytest.raises(CaseError, match="needs a mask"):
        PROMPTERS["mask_box"](image)


def test_a_box_drawn_by_hand_grows_by_up_to_20_pixels_of_1024():
    image, truth = lesion()
    most = 20 * 120 / 1024  # of this image, 120 pixels wide
    tight = np.array(PROMPTERS["truth_box"](image, truth=truth)[0].box)
    boxes = [
        PROMPTERS["truth_box"](image, truth=truth, generator=numpy_generator(0, i), perturbation=20)[0].box
        for i in range(300)
    ]
    moves = (np.array(boxes) - tight) * (-1, -1, 1, 1)  # outwards
    assert moves.min() >= 0 and moves.max() <= most and moves.max() > 0.95 * most
    assert moves.mean(0) == pytest.approx(np.full(4, most / 2), rel=0.1)
    assert np.abs(np.corrcoef(moves.T) - np.eye(4)).max() < 0.2  # each side by itself
    with pytest.raises(ConfigError, match="perturbation is -1"):
        PROMPTERS["truth_box"](image, truth=truth, generator=numpy_generator(0), perturbation=-1)
    with pytest.raises(ValueError, match="Generator"):
        PROMPTERS["truth_box"](image, truth=truth, perturbation=20)
