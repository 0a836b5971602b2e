import time

import numpy as np
import pytest

from sqp.core.errors import ConfigError
from sqp.metrics.overlap import dice
from sqp.prompts import otsu, otsu_mask


def scene(h=384, w=512, centre=(170, 280), radii=(70, 90), seed=0):
    """A dark lesion on noisy skin, (y, x)."""
    yy, xx = np.mgrid[:h, :w] + 0.5
    truth = ((yy - centre[0]) / radii[0]) ** 2 + ((xx - centre[1]) / radii[1]) ** 2 <= 1
    image = np.where(truth[..., None], (120, 80, 60), (215, 175, 160)).astype(float)
    image += np.random.default_rng(seed).normal(0, 8, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), truth


def box_of(image):
    (prompt,) = otsu(image)
    return prompt.prompter, np.array(prompt.box)


def test_finds_the_lesion_as_mask_box_and_point():
    image, truth = scene()
    assert dice(otsu_mask(image), truth) > 0.95
    name, box = box_of(image)
    assert name == "otsu" and np.abs(box - (190, 100, 370, 240)).max() <= 8
    (prompt,) = otsu(image, use="both")
    ((x, y),) = prompt.points
    assert prompt.labels == (1,) and np.hypot(x - 280, y - 170) < 40
    assert otsu(image, use="point")[0].box is None


def test_hair_and_vignette_are_not_the_lesion():
    image, truth = scene()
    for column in range(20, 500, 45):
        image[:, column : column + 3] = 20  # vertical hairs across everything
    yy, xx = np.mgrid[:384, :512]
    image[np.hypot(yy - 192, xx - 256) > 265] = 5  # black corners
    assert dice(otsu_mask(image), truth) > 0.9


def test_the_central_lesion_wins_over_a_larger_stain_at_the_border():
    image, truth = scene(centre=(192, 256), radii=(45, 45))
    image[:, :70] = (120, 80, 60)
    assert dice(otsu_mask(image), truth) > 0.9


@pytest.mark.parametrize("value", [0, 128, 255])
def test_flat_image_falls_back_to_the_central_half_and_says_so(value):
    image = np.full((100, 200, 3), value, np.uint8)
    name, box = box_of(image)
    assert name == "otsu_fallback" and box.tolist() == [50, 25, 150, 75]
    assert otsu_mask(image).shape == (100, 200) and not otsu_mask(image).any()


@pytest.mark.parametrize("size", [(1, 1), (3, 700), (17, 16)])
def test_odd_sizes_give_a_box_inside(size):
    image = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    (prompt,) = otsu(image)
    x0, y0, x1, y1 = prompt.box
    assert 0 <= x0 < x1 <= size[1] and 0 <= y0 < y1 <= size[0]


def test_the_result_does_not_depend_on_the_resolution():
    image, _ = scene()
    large = image.repeat(3, axis=0).repeat(3, axis=1)
    assert np.abs(box_of(large)[1] / 3 - box_of(image)[1]).max() <= 4


def test_a_36_megapixel_image_is_worked_on_as_a_small_copy():
    image = scene()[0].repeat(12, axis=0).repeat(12, axis=1)[:, :6000]
    start = time.process_time()
    otsu(image)
    assert time.process_time() - start < 2  # 0.2 s on an idle core; a full-size filter takes 10 s and more


def test_an_unknown_use_is_refused():
    with pytest.raises(ConfigError, match="box, point, both"):
        otsu(scene()[0], use="boxes")


def test_dark_corners_do_not_hide_a_faint_lesion():
    """They are left out of Otsu's threshold: with them it would part corners from skin, and the lesion is skin."""
    image, truth = scene()
    image[truth] = np.random.default_rng(1).normal((190, 150, 135), 3, (truth.sum(), 3))
    yy, xx = np.mgrid[:384, :512]
    image[np.hypot(yy - 192, xx - 256) > 250] = 5
    assert dice(otsu_mask(image), truth) > 0.9
