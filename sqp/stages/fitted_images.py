"""Which images a network was fitted on: kept as hashes in its checkpoint, and left out of the records that matter.

On an image that it was fitted on a network's mask is better, and its uncertainty smaller, than on any new one: a
quality model that learns, or is calibrated, from such records expects too much. The same holds for a network that
prompts (localizer, classifier): its box on such an image, and so the mask, is better than on any new one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from sqp.errors import ConfigError
from sqp.networks.checkpoint import fitted_images
from sqp.types import Case

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
