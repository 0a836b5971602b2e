"""What can be said of a referee, and of a run without a segmenter, before anything is read."""

from __future__ import annotations

from sqp.config.fit import PLAIN
from sqp.config.generate import GenerateConfig
from sqp.config.referee import NONE
from sqp.core.errors import ConfigError, lookup
from sqp.core.files import sha256_of
from sqp.segmenters import SEGMENTERS
from sqp.segmenters.weights import locate
from sqp.uncertainty import MEASURES

INDEPENDENT = ("localizer", "otsu", "centre", "whole_image")
"""Prompters that look at nothing but the image."""


def check_referee(config: GenerateConfig) -> None:
    """ConfigError names the option, and the nearest name where one is unknown."""
    told = config.referee
    if told.name == NONE:
        return
    lookup("referee", told.name, {**SEGMENTERS, NONE: None})
    if told.name in PLAIN:
        raise ConfigError(
            f"the referee is {told.name}, which ignores prompts: take litemedsam or another of the SAM family"
        )
    for name in told.prompters:
        lookup("prompter of a referee (it must not know mask or truth)", name, dict.fromkeys(INDEPENDENT))
    for name in told.maps:
        lookup("measure", name, MEASURES)
    if not 2 <= told.prompts <= 64:
        raise ConfigError(
            f"referee.prompts is {told.prompts}; it must lie between 2 (the mask's own box, and one) and 64"
        )
    if not 0 < told.jitter < 1:
        raise ConfigError(f"referee.jitter is {told.jitter}; it must lie between 0 and 1, e.g. 0.1")
    if "localizer" in told.prompters and told.localizer is None:
        raise ConfigError(
            "the referee's prompter 'localizer' needs a network: fit one with `sqp fit localizer`, then give "
            "--referee.localizer FILE"
        )
    for option in ("weights", "localizer"):
        file = getattr(told, option)
        if file is not None and not file.expanduser().is_file():
            raise ConfigError(f"referee.{option} is {file}, which does not exist: check the path")


def check_unsegmented(config: GenerateConfig) -> None:
    """ConfigError where there is no segmenter, but something that only one could make."""
    if config.segmenter.name != NONE:
        return
    if not config.given:
        raise ConfigError("segmenter none segments nothing: give --masks DIR, or the name of a segmenter")
    for split, plan in config.variants.items():
        if plan.prompters or plan.truth_jitter:
            raise ConfigError(
                f"variants.{split} asks for masks of a segmenter, and segmenter is none: leave its prompters and "
                "truth_jitter out, or name a segmenter"
            )


def referee_hashes(config: GenerateConfig) -> dict[str, str]:
    """sha256 of the referee's weights and of its localizer, for the stored config."""
    told = config.referee
    if told.name == NONE:
        return {}
    localizer = {} if told.localizer is None else {"localizer_sha256": sha256_of(told.localizer.expanduser())}
    return {"weights_sha256": locate(told.name, told.weights)[1], **localizer}
