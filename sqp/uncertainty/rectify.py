"""UR-SAM: uncertain pixels of a mask decided anew by their brightness (Zhang et al., arXiv 2311.10529), and its rivals.

Everything is a tensor of one shape: M and M_unc bool, u the predictive entropy of the ensemble, x luminance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sqp.core.errors import lookup


@dataclass(frozen=True)
class Rectified:
    """The mask and why it is as it was: `unchanged` is "" where the rule was applied, else a reason.

    `uncertain` is M_unc, `threshold` what u was compared with (NaN where it is not defined).
    """

    mask: Tensor
    uncertain: Tensor
    threshold: float
    unchanged: str = ""


def luminance(image: np.ndarray) -> Tensor:
    """Rec. 601 luma of an image uint8 `[h, w, 3]`, float32 `[h, w]` in 0..255.

    Args:
        image: uint8 `[h, w, 3]`.

    Returns:
        float32 `[h, w]`.
    """
    return torch.from_numpy(image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32))


def class_threshold(uncertainty: Tensor, mask_area: float, box_area: float) -> float:
    """T = min u + (S_mask + S_box) / (2 S_box) · (max u - min u); NaN for a constant u or a box without area.

    T reaches max u where S_mask = S_box and exceeds it beyond.

    Args:
        uncertainty: u `[h, w]`, higher where the samples disagree.
        mask_area: S_mask in pixels.
        box_area: S_box in the same pixels, of the box before it was jittered.

    Returns:
        T in the unit of u, or NaN.

    Examples:
        >>> class_threshold(torch.tensor([0.0, 1.0]), mask_area=50, box_area=100)
        0.75
    """
    low, high = float(uncertainty.min()), float(uncertainty.max())
    if high <= low or not box_area > 0:
        return math.nan
    return high - (box_area - mask_area) / (2 * box_area) * (high - low)  # exactly max u at S_mask = S_box


def high_uncertainty(uncertainty: Tensor, threshold: float) -> Tensor:
    """M_unc = u > T, bool; nowhere where T is NaN.

    Args:
        uncertainty: u `[h, w]`, higher where the samples disagree.
        threshold: T.

    Returns:
        bool `[h, w]`.
    """
    return uncertainty.double() > threshold


def printed(x: Tensor, target: float, background: float, *, alpha_h: float) -> Tensor:
    """The rule as printed, bool: (I_t - I_b) / 2 < x < α_h · I_t.

    The paper gives α_h no value: choose it on val. On a lesion darker than its skin the lower bound holds always.

    Args:
        x: grey values `[h, w]`.
        target: I_t, mean grey value of the sure lesion.
        background: I_b, mean grey value of what surrounds it.
        alpha_h: α_h, chosen on val.

    Returns:
        bool `[h, w]`, True where a pixel is lesion.
    """
    return (x > (target - background) / 2) & (x < alpha_h * target)


def midpoint(x: Tensor, target: float, background: float) -> Tensor:
    """Nearer to I_t than to I_b, bool, whichever is brighter; half way is background.

    Args:
        x: grey values `[h, w]`.
        target: I_t, mean grey value of the sure lesion.
        background: I_b, mean grey value of what surrounds it.

    Returns:
        bool `[h, w]`, True where a pixel is lesion.
    """
    return (x - target).abs() < (x - background).abs()


RULES: dict[str, Callable[..., Tensor]] = {"printed": printed, "midpoint": midpoint}
"""name -> (x, I_t, I_b, **its own options) -> bool: is the pixel lesion?"""


def rectify(mask: Tensor, uncertain: Tensor, x: Tensor, rule: str = "midpoint", **options: float) -> tuple[Tensor, str]:
    """M outside of M_unc as it was, inside by the rule; and why M stays as it is where that cannot be done ("" else).

    I_t is the mean of x over M without M_unc, I_b the mean outside of both. M stays where it or M_unc is empty, and
    where no pixel is left for I_t or I_b, or they are equal.

    Args:
        mask: M bool `[h, w]`.
        uncertain: M_unc bool `[h, w]`.
        x: grey values `[h, w]`.
        rule: a name of `RULES`.
        **options: the rule's own.

    Returns:
        M bool `[h, w]`, and the reason.

    Raises:
        ConfigError: the rule is unknown.
    """
    mask, uncertain = mask.bool(), uncertain.bool()
    decide = lookup("rectification", rule, RULES)
    sure, ground = mask & ~uncertain, ~mask & ~uncertain
    for is_so, reason in (
        (not mask.any(), "empty mask"),
        (not uncertain.any(), "no uncertain pixel"),
        (not sure.any(), "no certain pixel of the target"),
        (not ground.any(), "no certain pixel of the background"),
    ):
        if is_so:
            return mask, reason
    target, background = (float(x[part].mean(dtype=torch.float64)) for part in (sure, ground))
    if target == background:
        return mask, "target and background are equally bright"
    return torch.where(uncertain, decide(x, target, background, **options), mask), ""


def ur_sam(
    mask: Tensor,
    uncertainty: Tensor,
    x: Tensor,
    box_area: float,
    rule: str = "midpoint",
    *,
    threshold: float | None = None,
    **options: float,
) -> Rectified:
    """UR-SAM's rectification of the ensemble mask M: class-specific T (or a fixed `threshold`), M_unc, a rule.

    Where T is not defined (constant u, a box without area) M stays, and `unchanged` says why.

    Args:
        mask: M bool `[h, w]`.
        uncertainty: u `[h, w]`, higher where the samples disagree.
        x: grey values `[h, w]`.
        box_area: area of the undisturbed prompt's box in pixels.
        rule: a name of `RULES`.
        threshold: a fixed T in place of the class-specific one.
        **options: the rule's own.

    Returns:
        The mask, M_unc, T, and why M stayed.

    Raises:
        ConfigError: the rule is unknown.
    """
    mask = mask.bool()
    found = class_threshold(uncertainty, float(mask.sum()), box_area) if threshold is None else threshold
    uncertain = high_uncertainty(uncertainty, found)
    if math.isnan(found):
        reason = "constant uncertainty" if box_area > 0 else "box without area"
        return Rectified(mask, uncertain, found, reason if mask.any() else "empty mask")
    rectified, reason = rectify(mask, uncertain, x, rule, **options)
    return Rectified(rectified, uncertain, found, reason)


def unc_fpc(mask: Tensor, uncertain: Tensor) -> Tensor:
    """M without M_unc: uncertain foreground is taken for false positive.

    Args:
        mask: M bool `[h, w]`.
        uncertain: M_unc bool `[h, w]`.

    Returns:
        bool `[h, w]`.
    """
    return mask.bool() & ~uncertain.bool()


def unc_fnc(mask: Tensor, uncertain: Tensor) -> Tensor:
    """M and M_unc: uncertain background is taken for false negative.

    Args:
        mask: M bool `[h, w]`.
        uncertain: M_unc bool `[h, w]`.

    Returns:
        bool `[h, w]`.
    """
    return mask.bool() | uncertain.bool()


def unc_fpnc(mask: Tensor, uncertain: Tensor) -> Tensor:
    """Both corrections at once: inside of M_unc foreground and background change places.

    Args:
        mask: M bool `[h, w]`.
        uncertain: M_unc bool `[h, w]`.

    Returns:
        bool `[h, w]`.

    Examples:
        >>> unc_fpnc(torch.tensor([1, 1, 0, 0]), torch.tensor([1, 0, 1, 0])).tolist()
        [False, True, True, False]
    """
    return mask.bool() ^ uncertain.bool()


COMPARATORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "unc_fpc": unc_fpc,
    "unc_fnc": unc_fnc,
    "unc_fpnc": unc_fpnc,
}
"""name -> (M, M_unc at a fixed threshold chosen on val) -> mask."""
