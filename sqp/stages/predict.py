"""`sqp predict`: images (and masks made elsewhere) or record sets -> predictions, overlays, a report."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from sqp.config.generate import GenerateConfig, SamplerConfig, SegmenterConfig
from sqp.config.predict import PredictConfig
from sqp.errors import ConfigError
from sqp.quality.bundle import Bundle
from sqp.quality.predict import predict_records
from sqp.report.overlays import write_overlays
from sqp.report.page import write_page
from sqp.report.predictions import write_predictions
from sqp.report.summary import prediction_summary
from sqp.stages import generate


@dataclass
class PredictResult:
    """The predictions of a run, and where they are. `skipped` maps an image id to why it has none."""

    out: Path
    table: pd.DataFrame
    skipped: dict[str, str] = field(default_factory=dict)
    fail_under: float | None = None

    @property
    def below(self) -> int:
        """Number of records whose predicted Dice is below `fail_under`, or not known."""
        return 0 if self.fail_under is None else int((~(self.table.predicted_dice >= self.fail_under)).sum())

    @property
    def exit_status(self) -> int:
        """3 if `fail_under` is not met, 1 if images were skipped, else 0."""
        return 3 if self.below else 1 if self.skipped else 0

    def summary(self) -> str:
        """What the terminal shows at the end."""
        lines = [prediction_summary(self.table), ""]
        if self.skipped:
            reasons = [f"  {name}: {reason}" for name, reason in list(self.skipped.items())[:5]]
            lines += [f"{len(self.skipped)} skipped (records/skipped.csv has all)", *reasons, ""]
        if self.fail_under is not None:
            verdict = f"{self.below} of {len(self.table)} below {self.fail_under:g} or not known"
            lines.append(f"--fail-under {self.fail_under:g}: {verdict if self.below else 'met'}")
        lines.append(f"predictions: {self.out / 'predictions.csv'}\nreport: {self.out / 'report.html'}")
        return "\n".join(lines)


def run(config: PredictConfig) -> PredictResult:
    """Make records where images are given, predict, and write predictions, overlays and the report."""
    if (config.images is None) == (not config.records):
        raise ConfigError("predict needs either --images (with --masks to judge masks made elsewhere) or --records")
    if config.records and (config.masks or config.truth):
        raise ConfigError("--masks and --truth go with --images; a record set has its masks already")
    bundle = Bundle.load(config.model)
    folders, skipped = list(config.records), {}
    if config.images is not None:
        made = generate.run(generate_config(config, bundle.expects))
        folders, skipped = [made.out], made.skipped
        if not made.records:
            reasons = "; ".join(list(skipped.values())[:3])
            raise ConfigError(f"no image of {config.images} could be segmented: {reasons}")
    table = predict_records(
        bundle,
        folders,
        config.batch_size,
        splits=config.split or None,
        device=config.device,
        accept=config.accept,
        reject=config.reject,
    )
    write_predictions(config.out, table)
    write_overlays(table, config.out / "overlays", config.worst)
    what = config.masks or config.images or ", ".join(map(str, config.records))
    write_page(config.out / "report.html", table, title="Predicted quality", notes=f"{what}", gallery=config.gallery)
    return PredictResult(config.out, table, skipped, config.fail_under)


def generate_config(config: PredictConfig, expects: list[dict[str, Any]]) -> GenerateConfig:
    """How records must be made so that the bundle can read them: as its training records were."""
    if not expects:
        raise ConfigError(f"{config.model} does not say how its records were made; give --records in place of --images")
    assert config.images is not None
    like = expects[0]
    segmenter = {key: value for key, value in like["segmenter"].items() if key != "weights_sha256"}
    return GenerateConfig(
        images=config.images,
        out=config.out / "records",
        truth=config.truth,
        masks=config.masks,
        layout=config.layout,
        segmenter=SegmenterConfig(**{**segmenter, "checkpoint": config.checkpoint}),
        prompter=config.prompter or like["prompter"],
        sampler=SamplerConfig(**like["sampler"]),
        measures=list(like["measures"]),
        seed=config.seed,
        workers=config.workers,
        device=config.device,
        strict=config.strict,
        overwrite=config.overwrite,
    )
