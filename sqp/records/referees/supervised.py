"""The supervised referee at work: a fitted network's answer to an image, held beside each of its masks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sqp.config.fit import PLAIN, VOLUMETRIC
from sqp.config.generate import GenerateConfig
from sqp.core.errors import ConfigError
from sqp.core.files import sha256_of
from sqp.core.frame import numbers_of
from sqp.core.types import GridFrame, Prompt, Segmenter
from sqp.networks.checkpoint import read_header
from sqp.records.draft import Draft, Findings
from sqp.records.encodings import LastImage
from sqp.records.load import LoadedCase
from sqp.records.referees.referee import is_answer
from sqp.records.schema import FEATURE_PREFIX, SUPERVISED_EMBEDDING
from sqp.segmenters import build_segmenter
from sqp.segmenters.plain import NetworkSpec
from sqp.uncertainty import Moments, all_maps
from sqp.uncertainty.referee import SUPERVISED_SCORES
from sqp.uncertainty.transforms import Dihedral

SYMMETRIES = (
    *(Dihedral(0), Dihedral(0, True), Dihedral(2, True), Dihedral(2)),
    *(Dihedral(1), Dihedral(3), Dihedral(1, True), Dihedral(3, True)),
)
"""Those that keep width and height first, so that two or four cost no further shape of input."""
MAPS = ("entropy", "variance")


def check_supervised(config: GenerateConfig) -> None:
    """ConfigError for a checkpoint that is not there, or is none of a network that segments images."""
    files = config.supervised.networks
    for file in files:
        if not file.expanduser().is_file():
            raise ConfigError(f"supervised.network is {file}, which does not exist: check the path")
    sizes = {spec_of(file).size for file in files}
    if len(sizes) > 1:
        raise ConfigError(
            f"the networks {', '.join(map(str, files))} see an image at {' and '.join(map(str, sorted(sizes)))} "
            "pixels: fit them with one --size"
        )
    if len(files) > 1 and len({sha256_of(file.expanduser()) for file in files}) < len(files):
        raise ConfigError(f"two of the networks {', '.join(map(str, files))} are the same: leave one out")


def spec_of(file: Path) -> NetworkSpec:
    """What the network of a checkpoint is; ConfigError for one of volumes."""
    spec: NetworkSpec = read_header(file.expanduser(), NetworkSpec).spec
    if spec.name not in PLAIN or spec.name in VOLUMETRIC:
        images = ", ".join(network for network in PLAIN if network not in VOLUMETRIC)
        raise ConfigError(
            f"supervised.network {file} holds {spec.name}, which does not segment images: give one of {images}"
        )
    return spec


class SupervisedReferee:
    """`referee(loaded, drafts)` -> what it draws, and what it finds of each mask of a case; built once.

    Of several networks the answers count alike. A mask that one of these very networks drew, what was made of one, and
    a given mask that is one of their answers, agree with it and say nothing: their scores are NaN, and they are marked
    `own`.
    """

    def __init__(self, config: GenerateConfig, segmenter: Segmenter | None) -> None:
        # in float32 whatever encodes beside it: bfloat16 gains a convolutional network nothing, and moves its answer
        self.segmenters = [
            build_segmenter(spec_of(file).name, file, config.device, runtime=config.runtime)
            for file in config.supervised.networks
        ]
        self.symmetries = SYMMETRIES[: config.supervised.symmetries]
        own = {network.weights_sha256 for network in self.segmenters}
        self.alike = segmenter.name if segmenter is not None and segmenter.weights_sha256 in own else None
        self.last = LastImage(self.answers)

    def __call__(self, loaded: LoadedCase, drafts: Sequence[Draft]) -> tuple[np.ndarray, list[Findings]]:
        """Its own mask, bool `[h, w]`; and `supervised/*` and the scores, for each mask of the case."""
        answers, frame, token = self.last(loaded.image)
        maps = {"probability": answers.mean_p} | all_maps(answers, MAPS)
        stored = {f"supervised/{name}": value for name, value in maps.items()}
        stored[f"{FEATURE_PREFIX}{SUPERVISED_EMBEDDING}"] = token
        frames = {"supervised": numbers_of(frame)}
        found = []
        for draft in drafts:
            own = draft.maker == self.alike or (draft.maker == "given" and is_answer(draft, frame, answers))
            mask = draft.on_grid(frame)
            scores = {name: math.nan if own else score(answers, mask) for name, score in SUPERVISED_SCORES.items()}
            found.append(Findings(dict(stored), scores, own, frames))
        return frame.grid_to_image(answers.mean_p).cpu().numpy() >= 0.5, found

    def answers(self, image: np.ndarray) -> tuple[Moments, GridFrame, Tensor]:
        """The answers to an image under the symmetries, on the grid of the image itself; its frame; the mean token.

        The token is the first network's: of another it would be another vector.
        """
        whole = Prompt(box=(0.0, 0.0, float(image.shape[1]), float(image.shape[0])), prompter="whole_image")
        frame: Any = None
        logits, tokens = [], []
        for segmenter, symmetry in product(self.segmenters, self.symmetries):
            embedding = segmenter.encode(symmetry.image(image))
            decoded = segmenter.decode(embedding, [whole])
            assert decoded.tokens is not None  # a plain network of images has them
            drawn = decoded.logits[0, 0]
            frame = frame or embedding.frame
            logits.append(symmetry.inverse(drawn, embedding.frame, frame, drawn))
            tokens.append(decoded.tokens[0, 0])
        return Moments.of(torch.stack(logits)), frame, torch.stack(tokens[: len(self.symmetries)]).mean(0)
