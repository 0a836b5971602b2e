"""What can be said of a generate config before anything is read: names, numbers, devices."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sqp.config.checks import SPLITS, check_ranges
from sqp.config.fit import PLAIN
from sqp.config.generate import GenerateConfig
from sqp.config.referee import NONE
from sqp.core.errors import ConfigError, lookup
from sqp.data import CORRUPTIONS, LAYOUTS
from sqp.records.prompter_checks import MULTIMASK, check_prompters
from sqp.records.referee_checks import check_referee, check_unsegmented
from sqp.records.refine import check_refined
from sqp.records.sampler_checks import check_sampler
from sqp.segmenters import PRECISIONS, SEGMENTERS, check_device
from sqp.segmenters.plain import needs_checkpoint
from sqp.uncertainty import MEASURES, SAMPLERS


def check_config(config: GenerateConfig) -> None:
    """ConfigError names the option, and the nearest name where one is unknown."""
    _check_names(config)
    check_ranges(config)
    _check_window(config.segmenter.window)
    check_prompters(config)
    check_sampler(config)
    check_refined(config)
    check_referee(config)
    check_unsegmented(config)
    check_device(config.device)
    _check_unused(config)
    if config.segmenter.name in PLAIN and None in config.segmenter.files():
        raise ConfigError(needs_checkpoint(config.segmenter.name))


def _check_unused(config: GenerateConfig) -> None:
    """ConfigError for an option of the segmenter or its prompter that would say nothing."""
    given = config.segmenter
    if given.name == NONE and (given.checkpoint or given.checkpoints):
        raise ConfigError(
            "segmenter.checkpoint is given, but the segmenter is none: name the segmenter, or leave it out"
        )
    if given.checkpoint and given.checkpoints:
        raise ConfigError("segmenter.checkpoint and segmenter.checkpoints are both given: leave one of them out")
    if given.name in PLAIN and config.prompter_options and config.cascade is None:
        raise ConfigError(f"prompter_options are given, but {given.name} ignores prompts: leave them out")
    if config.referee.name == NONE and not config.referee_by_default and config.referee.weights:
        raise ConfigError("referee.weights are given, but the referee is none: name the referee, or leave them out")


def _check_names(config: GenerateConfig) -> None:
    lookup("segmenter", config.segmenter.name, {**SEGMENTERS, NONE: None})
    lookup("precision", config.segmenter.precision, dict.fromkeys(PRECISIONS))
    lookup("choice of multimask", str(config.segmenter.multimask).lower(), MULTIMASK)
    lookup("sampler", config.sampler.name, SAMPLERS)
    lookup("layout", config.layout, dict.fromkeys(["auto", *LAYOUTS]))
    for name in config.measures:
        lookup("measure", name, MEASURES)
    for name in [*config.only, *(split for split in config.variants if split != "*")]:
        lookup("split", name, dict.fromkeys(SPLITS))
    for plan in config.variants.values():
        for name in plan.families:
            lookup("corruption", name, CORRUPTIONS)


def _check_window(window: Sequence[float]) -> None:
    if window and not (len(window) == 2 and -math.inf < window[0] < window[1] < math.inf):
        raise ConfigError(f"segmenter.window is {list(window)}; give two numbers, the lower first, e.g. [-160, 240]")
