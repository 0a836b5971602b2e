"""The box of a given mask: how a mask that another tool made is put before a segmenter."""

from __future__ import annotations

import numpy as np

from sqp.core.boxes import margin_box, tight_box
from sqp.core.errors import CaseError
from sqp.core.types import Prompt


def mask_box(
    image: np.ndarray,
    *,
    mask: np.ndarray | None = None,
    margin: float = 0.0,
) -> list[Prompt]:
    """The tight box of `mask`, grown by `margin` of its size; no prompt at all for an empty mask.

    Args:
        image: uint8 `[h, w, 3]`.
        mask: bool `[h, w]`, the mask that is judged.
        margin: growth of each side as a share of the box's size.

    Returns:
        One prompt, or none.

    Raises:
        CaseError: no mask is given.
    """
    if mask is None:
        raise CaseError("the prompter 'mask_box' needs a mask and this case has none: give --masks")
    if not mask.any():
        return []
    box = tight_box(mask)
    return [Prompt(box=margin_box(box, margin, mask.shape) if margin else box, prompter="mask_box")]
