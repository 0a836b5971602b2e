"""What a referee says of a mask: an independent segmentation of the same image, held beside it.

Its answers are probabilities under several prompts that do not come from the mask, and one under the mask's own box.
Where two segmentations of different origin agree both are likely right; a mask that only its own box brings forth
is not (compare reverse and cross-model checks: Valindria et al., IEEE TMI 36, 2017).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from sqp.metrics import overlap
from sqp.uncertainty.moments import Moments


@dataclass(frozen=True)
class Answers:
    """A referee's answers on its grid: the moments of k independent ones, p `[*grid]` under the mask's own box."""

    independent: Moments
    own_box: Tensor


def soft_agreement(probability: Tensor, mask: Tensor) -> float:
    """Soft Dice of p `[*grid]` and M bool `[*grid]`, 0..1; an empty M: 1 where p is nowhere 0.5 or more, else 0.

    Args:
        probability: `[*grid]` in 0..1.
        mask: M bool `[*grid]`.

    Returns:
        The soft Dice.

    Examples:
        >>> soft_agreement(Tensor([0.1, 0.2]), Tensor([0, 0]).bool())
        1.0
    """
    if not mask.any():
        return float(not (probability >= 0.5).any())
    return overlap.soft_dice(probability.cpu().numpy(), mask.cpu().numpy())


def referee_dice(answers: Answers, mask: Tensor) -> float:
    """Soft Dice of M and the mean of the independent answers, 0..1: the score to beat.

    Args:
        answers: the referee's answers.
        mask: M bool `[*grid]`.

    Returns:
        The score.
    """
    return soft_agreement(answers.independent.mean_p, mask)


def referee_dice_min(answers: Answers, mask: Tensor) -> float:
    """The least soft Dice of M and a single independent answer, 0..1.

    Args:
        answers: the referee's answers.
        mask: M bool `[*grid]`.

    Returns:
        The score.
    """
    return min(soft_agreement(p, mask) for p in answers.independent.p)


def referee_dice_max(answers: Answers, mask: Tensor) -> float:
    """The greatest soft Dice of M and a single independent answer, 0..1; how far above the least: their spread.

    Args:
        answers: the referee's answers.
        mask: M bool `[*grid]`.

    Returns:
        The score.
    """
    return max(soft_agreement(p, mask) for p in answers.independent.p)


def referee_self_dice(answers: Answers, mask: Tensor) -> float:
    """Soft Dice of M and the answer to M's own box, 0..1: not independent, the box is M's.

    Args:
        answers: the referee's answers.
        mask: M bool `[*grid]`.

    Returns:
        The score.
    """
    return soft_agreement(answers.own_box, mask)


def referee_agreement(answers: Answers, mask: Tensor) -> float:
    """Mean Dice over pairs of the independent answers, 0..1, NaN for a single one: of the referee alone, not of M.

    Args:
        answers: the referee's answers.
        mask: not used.

    Returns:
        The score.
    """
    return overlap.pairwise_dice((answers.independent.logits >= 0).cpu().numpy())


def referee_confidence(answers: Answers, mask: Tensor) -> float:
    """Soft Dice of the mean of the independent answers and its own mask, 0..1: of the image, not of M.

    Args:
        answers: the referee's answers.
        mask: not used.

    Returns:
        The score.
    """
    return _confidence(answers.independent)


def supervised_dice(answers: Moments, mask: Tensor) -> float:
    """Soft Dice of M and the mean answer of a supervised referee, 0..1.

    Args:
        answers: its answers under the symmetries of the image.
        mask: M bool `[*grid]`.

    Returns:
        The score.
    """
    return soft_agreement(answers.mean_p, mask)


def supervised_confidence(answers: Moments, mask: Tensor) -> float:
    """Soft Dice of the mean answer of a supervised referee and its own mask, 0..1: of the image, not of M.

    Args:
        answers: its answers under the symmetries of the image.
        mask: not used.

    Returns:
        The score.
    """
    return _confidence(answers)


def _confidence(answers: Moments) -> float:
    return soft_agreement(answers.mean_p, answers.mean_p >= 0.5)


SUPERVISED_SCORES: dict[str, Callable[[Moments, Tensor], float]] = {
    "supervised_dice": supervised_dice,
    "supervised_confidence": supervised_confidence,
}
"""name -> (answers, M bool `[*grid]`) -> score, higher = better."""

REFEREE_SCORES: dict[str, Callable[[Answers, Tensor], float]] = {
    "referee_dice": referee_dice,
    "referee_dice_min": referee_dice_min,
    "referee_dice_max": referee_dice_max,
    "referee_self_dice": referee_self_dice,
    "referee_agreement": referee_agreement,
    "referee_confidence": referee_confidence,
}
"""name -> (answers, M bool `[*grid]`) -> score, higher = better."""


def referee_scores(answers: Answers, mask: Tensor) -> dict[str, float]:
    """Every score of `REFEREE_SCORES`. ValueError where M bool `[*grid]` is not on the answers' grid.

    Args:
        answers: the referee's answers.
        mask: M bool `[*grid]`.

    Returns:
        name -> number.

    Raises:
        ValueError: M is not on the answers' grid.
    """
    if mask.shape != answers.own_box.shape:
        raise ValueError(f"the mask is {tuple(mask.shape)}, the referee's grid {tuple(answers.own_box.shape)}")
    return {name: score(answers, mask) for name, score in REFEREE_SCORES.items()}
