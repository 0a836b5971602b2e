"""How like an image is to references: by the cosine of its summary, beside how like these are to each other."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics.pairwise import cosine_distances

from sqp.uncertainty.likeness import FEWEST, UNLIKE, likeness_to_references


def drawn(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 6, generator=torch.Generator().manual_seed(seed)) + 3


@given(st.integers(FEWEST, 20), st.integers(0, 50))
def test_it_is_the_share_of_two_distances_of_sklearns(n, seed):
    everything = drawn(n + 1, seed)
    image, references = everything[0], everything[1:]
    groups = [f"{i % (n // 2)}" for i in range(n)]
    apart = cosine_distances(references.numpy())
    apart[[[one == other for other in groups] for one in groups]] = np.inf
    expected = np.median(apart.min(1)) / cosine_distances(image[None].numpy(), references.numpy()).min()
    assert likeness_to_references(image, list(references), groups) == pytest.approx(min(1.0, expected), rel=1e-3)


def test_slices_of_one_volume_do_not_make_those_of_another_strange():
    """Four volumes whose slices are nearly the same, and a slice of a fifth, as far from them as they are apart."""
    volumes = drawn(5)
    slices = [volumes[i // 4] + 0.001 * (i % 4) for i in range(16)]
    groups = [f"{i // 4}" for i in range(16)]
    assert likeness_to_references(volumes[4], slices, groups) > UNLIKE
    assert likeness_to_references(volumes[4], slices, [f"{i}" for i in range(16)]) < UNLIKE
    assert likeness_to_references(-volumes[4], slices, groups) < UNLIKE


def test_of_few_references_or_of_one_group_nothing_is_known():
    references = list(drawn(FEWEST))
    assert math.isnan(likeness_to_references(references[0], references[1:], [f"{i}" for i in range(FEWEST - 1)]))
    assert math.isnan(likeness_to_references(references[0], references, ["one"] * FEWEST))
    assert likeness_to_references(references[0], references, [f"{i}" for i in range(FEWEST)]) == 1
