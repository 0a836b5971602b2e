"""Random changes of a task, and of its single images, for a network that is shown examples.

Those of UniverSeg (Butoi et al. 2023, arXiv 2304.06131). Of a task all images change alike, so that it becomes another
task: the network must look at the examples to know it. Of an image alone it changes the image, not the task.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from sqp.training.augmentation import moved

COARSE = 4  # nodes along a side, between which an elastic warp is smooth


@dataclass(frozen=True)
class Changes:
    """What may happen to a unit, each change with a probability of its own.

    A unit is what changes alike: [u, m, h, w] are u units of m images. `flip` up-down and left-right; `affine` a turn
    of at most `rotate` degrees, a zoom and a shift of at most these shares; `warp` an elastic one of at most `bend`
    (share of the side); `light` brightness by at most 0.1 and contrast by at most 0.3; `blur` by a Gaussian of 0.1 to
    1.1 pixels, `sharpen` by at most twice what that takes away; `noise` of at most 0.1; `invert` dark and bright;
    `outside` segments what is not the structure, `edges` its border.
    """

    flip: float = 0.0
    affine: float = 0.0
    rotate: float = 0.0
    zoom: float = 0.0
    shift: float = 0.0
    warp: float = 0.0
    bend: float = 0.0
    light: float = 0.0
    blur: float = 0.0
    sharpen: float = 0.0
    noise: float = 0.0
    invert: float = 0.0
    outside: float = 0.0
    edges: float = 0.0


OF_TASK = Changes(
    flip=0.5, affine=0.5, rotate=180.0, zoom=0.2, shift=0.1, warp=0.25, bend=0.08,
    light=0.5, blur=0.25, sharpen=0.25, noise=0.25, invert=0.5,
)  # fmt: skip
"""Of a whole task. The kinds are the paper's, their sizes ours."""
OF_IMAGE = Changes(
    affine=0.5, rotate=25.0, zoom=0.1, shift=0.1, warp=0.25, bend=0.05, light=0.5, blur=0.25, sharpen=0.25, noise=0.25
)
"""Of each image by itself."""


def changed_tasks(
    image: Tensor, mask: Tensor, valid: Tensor, generator: torch.Generator, relabel: float = 0.5
) -> tuple[Tensor, ...]:
    """Episodes `[b, m, 1, h, w]` with each task, and then each of its images, changed at random.

    Args:
        image: grey in 0..1.
        mask: bool.
        valid: bool, what lies on the image.
        generator: all randomness.
        relabel: probability that what is outside is segmented, and that the border is.

    Returns:
        image, mask and valid anew; what is not valid is 0.
    """
    shape, of_task = image.shape, replace(OF_TASK, outside=relabel, edges=relabel)
    planes = changed(image.squeeze(2), mask.squeeze(2), valid.squeeze(2), of_task, generator)
    image, mask, valid = (plane.flatten(0, 1)[:, None] for plane in planes)
    return tuple(plane.view(shape) for plane in changed(image, mask, valid, OF_IMAGE, generator))


def changed(
    image: Tensor, mask: Tensor, valid: Tensor, changes: Changes, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """u units of m images, `[u, m, h, w]`, each unit changed at random.

    Args:
        image: grey in 0..1.
        mask: bool.
        valid: bool.
        changes: what may happen.
        generator: all randomness.

    Returns:
        image, mask and valid anew.
    """
    c, m = changes, image.shape[1]

    def chosen(share: float) -> Tensor:
        return torch.rand(len(image), 1, 1, 1, generator=generator).to(image) < share

    def drawn(low: float, high: float) -> Tensor:
        return torch.rand(len(image), 1, 1, 1, generator=generator).to(image) * (high - low) + low

    planes = torch.cat([image, mask.to(image), valid.to(image)], dim=1)
    for axis in (2, 3):
        planes = torch.where(chosen(c.flip), planes.flip(axis), planes)
    moves = {"rotate": c.rotate, "zoom": c.zoom, "shift": c.shift, "share": c.affine}
    planes = moved(planes, generator, **moves, padding="zeros")
    planes = warped(planes, drawn(0, c.bend) * chosen(c.warp), generator)
    image, mask, valid = planes[:, :m], planes[:, m : 2 * m] >= 0.5, planes[:, 2 * m :] >= 0.5

    light = chosen(c.light)
    image = torch.where(light, (image - 0.5) * drawn(0.7, 1.3) + 0.5 + drawn(-0.1, 0.1), image)
    soft = blurred(image, drawn(0.1, 1.1))
    sharp, by = image + drawn(0, 2) * (image - soft), chosen(c.sharpen)
    image = torch.where(chosen(c.blur), soft, torch.where(by, sharp, image))
    noise = torch.randn(image.shape, generator=generator).to(image)
    image = image + noise * drawn(0, 0.1) * chosen(c.noise)
    image = image.clamp(0, 1)
    image = torch.where(chosen(c.invert), 1 - image, image) * valid

    border = (F.max_pool2d(mask.float(), 3, 1, 1) + F.max_pool2d(1 - mask.float(), 3, 1, 1)) > 1
    mask = torch.where(chosen(c.edges), border, mask)
    mask = torch.where(chosen(c.outside), ~mask, mask) & valid
    return image, mask, valid


def warped(planes: Tensor, bend: Tensor, generator: torch.Generator) -> Tensor:
    """`[u, c, h, w]` moved by a smooth random field of at most `bend` `[u, 1, 1, 1]` of the side, zeros from outside.

    Args:
        planes: what is moved.
        bend: 0 leaves a row as it is.
        generator: all randomness.

    Returns:
        `[u, c, h, w]`.
    """
    index = bend.flatten().nonzero()[:, 0]
    if not len(index):
        return planes
    part = planes[index]
    coarse = torch.rand(len(bend), 2, COARSE, COARSE, generator=generator)[index.cpu()].to(planes) * 2 - 1
    field = F.interpolate(coarse, part.shape[-2:], mode="bicubic", align_corners=True) * 2 * bend[index]
    same = torch.eye(2, 3).to(planes)[None].expand(len(part), 2, 3)
    grid = F.affine_grid(same, list(part.shape), align_corners=False) + field.permute(0, 2, 3, 1)
    out = planes.clone()
    out[index] = F.grid_sample(part, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return out


def blurred(image: Tensor, sigma: Tensor) -> Tensor:
    """`[u, m, h, w]` under a Gaussian of 5 x 5 pixels, each unit with its own sigma `[u, 1, 1, 1]` in pixels.

    Args:
        image: the images.
        sigma: over 0.

    Returns:
        `[u, m, h, w]`; borders are repeated outwards.
    """
    u, m, h, w = image.shape
    steps = torch.arange(-2, 3).to(image)
    line = torch.exp(-(steps**2) / (2 * sigma.view(u, 1) ** 2))
    line = (line / line.sum(1, keepdim=True)).repeat_interleave(m, 0)
    padded = F.pad(image.reshape(1, u * m, h, w), (2, 2, 2, 2), mode="replicate")
    across = F.conv2d(padded, line[:, None, None, :], groups=u * m)
    return F.conv2d(across, line[:, None, :, None], groups=u * m).view(u, m, h, w)
