"""What can be said of a prompter and a cascade before anything is read, and which files they bring."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from sqp.config.fit import PLAIN
from sqp.config.generate import GenerateConfig
from sqp.errors import ConfigError, lookup
from sqp.io.hashing import sha256_of
from sqp.prompts import FITTED, PROMPTERS
from sqp.segmenters import PRECISIONS, SEGMENTERS
from sqp.segmenters.plain import needs_checkpoint
from sqp.segmenters.weights import locate

PIXELS = ("image", "truth", "mask", "generator")  # what a prompter is given; the rest of its arguments are options
CASCADE_OPTIONS = ("checkpoint", "precision", "multimask", "margin")
MULTIMASK: dict[str, Any] = {"auto": "auto", "true": True, "false": False}


def check_prompter(config: GenerateConfig) -> None:
    """ConfigError names the option, and the nearest name where one is unknown."""
    prompter = lookup("prompter", config.prompter, PROMPTERS)
    options = [name for name in inspect.signature(prompter).parameters if name not in PIXELS]
    for name in config.prompter_options:
        lookup(f"option of the prompter {config.prompter}", name, dict.fromkeys(options))
    if config.prompter == "mask_box" and config.masks is None:
        raise ConfigError("the prompter 'mask_box' boxes given masks: give --masks, or another --prompter")
    if config.prompter in FITTED and not {"checkpoint", "model"} & set(config.prompter_options):
        kind = "classifier" if config.prompter == "cam" else "localizer"
        raise ConfigError(
            f"the prompter '{config.prompter}' needs a network: fit one with `sqp fit {kind}`, then give "
            "--prompter_options.checkpoint FILE"
        )
    for file in prompter_files(config).values():
        if not file.is_file():
            raise ConfigError(f"prompter_options: {file} does not exist: check the path")
    for plan in config.variants.values():
        for name in plan.prompters:
            lookup("prompter", name, PROMPTERS)
            if name in FITTED:
                raise ConfigError(
                    f"variants names the prompter '{name}', which needs options: make a record set of its own with "
                    f"--prompter {name}"
                )
    _check_cascade(config)


def _check_cascade(config: GenerateConfig) -> None:
    options = config.cascade_options
    if config.cascade is None:
        if options:
            raise ConfigError("cascade_options are given, but no cascade: name its first segmenter, e.g. mobilesam")
        return
    lookup("segmenter", config.cascade, SEGMENTERS)
    for name in options:
        lookup("option of a cascade", name, dict.fromkeys(CASCADE_OPTIONS))
    lookup("precision", options.get("precision", "float32"), dict.fromkeys(PRECISIONS))
    lookup("choice of multimask", str(options.get("multimask", "auto")).lower(), MULTIMASK)
    margin = options.get("margin", 0.0)
    if not isinstance(margin, int | float) or not -0.5 < margin <= 10:
        raise ConfigError(f"cascade_options.margin is {margin}; it must lie between -0.5 and 10")
    if config.masks is not None:
        raise ConfigError("a cascade prompts the segmenter, and given masks are not segmented: leave out one of them")
    if config.cascade in PLAIN and not options.get("checkpoint"):
        raise ConfigError(needs_checkpoint(config.cascade))


def prompter_files(config: GenerateConfig) -> dict[str, Path]:
    """The files among the options of a fitted prompter, by option."""
    if config.prompter not in FITTED:
        return {}
    given = {name: config.prompter_options.get(name) for name in ("checkpoint", "weights")}
    return {name: Path(file).expanduser() for name, file in given.items() if file}


def fitted_checkpoints(config: GenerateConfig) -> list[Path]:
    """Checkpoints of `sqp fit` that have a part in the masks: segmenter's, prompter's, cascade's."""
    files = list(config.segmenter.files()) if config.segmenter.name in PLAIN else []
    files += [file for name, file in prompter_files(config).items() if name == "checkpoint"]
    if config.cascade in PLAIN:
        files.append(Path(config.cascade_options["checkpoint"]))
    return [Path(file) for file in files if file]


def prompter_hashes(config: GenerateConfig) -> dict[str, str]:
    """sha256 of every file that has a part in the prompt."""
    found = {f"prompter_{name}_sha256": sha256_of(file) for name, file in prompter_files(config).items()}
    if config.cascade is not None:
        found["cascade_sha256"] = locate(config.cascade, config.cascade_options.get("checkpoint"))[1]
    return found
