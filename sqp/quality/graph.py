"""A bundle as one module that takes what a record consists of and gives what `predict` says: for ONNX."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from sqp.quality.augment import turned
from sqp.quality.bundle import Bundle
from sqp.quality.channels import IMAGE, MASK
from sqp.quality.inference import SYMMETRIES, turned_back
from sqp.quality.resampling import colours, plane
from sqp.quality.tabular import CLIP

SCORES = "scores"


class Input(NamedTuple):
    """An input of the graph: its name, an example, and the names of its sides that may differ ("" for a fixed one)."""

    name: str
    example: Tensor
    sides: tuple[str, ...]


class Graph(nn.Module):
    """`graph(image, mask, maps …, scores) -> dice, low, high, scale[, error]`, in the order of `inputs`.

    image uint8 `[h, w, 3]`; mask bool `[h, w]`; each map float32 on its grid, in its own units; scores float64 `[k]`
    by the names of the bundle's, NaN where there is none. The outputs are scalars; the error map is `[h, h]`, h <= s,
    over the whole frame. The flips of the bundle and the members of an ensemble are inside.
    """

    def __init__(self, bundle: Bundle) -> None:
        super().__init__()
        self.model = bundle.model.cpu().eval()
        self.channels, self.size = bundle.channels, bundle.size
        self.quantile, self.scored = bundle.conformal.quantile, bundle.standardizer.names
        self.median: Tensor
        self.iqr: Tensor
        self.register_buffer("median", torch.tensor(bundle.standardizer.median, dtype=torch.float64))
        self.register_buffer("iqr", torch.tensor(bundle.standardizer.iqr, dtype=torch.float64))

    def inputs(self) -> list[Input]:
        """Those of this bundle; maps of one source (`self/…`) are of one size."""
        found = []
        for number, name in enumerate(self.channels):
            if name == IMAGE:
                found.append(Input(name, torch.zeros(96, 130, 3, dtype=torch.uint8), ("height", "width", "")))
            elif name == MASK:
                found.append(Input(name, torch.ones(97, 131, dtype=torch.bool), ("mask_height", "mask_width")))
            else:
                source = name.split("/")[0]
                shift = 2 * [one.split("/")[0] for one in self.channels].index(source)
                example = torch.full((50 + shift, 61 + shift), 0.1 + number / 100)
                found.append(Input(name, example, (f"{source}_height", f"{source}_width")))
        if self.scored:
            found.append(Input(SCORES, torch.full((len(self.scored),), 0.5, dtype=torch.float64), ("",)))
        return found

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs."""
        return ["dice", "low", "high", "scale"] + ["error"] * self.model.spec.error_map

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        planes = torch.cat([self._planes(name, value) for name, value in zip(self.channels, inputs, strict=False)])
        scores = self._scores(inputs[-1]) if self.scored else None
        turns = SYMMETRIES[: self.model.spec.flips]
        outs = [self.model(turned(planes[None], turn), scores) for turn in turns]
        dice, scale = (torch.stack([out[i][0] for out in outs]).mean() for i in range(2))
        half = self.quantile * scale
        told = dice, (dice - half).clamp(0, 1), (dice + half).clamp(0, 1), scale
        if outs[0].error_map is None:
            return told
        maps = [turned_back(out.error_map, turn) for out, turn in zip(outs, turns, strict=True)]
        return *told, torch.cat(maps).mean(0)

    def _planes(self, name: str, value: Tensor) -> Tensor:
        """`[c, s, s]` of a channel, rounded to float16 as `predict` and the cache do."""
        if name == IMAGE:
            return (colours(value, self.size) / 255).float()
        if name.rpartition("/")[2] == "epkl":
            value = torch.log1p(value)
        return plane(value, self.size).half().float()[None]

    def _scores(self, values: Tensor) -> Tensor:
        """As `tabular.Standardizer`: float32 `[1, 2k]`."""
        missing = ~torch.isfinite(values)
        scaled = (torch.where(missing, self.median, values) - self.median) / self.iqr
        return torch.cat([scaled.clamp(-CLIP, CLIP), missing.double()]).float()[None]
