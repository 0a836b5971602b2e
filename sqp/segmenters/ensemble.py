"""Several checkpoints of one segmenter behind one: the sampler `ensemble` takes a sample from each."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from sqp.core.errors import ConfigError
from sqp.core.types import Decoded, Embedding, Prompt, Segmenter


def ensemble_sha256(hashes: Sequence[str]) -> str:
    """The weights' sha256 of an ensemble: that of its members' hashes, in their order.

    Args:
        hashes: 64 hex digits a member.

    Returns:
        64 hex digits.

    Examples:
        >>> ensemble_sha256(["a", "b"]) == ensemble_sha256(["b", "a"])
        False
    """
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


class EnsembleSegmenter:
    """`members[0]` stands for all: its name, its decoding, its frame. The embedding keeps one of every member.

    All members must have the same grid. Raises ConfigError for fewer than 2 members, and for the same weights twice.
    """

    def __init__(self, members: Sequence[Segmenter]) -> None:
        hashes = [member.weights_sha256 for member in members]
        if len(members) < 2:
            raise ConfigError(f"an ensemble of {len(members)}: give at least 2 checkpoints")
        if len(set(hashes)) < len(hashes):
            raise ConfigError(
                f"two of the {len(hashes)} checkpoints of the ensemble have the same weights: leave one out"
            )
        self.members = list(members)
        self.name = members[0].name
        self.weights_sha256 = ensemble_sha256(hashes)
        self.promptable = any(member.promptable for member in members)

    def encode(self, image: np.ndarray) -> Embedding:
        """uint8 `[h, w, 3]` -> the first member's embedding; `extra["members"]` has all of them.

        Args:
            image: uint8 `[h, w, 3]`, or a `Volume`.

        Returns:
            The embedding.

        Raises:
            ConfigError: the members have different grids.
        """
        embeddings = [member.encode(image) for member in self.members]
        first = embeddings[0]
        if any(other.frame.grid != first.frame.grid for other in embeddings):
            raise ConfigError(
                f"the members of the ensemble '{self.name}' have different grids: take checkpoints of one size"
            )
        return Embedding(first.features, first.frame, {**first.extra, "members": embeddings})

    def decode(self, embedding: Embedding, prompts: Sequence[Prompt]) -> Decoded:
        """The first member's candidates.

        Args:
            embedding: what `encode` gave.
            prompts: prompts in pixels of the image.

        Returns:
            Logits `[n, k, *grid]`, IoU `[n, k]`.
        """
        return self.members[0].decode(embedding, prompts)
