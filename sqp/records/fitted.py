"""What had a part in a run's masks: its files by their hashes, and what of it was fitted, on rows of which licences.

Which images a network was fitted on: kept as hashes in its checkpoint, and left out of the records that matter.

On an image that it was fitted on a network's mask is better, and its uncertainty smaller, than on any new one: a
quality model that learns, or is calibrated, from such records expects too much. The same holds for a network that
prompts (localizer, classifier): its box on such an image, and so the mask, is better than on any new one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sqp.config.fit import PLAIN
from sqp.config.generate import EXECUTION_KEYS, GenerateConfig
from sqp.config.referee import IN_CONTEXT, NONE, OWN_WEIGHTS, READ_ENCODING
from sqp.core.errors import ConfigError
from sqp.core.files import sha256_of
from sqp.core.types import Case
from sqp.data.licences import UNKNOWN
from sqp.networks.checkpoint import fitted_images, fitted_infos
from sqp.records import RecordSet
from sqp.records.plan import prompter_files
from sqp.records.referees.references import encoder_of, reader_of, reference_cases, references_sha256
from sqp.records.run_info import stored_config
from sqp.segmenters import IN_CONTEXT_SEGMENTERS, build_segmenter
from sqp.segmenters.ensemble import ensemble_sha256
from sqp.segmenters.weights import SOURCES, locate

MAY_HOLD_FITTED = ("segmenter", "")  # splits that neither train nor calibrate nor test


def image_hash(image_id: str) -> str:
    """16 hex digits of the id's sha256: an image is known again without its name."""
    return hashlib.sha256(image_id.encode()).hexdigest()[:16]


def image_hashes(cases: Iterable[Case]) -> list[str]:
    """Those of all cases, sorted."""
    return sorted(image_hash(case.image_id) for case in cases)


def leave_out_fitted(cases: Sequence[Case], checkpoints: Iterable[Path]) -> tuple[list[Case], dict[str, str]]:
    """(kept, image id -> why not): cases of a split that counts, on which one of the networks was fitted, are out.

    ConfigError where none is left.
    """
    fitted = {name: path for path in checkpoints for name in fitted_images(path)}
    out: dict[str, str] = {}
    for case in cases:
        path = fitted.get(image_hash(case.image_id))
        if path is not None and case.split not in MAY_HOLD_FITTED:
            out[case.image_id] = f"the network of {path} was fitted on it, so it cannot serve in split {case.split}"
    kept = [case for case in cases if case.image_id not in out]
    if cases and not kept:
        raise ConfigError(
            f"{next(iter(out.values()))}, nor can any other image here: give the --splits that the network was fitted "
            "with, or other images"
        )
    return kept, out


def fitted_parts(files: Iterable[Path]) -> list[dict[str, Any]]:
    """A mapping a network that `sqp fit` wrote, with those that it started from: what, sha256, licences."""
    parts: list[dict[str, Any]] = []
    for file in files:
        for info in fitted_infos(file):
            own = {"what": f"the network {file.name}", "sha256": sha256_of(file)}
            parts += [own | {"licences": info["data"].get("licences", [UNKNOWN])}, *info.get("behind", [])]
    return parts


def parts_of_records(config: GenerateConfig, everything: Sequence[Case]) -> list[dict[str, Any]]:
    """Those behind the records of a config: networks, given masks, a learned fusion, the masks lent by others, and
    references."""
    parts = fitted_parts(fitted_checkpoints(config))
    if config.fusion == "learned":
        parts.append({"what": "the learned fusion", "licences": [UNKNOWN]})
    if any("swap" in plan.families and plan.corruptions for plan in config.variants.values()):
        lent = sorted({case.licence or UNKNOWN for case in everything if case.truth_paths})
        parts.append({"what": "masks lent by other images", "licences": lent})
    if config.references is not None:
        shown = sorted({case.licence or UNKNOWN for case in reference_cases(config)})
        parts.append({"what": "references", "licences": shown})
    if any(case.mask_path is not None for case in everything):
        parts += _of_given_masks(config)
    return parts


def _of_given_masks(config: GenerateConfig) -> list[dict[str, Any]]:
    """As `masks_licence` says; else those of the record set in which the masks lie; else unknown."""
    source = config.masks.parent if config.masks is not None else None
    if not config.masks_licence and source is not None and (source / "records.parquet").exists():
        stored = RecordSet(source).run.get("fitted")
        if stored is not None:
            return list(stored)
    return [{"what": "whoever drew the given masks", "licences": list(config.masks_licence) or [UNKNOWN]}]


def fitted_checkpoints(config: GenerateConfig) -> list[Path]:
    """Checkpoints of `sqp fit` that have a part in a record: segmenter's, prompters', cascade's, referees'."""
    files = [file for file in config.segmenter.files() if _by_sqp(config.segmenter.network, file)]
    files += [prompter_files(config, name).get("checkpoint") for name in config.used_prompters()]
    first = config.cascade_options.get("checkpoint")
    if config.cascade is not None and _by_sqp(config.cascade, first):
        files.append(first)
    referee = config.referee
    if referee.name != NONE:
        files += [referee.localizer, *([referee.weights] if _by_sqp(referee.network, referee.weights) else [])]
    files += config.supervised.networks
    return [Path(file) for file in files if file]


def _by_sqp(segmenter: str, checkpoint: Path | str | None) -> bool:
    """Whether `sqp fit` may have written a segmenter's checkpoint: it does for plain ones, else safetensors."""
    return checkpoint is not None and (segmenter in PLAIN or Path(checkpoint).suffix == ".safetensors")


def weights_sha256(name: str, file: Path | str | None) -> str:
    """That of a segmenter's weights; of one that was added to the table and needs no file what it says itself."""
    try:
        return locate(name, file)[1]
    except ConfigError:
        if file is not None or name in SOURCES or name in PLAIN:
            raise
        return (IN_CONTEXT_SEGMENTERS[name](None) if name in IN_CONTEXT else build_segmenter(name)).weights_sha256


def with_hashes(config: GenerateConfig) -> dict[str, Any]:
    """The config as `run.yaml` keeps it, with the sha256 of every file that has a part in a record."""
    stored = stored_config(config, EXECUTION_KEYS)
    segmenter, referee = config.segmenter, config.referee
    if segmenter.name != NONE:
        hashes = [weights_sha256(segmenter.network, file) for file in segmenter.files()]
        stored["segmenter"]["weights_sha256"] = ensemble_sha256(hashes) if segmenter.checkpoints else hashes[0]
    if referee.name != NONE:
        stored["referee"]["weights_sha256"] = weights_sha256(*config.referee_network)
        if referee.name in OWN_WEIGHTS:
            stored["referee"]["in_context_sha256"] = weights_sha256(referee.name, referee.weights)
        if referee.localizer is not None:
            stored["referee"]["localizer_sha256"] = sha256_of(referee.localizer.expanduser())
    if config.references is not None:
        stored["references_sha256"] = references_sha256(reference_cases(config))
    if config.references is not None or referee.name in IN_CONTEXT:
        reader = reader_of(config)
        reads = reader[0] in READ_ENCODING
        stored["references_weights_sha256"] = weights_sha256(*(encoder_of(config) if reads else reader))
    if config.supervised.network is not None:
        stored["supervised"]["weights_sha256"] = sha256_of(config.supervised.network.expanduser())
        if config.supervised.more:
            stored["supervised"]["more_sha256"] = [sha256_of(file.expanduser()) for file in config.supervised.more]
    prompters = {name: prompter_files(config, name) for name in config.used_prompters()}
    if any(prompters.values()):
        stored["prompter_sha256"] = {
            name: {option: sha256_of(file) for option, file in files.items()}
            for name, files in prompters.items()
            if files
        }
    if config.cascade is not None:
        stored["cascade_sha256"] = weights_sha256(config.cascade, config.cascade_options.get("checkpoint"))
    return stored
