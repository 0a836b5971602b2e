"""How much each pixel of each input group moves the predicted Dice: signed maps `[n, s, s]` a group, of volumes
`[n, s, s, s]`.

A CAM belongs to a layer, where the inputs are mixed already. These methods go down to the planes, so they tell the
image from the mask and from each map. The baseline is the training mean of each plane, "nothing seen": what the network
itself normalises to 0. By captum (Integrated gradients, Sundararajan et al., ICML 2017; occlusion, Zeiler and Fergus,
ECCV 2014); `input_x_gradient` is the first step of the former and costs one backward pass.

The input groups of a quality model: the image (three planes, of a volume one), the mask, each map.

Scores have no pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from sqp.core.errors import ConfigError, lookup
from sqp.explain.target import EFFECTS, Logit, frozen
from sqp.quality.model.channels import plane_names
from sqp.quality.model.ensemble import Ensemble
from sqp.quality.model.module import QualityModel


def plane_groups(channels: Sequence[str], dims: int = 2) -> dict[str, list[int]]:
    """Channel name -> indices of its planes; `dims` is 3 for volumes.

    Examples:
        >>> plane_groups(("image", "mask", "self/entropy"))
        {'image': [0, 1, 2], 'mask': [3], 'self/entropy': [4]}
    """
    names = [name.split("/")[0] if name.startswith("image/") else name for name in plane_names(channels, dims)]
    return {channel: [i for i, name in enumerate(names) if name == channel] for channel in channels}


STEPS = 16  # of the integral
WINDOW = 8  # windows a side that occlusion covers one after the other


def input_x_gradient(function: Logit, planes: Tensor, baseline: Tensor, groups: dict[str, list[int]]) -> Tensor:
    """gradient x (planes - baseline), `[n, c, s, s]`: the change that a straight line predicts."""
    planes = planes.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(planes).sum(), planes)
    return gradient * (planes.detach() - baseline)


def integrated_gradients(function: Logit, planes: Tensor, baseline: Tensor, groups: dict[str, list[int]]) -> Tensor:
    """captum's, `[n, c, s, s]`; the sum over a record is the logit of the planes less that of the baseline, nearly."""
    captum = _captum()
    return captum.IntegratedGradients(function).attribute(
        planes, baselines=baseline.expand_as(planes), target=0, n_steps=STEPS, internal_batch_size=4 * len(planes)
    )


def occlusion(function: Logit, planes: Tensor, baseline: Tensor, groups: dict[str, list[int]]) -> Tensor:
    """captum's, `[n, c, s, s]`: a window of one group at a time is set to the baseline, the others stay."""
    captum = _captum()
    side = -(-planes.shape[-1] // WINDOW)
    out = torch.zeros_like(planes)
    for index in groups.values():

        def of_group(part: Tensor, index: list[int] = index) -> Tensor:
            whole = planes.repeat(len(part) // len(planes), *[1] * (planes.ndim - 1))
            whole[:, index] = part
            return function(whole)

        window = (len(index), *[side] * (planes.ndim - 2))
        part, base = planes[:, index], baseline.expand_as(planes)[:, index]
        made = captum.Occlusion(of_group).attribute(part, window, strides=window, baselines=base, target=0)
        out[:, index] = made / np.prod(window)
    return out


ATTRIBUTIONS: dict[str, Callable[[Logit, Tensor, Tensor, dict[str, list[int]]], Tensor]] = {
    "input_x_gradient": input_x_gradient,
    "integrated_gradients": integrated_gradients,
    "occlusion": occlusion,
}
"""Name -> (function, planes, baseline, groups) -> attribution of each plane's pixels."""


def group_maps(
    model: QualityModel | Ensemble,
    planes: Tensor,
    scores: Tensor | None,
    name: str = "input_x_gradient",
    effect: str = "lowers",
) -> dict[str, np.ndarray]:
    """Each input group's signed map float32 `[n, s, s]`, its planes summed; above 0 is what has the effect asked for.

    In the logit of the predicted Dice, of the planes as they lie (the symmetries are not averaged). ConfigError for an
    unknown name, or where captum is needed and not installed.
    """
    method = lookup("attribution", name, ATTRIBUTIONS)
    sign = lookup("effect", effect, EFFECTS)
    groups = plane_groups(model.spec.channels, planes.ndim - 2)
    baseline = model.mean.view(1, -1, *[1] * (planes.ndim - 2)).to(planes)
    with frozen(model):
        made = sign * method(Logit(model, scores), planes, baseline, groups).detach().float().cpu()
    return {group: made[:, index].sum(dim=1).numpy() for group, index in groups.items()}


def shares(maps: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Each group's share `[n]` of all absolute attribution of a record; NaN where there is none."""
    sizes = {g: np.abs(v).reshape(len(v), -1).sum(axis=1, dtype=np.float64) for g, v in maps.items()}
    total = np.sum(list(sizes.values()), axis=0)
    return {g: np.divide(s, total, out=np.full_like(s, np.nan), where=total > 0) for g, s in sizes.items()}


def _captum():  # type: ignore[no-untyped-def]
    try:
        import captum.attr as captum
    except ImportError as error:
        raise ConfigError(
            "integrated_gradients and occlusion need captum: pip install 'sqp[attribution]', or choose "
            "--attribution input_x_gradient"
        ) from error
    return captum
