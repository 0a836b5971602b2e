"""`sqp export`: a bundle -> one ONNX file, and a model card in Markdown."""

from __future__ import annotations

import contextlib
import io
import json
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch

from sqp.bundles import bundle_folder
from sqp.config.export import ExportConfig
from sqp.core.errors import ConfigError
from sqp.core.files import check_free, write_atomic, write_text
from sqp.core.tables import read_own_csv
from sqp.evaluation.runs import METHODS
from sqp.quality.bundle.onnx_graph import SCORES, Graph
from sqp.quality.bundle.storage import Bundle
from sqp.quality.model.backbones import dims_of
from sqp.report.model_card import HEADING, model_card

OPSET = 18
METADATA = "data_sha256"  # by this key an ONNX file is known to be sqp's
NOT_EXPORTED = (
    "An exported ONNX file holds the quality model alone: neither the segmenter and its samples, which make the maps "
    "and scores, nor the distance that tells what is out of distribution, so it gives no verdict."
)


@dataclass
class ExportResult:
    """The files that were written."""

    files: list[Path]

    def summary(self) -> str:
        """For the terminal."""
        told = [NOT_EXPORTED] if any(file.suffix == ".onnx" for file in self.files) else []
        return "\n".join([*(f"written: {file}" for file in self.files), *told])


def run(config: ExportConfig) -> ExportResult:
    """Write what is asked for; ConfigError where nothing is, or a file is there already."""
    check(config)
    bundle = Bundle.load(bundle_folder(config.model))
    files = []
    if config.onnx is not None:
        write_onnx(bundle, config.onnx)
        files.append(config.onnx)
    if config.card is not None:
        file = None if config.evaluation is None else config.evaluation / "evaluation.csv"
        table = None if file is None else read_own_csv(file, "evaluate again", METHODS)
        config.card.parent.mkdir(parents=True, exist_ok=True)
        onnx = config.onnx.name if config.onnx is not None else None
        write_text(config.card, model_card(bundle, table, NOT_EXPORTED, onnx))
        files.append(config.card)
    return ExportResult(files)


def check(config: ExportConfig) -> None:
    """ConfigError for options that contradict each other, before anything is read."""
    if config.onnx is None and config.card is None:
        raise ConfigError("export needs --onnx FILE, --card FILE or both: name what is to be written")
    if config.onnx is not None and config.onnx.suffix != ".onnx":
        raise ConfigError(f"--onnx {config.onnx} does not end in .onnx: name the file so")
    for file, own in ((config.onnx, METADATA), (config.card, HEADING)):
        if file is None or not file.exists():
            continue
        check_free(file, config.overwrite)
        if not file.is_file() or own.encode() not in file.read_bytes():
            raise ConfigError(f"{file} was not written by `sqp export`, so it is not replaced: choose another file")
    if config.evaluation is not None:
        if config.card is None:
            raise ConfigError("--evaluation is for the model card: give --card FILE, too")
        if not (config.evaluation / "evaluation.csv").is_file():
            raise ConfigError(f"{config.evaluation} holds no evaluation.csv: give a folder that `sqp evaluate` wrote")


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
    sides = {name: torch.export.Dim(name, min=2, max=32768) for one in inputs for name in one.sides if name}
    shapes = tuple({i: sides[name] for i, name in enumerate(one.sides) if name} for one in inputs)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # torch's own: of its internals, nothing that a user could mend
        program = torch.onnx.export(
            graph,
            tuple(one.example for one in inputs),
            dynamo=True,
            dynamic_shapes=(shapes,),
            input_names=[one.name for one in inputs],
            output_names=graph.outputs,
            opset_version=OPSET,
        )
    assert program is not None
    proto = program.model_proto
    told = {
        SCORES: json.dumps(list(graph.scored)),
        "interval": f"{1 - bundle.conformal.alpha:g}",
        METADATA: str(bundle.info.get("data", {}).get("sha256")),
    }
    onnx.helper.set_model_props(proto, told)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, lambda file: file.write(proto.SerializeToString()))
