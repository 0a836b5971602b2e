"""The pixels of a case, read and checked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sqp.config.generate import GenerateConfig
from sqp.data import check_same_size, read_image, read_mask, read_probability
from sqp.errors import CaseError
from sqp.prompts import PROMPTERS
from sqp.seeding import numpy_generator
from sqp.types import Case, Prompt


@dataclass
class LoadedCase:
    """The pixels of a case: image uint8 `[h, w, 3]`, truths and the given mask bool `[h, w]`.

    `probability` float32 `[h, w]` is what the maker of the given mask believed, where that is told.
    """

    case: Case
    image: np.ndarray
    truths: list[np.ndarray]
    given: np.ndarray | None
    probability: np.ndarray | None = None

    @property
    def truth(self) -> np.ndarray | None:
        """The first rater's mask: what simulated manual prompts and steered corruptions refer to."""
        return self.truths[0] if self.truths else None


def load_case(case: Case) -> LoadedCase:
    """Read and check the files of a case; raises CaseError naming the file. A probability alone is cut at 0.5."""
    image = read_image(case.image_path)
    truths = [read_mask(path) for path in case.truth_paths]
    given = None if case.mask_path is None else read_mask(case.mask_path)
    probability = None if case.probability_path is None else read_probability(case.probability_path)
    paths, arrays = [*case.truth_paths, case.mask_path, case.probability_path], [*truths, given, probability]
    for path, array in zip(paths, arrays, strict=True):
        if path is not None and array is not None:
            check_same_size(case.image_path, image.shape[:2], path, array.shape)
    if given is None and probability is not None:
        given = probability >= 0.5
    return LoadedCase(case, image, truths, given, probability)


def load_prompted(case: Case, config: GenerateConfig) -> tuple[LoadedCase, Prompt]:
    """A case with its truth, and the configured prompter's first prompt; CaseError where either is missing."""
    loaded = load_case(case)
    if loaded.truth is None:
        raise CaseError(f"{case.image_id} has no ground truth")
    options = {"generator": numpy_generator(config.seed, case.image_id, "prompt"), **config.prompter_options}
    return loaded, PROMPTERS[config.prompter](loaded.image, truth=loaded.truth, **options)[0]
