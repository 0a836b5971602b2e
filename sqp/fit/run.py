"""Fitting a network from a config: cases -> checkpoints, one, or several for an ensemble."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from sqp.config.fit import EXECUTION_KEYS, FitClassifierConfig, FitConfig, FitLocalizerConfig, FitSegmenterConfig
from sqp.core.errors import CaseError, ConfigError
from sqp.core.ownership import Owned, owned
from sqp.core.seeding import derive_seed
from sqp.core.types import Case
from sqp.data.left_aside import turned_notes
from sqp.fit import task_of
from sqp.fit.cache import Images
from sqp.fit.data import fit_cases
from sqp.fit.module import Recipe
from sqp.fit.task import FitTask
from sqp.fit.training import Fitted, train
from sqp.networks.checkpoint import read_header, save_checkpoint
from sqp.records.fitted import fitted_parts, image_hashes
from sqp.records.run_info import MaySkip, described, earlier_run, execution, fingerprint, versions, write_run

LEAST = 2  # images: batch normalisation needs more than one
YOUNGER = {"label": [], "spacing": [], "patch": 96, "neighbours": 2, "cameras": False, "support": 16, "relabel": 0.5}
YOUNGER |= {"method": "heatmap", "cube": 48, "window": 32, "supports": 5}
"""Keys that the first runs did not have, with what they did."""
COMMANDS: dict[type[FitConfig], str] = {
    FitSegmenterConfig: "fit segmenter",
    FitLocalizerConfig: "fit localizer",
    FitClassifierConfig: "fit classifier",
}
"""What the folder of a run is marked with."""


@dataclass
class FitResult(MaySkip):
    """The checkpoints with their value on val, what that is and what comes next, and the images not read.

    `notes` are sentences on what may be wrong with the images.
    """

    checkpoints: dict[Path, float]
    skipped: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    watched: str = "dice"
    next: str = ""
    report: str = ""
    notes: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """For the terminal."""
        lines = [f"val {self.watched} {value:.3f}  {path}" for path, value in self.checkpoints.items()]
        lines += [f"skipped {name}: {why}" for name, why in self.skipped.items()]
        lines += [*self.notes, *filter(None, [self.report])]
        lines.append(f"in {self.seconds:.0f} s; next: sqp generate {self.next} ...")
        return "\n".join(lines)


def fit_network(config: FitConfig) -> FitResult:
    """Fit the network of a config, or every member of an ensemble; what is finished already is not fitted again.

    Writes OUT/NAME-seedN.safetensors (with `cycles`: NAME-seedN-cycleK), OUT/members/N with log and Lightning's
    checkpoints, OUT/run.yaml.

    Args:
        config: One of `sqp.config.fit`.

    Returns:
        The checkpoints with their value on val, and the images that could not be read.

    Raises:
        ConfigError: OUT holds a run of another config or other data, or no case can be fitted on.
        CaseError: with `strict`, an image cannot be read.
    """
    task = task_of(config)
    with owned(config.out, COMMANDS[type(config)]) as own:
        return _run(config, task, own)


def _run(config: FitConfig, task: FitTask, own: Owned) -> FitResult:
    """Into a folder that is this run's own."""
    started = time.monotonic()
    fitted, held = fit_cases(config, task)
    spec = task.spec(fitted)
    out = Path(config.out)
    data = described_data(fitted, held)
    stored = described(config, EXECUTION_KEYS) | {"data_sha256": data["sha256"]}
    if config.overwrite:
        own.clear()
    finished = _check_out(out, stored, task)
    if not (finished and config.resume):
        new_network(config, task, spec, config.seed)  # what it refuses is told before anything is written or read
        out.mkdir(parents=True, exist_ok=True)
        write_run(out, stored)
        finished = _fit(config, task, spec, fitted, held, stored, data)
        finished.seconds = round(time.monotonic() - started, 2)
        on_val = {file.name: value for file, value in finished.checkpoints.items()}
        facts = {"execution": execution(config, EXECUTION_KEYS), f"val_{task.watched}": on_val}
        write_run(out, stored, finished.seconds, **facts, skipped=finished.skipped)
    finished.next = task.next(spec, next(iter(finished.checkpoints)))
    finished.report = task.report(next(iter(finished.checkpoints)))
    finished.notes = turned_notes([*fitted, *held])
    return finished


def _fit(
    config: FitConfig,
    task: FitTask,
    spec: Any,
    fitted: list[Case],
    held: list[Case],
    stored: Mapping[str, Any],
    data: Mapping[str, Any],
) -> FitResult:
    """Decode the images and fit every network whose checkpoint is not there yet."""
    cases = [*fitted, *held]
    cache = task.cache(cases)
    skipped = {cases[row].image_id: why for row, why in cache.broken.items()}
    if skipped and config.strict:
        raise CaseError(next(iter(skipped.values())))
    good = np.array([row not in cache.broken for row in range(len(cases))])
    rows = np.arange(len(cases))
    parts = rows[good & (rows < len(fitted))], rows[good & (rows >= len(fitted))]
    if len(parts[0]) < LEAST or not len(parts[1]):
        raise ConfigError(
            f"fewer than {LEAST} images to fit on, or none of split {config.val_split}, can be read: {skipped}"
        )
    images = [task.images(cache, part, spec, cases) for part in parts]
    checkpoints: dict[Path, float] = {}
    before = [file for file in [config.pretrained_file] if file and file.suffix == ".safetensors"]
    for seed in task.seeds():
        files = task.files(seed)
        if not (config.resume and all(file.exists() for file in files.values())):
            member = fit_member(config, task, spec, images[0], images[1], seed)
            for name, file in files.items():
                info = {
                    "data": data,
                    "behind": fitted_parts(before),
                    "training": dict(stored) | {"seed": seed},
                    "kept": name,
                    "val": {task.watched: member.val[name], "n": len(parts[1])},
                    "epochs": member.epochs,
                    "versions": versions(),
                }
                save_checkpoint(file, task.kept(member.weights[name]), spec, info)
        on_val = {file: read_header(file, type(spec)).info["val"] for file in files.values()}
        checkpoints |= {file: float(val[task.watched]) for file, val in on_val.items()}
    return FitResult(checkpoints, skipped, watched=task.watched)


def fit_member(config: FitConfig, task: FitTask, spec: Any, fitted: Images, held: Images, seed: int) -> Fitted:
    """One network from its seed: weights, order of the batches, augmentation and dropout."""
    cycles = task.cycles()
    recipe = Recipe(
        config.learning_rate,
        config.weight_decay,
        "cyclic_cosine" if cycles else "one_cycle",
        max(1, cycles),
        config.augment,
        config.cameras,
        seed,
    )
    return train(
        task.module(spec, new_network(config, task, spec, seed), recipe, fitted),
        (task.loader(fitted, config.batch_size, seed), task.loader(held, 2 * config.batch_size)),
        Path(config.out) / "members" / str(seed),
        config.epochs,
        config.patience,
        resume=config.resume,
        progress=config.progress,
        trainer_options={"accelerator": config.accelerator, "precision": config.precision},
    )


def new_network(config: FitConfig, task: FitTask, spec: Any, seed: int) -> nn.Module:
    """Untrained, its weights from the seed; a pretrained encoder as the config says."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "weights"))
        return task.network(spec, config.pretrained, config.pretrained_file)


def described_data(fitted: list[Case], held: list[Case]) -> dict[str, Any]:
    """Fingerprint, counts and licences, and the hashes of the images that the network is fitted on."""
    columns = ("image_id", "group", "split", "dataset", "licence")
    table = pd.DataFrame([{name: getattr(case, name) for name in columns} for case in [*fitted, *held]])
    return fingerprint(table) | {"fitted_images": image_hashes(fitted)}


def _check_out(out: Path, stored: Mapping[str, Any], task: FitTask) -> FitResult | None:
    """The result of a finished run of the same config; ConfigError where OUT holds another one."""
    earlier = earlier_run(out, stored, "a network fitted", {k: v for k, v in YOUNGER.items() if k in stored})
    if earlier is None:
        return None
    value = {out / name: value for name, value in earlier.get(f"val_{task.watched}", {}).items()}
    if value and all(file.exists() for file in value):
        return FitResult(value, earlier["skipped"], earlier["seconds"], task.watched)
    return None
