"""Simulated manual prompts: box and centroid of the ground truth. They leak the answer: say so."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from sqp.core.boxes import Box, clip_box, margin_box, tight_box
from sqp.core.errors import CaseError, ConfigError
from sqp.core.types import Prompt
from sqp.prompts.jitter import jitter_prompt, n_draws

SIDE = 1024  # longest side of the images in whose pixels a perturbation is told


def truth_box(
    image: np.ndarray,
    *,
    truth: np.ndarray | None = None,
    generator: np.random.Generator | None = None,
    margin: float = 0.0,
    jitter: float = 0.0,
    edges: bool = False,
    perturbation: float = 0.0,
) -> list[Prompt]:
    """The tight box of the ground truth, grown by `margin`, then jittered by the ratio `jitter` of its size.

    `perturbation` imitates a box drawn by hand, before the jitter: each side by itself is moved outwards by U(0,
    perturbation), in pixels of an image whose longest side is 1,024 (20 in MedSAM's and UR-SAM's "manual prompting").

    Args:
        image: uint8 `[h, w, 3]`.
        truth: bool `[h, w]`, the ground truth.
        generator: what draws jitter and perturbation; needed for these alone.
        margin: growth of each side as a share of the box's size.
        jitter: largest shift as a share of the box's size.
        edges: True jitters each side by itself.
        perturbation: largest outward move of a side, in pixels of an image whose longest side is 1,024.

    Returns:
        One prompt.

    Raises:
        CaseError: there is no ground truth, or it is empty.
        ConfigError: the perturbation is negative.
        ValueError: something is drawn and there is no generator.
    """
    truth = _truth(truth, image, "truth_box")
    box = tight_box(truth)
    if perturbation:
        box = _drawn_by_hand(box, perturbation, truth.shape, _generator(generator, "truth_box"))
    prompt = Prompt(box=margin_box(box, margin, truth.shape) if margin else box, prompter="truth_box")
    return [_jittered(prompt, jitter, truth.shape, generator, edges)]


def truth_centroid(
    image: np.ndarray,
    *,
    truth: np.ndarray | None = None,
    generator: np.random.Generator | None = None,
    jitter: float = 0.0,
) -> list[Prompt]:
    """One positive point at the centroid of the ground truth, shifted by up to `jitter` times its box's size.

    Where the centroid lies outside of the (crescent-shaped, multi-focal) mask, the point of the mask that is deepest
    inside is taken.

    Args:
        image: uint8 `[h, w, 3]`.
        truth: bool `[h, w]`, the ground truth.
        generator: what draws jitter and perturbation; needed for these alone.
        jitter: largest shift as a share of the box's size.

    Returns:
        One prompt.

    Raises:
        CaseError: there is no ground truth, or it is empty.
        ValueError: something is drawn and there is no generator.
    """
    truth = _truth(truth, image, "truth_centroid")
    rows, cols = np.nonzero(truth)
    y, x = rows.mean() + 0.5, cols.mean() + 0.5
    if not truth[int(y), int(x)]:
        depth = ndimage.distance_transform_edt(np.pad(truth, 1))[1:-1, 1:-1]
        row, col = np.unravel_index(depth.argmax(), depth.shape)
        y, x = row + 0.5, col + 0.5
    if jitter:
        x0, y0, x1, y1 = tight_box(truth)
        dx, dy = _generator(generator, "truth_centroid").uniform(-jitter, jitter, 2) * (x1 - x0, y1 - y0)
        h, w = truth.shape
        x, y = np.clip(x + dx, 0.5, w - 0.5), np.clip(y + dy, 0.5, h - 0.5)
    return [Prompt(points=((float(x), float(y)),), labels=(1,), prompter="truth_centroid")]


def _truth(truth: np.ndarray | None, image: np.ndarray, name: str) -> np.ndarray:
    if truth is None:
        raise CaseError(f"the prompter '{name}' needs a ground truth and this case has none: use 'otsu' instead")
    if truth.shape != image.shape[:2]:
        raise CaseError(
            f"the ground truth is {truth.shape[0]} x {truth.shape[1]} pixels (h x w), the image "
            f"{image.shape[0]} x {image.shape[1]}: give a truth of the image's size"
        )
    if not truth.any():
        raise CaseError(f"the ground truth is empty, so the prompter '{name}' has nothing to point at: use 'otsu'")
    return truth


def _drawn_by_hand(box: Box, most: float, size: tuple[int, int], generator: np.random.Generator) -> Box:
    if not most > 0:
        raise ConfigError(f"truth_box: perturbation is {most}; give a number of pixels of at least 0")
    left, top, right, bottom = generator.uniform(0, most, 4) * max(size) / SIDE
    return clip_box((box[0] - left, box[1] - top, box[2] + right, box[3] + bottom), size)


def _jittered(
    prompt: Prompt, ratio: float, size: tuple[int, int], generator: np.random.Generator | None, edges: bool
) -> Prompt:
    if not ratio:
        return prompt
    draws = _generator(generator, prompt.prompter).uniform(-1, 1, n_draws(prompt, edges))
    return jitter_prompt(prompt, draws, ratio, size, edges)


def _generator(generator: np.random.Generator | None, name: str) -> np.random.Generator:
    if generator is None:
        raise ValueError(f"{name}: a random box needs a numpy.random.Generator, see sqp.core.seeding.numpy_generator")
    return generator
