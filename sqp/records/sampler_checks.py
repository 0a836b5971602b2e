"""What can be said of a sampler's options, and of an ensemble's checkpoints, before anything is read."""

from __future__ import annotations

from sqp.config.generate import GenerateConfig
from sqp.core.errors import ConfigError, lookup
from sqp.segmenters.dropout import AUTO, SITES
from sqp.uncertainty.tta import SETS


def check_sampler(config: GenerateConfig) -> None:
    """ConfigError names the option that is out of range or unknown, and what an ensemble lacks."""
    sampler, segmenter = config.sampler, config.segmenter
    for name in ("p", "sigma"):
        if not 0 < getattr(sampler, name) < 1:
            raise ConfigError(f"sampler.{name} is {getattr(sampler, name)}; it must lie between 0 and 1, e.g. 0.01")
    most = lookup("set of transforms", sampler.set, SETS).most
    if sampler.name == "tta" and sampler.n > most:
        raise ConfigError(f"sampler.n is {sampler.n}, but sampler.set {sampler.set} has {most}: give sampler.n {most}")
    for site in sampler.sites:
        lookup("site of dropout", site, dict.fromkeys([AUTO, *SITES]))
    members = len(segmenter.checkpoints)
    if members and segmenter.checkpoint is not None:
        raise ConfigError("segmenter.checkpoint and segmenter.checkpoints are both given: give one of them")
    if (sampler.name == "ensemble") != (members > 0) or members == 1:
        raise ConfigError(
            "an ensemble is sampler.name ensemble with segmenter.checkpoints of at least 2 files; "
            f"this run has sampler.name {sampler.name} and {members} checkpoints"
        )
    if members and sampler.n > members:
        raise ConfigError(
            f"sampler.n is {sampler.n}, but segmenter.checkpoints has {members} files: give sampler.n {members}"
        )
