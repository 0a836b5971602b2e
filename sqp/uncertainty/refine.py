"""Refinements by name: an ensemble's probability at the image's size, and the image -> another mask."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sqp.config.checks import check_options
from sqp.core.errors import CaseError, lookup
from sqp.core.types import Prompt
from sqp.uncertainty import crf as _crf
from sqp.uncertainty.rectify import COMPARATORS, high_uncertainty, luminance, ur_sam


@dataclass(frozen=True)
class Ensemble:
    """What a refinement may look at: image uint8 `[h, w, 3]`, probability float32 `[h, w]`, the undisturbed prompt."""

    image: np.ndarray
    probability: Tensor
    prompt: Prompt

    @cached_property
    def mask(self) -> Tensor:
        """bool `[h, w]`: probability >= 0.5."""
        return self.probability >= 0.5

    @cached_property
    def entropy(self) -> Tensor:
        """Predictive entropy of the ensemble in bits `[h, w]`, 0 to 1."""
        p = self.probability.double()
        return ((torch.special.entr(p) + torch.special.entr(1 - p)) / math.log(2)).float()

    @cached_property
    def luminance(self) -> Tensor:
        """Rec. 601, float32 `[h, w]` in 0..255."""
        return luminance(self.image)


@dataclass(frozen=True)
class Refined:
    """The mask bool `[h, w]`; the probability behind it, where the refinement makes one; why it is as before, or ""."""

    mask: np.ndarray
    probability: Tensor | None = None
    unchanged: str = ""


def crf(ensemble: Ensemble, **options: Any) -> Refined:
    """The fully connected CRF of `sqp.uncertainty.crf`, with its options.

    Args:
        ensemble: image, probability and prompt.
        **options: those of `sqp.uncertainty.crf.crf`.

    Returns:
        Mask and probability.

    Raises:
        ConfigError: pydensecrf2 is not installed, or an option makes no sense.
    """
    found = _crf.crf(ensemble.image, ensemble.probability.cpu().numpy(), **options)
    return Refined(found >= 0.5, torch.from_numpy(found))


def ur_sam_midpoint(ensemble: Ensemble, *, threshold: float | None = None) -> Refined:
    """UR-SAM; a pixel goes to the nearer of I_t and I_b. With `threshold` T is fixed, not class-specific.

    Args:
        ensemble: image, probability and prompt.
        threshold: a fixed T in place of the class-specific one, in bits.

    Returns:
        The mask, and why it is as before.

    Raises:
        CaseError: the prompt has no box.
    """
    return _ur_sam(ensemble, "midpoint", threshold)


def ur_sam_printed(ensemble: Ensemble, *, alpha_h: float, threshold: float | None = None) -> Refined:
    """UR-SAM by the paper's rule; α_h is chosen on val.

    Args:
        ensemble: image, probability and prompt.
        alpha_h: α_h, chosen on val.
        threshold: a fixed T in place of the class-specific one, in bits.

    Returns:
        The mask, and why it is as before.

    Raises:
        CaseError: the prompt has no box.
    """
    return _ur_sam(ensemble, "printed", threshold, alpha_h=alpha_h)


def _compare(name: str, ensemble: Ensemble, *, threshold: float) -> Refined:
    uncertain = high_uncertainty(ensemble.entropy, threshold)
    return Refined(COMPARATORS[name](ensemble.mask, uncertain).cpu().numpy())


REFINEMENTS: dict[str, Callable[..., Refined]] = {
    "crf": crf,
    "ur_sam_midpoint": ur_sam_midpoint,
    "ur_sam_printed": ur_sam_printed,
    "unc_fpc": partial(_compare, "unc_fpc"),
    "unc_fnc": partial(_compare, "unc_fnc"),
    "unc_fpnc": partial(_compare, "unc_fpnc"),
}
"""name -> (Ensemble, **its own options) -> Refined."""


def refine(ensemble: Ensemble, name: str, **options: Any) -> Refined:
    """The refinement of that name. Raises CaseError where UR-SAM has no box, ConfigError for unknown names.

    Args:
        ensemble: image, probability and prompt.
        name: a name of `REFINEMENTS`.
        **options: the refinement's own.

    Returns:
        The mask, and the probability behind it where there is one.

    Raises:
        CaseError: UR-SAM has no box.
        ConfigError: the refinement is unknown.
    """
    return lookup("refinement", name, REFINEMENTS)(ensemble, **options)


def check_refinement(name: str, options: Mapping[str, Any]) -> None:
    """ConfigError for an unknown refinement or option, one that is missing or wrong, or a missing extra.

    Args:
        name: a name of `REFINEMENTS`.
        options: the refinement's own.

    Raises:
        ConfigError: the sentence says which of these it is.
    """
    run = lookup("refinement", name, REFINEMENTS)
    image = np.zeros((2, 2, 3), np.uint8)
    image[0, 0] = 200  # a sure pixel of the target, an uncertain one, and sure ground: no rule can leave it as it is
    small = Ensemble(image, torch.tensor([[0.99, 0.01], [0.5, 0.01]]), Prompt(box=(0, 0, 3, 1)))
    own = _crf.crf if run is crf else run
    check_options(f"the refinement '{name}'", own, options, lambda: run(small, **options))


def _ur_sam(ensemble: Ensemble, rule: str, threshold: float | None, **options: float) -> Refined:
    box = ensemble.prompt.box
    if box is None:
        raise CaseError("UR-SAM needs a box and this prompt has points only: use a prompter that gives a box")
    area = max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)
    found = ur_sam(ensemble.mask, ensemble.entropy, ensemble.luminance, area, rule, threshold=threshold, **options)
    return Refined(found.mask.cpu().numpy(), None, found.unchanged)
