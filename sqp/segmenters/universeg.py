"""UniverSeg as an in-context segmenter: its file, what it sees of an image and of a mask, and sets of references."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sqp.config.referee import NEEDS_WEIGHTS
from sqp.core.errors import ConfigError
from sqp.core.frame import Frame
from sqp.core.types import Embedding, Segmenter
from sqp.networks.checkpoint import PREFIX, load_weights, read_header
from sqp.networks.weight_files import is_safetensors, read_metadata
from sqp.segmenters.crossblock import DIVISOR, LEVELS, WIDTH, UniverSeg
from sqp.segmenters.personalised import ShownAnew, halves_of
from sqp.segmenters.plain import NetworkSpec
from sqp.segmenters.weights import load_strict, locate, read_state

NAME = "universeg"
SIZE = 128  # of the paper: longer side in pixels
EACH, MOST_SETS = 4, 4
"""A support set of an ensemble holds so many references or more; there are at most so many sets, beside the whole."""


def build_network(spec: NetworkSpec) -> UniverSeg:
    """The network of a spec, with random weights.

    Args:
        spec: name `NAME`; `size` and `width` count.

    Returns:
        The network.

    Raises:
        ConfigError: the size is no multiple of `DIVISOR`.
    """
    if spec.size < DIVISOR or spec.size % DIVISOR:
        raise ConfigError(f"size is {spec.size}; the input of {NAME} must be a multiple of {DIVISOR}")
    return UniverSeg(spec.width or WIDTH).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def grey(image: Tensor, valid: Tensor | None = None) -> Tensor:
    """Pixels `[..., 3, h, w]` in any range -> their mean over colours, each image stretched to 0..1, `[..., 1, h, w]`.

    Args:
        image: the pixels.
        valid: bool `[..., 1, h, w]`, what lies on the image; the rest becomes 0. None: all.

    Returns:
        float32; 0 where an image has one grey value alone.

    Examples:
        >>> grey(torch.tensor([[50.0, 100.0]]).repeat(3, 1, 1)).tolist()
        [[[0.0, 1.0]]]
    """
    mean = image.float().mean(-3, keepdim=True)
    on = torch.ones_like(mean, dtype=torch.bool) if valid is None else valid
    low = mean.where(on, torch.inf).amin((-2, -1), keepdim=True)
    high = mean.where(on, -torch.inf).amax((-2, -1), keepdim=True)
    return ((mean - low) / (high - low).clamp_min(torch.finfo(torch.float32).tiny)).where(on, 0)


class ReadsGrey(ShownAnew):
    """What in-context segmenters share that look at grey pixels alone, `size` of them along the longer side."""

    reads_encoding = False
    size: int

    def features(self, image: np.ndarray, embedding: Embedding | None = None) -> Tensor:
        """Grey `[1, h', w']` in 0..1, the longer side `size`.

        Args:
            image: uint8 `[h, w, 3]`.
            embedding: not read.

        Returns:
            float32 on the CPU.
        """
        return grey(Frame(image.shape[:2], self.size).image_to_input(image)[0])

    def summary(self, features: Tensor) -> Tensor:
        """What two images are compared by, `[64]`: the coarse pattern of light and dark.

        Args:
            features: `[1, h', w']`.

        Returns:
            float32, its mean 0.
        """
        coarse = F.adaptive_avg_pool2d(features, (8, 8)).flatten()
        return coarse - coarse.mean()


class UniverSegSegmenter(ReadsGrey):
    """An in-context segmenter (`sqp.core.types.InContextSegmenter`) by a fitted network; it reads grey pixels alone."""

    def __init__(
        self, spec: NetworkSpec, network: UniverSeg, weights_sha256: str = "", device: str | torch.device = "cpu"
    ) -> None:
        self.name = NAME
        self.spec, self.size = spec, spec.size
        self.weights_sha256 = weights_sha256
        self.device = torch.device(device)
        self.network = network.eval().requires_grad_(False).to(self.device)

    def support_sets(self, k: int) -> list[list[int]]:
        """All k references, then those dealt in turn to sets of `EACH` or more: the paper's ensemble over supports.

        Args:
            k: references.

        Returns:
            Their indices, a list a set.

        Examples:
            >>> UniverSegSegmenter.support_sets(None, 9)
            [[0, 1, 2, 3, 4, 5, 6, 7, 8], [0, 2, 4, 6, 8], [1, 3, 5, 7]]
        """
        sets = min(k // EACH, MOST_SETS)
        return [list(range(k)), *(list(range(i, k, sets)) for i in range(sets) if sets > 1)]

    def transfer(self, query: Tensor, supports: Sequence[Tensor]) -> Callable[[Sequence[np.ndarray]], Tensor]:
        """Features of an image, and of k references -> a function: their masks -> probability of the image's pixels.

        Args:
            query: `[1, h', w']`.
            supports: k of them.

        Returns:
            masks bool `[h, w]` -> float32 `[h', w']` in 0..1.
        """
        h, w = query.shape[-2:]
        asked = self._padded(query)
        images = torch.stack([self._padded(one) for one in supports])

        @torch.no_grad()
        def probability(masks: Sequence[np.ndarray]) -> Tensor:
            drawn = [
                torch.from_numpy(halves_of(mask, one.shape[1:])).float()[None]
                for mask, one in zip(masks, supports, strict=True)
            ]
            shown = torch.stack([self._padded(one) for one in drawn])
            logits = self.network(asked[None], images[None], shown[None])
            return logits[0, 0, :h, :w].sigmoid().float().cpu()

        return probability

    def _padded(self, plane: Tensor) -> Tensor:
        """`[1, h', w']` in the upper left of a square, zeros beyond."""
        size = self.spec.size
        return F.pad(plane, (0, size - plane.shape[-1], 0, size - plane.shape[-2])).to(self.device)


def build_universeg(
    base: Segmenter | None, checkpoint: str | os.PathLike | None = None, device: str | torch.device = "cpu"
) -> UniverSegSegmenter:
    """UniverSeg with the weights of a file of `sqp fit segmenter --network universeg`, or of the authors' release.

    Args:
        base: not read.
        checkpoint: the file.
        device: cpu, cuda, cuda:0, mps.

    Returns:
        The segmenter.

    Raises:
        ConfigError: there is no file, or it holds no weights of this network.
    """
    if checkpoint is None:
        raise ConfigError(f"{NAME} {NEEDS_WEIGHTS}")
    path, sha256 = locate(NAME, checkpoint)
    if is_safetensors(path) and f"{PREFIX}{NetworkSpec.kind}" in read_metadata(path):
        spec = read_header(path, NetworkSpec).spec
        if spec.name != NAME:
            raise ConfigError(f"--checkpoint {path} holds the weights of {spec.name}, not of {NAME}")
        network = build_network(spec)
        load_weights(network, path)
    else:
        state = from_release(read_state(path))
        width = len(state["head.weight"][0]) if "head.weight" in state else WIDTH
        spec = NetworkSpec(NAME, SIZE, dropout=0.0, width=width)
        network = build_network(spec)
        load_strict(network, state, NAME, path)
    return UniverSegSegmenter(spec, network, sha256, device)


RELEASED = (
    (r"enc_blocks\.(\d+)\.", r"encoder.\1."),
    (r"dec_blocks\.(\d+)\.", r"decoder.\1."),
    (r"\.cross\.cross_conv\.", ".cross."),
    (r"\.target\.vmapped\.conv\.", ".query."),
    (r"\.support\.vmapped\.conv\.", ".support."),
    (r"^out_conv\.conv\.", "head."),
)
"""Names in the state dict of the authors' release (github.com/JJGO/UniverSeg, v1) -> those here."""


def from_release(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the authors' release under the names here.

    The convolution of the supports in its last block, which nothing reads, is left out.

    Args:
        state: name -> tensor.

    Returns:
        name -> tensor; other names stay.

    Examples:
        >>> list(from_release({"dec_blocks.0.target.vmapped.conv.bias": torch.zeros(1), "out_conv.conv.bias": 0}))
        ['decoder.0.query.bias', 'head.bias']
    """
    renamed = {}
    for name, value in state.items():
        for pattern, ours in RELEASED:
            name = re.sub(pattern, ours, name)
        renamed[name] = value
    unread = f"decoder.{LEVELS - 2}.support."
    return {name: value for name, value in renamed.items() if not name.startswith(unread)}
