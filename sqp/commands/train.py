"""`sqp train`: record sets -> a quality model, calibrated, as a bundle."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pytorch_lightning.utilities import rank_zero_only

from sqp.config.train import EXECUTION_KEYS, YOUNGER, TrainConfig
from sqp.core.ownership import Owned, owned
from sqp.evaluation.val_report import expectation, write_val_report
from sqp.quality.model.training import Training, checked_rows
from sqp.records.run_info import MaySkip, described, earlier_run, execution, fingerprint, write_run
from sqp.report.model_card import RESERVATIONS
from sqp.report.tables import write_csv
from sqp.report.wandb_run import check_logger, lightning_loggers, wandb_run


@dataclass
class TrainResult(MaySkip):
    """Where the bundle is, how the model does on the split val, and by record why it was skipped.

    `reservations`: what must be known of the model, in sentences; the bundle and its card have them, too.
    """

    bundle: Path
    metrics: dict[str, float] = field(default_factory=dict)
    epochs: int = 0
    seconds: float = 0.0
    skipped: dict[str, str] = field(default_factory=dict)
    reservations: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """For the terminal."""
        m = self.metrics
        if not m:
            return "trained; the process of rank 0 reports"
        lines = [f"skipped {name}: {why}" for name, why in self.skipped.items()]
        lines += [f"{len(lines)} records were skipped"] if lines else []
        return "\n".join(
            [
                *lines,
                f"val: MAE {m['mae']:.3f}, RMSE {m['rmse']:.3f}, Pearson {m['pearson']:.3f}, "
                f"Spearman {m['spearman']:.3f} (n = {m['n']:.0f}, SD(Dice) {m['sd']:.3f}); "
                f"{self.epochs} epochs in {self.seconds:.0f} s",
                *self.reservations,
                f"bundle: {self.bundle}",
            ]
        )


def run(config: TrainConfig) -> TrainResult:
    """Fit, calibrate and write into OUT: bundle, metrics.csv, run.yaml, predictions_val.csv, comparison_val.csv.

    A finished run of the same config and data is answered from its files; ConfigError where they differ.
    """
    check_logger(config)
    first = getattr(rank_zero_only, "rank", 0) == 0  # the other ranks start while it trains
    with owned(config.out, "train", locked=first) as own:
        return _run(config, own, first)


def _run(config: TrainConfig, own: Owned, first: bool) -> TrainResult:
    """Into a folder that is this run's own."""
    started = time.monotonic()
    out = Path(config.out)
    rows = checked_rows(config)
    stored = described(config, EXECUTION_KEYS) | {"data_sha256": fingerprint(rows)["sha256"], "n_records": len(rows)}
    if config.overwrite and first:
        own.clear()
    finished = _check_out(out, stored)
    if finished and config.resume:
        return finished
    training = Training.of(config, rows)  # what it refuses is told before anything is written or decoded
    write_run(out, stored)
    few = expectation(rows)
    if few and first:
        print(few, flush=True)
    with wandb_run(config, "train", out, stored) if first else nullcontext() as logged:
        trained = training.run(out, partial(lightning_loggers, logged))
        if trained is None:
            return TrainResult(out / "bundle")
        write_csv(trained.predictions, out / "predictions_val.csv")
        found = write_val_report(config, trained.rows, trained.predictions, logged)
        trained.bundle.info |= {RESERVATIONS: found} if found else {}
        trained.bundle.save(out / "bundle")
    seconds = round(time.monotonic() - started, 2)
    result = TrainResult(out / "bundle", trained.metrics, trained.epochs, seconds, trained.skipped, found)
    write_run(
        *(out, stored, seconds),
        execution=execution(config, EXECUTION_KEYS),
        parameters=sum(p.numel() for p in trained.bundle.model.parameters()),
        epochs=result.epochs,
        skipped=result.skipped,
        val=result.metrics,
        reservations=result.reservations,
    )
    return result


def _check_out(out: Path, stored: dict[str, Any]) -> TrainResult | None:
    """The result of a finished run of the same config; ConfigError where OUT holds another one."""
    earlier = earlier_run(out, stored, "a model trained", YOUNGER)
    if earlier is None or "val" not in earlier or not (out / "bundle" / "bundle.json").exists():
        return None
    return TrainResult(
        *(out / "bundle", earlier["val"], earlier["epochs"], earlier["seconds"]),
        *(earlier.get("skipped", {}), earlier.get("reservations", [])),
    )
