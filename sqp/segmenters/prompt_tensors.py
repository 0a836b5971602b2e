"""Prompts in original pixels -> what SAM's prompt encoder takes, after a check that they lie on the image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sqp.core.errors import CaseError
from sqp.core.frame import Frame
from sqp.core.types import Prompt


def check_prompt(prompt: Prompt, original: tuple[int, int]) -> Prompt:
    """The prompt with its box clipped to an image of (h, w) pixels; `CaseError` where it cannot be used.

    Args:
        prompt: a prompt in pixels of the image.
        original: (h, w) of the image.

    Returns:
        The prompt.

    Raises:
        CaseError: it has neither box nor point, its box has no area, or it lies outside of the image.

    Examples:
        >>> check_prompt(Prompt(box=(-5, 2, 50, 8)), (10, 20)).box
        (0.0, 2.0, 20.0, 8.0)
    """
    h, w = original
    if prompt.box is None and not prompt.points:
        raise CaseError("the prompt has neither a box nor a point")
    for x, y in prompt.points:
        if not (0 <= x <= w and 0 <= y <= h):
            raise CaseError(f"the point ({x:g}, {y:g}) is outside of the image of {w} x {h} pixels")
    if prompt.box is None:
        return prompt
    box = np.asarray(prompt.box, dtype=float)
    clipped = box.clip(0, [w, h, w, h])
    shown = ", ".join(f"{value:g}" for value in box)
    if not (box[2] > box[0] and box[3] > box[1]):
        raise CaseError(f"the box ({shown}) has no area (x0, y0, x1, y1 on an image of {w} x {h} pixels)")
    if not (clipped[2] > clipped[0] and clipped[3] > clipped[1]):
        raise CaseError(f"the box ({shown}) is outside of the image of {w} x {h} pixels")
    return prompt.with_box(clipped.tolist())


def prompt_tensors(
    prompts: Sequence[Prompt], frame: Frame, device: torch.device
) -> tuple[tuple[Tensor, Tensor] | None, Tensor | None]:
    """n prompts of one kind -> (points `[n, p, 2]`, labels `[n, p]`) or None, and boxes `[n, 4]` or None.

    Coordinates are in pixels of the network's input.

    Args:
        prompts: prompts that all have a box or all have none, with as many points each.
        frame: of the image.
        device: where the tensors go.

    Returns:
        Points with labels, and boxes, float32.
    """
    points = boxes = None
    if prompts[0].points:
        flat = np.asarray([prompt.points for prompt in prompts], dtype=np.float32)
        coords = frame.points_to_input(flat).reshape(flat.shape).to(device)
        points = coords, torch.tensor([prompt.labels for prompt in prompts], dtype=torch.int, device=device)
    if prompts[0].box is not None:
        boxes = frame.boxes_to_input([prompt.box for prompt in prompts]).to(device)
    return points, boxes
