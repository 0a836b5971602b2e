"""The pixels of a case, read and checked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sqp.core.errors import CaseError, printable
from sqp.core.types import Case
from sqp.data import check_same_size, read_image, read_mask, read_probability
from sqp.data.volumes import check_same_place, is_volume, read_structure, read_volume


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
    if is_volume(case.image_path):
        return _load_volume(case)
    image = read_image(case.image_path)
    truths = [read_mask(path, case.labels) for path in case.truth_paths]
    given = None if case.mask_path is None else read_mask(case.mask_path, case.labels, given=True)
    probability = None if case.probability_path is None else read_probability(case.probability_path)
    paths, arrays = [*case.truth_paths, case.mask_path, case.probability_path], [*truths, given, probability]
    for path, array in zip(paths, arrays, strict=True):
        if path is not None and array is not None:
            check_same_size(case.image_path, image.shape[:2], path, array.shape)
    if given is None and probability is not None:
        given = probability >= 0.5
    return LoadedCase(case, image, truths, given, probability)


def _check_names(case: Case) -> None:
    """CaseError for a file whose name no table can hold."""
    for path in filter(None, (case.image_path, *case.truth_paths, case.mask_path, case.probability_path)):
        if printable(str(path)) != str(path):
            raise CaseError(f"the name of {path} is not UTF-8: rename it")


def _load_volume(case: Case) -> LoadedCase:
    volume = read_volume(case.image_path)
    truths = [read_structure(path, case.labels) for path in case.truth_paths]
    paths = list(case.truth_paths)
    if case.mask_path is not None:
        paths.append(case.mask_path)
        truths.append(read_structure(case.mask_path, case.labels, given=True))
    for path, (_, there) in zip(paths, truths, strict=True):
        check_same_place(case.image_path, volume.geometry, path, there)
    masks = [mask for mask, _ in truths]
    given = None if case.mask_path is None else masks.pop()
    return LoadedCase(replace(case, spacing=volume.spacing), volume, masks, given)


def read_truth(case: Case) -> np.ndarray:
    """The first rater's mask of a case; CaseError where it cannot be read."""
    path = case.truth_paths[0]
    return read_structure(path, case.labels)[0] if is_volume(case.image_path) else read_mask(path, case.labels)
