"""The stack: symmetric in the samples, better than the mean where samples are biased, plain in storage."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sqp.core.errors import ConfigError
from sqp.uncertainty.fusion import fuse
from sqp.uncertainty.learned_fusion import FEATURES, LearnedFusion, calibration_pixels, features, fit


def biased(seed, s=4, size=24):
    """Truth bool and logits that are overconfident and shifted towards skin."""
    g = torch.Generator().manual_seed(seed)
    signal = torch.randn(size, size, generator=g)
    truth = torch.rand(size, size, generator=g) < torch.sigmoid(2 * signal)
    return 6 * signal - 4 + 2 * torch.randn(s, size, size, generator=g), truth


def nll(p, truth):
    return float(torch.nn.functional.binary_cross_entropy(p, truth.float()))


@pytest.fixture(scope="module")
def stack():
    draws = (calibration_pixels(*biased(seed), 300, torch.Generator().manual_seed(seed)) for seed in range(8))
    return fit(list(draws))


def test_it_beats_the_mean_on_images_it_has_not_seen(stack):
    for seed in (100, 101, 102):
        logits, truth = biased(seed)
        assert nll(fuse(logits, "learned", model=stack), truth) < nll(fuse(logits), truth) - 0.1
        assert fuse(logits, "learned", model=stack).min() >= 0 and fuse(logits, "learned", model=stack).max() <= 1
    assert stack.pixels == 8 * 300


def test_it_is_sklearns_own_answer(stack):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    pairs = [calibration_pixels(*biased(seed), 300, torch.Generator().manual_seed(seed)) for seed in range(8)]
    x, y = (np.concatenate(part) for part in zip(*pairs, strict=True))
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(x.astype(float), y)
    logits, _ = biased(7)
    expected = pipeline.predict_proba(features(logits).flatten(0, 1).numpy())[:, 1]
    np.testing.assert_allclose(fuse(logits, "learned", model=stack).flatten().numpy(), expected, atol=1e-5)


@given(seed=st.integers(0, 999), order=st.permutations(range(5)))
@settings(deadline=None, max_examples=15)
def test_the_order_and_number_of_samples_do_not_matter(seed, order):
    logits = 30 * torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(seed))
    found = features(logits)
    assert found.shape == (3, 4, len(FEATURES)) and torch.isfinite(found).all()
    torch.testing.assert_close(features(logits[list(order)]), found, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(features(logits.repeat(3, 1, 1)), found, rtol=1e-4, atol=1e-4)


def test_features_stay_finite_beyond_the_range_of_float32():
    assert torch.isfinite(features(torch.tensor([[200.0, -200.0], [60.0, -60.0]]))).all()


def test_pixels_keep_their_natural_rate_and_follow_the_generator():
    logits, truth = biased(0, size=40)
    (x, y), (again, _) = (calibration_pixels(logits, truth, 800, torch.Generator().manual_seed(1)) for _ in "ab")
    assert x.shape == (800, len(FEATURES)) and (x == again).all()
    assert y.mean() == pytest.approx(float(truth.float().mean()), abs=0.05)
    assert len(calibration_pixels(logits, truth, 10**6, torch.Generator().manual_seed(1))[1]) == 1600


def test_stored_as_json_and_read_back(stack, tmp_path):
    path = stack.save(tmp_path / "fusion.json")
    assert LearnedFusion.load(path) == stack
    logits, _ = biased(9)
    assert torch.equal(fuse(logits, "learned", model=path), fuse(logits, "learned", model=stack))


def test_what_is_no_learned_fusion_is_refused(stack, tmp_path):
    path = stack.save(tmp_path / "fusion.json")
    good = json.loads(path.read_text())
    bad = [
        "{",
        "[]",
        json.dumps(good | {"kind": "other"}),
        json.dumps(good | {"features": ["p"]}),
        json.dumps(good | {"coefficients": [1.0]}),
        json.dumps(good | {"intercept": float("nan")}),
        json.dumps(good | {"deviations": [0.0] * len(FEATURES)}),
    ]
    for text in bad:
        path.write_text(text)
        with pytest.raises(ConfigError, match="no learned fusion of this version"):
            LearnedFusion.load(path)
    with pytest.raises(ConfigError, match=r"nowhere\.json"):
        LearnedFusion.load(tmp_path / "nowhere.json")


def test_one_class_alone_cannot_be_fitted():
    logits, truth = biased(0)
    with pytest.raises(ConfigError, match="all lesion or all skin"):
        fit([calibration_pixels(logits, torch.zeros_like(truth), 50, torch.Generator().manual_seed(0))])
