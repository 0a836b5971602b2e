from __future__ import annotations

import numpy as np
import pytest
import surface_distance as deepmind
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance
from scipy.ndimage import binary_erosion, distance_transform_edt, gaussian_filter
from tiny_volumes import ellipsoid

from sqp.metrics.segmentation import empty_note, surface_distances

EMPTY = np.zeros((12, 12), bool)
PAIRS = st.sampled_from([(6, 5), (4, 3, 5)]).flatmap(lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape)))


def box(*sides: tuple[int, int], shape: tuple[int, ...] = (12, 12)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*side) for side in sides)] = True
    return mask


def blobs(seed: int) -> np.ndarray:
    """Two smooth masks `[2, 60, 70]` that touch the border."""
    return gaussian_filter(np.random.default_rng(seed).normal(size=(2, 60, 70)), (0, 8, 8)) > 0


def by_distance_transform(p: np.ndarray, t: np.ndarray, spacing: tuple[float, ...]) -> tuple[float, float, float]:
    """Another way to the same numbers: outlines by erosion, distances by scipy's exact transform."""
    outlines = [m & ~binary_erosion(m, border_value=0) for m in (p, t)]
    there, back = (distance_transform_edt(~b, sampling=spacing)[a] for a, b in (outlines, outlines[::-1]))
    hd95 = max(np.quantile(there, 0.95), np.quantile(back, 0.95))
    return max(there.max(), back.max()), hd95, (there.mean() + back.mean()) / 2


@pytest.mark.parametrize(
    ("prediction", "truth", "expected"),
    [
        (box((3, 6), (3, 6)), box((3, 6), (3, 6)), (0, 0, 0)),
        (box((5, 6), (2, 3)), box((8, 9), (6, 7)), (5, 5, 5)),  # two pixels, 3 down and 4 across
        (box((5, 6), (0, 10)), box((8, 9), (0, 10)), (3, 3, 3)),  # two lines
        (box((5, 6), (5, 6)), box((5, 6), (5, 8)), (2, 1.9, 0.5)),  # 0 there; 0, 1, 2 back
        (box((0, 12), (0, 12)), box((0, 12), (0, 12)), (0, 0, 0)),  # the border of the image is an outline
        (box((0, 5), (0, 5)), box((1, 4), (1, 4)), (2**0.5, 2**0.5, (1 + 0.25 * (2**0.5 - 1) + 1) / 2)),
    ],
)
def test_by_hand(prediction: np.ndarray, truth: np.ndarray, expected: tuple[float, float, float]) -> None:
    """rel 1e-6: MONAI's distances are float32. Last: ring of 16 around one of 8: √2 at 4 of 16, 1 elsewhere."""
    assert surface_distances(prediction, truth) == pytest.approx(expected, rel=1e-6)


def test_masd_is_not_the_pooled_mean() -> None:
    small, wide = box((5, 6), (5, 6)), box((5, 6), (5, 11))
    assert surface_distances(small, wide).masd == pytest.approx((0 + np.mean(range(6))) / 2)  # pooled: 15 / 7


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 2.0)])
@pytest.mark.parametrize("seed", range(4))
def test_equals_scipys_distance_transform(seed: int, spacing: tuple[float, float]) -> None:
    p, t = blobs(seed)
    assert surface_distances(p, t, spacing) == pytest.approx(by_distance_transform(p, t, spacing), rel=1e-6)


def test_equals_scipys_distance_transform_in_volumes() -> None:
    p, t = gaussian_filter(np.random.default_rng(5).normal(size=(2, 9, 20, 18)), (0, 2, 4, 4)) > 0
    spacing = (5.0, 0.7, 0.8)
    assert surface_distances(p, t, spacing) == pytest.approx(by_distance_transform(p, t, spacing), rel=1e-6)


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")  # MONAI warns of its own call
@pytest.mark.parametrize("spacing", [None, (0.5, 2.0)])
def test_equals_monais_own_metrics(spacing: tuple[float, float] | None) -> None:
    """abs 1e-5: float32 means."""
    p, t = blobs(1)
    a, b = (torch.from_numpy(m)[None, None] for m in (p, t))
    options = {"include_background": True, "spacing": spacing}
    got = surface_distances(p, t, spacing)
    assert got.hausdorff == pytest.approx(float(compute_hausdorff_distance(a, b, **options)), abs=1e-5)
    assert got.hd95 == pytest.approx(float(compute_hausdorff_distance(a, b, percentile=95, **options)), abs=1e-5)
    directed = [float(compute_average_surface_distance(x, y, **options)) for x, y in ((a, b), (b, a))]
    assert got.masd == pytest.approx(np.mean(directed), abs=1e-5)


@pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")  # surface-distance 0.1 and scipy
@pytest.mark.parametrize("seed", range(4))
def test_is_within_a_pixel_of_deepminds(seed: int) -> None:
    """Its outline runs between pixels and counts by length, MONAI's on them: half a pixel at each end of a distance."""
    p, t = blobs(seed)
    reference = deepmind.compute_surface_distances(t, p, (1.0, 1.0))
    got = surface_distances(p, t)
    assert got.hausdorff == pytest.approx(deepmind.compute_robust_hausdorff(reference, 100), abs=1)
    assert got.hd95 == pytest.approx(deepmind.compute_robust_hausdorff(reference, 95), abs=1)
    assert got.masd == pytest.approx(np.mean(deepmind.compute_average_surface_distance(reference)), abs=0.5)


@pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")
@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 2.0), (3.0, 3.0)])
def test_equals_deepminds_where_the_outlines_are_alike(spacing: tuple[float, float]) -> None:
    """A square and itself moved four columns: every way to draw the outline says the same."""
    p, t = box((2, 7), (1, 6)), box((2, 7), (5, 10))
    reference = deepmind.compute_surface_distances(t, p, spacing)
    got = surface_distances(p, t, spacing)
    assert got.hausdorff == pytest.approx(deepmind.compute_robust_hausdorff(reference, 100), rel=1e-6)
    assert got.hausdorff == pytest.approx(4 * spacing[1], rel=1e-6)
    if spacing[0] == spacing[1]:
        assert got.hd95 == pytest.approx(deepmind.compute_robust_hausdorff(reference, 95), rel=1e-6)


@settings(deadline=None, max_examples=25)
@given(PAIRS)
def test_properties(pair: tuple[np.ndarray, np.ndarray]) -> None:
    p, t = pair
    got = surface_distances(p, t)
    assert got == pytest.approx(surface_distances(t, p), nan_ok=True, rel=1e-6)
    assert np.isnan(got).all() == (not p.any() or not t.any()) == bool(empty_note(p, t))
    if not np.isnan(got).any():
        assert 0 <= got.masd <= got.hausdorff and 0 <= got.hd95 <= got.hausdorff <= np.hypot.reduce(p.shape)
        in_mm = surface_distances(p, t, (2.0,) * p.ndim)
        assert in_mm == pytest.approx([2 * value for value in got], rel=1e-5)
    if p.any():
        assert surface_distances(p, p) == (0, 0, 0)


@pytest.mark.parametrize(
    ("prediction", "truth", "note"),
    [
        (EMPTY, box((3, 6), (3, 6)), "empty prediction: no surface distance"),
        (box((3, 6), (3, 6)), EMPTY, "empty truth: no surface distance"),
        (EMPTY, EMPTY, "both masks empty: no surface distance"),
        (box((3, 6), (3, 6)), box((3, 6), (3, 6)), ""),
    ],
)
def test_empty_masks(prediction: np.ndarray, truth: np.ndarray, note: str) -> None:
    assert empty_note(prediction, truth) == note
    assert np.isnan(surface_distances(prediction, truth)).all() == bool(note)


@pytest.mark.parametrize(
    ("prediction", "truth", "spacing", "message"),
    [
        (EMPTY, EMPTY[:5], None, "differ in shape"),
        (EMPTY.ravel(), EMPTY.ravel(), None, "need masks"),
        (EMPTY, EMPTY, (1.0, 1.0, 1.0), "must be 2 positive numbers"),
        (EMPTY, EMPTY, (1.0, 0.0), "must be 2 positive numbers"),
        (EMPTY, EMPTY, (1.0, float("nan")), "must be 2 positive numbers"),
    ],
)
def test_misuse_is_told(prediction: np.ndarray, truth: np.ndarray, spacing: tuple | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        surface_distances(prediction, truth, spacing)


@pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")  # by DeepMind's library in 3D
def test_a_volume_in_mm_is_the_same_in_every_orientation():
    p, t = ellipsoid((9, 16, 14)), ellipsoid((9, 16, 14), (0.5, 0.5, 0.5), 0.3)
    spacing = (3.0, 1.0, 0.75)
    ours = surface_distances(p, t, spacing)
    for order, flips in (((2, 0, 1), (0,)), ((1, 2, 0), (1, 2))):
        turned = [np.flip(m.transpose(order), flips) for m in (p, t)]
        assert surface_distances(*turned, [spacing[axis] for axis in order]) == pytest.approx(ours, abs=1e-6)
    theirs = deepmind.compute_surface_distances(t, p, spacing)  # its surface lies between the voxels
    assert ours.hausdorff == pytest.approx(deepmind.compute_robust_hausdorff(theirs, 100), abs=max(spacing) / 2)
