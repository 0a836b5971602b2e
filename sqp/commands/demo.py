"""`sqp demo`: synthetic lesions -> generate -> train -> predict -> evaluate, on a bare CPU, with its own report."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from sqp.commands import evaluate, predict, train
from sqp.commands.evaluate import EvaluateResult
from sqp.config.demo import DemoConfig
from sqp.config.evaluate import EvaluateConfig
from sqp.config.generate import SEEN, UNSEEN, GenerateConfig, SamplerConfig, VariantPlan
from sqp.config.predict import PredictConfig
from sqp.config.train import TrainConfig
from sqp.core.ownership import owned
from sqp.data.synthetic import write_synthetic
from sqp.records.make import make_record_set
from sqp.report.tables import brief

FRACTIONS = {"train": 0.45, "calibration": 0.25, "val": 0.1, "test": 0.2}


@dataclass
class DemoResult:
    """What the demo made."""

    out: Path
    evaluation: EvaluateResult
    seconds: float

    def summary(self) -> str:
        """The table, the picture and the report."""
        out = self.out / "evaluation"
        return "\n".join(
            [
                brief(self.evaluation.table),
                "",
                "Synthetic lesions: the numbers show that sqp runs, not how well it does on patients.",
                f"picture: {out / 'predicted_vs_true.png'}",
                f"report:  {out / 'report.html'}",
                f"done in {self.seconds:.0f} s; next: `sqp predict --model {self.out / 'model/bundle'} "
                "--images YOUR_IMAGES --masks YOUR_MASKS --out RESULT`",
            ]
        )


def run(config: DemoConfig) -> DemoResult:
    """Run every step in `config.out`; a demo that was interrupted goes on where it stopped."""
    with owned(config.out, "demo") as own:
        if config.overwrite:
            own.clear()
        return _run(config)


def _run(config: DemoConfig) -> DemoResult:
    """Into a folder that is this run's own; each step clears its own part."""
    started = time.monotonic()
    data, records, model = config.out / "data", config.out / "records", config.out / "model"
    print(f"1/5 drawing {config.images} synthetic lesions")
    if not (data / "labels.csv").exists():
        write_synthetic(data, config.images, config.seed, config.size, FRACTIONS)
    print("2/5 generating: LiteMedSAM under Otsu's box, jittered; corrupted masks")
    many = VariantPlan(truth_jitter=1, corruptions=4)
    make_record_set(
        GenerateConfig(
            images=data,
            out=records,
            sampler=SamplerConfig(n=config.samples),
            variants={"*": many, "test": VariantPlan(corruptions=4, families=[*SEEN, *UNSEEN])},
            seed=config.seed,
            workers=config.workers,
            overwrite=config.overwrite,
        )
    )
    print("3/5 training the quality model")
    train.run(
        TrainConfig(
            records=[records],
            out=model,
            size=96,
            epochs=config.epochs,
            patience=config.epochs,
            seed=config.seed,
            overwrite=config.overwrite,
        )
    )
    print("4/5 predicting")
    predict.run(
        PredictConfig(
            model=model / "bundle", out=config.out / "predictions", records=[records], split=["test"], worst=6
        )
    )
    print("5/5 evaluating beside every analytic score")
    evaluation = evaluate.run(
        EvaluateConfig(
            model=model / "bundle",
            records=[records],
            out=config.out / "evaluation",
            n_resamples=500,
            overwrite=True,
        )
    )
    return DemoResult(config.out, evaluation, time.monotonic() - started)
