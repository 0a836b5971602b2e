"""What can be said of a generate config once it is known whether the cases are volumes."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import replace

from sqp.config.fit import PLAIN, VOLUMETRIC
from sqp.config.generate import GenerateConfig
from sqp.config.referee import NONE
from sqp.core.errors import ConfigError, lookup
from sqp.core.types import Case
from sqp.data.volumes import is_volume
from sqp.prompts import FITTED, PROMPTERS
from sqp.prompts.volume_boxes import VOLUME_PROMPTERS
from sqp.records.prompters import prompter_and_options, used_prompters


def of_volumes(cases: Sequence[Case]) -> bool:
    """Whether the cases are volumes; ConfigError where some are and some are not."""
    volumes = [is_volume(case.image_path) for case in cases]
    if any(volumes) and not all(volumes):
        paths = cases[volumes.index(True)].image_path, cases[volumes.index(False)].image_path
        raise ConfigError(f"{paths[0]} is a volume and {paths[1]} is an image: give each kind a run of its own")
    return any(volumes)


def for_these(config: GenerateConfig, cases: Sequence[Case]) -> GenerateConfig:
    """The config as it is meant for these cases: where they are volumes no referee came by default.

    ConfigError for an option that volumes do not have, and for one that only they have.
    """
    if config.referee_by_default and of_volumes(cases):
        config = replace(config, referee=replace(config.referee, name=NONE))
    _check(config, cases)
    return config


def _check(config: GenerateConfig, cases: Sequence[Case]) -> None:
    name = config.segmenter.name
    if not of_volumes(cases):
        if name in VOLUMETRIC:
            raise ConfigError(f"{name} segments volumes and these cases are images: take unet, or another segmenter")
        if config.segmenter.propagate or config.segmenter.window:
            raise ConfigError(
                "segmenter.propagate and segmenter.window belong to volumes (NIfTI, DICOM): leave them out"
            )
        for prompter in used_prompters(config):
            if prompter_and_options(config, prompter)[0] not in PROMPTERS:
                raise ConfigError(
                    f"the prompter '{prompter}' works on volumes, and these cases are images: take another"
                )
        return
    lacking = {
        "cascade is set: leave it out": config.cascade is not None,
        "probs are given: leave them out": config.probs is not None,
        f"the referee is {config.referee.name}: leave it out": config.referee.name != NONE,
    }
    for told, given in lacking.items():
        if given:
            raise ConfigError(f"what works on images, but not on volumes: {told}")
    if name in VOLUMETRIC:
        for option in ("propagate", "window"):
            if getattr(config.segmenter, option):
                raise ConfigError(
                    f"segmenter.{option} is for segmenters of images, which see a volume slice by slice, and {name} "
                    "segments the volume itself: leave it out"
                )
    boxed = [refinement for refinement in config.refine if refinement.startswith("ur_sam")]
    if boxed and name in PLAIN:
        raise ConfigError(
            f"{boxed[0]} takes its threshold from the box that prompted a slice, and {name} was prompted by none: "
            "refine by unc_fpc, unc_fnc, unc_fpnc or crf, or take a promptable segmenter"
        )
    if name not in PLAIN:  # a plain network ignores prompts
        main = [] if config.given else [config.prompter]
        for prompter in [*main, *(one for one in used_prompters(config) if one != config.prompter)]:
            kind, options = prompter_and_options(config, prompter)
            known = inspect.signature(lookup("prompter of volumes", kind, VOLUME_PROMPTERS)).parameters
            for option in options if kind in FITTED else ():
                lookup(f"option of the prompter {kind} of volumes", option, known)
