import numpy as np
import pytest
from tiny_volumes import ellipsoid

from sqp.data import CORRUPTIONS, corrupt, corrupt_to_dice
from sqp.metrics.overlap import dice

MASK = ellipsoid((18, 22, 20))
DONOR = ellipsoid((12, 16, 14), (0.6, 0.4, 0.6), 0.25)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_worse_with_severity_and_the_same_from_the_same_seed(name):
    made = [corrupt(name, MASK, severity, np.random.default_rng(3), DONOR) for severity in (0.1, 0.5, 1.0)]
    again = corrupt(name, MASK, 0.5, np.random.default_rng(3), DONOR)
    assert np.array_equal(made[1], again) and all(one.shape == MASK.shape and one.dtype == bool for one in made)
    values = [dice(one, MASK) for one in made]
    assert values[0] >= values[1] >= values[2] and values[2] < 0.75
    if name != "swap":
        assert np.array_equal(corrupt(name, MASK, 0.0, np.random.default_rng(3)), MASK)


@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if name != "swap"])
def test_a_dice_is_met(name):
    target = 0.8
    out, severity = corrupt_to_dice(name, MASK, MASK, target, np.random.default_rng(1))
    assert dice(out, MASK) == pytest.approx(target, abs=0.06) and 0 < severity < 1


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_an_empty_mask(name):
    nothing = np.zeros((6, 7, 8), bool)
    out = corrupt(name, nothing, 0.7, np.random.default_rng(0), DONOR)
    assert out.any() == (name in ("blob_add", "swap"))
