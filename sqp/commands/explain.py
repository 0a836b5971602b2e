"""`sqp explain`: what the quality model looks at, whether that is where the errors are, what it cannot do without."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from sqp.bundles import bundle_folder
from sqp.config.explain import ExplainConfig
from sqp.config.predict import PredictConfig
from sqp.core.errors import ConfigError
from sqp.core.ownership import check_owner, owned
from sqp.explain.explanation import Explanation, explain_records
from sqp.explain.strangeness import MakeRecords
from sqp.quality.bundle.expected_config import generate_config
from sqp.quality.bundle.storage import Bundle
from sqp.records.make import make_record_set
from sqp.records.run_info import stored_config, write_run
from sqp.segmenters import check_device


@dataclass
class ExplainResult:
    """`tables` by name, `sentences` what they say, `files` what was written, `left_out` why a record is missing."""

    out: Path
    tables: dict[str, pd.DataFrame]
    sentences: list[str]
    files: dict[str, Path]
    seconds: float
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def exit_status(self) -> int:
        """1 where records could not be read and were left out."""
        return 1 if self.left_out else 0

    def summary(self) -> str:
        """What the terminal shows at the end."""
        lost = [f"{len(self.left_out)} records left out: {next(iter(self.left_out.values()))}"] if self.left_out else []
        return "\n".join([*self.sentences, *lost, f"tables: {self.files['text']}", f"report: {self.files['report']}"])


def run(config: ExplainConfig) -> ExplainResult:
    """Explain and write tables, figures, explain.md, report.html, embedding.html and run.yaml into OUT."""
    check(config)
    with owned(config.out, "explain"):
        started = time.monotonic()
        bundle = Bundle.load(bundle_folder(config.model))
        explanation = explain_records(config, bundle, record_maker(config, bundle))
        files = explanation.write()
        seconds = round(time.monotonic() - started, 2)
        _write_run(explanation, seconds)
    left_out = explanation.material.left_out
    return ExplainResult(config.out, explanation.tables, explanation.sentences, files, seconds, left_out)


def check(config: ExplainConfig) -> None:
    """Refuse what cannot be explained, or not into this folder, before anything is read."""
    if not config.records:
        raise ConfigError("explain needs --records DIR: the record sets that hold the records to explain")
    check_device(config.device)
    check_owner(config.out, "explain")
    if (config.out / "run.yaml").exists() and not config.overwrite:
        raise ConfigError(f"{config.out} holds a finished run already; choose another --out, or --overwrite")


def record_maker(config: ExplainConfig, bundle: Bundle) -> MakeRecords:
    """Makes the records of a folder of images as `sqp predict` would, beside them."""

    def make(folder: Path) -> tuple[Path, Collection[str]]:
        as_predict = PredictConfig(
            model=config.model,
            out=folder.parent,
            images=folder,
            checkpoint=config.checkpoint,
            device=config.device,
            overwrite=config.overwrite,
        )
        made = make_record_set(generate_config(as_predict, bundle.expects, bundle.sources))
        return made.out, made.record_ids

    return make


def _write_run(explanation: Explanation, seconds: float) -> None:
    """OUT/run.yaml: the resolved config, layer, versions, counts and seconds."""
    material, layer = explanation.material, explanation.layer
    counts = {"records": len(material), "with_truth": int(material.known.sum()), "left_out": len(material.left_out)}
    config, name = explanation.config, layer.name if layer else None
    write_run(config.out, stored_config(config), seconds, layer=name, counts=counts)
