import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.transforms import Resize

from sqp.core.frame import MOST_CELLS, Frame, SlicesFrame, VolumeFrame, frame_from, numbers_of

SIZE = st.tuples(*[st.integers(1, 7)] * 3)


def test_the_grid_follows_the_spacing_of_each_axis():
    assert VolumeFrame.at_spacing((10, 14, 12), (3.0, 1.0, 0.75), (1.5, 2.0, 0.75)).grid == (20, 7, 12)
    assert VolumeFrame.at_spacing((1, 2, 2), (1.0, 1.0, 1.0), (9.0, 0, 1.0)).grid == (1, 2, 2)


@given(SIZE, SIZE)
def test_a_constant_stays_one_and_a_frame_of_the_same_size_changes_nothing(original, grid):
    frame = VolumeFrame(original, grid, grid)
    whole = np.full(original, 3.5, np.float32)
    assert frame.image_to_input(whole).shape == grid
    assert torch.allclose(frame.image_to_input(whole), torch.tensor(3.5))
    assert torch.allclose(frame.grid_to_image(torch.full(grid, 2.0)), torch.tensor(2.0))
    assert frame.mask_to_grid(np.ones(original, bool)).all()
    noise = np.random.default_rng(0).random(original).astype(np.float32)
    same = VolumeFrame(original, original, original)
    assert np.array_equal(same.image_to_input(noise), noise) and np.array_equal(same.image_to_grid(noise), noise)
    assert torch.equal(same.grid_to_image(torch.from_numpy(noise)), torch.from_numpy(noise))


def test_enlarging_is_monai_s_trilinear():
    small = torch.rand(4, 5, 6, generator=torch.Generator().manual_seed(0))
    frame = VolumeFrame((4, 5, 6), (7, 10, 9), (7, 10, 9))
    monai = Resize((7, 10, 9), mode="trilinear", align_corners=False)(small[None])[0].as_tensor()
    assert torch.allclose(frame.image_to_input(small.numpy()), monai, atol=1e-6)
    assert torch.allclose(VolumeFrame((7, 10, 9), (4, 5, 6), (4, 5, 6)).grid_to_image(small), monai, atol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_flip_before_is_a_flip_after(axis):
    voxels = np.random.default_rng(0).random((6, 7, 9)).astype(np.float32)
    frame = VolumeFrame((6, 7, 9), (4, 10, 5), (4, 10, 5))
    flipped = frame.image_to_input(np.flip(voxels, axis).copy())
    assert torch.allclose(flipped.flip(axis), frame.image_to_input(voxels), atol=1e-6)


def test_slices_are_each_the_frame_of_an_image():
    frame = SlicesFrame(3, Frame((48, 64), 32, 4))
    assert frame.original == (3, 48, 64) and frame.grid == (3, 6, 8)
    maps = torch.rand(2, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    at_image = frame.grid_to_image(maps)
    assert at_image.shape == (2, 3, 48, 64)
    assert torch.equal(at_image[1, 2], frame.plane.grid_to_image(maps[1, 2]))
    mask = np.random.default_rng(0).random((3, 48, 64)) < 0.5
    assert torch.equal(frame.mask_to_grid(mask)[1], frame.plane.mask_to_grid(mask[1]))


def test_the_grid_of_a_huge_volume_is_coarser_than_what_the_network_sees():
    frame = VolumeFrame.at_spacing((300, 512, 512), (1.0, 0.8, 0.8), (0, 0, 0))
    assert frame.working == (300, 512, 512) and MOST_CELLS * 0.97 < np.prod(frame.grid) <= MOST_CELLS
    small = VolumeFrame((6, 8, 8), (6, 8, 8), (3, 4, 4))
    logits = torch.rand(1, 1, 6, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(small.output_to_grid(logits), torch.nn.functional.avg_pool3d(logits, 2))


def test_a_record_leads_back_to_the_frame_of_its_maps():
    plane = Frame((33, 65), 64, 4)
    for frame in (plane, SlicesFrame(5, plane), VolumeFrame((5, 20, 30), (8, 10, 15), (4, 5, 7))):
        found = frame_from(numbers_of(frame), frame.original, frame.grid)
        x = torch.rand(frame.grid)
        assert torch.equal(found.grid_to_image(x), frame.grid_to_image(x))
    with pytest.raises(ValueError, match="cells where its frame has"):
        frame_from([64, 4], (33, 65), (5, 5))
