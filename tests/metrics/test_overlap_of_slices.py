import numpy as np
import pytest
from sklearn.metrics import f1_score

from sqp.metrics.overlap import slice_dice, worst_slice


def test_as_scikit_learn_has_it_slice_by_slice():
    p, t = np.random.default_rng(0).random((2, 6, 9, 7)) < 0.3
    p[2] = t[2] = p[4] = False
    ours = slice_dice(p, t)
    theirs = [f1_score(one.ravel(), other.ravel(), zero_division=np.nan) for one, other in zip(t, p, strict=True)]
    assert np.isnan(ours[2])
    assert ours == pytest.approx(theirs, abs=1e-12, nan_ok=True)
    assert worst_slice(p, t) == (0.0, 4)


def test_nothing_anywhere_and_unlike_shapes():
    nothing = np.zeros((3, 4, 4), bool)
    assert worst_slice(nothing, nothing) == (1.0, -1)
    with pytest.raises(ValueError, match="differ in shape"):
        slice_dice(nothing, nothing[1:])
