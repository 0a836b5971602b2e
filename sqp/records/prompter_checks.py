"""What can be said of a prompter and a cascade before anything is read, and which files they bring."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from sqp.config.fit import PLAIN
from sqp.config.generate import GenerateConfig
from sqp.config.referee import NONE
from sqp.core.errors import ConfigError, lookup
from sqp.core.files import sha256_of
from sqp.prompts import FITTED, PROMPTERS, SIMULATED_MANUAL
from sqp.prompts.volume_boxes import VOLUME_PROMPTERS
from sqp.records.prompters import prompter_and_options, used_prompters
from sqp.segmenters import PRECISIONS, SEGMENTERS
from sqp.segmenters.plain import needs_checkpoint
from sqp.segmenters.weights import locate

PIXELS = (
    "image",
    "volume",
    "truth",
    "mask",
    "generator",
)  # what a prompter is given; the rest of its arguments are options
FILES = ("checkpoint", "weights")  # options of a fitted prompter that name one
CASCADE_OPTIONS = ("checkpoint", "precision", "multimask", "margin")
MULTIMASK: dict[str, Any] = {"auto": "auto", "true": True, "false": False}


def check_prompters(config: GenerateConfig) -> None:
    """ConfigError names the option, and the nearest name where one is unknown."""
    for name in config.prompters:
        if name in PROMPTERS:
            raise ConfigError(f"prompters gives the name '{name}' again, which sqp has: choose another one")
    for name in [*used_prompters(config), *config.prompters]:
        _check_prompter(config, name)
    if config.prompter in config.prompters and config.prompter_options:
        raise ConfigError(f"'{config.prompter}' has its options in prompters: put those of prompter_options there too")
    _check_cascade(config)


def _check_prompter(config: GenerateConfig, name: str) -> None:
    kind, options = prompter_and_options(config, name)
    prompter = lookup("prompter", kind, {**VOLUME_PROMPTERS, **PROMPTERS})
    if name != kind and kind in {*SIMULATED_MANUAL, "mask_box"}:
        raise ConfigError(f"prompters names '{kind}', which tables must know by its own name: leave '{name}' out")
    own = {option: p for option, p in inspect.signature(prompter).parameters.items() if option not in PIXELS}
    for option, value in options.items():
        default = lookup(f"option of the prompter {kind}", option, own).default
        if type(default) in (int, float) and type(value) not in (int, float):
            raise ConfigError(f"the option {option} of the prompter {kind} is {value!r}; it must be a number")
    if kind == "mask_box" and not config.given:
        raise ConfigError("the prompter 'mask_box' boxes given masks: give --masks, or another --prompter")
    if kind in FITTED and not {"checkpoint", "model"} & set(options):
        raise ConfigError(
            f"the prompter '{name}' needs a network: fit one with `sqp fit {FITTED[kind]}`, then give "
            "--prompter_options.checkpoint FILE (for a further prompter: the option prompters)"
        )
    for option, file in _files(config, name).items():
        if not file.is_file():
            raise ConfigError(f"the prompter '{name}' has the {option} {file}, which does not exist: check the path")


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
    if config.given:
        raise ConfigError("a cascade prompts the segmenter, and given masks are not segmented: leave out one of them")
    if config.cascade in PLAIN and not options.get("checkpoint"):
        raise ConfigError(needs_checkpoint(config.cascade))


def _files(config: GenerateConfig, name: str) -> dict[str, Path]:
    """The files among the options of a fitted prompter, by option."""
    kind, options = prompter_and_options(config, name)
    given = {option: options.get(option) for option in FILES if kind in FITTED}
    return {option: Path(file).expanduser() for option, file in given.items() if file}


def fitted_checkpoints(config: GenerateConfig) -> list[Path]:
    """Checkpoints of `sqp fit` that have a part in a record: segmenter's, prompters', cascade's, referee's."""
    files = [file for file in config.segmenter.files() if _by_sqp(config.segmenter.name, file)]
    files += [_files(config, name).get("checkpoint") for name in used_prompters(config)]
    first = config.cascade_options.get("checkpoint")
    if config.cascade is not None and _by_sqp(config.cascade, first):
        files.append(first)
    referee = config.referee
    if referee.name != NONE:
        files += [referee.localizer, *([referee.weights] if _by_sqp(referee.name, referee.weights) else [])]
    return [Path(file) for file in files if file]


def _by_sqp(segmenter: str, checkpoint: Path | str | None) -> bool:
    """Whether `sqp fit` may have written a segmenter's checkpoint: it does for plain ones, else safetensors."""
    return checkpoint is not None and (segmenter in PLAIN or Path(checkpoint).suffix == ".safetensors")


def prompt_hashes(config: GenerateConfig) -> dict[str, Any]:
    """sha256 of every file that has a part in a prompt."""
    found: dict[str, Any] = {}
    hashes = {name: {k: sha256_of(f) for k, f in _files(config, name).items()} for name in used_prompters(config)}
    if any(hashes.values()):
        found["prompter_sha256"] = {name: files for name, files in hashes.items() if files}
    if config.cascade is not None:
        found["cascade_sha256"] = locate(config.cascade, config.cascade_options.get("checkpoint"))[1]
    return found
