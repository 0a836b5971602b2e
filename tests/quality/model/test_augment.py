from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sqp.quality.model.augment import Augmentation, dihedral


def planes(n: int = 6, c: int = 5, s: int = 16, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, c, s, s, generator=torch.Generator().manual_seed(seed))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.lists(st.integers(0, 7), min_size=1, max_size=8), st.integers(0, 1000))
@settings(deadline=None, max_examples=25)
def test_symmetries_have_exact_inverses(turns: list[int], seed: int) -> None:
    x = planes(len(turns), seed=seed)
    turn = torch.tensor(turns)
    inverse = torch.where(turn >= 4, turn, (4 - turn) % 4)  # a flip followed by a turn undoes itself
    assert torch.equal(dihedral(dihedral(x, turn), inverse), x)


def test_the_eight_symmetries_differ() -> None:
    x = planes(1).expand(8, -1, -1, -1)
    assert len({out.numpy().tobytes() for out in dihedral(x, torch.arange(8))}) == 8


def test_all_planes_move_together() -> None:
    x = planes(c=1).repeat(1, 5, 1, 1)
    out = Augmentation(affine=1.0)(x, generator())
    assert torch.equal(out, out[:, :1].expand_as(out))
    assert not torch.equal(out, x)


def test_colour_touches_the_image_alone() -> None:
    x = planes(c=5)
    augment = Augmentation(image=(1, 2, 3), affine=0.0)
    plain = Augmentation(affine=0.0)(x, generator(3))
    coloured = augment(x, generator(3))
    assert torch.equal(coloured[:, [0, 4]], plain[:, [0, 4]])
    assert not torch.allclose(coloured[:, 1:4], plain[:, 1:4])
    assert coloured.min() >= 0 and coloured.max() <= 1


def test_depends_on_the_generator_alone() -> None:
    augment = Augmentation(image=(0, 1, 2))
    one, two, other = (augment(planes(), generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, two) and not torch.equal(one, other)


def test_the_affine_move_is_mild() -> None:
    y, x = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="ij")
    disc = ((x**2 + y**2) < 0.4).float().expand(32, 1, 64, 64)
    moved = Augmentation(affine=1.0)(disc, generator())
    area = moved.mean(dim=(1, 2, 3)) / disc[0].mean()
    assert area.min() > 0.8 and area.max() < 1.25


def test_the_input_is_left_alone() -> None:
    x = planes()
    before = x.clone()
    Augmentation(image=(0, 1, 2), affine=1.0)(x, generator())
    assert torch.equal(x, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_keeps_shape_and_dtype(dtype: torch.dtype) -> None:
    out = Augmentation(image=(0, 1, 2), affine=1.0)(planes().to(dtype), generator())
    assert out.shape == (6, 5, 16, 16) and out.dtype == dtype


def test_cameras_change_the_image_alone_and_come_again_from_their_seed():
    augment = Augmentation(image=(0, 1, 2), affine=0.0, cameras=True)
    one, two, other = (augment(planes(), generator(seed)) for seed in (1, 1, 2))
    plain = Augmentation(image=(), affine=0.0)(planes(), generator(1))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert torch.equal(one[:, 3:], plain[:, 3:])
    assert not torch.equal(one[:, :3], plain[:, :3])


@pytest.mark.parametrize("turn", range(8))
def test_the_turns_of_a_volume_are_its_eight_flips(turn: int) -> None:
    planes = torch.rand(1, 2, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    moved = dihedral(planes, torch.tensor([turn]))
    axes = [axis for bit, axis in enumerate((4, 3, 2)) if turn >> bit & 1]
    assert torch.equal(moved, planes.flip(axes)) and torch.equal(dihedral(moved, torch.tensor([turn])), planes)


def test_volumes_are_flipped_alone_and_all_planes_together() -> None:
    x = torch.rand(24, 1, 4, 4, 4, generator=generator()).repeat(1, 3, 1, 1, 1)
    out = Augmentation(image=(0,), affine=1.0)(x, generator())
    flips = torch.stack([dihedral(x, torch.full((24,), turn)) for turn in range(8)])
    same = (flips == out).flatten(2).all(dim=2)
    assert same.any(dim=0).all() and (same.sum(dim=1) > 0).sum() > 4
