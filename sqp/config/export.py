"""What `sqp export` does, as one dataclass."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqp.config.checks import Config
from sqp.core.errors import ConfigError


@dataclass
class ExportConfig(Config):
    """Write a quality model as one ONNX file, and as a model card that people can read.

    Attributes:
        model: Bundle of a trained quality model: its folder, or the name of one that comes with sqp; default is sqp's
            own, `default`.
        onnx: File of the ONNX model, with resizing, normalisation and interval inside; none where it is not named.
        card: File of the model card, in Markdown; none where it is not named.
        evaluation: Folder of `sqp evaluate` whose figures stand in the card.
        overwrite: Replace files that are there.
    """

    model: Path | None = None
    onnx: Path | None = None
    card: Path | None = None
    evaluation: Path | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.onnx is None and self.card is None:
            raise ConfigError("export needs --onnx FILE, --card FILE or both: name what is to be written")
        if self.onnx is not None and self.onnx.suffix != ".onnx":
            raise ConfigError(f"--onnx {self.onnx} does not end in .onnx: name the file so")
        if self.evaluation is not None and self.card is None:
            raise ConfigError("--evaluation is for the model card: give --card FILE, too")
