"""`sqp export`: a bundle -> one ONNX file, and a model card in Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqp.bundles import bundle_folder
from sqp.config.export import ExportConfig
from sqp.core.errors import ConfigError
from sqp.core.files import check_free, write_text
from sqp.core.tables import read_own_csv
from sqp.evaluation.runs import METHODS
from sqp.quality.bundle.onnx_graph import METADATA, write_onnx
from sqp.quality.bundle.storage import Bundle
from sqp.report.model_card import HEADING, model_card

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
        note = [NOT_EXPORTED] if any(file.suffix == ".onnx" for file in self.files) else []
        return "\n".join([*(f"written: {file}" for file in self.files), *note])


def run(config: ExportConfig) -> ExportResult:
    """Write what is asked for; ConfigError where a file is there already."""
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
    """ConfigError for a file that is not to be replaced, and where no evaluation is, before anything is read."""
    for file, own in ((config.onnx, METADATA), (config.card, HEADING)):
        if file is None or not file.exists():
            continue
        check_free(file, config.overwrite)
        if not file.is_file() or own.encode() not in file.read_bytes():
            raise ConfigError(f"{file} was not written by `sqp export`, so it is not replaced: choose another file")
    if config.evaluation is not None and not (config.evaluation / "evaluation.csv").is_file():
        raise ConfigError(f"{config.evaluation} holds no evaluation.csv: give a folder that `sqp evaluate` wrote")
