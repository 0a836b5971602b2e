"""Voxels as networks get them: against plain float64, constant volumes, and what it costs of memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from sqp.networks.inputs import CLIPPED, normalised


def voxels(shape=(12, 40, 30), offset=-200.0):
    return (offset + np.random.default_rng(0).gamma(2.0, 300.0, shape)).astype(np.float32)


def test_clipped_and_standardised_as_in_float64():
    x = voxels().astype(np.float64)
    clipped = np.clip(x, *np.percentile(x, CLIPPED))
    found = normalised(voxels())
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, (clipped - clipped.mean()) / clipped.std(), atol=2e-6)


@pytest.mark.parametrize("value", [0.0, 7.25, -1024.0])
def test_a_constant_volume_is_zero(value):
    assert (normalised(np.full((3, 4, 5), value, np.float32)) == 0).all()


def test_no_copy_in_float64_is_made():
    x = voxels((40, 128, 128))
    before = x.copy()
    tracemalloc.start()
    normalised(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * x.nbytes  # the result, or the copy that the percentiles sort
    assert np.array_equal(x, before)
