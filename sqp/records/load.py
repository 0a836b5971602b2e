"""The pixels of a case, read and checked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sqp.core.errors import CaseError, printable
from sqp.core.types import Case
from sqp.core.volume import Volume
from sqp.data.images import read_probability
from sqp.data.reading import read, read_mask_of, read_structure_or_mask
from sqp.data.sizes import at_size


@dataclass
class LoadedCase:
    """The pixels of a case: image uint8 `[h, w, 3]`, truths and the given mask bool `[h, w]`.

    Of a volume the image is a `Volume`, masks are `[d, h, w]`, and the case has its spacing. `probability` float32
    `[h, w]` is what the maker of the given mask believed, where that is told. `files` is the stamp of image and truths.
    """

    case: Case
    image: Any
    truths: list[np.ndarray]
    given: np.ndarray | None
    probability: np.ndarray | None = None
    files: str = ""

    @property
    def truth(self) -> np.ndarray | None:
        """The first rater's mask: what simulated manual prompts and steered corruptions refer to."""
        return self.truths[0] if self.truths else None


def load_case(case: Case) -> LoadedCase:
    """Read and check the files of a case; raises CaseError naming the file. A probability alone is cut at 0.5."""
    _check_names(case)
    image = read(case.image_path)
    if isinstance(image, Volume):
        case = replace(case, spacing=image.spacing)
    truths = [read_mask_of(image, case.image_path, path, case.labels) for path in case.truth_paths]
    given = probability = None
    if case.mask_path is not None:
        given = read_mask_of(image, case.image_path, case.mask_path, case.labels, True, case.resize)
    if case.probability_path is not None and not isinstance(image, Volume):
        probability = read_probability(case.probability_path)
        probability = at_size(probability, case.probability_path, case.image_path, image.shape[:2], case.resize)
        given = probability >= 0.5 if given is None else given
    return LoadedCase(case, image, truths, given, probability)


def _check_names(case: Case) -> None:
    """CaseError for a file whose name no table can hold."""
    for path in filter(None, (case.image_path, *case.truth_paths, case.mask_path, case.probability_path)):
        if printable(str(path)) != str(path):
            raise CaseError(f"the name of {path} is not UTF-8: rename it")


def read_truth(case: Case) -> np.ndarray:
    """The first rater's mask of a case; CaseError where it cannot be read."""
    return read_structure_or_mask(case.truth_paths[0], case.labels)
