from __future__ import annotations

import pytest
import torch

from sqp.quality.model.losses import LOSSES, beta_nll, laplace_nll, mse, record_weights

MEAN, SCALE, TARGET = torch.tensor([0.2, 0.9]), torch.tensor([0.1, 0.05]), torch.tensor([0.5, 0.85])


def test_beta_zero_is_the_gaussian_likelihood() -> None:
    reference = torch.nn.GaussianNLLLoss(reduction="none")(MEAN, TARGET, SCALE**2)
    torch.testing.assert_close(beta_nll(MEAN, SCALE, TARGET, 0.0), reference)


def test_beta_one_has_the_squared_errors_gradient_on_the_mean() -> None:
    mean = MEAN.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(beta_nll(mean, SCALE, TARGET, 1.0).sum(), mean)
    torch.testing.assert_close(gradient, MEAN - TARGET)


def test_laplace_is_torchs_density() -> None:
    density = torch.distributions.Laplace(MEAN, SCALE).log_prob(TARGET)
    torch.testing.assert_close(laplace_nll(MEAN, SCALE, TARGET, 0.0), -density - torch.log(torch.tensor(2.0)))


def test_mse_ignores_the_scale() -> None:
    assert mse(MEAN, SCALE, TARGET, 0.5).tolist() == pytest.approx([0.09, 0.0025], rel=1e-5)


@pytest.mark.parametrize("name", ["beta_nll", "laplace_nll"])
def test_the_best_scale_is_the_error_at_hand(name: str) -> None:
    target = torch.tensor([0.2])
    scales = torch.linspace(0.02, 0.6, 59, dtype=torch.float64)
    values = LOSSES[name](torch.zeros(59), scales, target.expand(59), 0.0)
    assert scales[values.argmin()] == pytest.approx(0.2)


@pytest.mark.parametrize("name", LOSSES)
def test_the_bounds_of_dice_give_finite_losses(name: str) -> None:
    loss = LOSSES[name](torch.tensor([0.0, 1.0]), torch.tensor([0.01, 0.01]), torch.tensor([1.0, 0.0]), 0.5)
    assert torch.isfinite(loss).all()


def test_an_image_weighs_the_same_however_many_records_it_has() -> None:
    images = ["a"] * 5 + ["b"] + ["c"] * 2
    weights = record_weights(images, torch.linspace(0, 1, 8))
    totals = {name: sum(w for w, i in zip(weights.tolist(), images, strict=True) if i == name) for name in "abc"}
    assert totals["a"] == pytest.approx(totals["b"]) == pytest.approx(totals["c"])
    assert weights.mean() == pytest.approx(1)


def test_full_balance_makes_the_dice_bins_equal() -> None:
    dice = torch.tensor([0.95] * 8 + [0.15] * 2)
    weights = record_weights([str(i) for i in range(10)], dice, balance=1.0)
    assert weights[:8].sum() == pytest.approx(weights[8:].sum().item())
    assert record_weights([str(i) for i in range(10)], dice, balance=0.0).tolist() == [1.0] * 10


def test_a_perfect_mask_lies_in_the_highest_bin_and_an_empty_one_in_the_lowest() -> None:
    images = list("abcd")
    weights = record_weights(images, torch.tensor([1.0, 0.95, 0.0, 0.05]), balance=1.0)
    assert weights.tolist() == [1.0] * 4
    weights = record_weights(images, torch.tensor([1.0, 0.95, 0.92, 0.0]), balance=1.0)
    assert weights.tolist() == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2])
