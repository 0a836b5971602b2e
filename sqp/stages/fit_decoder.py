"""Fine-tuning LiteMedSAM's mask decoder on embeddings that its frozen encoder computes once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from segment_anything.modeling import Sam
from torch import Tensor, nn

from sqp.fit.decoder import DecoderModule
from sqp.fit.embeddings import CachedEmbeddings, EmbeddingCache, build_embeddings
from sqp.fit.module import Recipe
from sqp.segmenters import build_segmenter
from sqp.segmenters.checkpoint import NetworkSpec
from sqp.segmenters.sam import PromptableSegmenter
from sqp.segmenters.tinyvit import network, timm_keys
from sqp.segmenters.weights import load_strict, locate, read_state
from sqp.stages.fit_tasks import DECODER, SegmenterTask
from sqp.types import Case

PART = "mask_decoder."


class DecoderTask(SegmenterTask):
    """The mask decoder of a promptable segmenter."""

    of_others = ("encoder", "width", "pretrained", "dropout", "size", *SegmenterTask.of_others)

    def spec(self, fitted: Sequence[Case]) -> NetworkSpec:
        """Its one architecture."""
        return NetworkSpec(DECODER, size=256, dropout=0.0)

    def network(self, spec: NetworkSpec, pretrained: bool, file: Path | None) -> Sam:
        """The whole network with the weights to start from."""
        sam = network(full_resolution_stem=True)
        load_strict(sam, starting_state(file), DECODER, Path(file or DECODER))
        return sam

    def cache(self, cases: Sequence[Case]) -> EmbeddingCache:
        """The embeddings of the images; half a second an image and core."""
        c = self.config
        return build_embeddings(cases, encoder(c.pretrained_file), c.cache or Path(c.out) / "cache", c.progress)

    def images(self, cache: Any, rows: np.ndarray, spec: NetworkSpec, cases: Sequence[Case]) -> CachedEmbeddings:
        return CachedEmbeddings(cache, rows)

    def module(self, spec: NetworkSpec, network: nn.Module, recipe: Recipe, fitted: Any) -> DecoderModule:
        assert isinstance(network, Sam)
        return DecoderModule(spec, network, recipe)

    def kept(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The whole network, so that `--segmenter litemedsam --checkpoint FILE` reads it: encoder as it was."""
        return starting_state(self.config.pretrained_file) | {f"{PART}{name}": w for name, w in weights.items()}


def starting_state(file: Path | None) -> dict[str, Tensor]:
    """The weights to start from: those that come with sqp, or a file."""
    return timm_keys(read_state(locate(DECODER, file)[0]))


def encoder(file: Path | None) -> PromptableSegmenter:
    """The segmenter whose encoder is used; quick, but not trainable."""
    found = build_segmenter(DECODER, file)
    assert isinstance(found, PromptableSegmenter)
    return found
