"""Where a bundle comes from and which records it fits: the `generate` config, a fingerprint of the data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sqp.config.generate import SamplerConfig, SegmenterConfig
from sqp.config.referee import NONE, SupervisedConfig
from sqp.core.errors import ConfigError
from sqp.quality.bundle.sources import REFEREE, REFERENCES, SELF, SUPERVISED
from sqp.records import RecordSet
from sqp.records.schema import EMBEDDING, REFEREE_EMBEDDING, SUPERVISED_EMBEDDING
from sqp.records.writer import first_difference, with_defaults

CHECKED: dict[str, tuple[str, ...]] = {
    SELF: (
        "segmenter.name",
        "segmenter.weights_sha256",
        "segmenter.multimask",
        "segmenter.window",
        "sampler.name",
        "sampler.n",
        "sampler.ratio",
        "sampler.edges",
        "sampler.set",
        "sampler.sigma",
        "sampler.p",
        "sampler.sites",
    ),
    REFEREE: (
        "referee.name",
        "referee.encoder",
        "referee.weights_sha256",
        "referee.in_context_sha256",
        "referee.prompters",
        "referee.prompts",
        "referee.jitter",
        "referee.localizer_sha256",
        "segmenter.multimask",
    ),
    REFERENCES: ("references_weights_sha256",),
    SUPERVISED: ("supervised.weights_sha256", "supervised.more_sha256", "supervised.symmetries"),
}
"""Keys of `generate` that change what a map of a source means. The prompter is not among them: a mask may come from
anywhere, and its maps come from its own prompt. Precision is not compared either: records made in bfloat16 are read
like those in float32, and how far their predictions move is not measured here. The grid is the segmenter's own."""

YOUNGER = {
    "sampler": {name: getattr(SamplerConfig(), name) for name in ("set", "sigma", "p", "sites")},
    "segmenter": {"window": SegmenterConfig().window},
    "referee": {"name": NONE, "encoder": "auto"},
    "supervised": {"symmetries": SupervisedConfig().symmetries, "more_sha256": []},
}
"""What the first record sets did not have, with the value that it then had."""

KEPT = (
    *("segmenter", "prompter", "prompter_options", "cascade", "cascade_options", "sampler", "referee", "supervised"),
    "references_weights_sha256",
    "measures",
    "seed",
)
PATHS = {
    "segmenter": ("checkpoint", "checkpoints"),
    "prompter_options": ("checkpoint", "weights"),
    "cascade_options": ("checkpoint", "weights"),
    "referee": ("weights", "localizer"),
    "supervised": ("network", "more"),
}
"""Of the kept keys what names a file of this machine."""


def expectation(records: RecordSet) -> dict[str, Any]:
    """The part of a record set's config that a bundle keeps; no path of this machine is in it."""
    kept = {key: records.config[key] for key in KEPT if key in records.config}
    for key, paths in PATHS.items():
        if isinstance(kept.get(key), Mapping):
            kept[key] = {k: v for k, v in kept[key].items() if k not in paths}
    return kept


def check_expected(
    records: RecordSet, expects: Sequence[Mapping[str, Any]], what: str, sources: Sequence[str] = (SELF,)
) -> None:
    """ConfigError naming the key in which a record set differs from all that a bundle was trained on.

    Only the keys of the `sources` that it reads are compared.
    """
    actual = _flat(expectation(records), sources)
    differences = [first_difference(_flat(config, sources), actual) for config in expects]
    if not differences or None in differences:
        return
    key, wanted, got = differences[0]  # type: ignore[misc]
    raise ConfigError(
        f"{records.folder} was generated with {key}={got!r}, {what} expects {wanted!r}: generate the records "
        f"again with {key}={wanted!r}, or train on records like these"
    )


IMAGE_FEATURES = {SUPERVISED: SUPERVISED_EMBEDDING, REFEREE: REFEREE_EMBEDDING, SELF: EMBEDDING}
"""Source -> the vector of the image that its encoder gives."""
ENCODERS = {SUPERVISED_EMBEDDING: "supervised", REFEREE_EMBEDDING: "referee", EMBEDDING: "segmenter"}
"""Vector of an image -> the part of `generate`'s config that names its encoder."""


def one_encoder(configs: Sequence[Mapping[str, Any]], part: str = "segmenter") -> bool:
    """Do all `generate` configs name one segmenter, or `referee`, with the same weights: its features compare."""
    named = {encoder_of(config, part) for config in configs}
    return len(named) == 1 and None not in named


def encoder_of(config: Mapping[str, Any], part: str) -> str | None:
    """The sha256 of the weights of a part of a `generate` config: segmenter, referee or (the first) supervised."""
    return (config.get(part) or {}).get("weights_sha256")


def image_feature(sources: Sequence[str], configs: Sequence[Mapping[str, Any]]) -> str | None:
    """The vector that tells a strange image, for a model that reads these sources of records of these configs.

    Of a referee where the model reads one, as it looks at every image whoever made the mask, of a supervised one first:
    it has learned what an image of its kind may look like; else of the segmenter. None where the records are not of one
    encoder, whose vectors would not compare.
    """
    name = next((IMAGE_FEATURES[source] for source in (SUPERVISED, REFEREE) if source in sources), EMBEDDING)
    return name if one_encoder(configs, ENCODERS[name]) else None


def common_expectation(
    expects: Sequence[Mapping[str, Any]], what: str, sources: Sequence[str] = (SELF,)
) -> Mapping[str, Any]:
    """The config to make new records by: the first, if all agree in the keys of these sources; else a ConfigError."""
    if not expects:
        raise ConfigError(f"{what} does not say how its records were made; give --records in place of --images")
    for other in expects[1:]:
        difference = first_difference(_flat(expects[0], sources), _flat(other, sources))
        if difference:
            key, first, other = difference
            raise ConfigError(
                f"{what} was trained on records of several kinds, {key}={first!r} and {key}={other!r}; "
                "generate the records as you want them and give --records in place of --images"
            )
    return expects[0]


def of_known_groups(table: pd.DataFrame, hashes: Iterable[str]) -> np.ndarray:
    """bool per row: is its group among those that `hashes_of` made these of."""
    return is_hashed(table.group, hashes)


def hashes_of(names: Iterable[Any]) -> list[str]:
    """16 hex digits of the sha256 of each name, sorted, each once: what knows a name again without telling it."""
    return sorted({_hash(str(name)) for name in names})


def is_hashed(names: pd.Series, hashes: Iterable[str]) -> np.ndarray:
    """bool per name: is it among those that `hashes_of` made these of."""
    return names.astype(str).map(_hash).isin(set(hashes)).to_numpy(bool)


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def _flat(config: Mapping[str, Any], sources: Sequence[str]) -> dict[str, Any]:
    """The checked keys, dotted; a key that is younger than the record set has its default, any other None."""
    config = with_defaults(config, YOUNGER)
    out: dict[str, Any] = {}
    for key in (key for source in sources for key in CHECKED.get(source, ())):
        value: Any = config
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        out[key] = value
    return out
