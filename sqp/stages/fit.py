"""`sqp fit segmenter`: images and masks -> checkpoints of a plain network, one, or several for an ensemble."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from torch import nn

from sqp.config.fit import EXECUTION_KEYS, FitSegmenterConfig
from sqp.errors import CaseError, ConfigError
from sqp.fit.batches import CachedImages, loader
from sqp.fit.cache import build_cache
from sqp.fit.segmenter import Recipe, SegmenterModule
from sqp.fit.training import Fitted, train
from sqp.io.atomic import write_text
from sqp.quality.provenance import fingerprint
from sqp.seeding import derive_seed
from sqp.segmenters.checkpoint import NetworkSpec, read_header, save_checkpoint
from sqp.segmenters.plain import NETWORKS, build_network
from sqp.stages.fit_data import fit_cases
from sqp.stages.fitted_images import image_hashes
from sqp.stages.options import check_ranges
from sqp.stages.run_info import described, earlier_run, plain, versions
from sqp.types import Case


@dataclass
class FitResult:
    """The checkpoints with their mean Dice on val, and the images that could not be read."""

    checkpoints: dict[Path, float]
    skipped: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def exit_status(self) -> int:
        """1 where images were skipped."""
        return 1 if self.skipped else 0

    def summary(self) -> str:
        """For the terminal."""
        lines = [f"val Dice {dice:.3f}  {path}" for path, dice in self.checkpoints.items()]
        lines += [f"skipped {name}: {why}" for name, why in self.skipped.items()]
        first = next(iter(self.checkpoints))
        name = read_header(first).spec.name
        lines.append(f"in {self.seconds:.0f} s; next: sqp generate --segmenter {name} --checkpoint {first} ...")
        return "\n".join(lines)


def run(config: FitSegmenterConfig) -> FitResult:
    """Fit every member of the ensemble; what is finished already is not fitted again.

    Writes OUT/NETWORK-seedN.safetensors (with `cycles`: NETWORK-seedN-cycleK), OUT/members/N with log and Lightning's
    checkpoints, OUT/run.yaml. ConfigError where OUT holds a run of another config or other data.
    """
    started = time.monotonic()
    check_numbers(config)
    spec = network_spec(config)
    fitted, held = fit_cases(config)
    out = Path(config.out)
    data = described_data(fitted, held)
    stored = described(config, EXECUTION_KEYS) | {"data_sha256": data["sha256"]}
    if config.overwrite:
        _clear(out)
    finished = _check_out(out, stored)
    if finished and config.resume:
        return finished
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "run.yaml", yaml.safe_dump({"config": stored}, sort_keys=False))
    new_network(config, spec, config.seed)  # what it refuses is told before the images are read
    cases = [*fitted, *held]
    cache = build_cache(cases, config.size, config.cache or out / "cache", config.workers, config.progress)
    skipped = {cases[row].image_id: why for row, why in cache.broken.items()}
    if skipped and config.strict:
        raise CaseError(next(iter(skipped.values())))
    good = np.array([row not in cache.broken for row in range(len(cases))])
    rows = np.arange(len(cases))
    parts = rows[good & (rows < len(fitted))], rows[good & (rows >= len(fitted))]
    if not (len(parts[0]) and len(parts[1])):
        raise ConfigError(f"no image to fit on, or none of split {config.val_split}, can be read: {skipped}")
    images = [CachedImages(cache, part, NETWORKS[spec.name].divisor) for part in parts]
    checkpoints: dict[Path, float] = {}
    for seed in range(config.seed, config.seed + config.members):
        files = checkpoint_files(config, seed)
        if not (config.resume and all(file.exists() for file in files.values())):
            one = fit_member(config, spec, images[0], images[1], seed)
            for name, file in files.items():
                info = {
                    "data": data,
                    "training": stored | {"seed": seed},
                    "kept": name,
                    "val": {"dice": one.dice[name], "n": len(parts[1])},
                    "epochs": one.epochs,
                    "versions": versions(),
                }
                save_checkpoint(file, one.weights[name], spec, info)
        checkpoints |= {file: float(read_header(file).info["val"]["dice"]) for file in files.values()}
    seconds = round(time.monotonic() - started, 2)
    told = {
        "config": stored,
        "execution": {key: plain(getattr(config, key)) for key in EXECUTION_KEYS},
        "versions": versions(),
        "val_dice": {file.name: dice for file, dice in checkpoints.items()},
        "skipped": skipped,
        "seconds": seconds,
    }
    write_text(out / "run.yaml", yaml.safe_dump(told, sort_keys=False))
    return FitResult(checkpoints, skipped, seconds)


def fit_member(
    config: FitSegmenterConfig, spec: NetworkSpec, fitted: CachedImages, held: CachedImages, seed: int
) -> Fitted:
    """One network from its seed: weights, order of the batches, augmentation and dropout."""
    recipe = Recipe(
        config.learning_rate,
        config.weight_decay,
        "cyclic_cosine" if config.cycles else "one_cycle",
        max(1, config.cycles),
        config.augment,
        seed,
    )
    return train(
        SegmenterModule(spec, new_network(config, spec, seed), recipe),
        (loader(fitted, config.batch_size, seed), loader(held, 2 * config.batch_size)),
        Path(config.out) / "members" / str(seed),
        config.epochs,
        config.patience,
        resume=config.resume,
        progress=config.progress,
        trainer_options={"accelerator": config.accelerator, "precision": config.precision},
    )


def network_spec(config: FitSegmenterConfig) -> NetworkSpec:
    """What is to be built; a timm encoder brings the normalisation of its pretrained weights."""
    spec = NetworkSpec(config.network, config.size, config.dropout, config.encoder, config.width)
    if spec.name not in ("fpn", "fpn_resnet50"):
        return spec
    from sqp.segmenters.fpn import encoder_name, encoder_pixels

    mean, std = encoder_pixels(encoder_name(spec))
    return replace(spec, encoder=encoder_name(spec), mean=mean, std=std)


def new_network(config: FitSegmenterConfig, spec: NetworkSpec, seed: int) -> nn.Module:
    """Untrained, its weights from the seed; a pretrained encoder as the config says."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "weights"))
        return build_network(spec, config.pretrained, config.pretrained_file)


def checkpoint_files(config: FitSegmenterConfig, seed: int) -> dict[str, Path]:
    """What is kept of a member -> its file."""
    stem = f"{config.network}-seed{seed}"
    if not config.cycles:
        return {"best": Path(config.out) / f"{stem}.safetensors"}
    return {f"cycle{k}": Path(config.out) / f"{stem}-cycle{k}.safetensors" for k in range(1, config.cycles + 1)}


def described_data(fitted: list[Case], held: list[Case]) -> dict[str, Any]:
    """Fingerprint, counts and licences, and the hashes of the images that the network is fitted on."""
    columns = ("image_id", "group", "split", "dataset", "licence")
    table = pd.DataFrame([{name: getattr(case, name) for name in columns} for case in [*fitted, *held]])
    return fingerprint(table) | {"fitted_images": image_hashes(fitted)}


def check_numbers(config: FitSegmenterConfig) -> None:
    """ConfigError naming an option that is out of its range."""
    big = 100_000
    check_ranges(
        config,
        {
            "size": (32, 2048),
            "epochs": (1, big),
            "patience": (1, big),
            "batch_size": (2, 65_536),
            "learning_rate": (1e-8, 10),
            "weight_decay": (0, 10),
            "dropout": (0, 0.95),
            "width": (0, 4096),
            "members": (1, 1000),
            "cycles": (0, config.epochs),
            "workers": (0, 1024),
            "max_images": (0, float("inf")),
        },
    )
    if config.cycles and config.epochs % config.cycles:
        raise ConfigError(f"epochs is {config.epochs}; it must be a multiple of cycles, {config.cycles}")


def _check_out(out: Path, stored: Mapping[str, Any]) -> FitResult | None:
    """The result of a finished run of the same config; ConfigError where OUT holds another one."""
    told = earlier_run(out, stored, "a network fitted")
    if told is None:
        return None
    dice = {out / name: value for name, value in told.get("val_dice", {}).items()}
    if dice and all(file.exists() for file in dice):
        return FitResult(dice, told["skipped"], told["seconds"])
    return None


def _clear(out: Path) -> None:
    shutil.rmtree(out / "members", ignore_errors=True)
    for path in [out / "run.yaml", *out.glob("*-seed*.safetensors")]:
        path.unlink(missing_ok=True)
