from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sqp.metrics.overlap import dice
from sqp.quality.model.truth_map import EVIDENCE, TruthDecoder, compare, truth_loss


def logits_of(mask: torch.Tensor, size: float = 30.0) -> torch.Tensor:
    """A decoder that is sure of this truth."""
    return torch.where(mask, size, -size)[:, None]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0.05, 0.95), shape=st.sampled_from([(16, 16), (6, 6, 6)]))
def test_a_sure_truth_gives_the_dice_and_the_pixels_that_differ(
    seed: int, share: float, shape: tuple[int, ...]
) -> None:
    generator = torch.Generator().manual_seed(seed)
    truth, mask = (torch.rand(3, *shape, generator=generator) < share for _ in range(2))
    got = compare(logits_of(truth), mask.float())
    for row in range(3):
        sizes = (mask[row].float().mean() + truth[row].float().mean()).item()
        expected = (dice(mask[row].numpy(), truth[row].numpy()) * sizes + 1e-3) / (sizes + 1e-3)  # smoothed
        assert got.soft_dice[row].item() == pytest.approx(expected, abs=1e-5)
    torch.testing.assert_close(got.error_map, (truth ^ mask).float(), atol=1e-6, rtol=0)
    assert got.evidence.shape == (3, EVIDENCE) and got.evidence.isfinite().all()


def test_an_unsure_truth_errs_by_half_everywhere() -> None:
    mask = torch.zeros(1, 8, 8)
    mask[:, :4] = 1
    assert compare(torch.zeros(1, 1, 8, 8), mask).error_map.unique().tolist() == [0.5]


def test_the_mask_is_averaged_onto_the_coarser_map() -> None:
    mask = torch.zeros(1, 8, 8)
    mask[:, :, :3] = 1
    got = compare(torch.full((1, 1, 4, 4), -30.0), mask).error_map
    torch.testing.assert_close(got[0, 0], torch.tensor([1.0, 0.5, 0, 0]))


def test_evidence_has_gradients_at_empty_and_full() -> None:
    for value in (-30.0, 0.0, 30.0):
        logits = torch.full((2, 1, 4, 4), value, requires_grad=True)
        compare(logits, torch.stack([torch.zeros(4, 4), torch.ones(4, 4)])).evidence.sum().backward()
        assert logits.grad is not None and logits.grad.isfinite().all()


@pytest.mark.parametrize("shape", [(16, 16), (8, 8, 8)])
def test_loss_is_least_at_the_truth(shape: tuple[int, ...]) -> None:
    truth = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0)) < 0.3
    right, wrong = (truth_loss(logits_of(t), truth.float()) for t in (truth, ~truth))
    assert right.shape == (2,) and (right < 1e-3).all() and (wrong > 10).all()


@pytest.mark.parametrize("sizes", [(16,), (32, 8), (24, 12, 6, 3)])
def test_decoder_answers_at_the_finest_level(sizes: tuple[int, ...]) -> None:
    levels = [torch.randn(2, 5 + i, size, size + 2) for i, size in enumerate(sizes)]
    assert TruthDecoder([x.shape[1] for x in levels])(levels).shape == (2, 1, sizes[0], sizes[0] + 2)
    volumes = [torch.randn(2, 5 + i, size // 2, size, size + 2) for i, size in enumerate(sizes)]
    decoded = TruthDecoder([x.shape[1] for x in volumes], 3)(volumes)
    assert decoded.shape == (2, 1, sizes[0] // 2, sizes[0], sizes[0] + 2)


def test_evidence_by_hand() -> None:
    """Four pixels, p = 0.8, 0.6, 0.3, 0.1 and a mask of the first and third."""
    p, tiny = torch.tensor([[0.8, 0.6], [0.3, 0.1]]), 1e-3
    mask = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    both, of_p, of_m = 1.1 / 4, 1.8 / 4, 2 / 4
    soft, hard = (2 * both + tiny) / (of_p + of_m + tiny), (2 * 0.25 + tiny) / (0.5 + 0.5 + tiny)
    entropy = float(-(p * p.log() + (1 - p) * (1 - p).log()).mean())
    expected = [
        *(torch.logit(torch.tensor([soft, hard])).tolist()),
        *(soft, hard, both / (of_m + tiny), both / (of_p + tiny)),
        *(entropy / (of_p + of_m + tiny), (of_p - of_m) / (of_p + of_m + tiny)),
    ]
    got = compare(torch.logit(p)[None, None], mask[None])
    assert got.evidence[0].tolist() == pytest.approx(expected, abs=1e-5) and len(expected) == EVIDENCE
    assert got.error_map[0].flatten().tolist() == pytest.approx([0.2, 0.6, 0.7, 0.1])
