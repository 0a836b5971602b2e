"""A bundle as one module that takes what a record consists of and gives what `predict` says: for ONNX.

Pillow's bilinear resizing as products with matrices in torch, so that a graph of any image size can hold it.

`channels.resize` and `channels.image_planes` are what a bundle is trained with; these give the same planes as Pillow 13
(`Resample.c`, `Reduce.c`): whole images are first averaged over blocks, bytes are weighted by whole numbers and rounded
after each pass, floats become float32 after each, and a tall image is shrunk in its height first (before Pillow 13 it
was not: there a pixel differs by a grey level). Bytes are the same number for number; of floats a few in ten thousand
differ by the last bit. A size may be symbolic (torch.export), so nothing branches on it.
"""

from __future__ import annotations

import contextlib
import io
import json
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sqp.core.errors import ConfigError
from sqp.core.files import write_atomic
from sqp.quality.bundle.storage import Bundle
from sqp.quality.model.backbones import dims_of
from sqp.quality.model.channels import IMAGE, MASK
from sqp.quality.model.inference import SYMMETRIES, turned_back
from sqp.quality.model.symmetries import turned
from sqp.quality.model.tabular import CLIP

TESTED = "2.14"  # of torch; the exporters of 2.6 and 2.7 fail on sides that vary
OPSET = 18
METADATA = "data_sha256"  # by this key an ONNX file is known to be sqp's
SCORES = "scores"
GAP = 3
"""Pillow's `reducing_gap`: an image is first averaged over whole blocks, down to so many times the wanted size."""
ONE = 2**22
"""What Pillow calls 1 where it weights bytes by whole numbers."""


def plane(values: Tensor, size: int) -> Tensor:
    """float `[h, w]` -> float32 `[size, size]`, as `channels.resize`."""
    h, w = (_number(side) for side in values.shape)
    rows, columns = _weights(h, values.shape[0], size), _weights(w, values.shape[1], size)
    return _passes(values.double(), rows, columns, lambda sums: sums.float().double()).float()


def colours(image: Tensor, size: int) -> Tensor:
    """uint8 `[h, w, 3]` -> float64 `[3, size, size]` of whole numbers, as `channels.image_planes`."""
    h, w, _ = image.shape
    lengths = torch.sym_max(1, h // (GAP * size)), torch.sym_max(1, w // (GAP * size))
    rows, columns = _blocks(h, lengths[0]), _blocks(w, lengths[1])
    sums = (rows @ image.permute(2, 0, 1).float()).double() @ columns.double().T  # exact: of whole numbers
    counts = rows.sum(1)[:, None] * columns.sum(1)[None]
    reciprocal = (_number(2**32).float() / (256 * counts)).floor().double()  # as Pillow has it, of float32
    means = ((sums + (counts / 2).floor()) * reciprocal / 2**24).floor()
    down, across = (
        (_weights(_number(side) / _number(length), blocks.shape[0], size) * ONE + 0.5).floor()
        for side, length, blocks in ((h, lengths[0], rows), (w, lengths[1], columns))
    )
    return _passes(means, down, across, lambda sums: (sums / ONE + 0.5).floor())


def _passes(values: Tensor, rows: Tensor, columns: Tensor, kept: Callable[[Tensor], Tensor]) -> Tensor:
    """`values` `[…, h, w]` weighted along both sides, `kept` after each: the width first, unless far more rows go."""
    size = len(rows)
    gone = [_number(weights.shape[1]) - size for weights in (rows, columns)]
    tall = (gone[0] > 0) & (gone[0] > 2 * gone[1])
    return torch.where(tall, kept(kept(rows @ values) @ columns.T), kept(rows @ kept(values @ columns.T)))


def _weights(length: Tensor, pixels: int, size: int) -> Tensor:
    """float64 `[size, pixels]`: a triangle about each new pixel, as wide as it is shrunk; rows sum to 1.

    `length` is that of the resized line in old pixels, in float32 as Pillow has it; the last of them may reach past it.
    """
    scale = length.float().double() / size
    centre = (torch.arange(size, dtype=torch.float64) + 0.5) * scale
    away = torch.arange(pixels, dtype=torch.float64)[None] - centre[:, None] + 0.5
    weights = (1 - (away * (1 / scale.clamp(min=1.0))).abs()).clamp(min=0)
    return weights / weights.sum(1, keepdim=True)


def _blocks(pixels: int, length: Any) -> Tensor:
    """float32 0/1 `[blocks, pixels]`: which pixels lie in which block of `length`; the last may be shorter."""
    blocks = (pixels + length - 1) // length
    return (torch.arange(pixels)[None] // length == torch.arange(blocks)[:, None]).float()


def _number(size: Any) -> Tensor:
    return torch.scalar_tensor(size, dtype=torch.float64)


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
        inputs = []
        for number, name in enumerate(self.channels):
            if name == IMAGE:
                inputs.append(Input(name, torch.zeros(96, 130, 3, dtype=torch.uint8), ("height", "width", "")))
            elif name == MASK:
                inputs.append(Input(name, torch.ones(97, 131, dtype=torch.bool), ("mask_height", "mask_width")))
            else:
                source = name.split("/")[0]
                shift = 2 * [item.split("/")[0] for item in self.channels].index(source)
                example = torch.full((50 + shift, 61 + shift), 0.1 + number / 100)
                inputs.append(Input(name, example, (f"{source}_height", f"{source}_width")))
        if self.scored:
            inputs.append(Input(SCORES, torch.full((len(self.scored),), 0.5, dtype=torch.float64), ("",)))
        return inputs

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
        interval = dice, (dice - half).clamp(0, 1), (dice + half).clamp(0, 1), scale
        if outs[0].error_map is None:
            return interval
        maps = [turned_back(out.error_map, turn) for out, turn in zip(outs, turns, strict=True)]
        return *interval, torch.cat(maps).mean(0)

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


def write_onnx(bundle: Bundle, path: Path) -> None:
    """The bundle as one ONNX file; its metadata say the names of the scores, the interval and the data.

    ConfigError for a model of volumes, and where the packages of the extra `onnx` are not there.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401  (torch.onnx.export needs it)
    except ImportError as error:
        raise ConfigError(f"--onnx needs {error.name}, which is not installed: pip install 'sqp[onnx]'") from error
    backbone = bundle.model.spec.backbone
    if dims_of(backbone) == 3:
        raise ConfigError(
            f"--onnx writes models of images, and {bundle.name} reads volumes (backbone {backbone}): use "
            "`sqp predict`, or give --card alone"
        )
    graph = Graph(bundle)
    inputs = graph.inputs()
    sides = {name: torch.export.Dim(name, min=2, max=32768) for item in inputs for name in item.sides if name}
    shapes = tuple({i: sides[name] for i, name in enumerate(item.sides) if name} for item in inputs)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # torch's own: of its internals, nothing that a user could mend
        try:
            program = torch.onnx.export(
                graph,
                tuple(item.example for item in inputs),
                dynamo=True,
                dynamic_shapes=(shapes,),
                input_names=[item.name for item in inputs],
                output_names=graph.outputs,
                opset_version=OPSET,
            )
        except (torch.onnx.OnnxExporterError, ImportError) as error:
            raise ConfigError(
                f"torch {torch.__version__} with onnxscript {version('onnxscript')} cannot write this model as ONNX "
                f"({str(error).splitlines()[0]}): install newer ones (torch {TESTED} writes it)"
            ) from error
    assert program is not None
    proto = program.model_proto
    metadata = {
        SCORES: json.dumps(list(graph.scored)),
        "interval": f"{1 - bundle.conformal.alpha:g}",
        METADATA: str(bundle.info.get("data", {}).get("sha256")),
    }
    onnx.helper.set_model_props(proto, metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, lambda file: file.write(proto.SerializeToString()))
