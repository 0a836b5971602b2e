"""Weights & Biases, where `--logger wandb` asks for it: opening a run, and what its end adds to it."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from sqp.config.logger import LoggerConfig
from sqp.core.errors import ConfigError
from sqp.core.files import note_written
from sqp.report.findings import MODEL
from sqp.report.overlays import write_overlays
from sqp.report.page import ErrorMaps

WITHOUT_SERVER = ("offline", "dryrun", "disabled")
"""Values of WANDB_MODE with which no server is asked."""
QUIET = {"silent": True, "console": "off", "disable_git": True, "disable_code": True, "x_disable_stats": True}
"""What a run of sqp's sends of itself and says: its own numbers, nothing of the machine or the code."""


def check_logger(config: LoggerConfig) -> None:
    """ConfigError where W&B is asked for online, here or by WANDB_MODE, and cannot be reached or entered."""
    mode = config.wandb_mode or os.environ.get("WANDB_MODE", "online")
    if config.logger != "wandb" or mode in WITHOUT_SERVER:
        return
    import wandb

    with _told():
        wandb.login()


@contextmanager
def wandb_run(config: LoggerConfig, command: str, out: Path, stored: Mapping[str, Any]) -> Iterator[Any | None]:
    """A run of W&B that is finished at the end, failed where an error passes; None for another logger.

    `command` is its job type, `stored` its config as plain values; its files lie in OUT/wandb. W&B's own variables
    (WANDB_PROJECT, WANDB_NAME, WANDB_DIR ...) stand over what sqp would choose, and the options over them.
    """
    if config.logger != "wandb":
        yield None
        return
    import wandb

    out.mkdir(parents=True, exist_ok=True)
    before = {*(out / "wandb").rglob("*")}
    own = {"project": "sqp", "dir": str(out), "job_type": command, "name": f"{command} {out.resolve().name}"}
    given = {"project": config.wandb_project, "mode": config.wandb_mode}
    options: dict[str, Any] = _unless_set(own) | {name: value for name, value in given.items() if value is not None}
    with _told():
        run = wandb.init(**options, config=dict(stored), settings=wandb.Settings(**_unless_set(QUIET)))
    try:
        yield run
    except BaseException:
        run.finish(exit_code=1)
        raise
    else:
        run.finish()
    finally:
        for path in sorted({*(out / "wandb").rglob("*")} - before):
            if path.is_symlink() or not path.is_dir():
                note_written(path)


def _unless_set(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those that no variable of W&B's own says: `silent` is that of WANDB_SILENT."""
    return {name: value for name, value in options.items() if f"WANDB_{name.upper()}" not in os.environ}


def lightning_loggers(run: Any | None, prefix: str = "") -> list[Any]:
    """What Lightning's Trainer takes to send its metrics to the run, under a prefix where there is one."""
    if run is None:
        return []
    from pytorch_lightning.loggers import WandbLogger

    return [WandbLogger(experiment=run, prefix=prefix)]


def log_results(
    run: Any | None,
    comparison: pd.DataFrame,
    figures: Iterable[Path],
    rows: pd.DataFrame,
    images: int,
    error_maps: ErrorMaps | None = None,
) -> None:
    """The comparison table (a row per subset, data set and method), figures, and overlays of the worst `images` rows.

    The model's figures become the run's summary, as `natural/all/mae`. Nothing where there is no run.
    """
    if run is None:
        return
    import wandb

    for row in comparison[comparison["method"] == MODEL].to_dict("records"):
        numbers = {k: v for k, v in row.items() if isinstance(v, int | float) and math.isfinite(v)}
        run.summary.update({f"{row['subset']}/{row['dataset']}/{name}": value for name, value in numbers.items()})
    logged: dict[str, Any] = {
        "comparison": wandb.Table(dataframe=comparison.astype(object).where(comparison.notna(), None))
    }
    logged |= {f"figures/{path.stem}": wandb.Image(str(path)) for path in figures}
    with tempfile.TemporaryDirectory() as folder:
        overlays = write_overlays(rows, folder, images, error_maps)
        if overlays:
            logged["overlays"] = [wandb.Image(str(path), caption=path.stem) for path in overlays]
        run.log(logged)  # it copies the files


@contextmanager
def _told() -> Iterator[None]:
    """W&B's own errors as one sentence with the remedy."""
    import wandb

    try:
        yield
    except wandb.Error as error:
        first = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ConfigError(
            f"W&B cannot be used ({first}): run `wandb login`, or set WANDB_API_KEY, or give --wandb_mode offline"
        ) from error
