"""Any network of the SAM family as a segmenter: encode the image once, decode many prompts in batches.

segment_anything's own `PromptEncoder` and `MaskDecoder` run unchanged (Kirillov et al. 2023, arXiv
2304.02643); the image encoder, the size of the input and the normalisation of pixels differ between members.

Prompts in original pixels become what the prompt encoder takes, after a check that they lie on the image.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from segment_anything.modeling import Sam
from torch import Tensor, nn

from sqp.core.errors import CaseError, ConfigError
from sqp.core.frame import Frame
from sqp.core.types import Decoded, Embedding, Prompt
from sqp.networks.inputs import to_device
from sqp.networks.runtime import Accelerated
from sqp.segmenters import PRECISIONS
from sqp.segmenters.onednn import use_onednn


def standardise(pixels: Tensor) -> Tensor:
    """0-255 `[1, 3, h, w]` -> SAM's ImageNet mean 0 and deviation 1 per channel.

    Args:
        pixels: float32.

    Returns:
        float32 of the same shape.
    """
    mean = pixels.new_tensor([123.675, 116.28, 103.53]).view(1, 3, 1, 1)
    std = pixels.new_tensor([58.395, 57.12, 57.375]).view(1, 3, 1, 1)
    return (pixels - mean) / std


def min_max(pixels: Tensor) -> Tensor:
    """`[1, 3, h, w]` -> 0-1 by the least and the greatest value of this image, as MedSAM and LiteMedSAM do.

    Args:
        pixels: float32.

    Returns:
        float32 of the same shape.

    Examples:
        >>> min_max(torch.tensor([[[[10.0, 20.0, 30.0]]]])).tolist()
        [[[[0.0, 0.5, 1.0]]]]
    """
    low, high = pixels.aminmax()
    return (pixels - low) / (high - low).clamp(min=1e-8)


@contextmanager
def output_of(module: nn.Module) -> Iterator[list[Any]]:
    """Collects what `module` returns inside the `with`."""
    kept: list[Any] = []
    handle = module.register_forward_hook(lambda _module, _args, output: kept.append(output))
    try:
        yield kept
    finally:
        handle.remove()


@contextmanager
def channels_last_inputs(module: nn.Module) -> Iterator[None]:
    """Inside the `with`, 4-D inputs of `module` come in channels-last memory: same values, cheaper as tokens."""

    def convert(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x for x in args)

    handle = module.register_forward_pre_hook(convert)
    try:
        yield
    finally:
        handle.remove()


class PromptableSegmenter:
    """A SAM-family network behind the protocol `sqp.core.types.Segmenter`.

    `multimask` True gives 3 candidates per prompt, False 1, "auto" 3 for a prompt of a single point where
    `trained_multimask` (the decoder learned it), else 1. If a call of "auto" mixes both, the only candidate of
    the unambiguous prompts stands 3 times, so that `Decoded.best()` does not depend on a prompt's neighbours.
    `precision` "bfloat16" runs the image encoder under autocast; the decoder always runs in float32.
    At most `chunk` prompts go through the decoder at a time, by default 32, and 1 on a CPU, where a batch of 8
    takes twice as long as 8 single ones (page faults on intermediates of 67 MB). Results are on the CPU.
    """

    promptable = True

    def __init__(
        self,
        name: str,
        sam: Sam,
        normalise: Callable[[Tensor], Tensor],
        *,
        weights_sha256: str = "",
        trained_multimask: bool = True,
        multimask: Literal["auto"] | bool = "auto",
        device: str | torch.device = "cpu",
        precision: str = "float32",
        chunk: int | None = None,
    ) -> None:
        if precision not in PRECISIONS:
            raise ConfigError(f"unknown precision '{precision}'. known: {', '.join(PRECISIONS)}")
        if multimask not in ("auto", True, False):
            raise ConfigError(f"multimask is {multimask!r}; it must be auto, true or false")
        if chunk is not None and chunk < 1:
            raise ConfigError(f"chunk is {chunk}; it must be at least 1")
        self.name = name
        self.weights_sha256 = weights_sha256
        self.device = torch.device(device)
        self.sam = use_onednn(sam.eval().requires_grad_(False).to(self.device))
        self.normalise = normalise
        self.trained_multimask = trained_multimask
        self.multimask = multimask
        self.precision, self.runtime = precision, "torch"
        self.accelerated: Accelerated | None = None
        self.chunk = chunk or (1 if self.device.type == "cpu" else 32)
        self.size = int(sam.prompt_encoder.input_image_size[0])
        self.stride = self.size // int(sam.prompt_encoder.mask_input_size[0])
        sam.mask_decoder.output_upscaling.to(memory_format=torch.channels_last)
        with torch.no_grad():
            self._image_pe = sam.prompt_encoder.get_dense_pe().contiguous()  # copied at every decoding

    def use_openvino(self) -> None:
        """Encode by OpenVINO, as far as it agrees with PyTorch; prompts are decoded as ever."""
        self.runtime = "openvino"
        self.accelerated = Accelerated(self.sam.image_encoder, f"the encoder of {self.name}", self.precision)

    def frame(self, original: tuple[int, int]) -> Frame:
        """The geometry of an image of (h, w) pixels."""
        return Frame(original, size=self.size, stride=self.stride)

    def encode(self, image: np.ndarray) -> Embedding:
        """uint8 `[h, w, 3]` -> features `[1, 256, 64, 64]` float32 on the segmenter's device.

        Args:
            image: uint8 `[h, w, 3]`.

        Returns:
            The embedding.

        Raises:
            CaseError: the image is of another type or shape.
        """
        return self.encode_many([image])[0]

    @torch.no_grad()
    def encode_many(self, images: Sequence[np.ndarray]) -> list[Embedding]:
        """`encode` of each image, all of them in one pass: on a GPU `chunk` of them take hardly longer than one."""
        frames, pixels = zip(*map(self._input, images), strict=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            features = (self.accelerated or self.sam.image_encoder)(torch.cat(pixels))
        return [Embedding(features[i : i + 1].float().contiguous(), frame) for i, frame in enumerate(frames)]

    def _input(self, image: np.ndarray) -> tuple[Frame, Tensor]:
        """The frame of an image, and what the encoder gets of it."""
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise CaseError(f"the image is {image.dtype} {list(image.shape)}; RGB uint8 [h, w, 3] is needed")
        image = np.require(image, requirements=["C", "W"])  # torch warns of read-only arrays (PIL hands them out)
        frame = self.frame(image.shape[:2])
        return frame, frame.pad(self.normalise(to_device(frame.image_to_input(image), self.device)))

    @torch.no_grad()
    def decode(self, embedding: Embedding, prompts: Sequence[Prompt]) -> Decoded:
        """Logits `[n, k, *grid]`, predicted IoU `[n, k]`, mask tokens `[n, k, 256]`, float32, in prompt order.

        Args:
            embedding: what `encode` gave.
            prompts: n prompts in pixels of the image, at least one.

        Returns:
            The candidates.

        Raises:
            CaseError: a prompt lies outside of the image, a box has no area, or a logit is NaN.
        """
        if not prompts:
            raise CaseError("no prompt was given; a promptable segmenter needs at least one")
        prompts = [check_prompt(prompt, embedding.frame.original) for prompt in prompts]
        candidates = [3 if self._many(prompt) else 1 for prompt in prompts]
        k = max(candidates)
        batches: dict[tuple, list[int]] = defaultdict(list)
        for row, prompt in enumerate(prompts):
            batches[prompt.box is not None, len(prompt.points), candidates[row]].append(row)
        order: list[int] = []
        parts: list[tuple[Tensor, ...]] = []
        for (_, _, found), rows in batches.items():
            for start in range(0, len(rows), self.chunk):
                chunk = rows[start : start + self.chunk]
                part = self._decode_batch(embedding, [prompts[row] for row in chunk], multimask=found > 1)
                order += chunk
                parts.append(tuple(x.expand(-1, k, *x.shape[2:]) for x in part))
        logits, iou, tokens = (_in_order(tensors, order) for tensors in zip(*parts, strict=True))
        if torch.isnan(logits).any():
            raise CaseError(f"{self.name} returned NaN logits; try precision float32 or look at the image")
        return Decoded(logits, iou, tokens)

    def _many(self, prompt: Prompt) -> bool:
        """Whether this prompt gets several candidates."""
        if self.multimask != "auto":
            return bool(self.multimask)
        return self.trained_multimask and prompt.box is None and len(prompt.points) == 1

    def _decode_batch(
        self, embedding: Embedding, prompts: Sequence[Prompt], multimask: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Prompts of one kind in one pass of the official decoder."""
        decoder = self.sam.mask_decoder
        points, boxes = prompt_tensors(prompts, embedding.frame, self.device)
        sparse, dense = self.sam.prompt_encoder(points=points, boxes=boxes, masks=None)
        with output_of(decoder.transformer) as outputs, channels_last_inputs(decoder.transformer):
            logits, iou = decoder(
                image_embeddings=embedding.features.to(self.device),
                image_pe=self._image_pe,
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=multimask,
            )
        tokens = outputs[0][0][:, 1 : 1 + decoder.num_mask_tokens]  # token 0 is the IoU token
        tokens = tokens[:, 1:] if multimask else tokens[:, :1]
        return embedding.frame.crop_to_grid(logits).float().cpu(), iou.float().cpu(), tokens.float().cpu()


def _in_order(parts: Sequence[Tensor], order: Sequence[int]) -> Tensor:
    """Concatenates and puts row i of the concatenation at `order[i]`."""
    if list(order) == sorted(order):
        return torch.cat(tuple(parts)) if len(parts) > 1 else parts[0].contiguous()
    return torch.cat(tuple(parts))[torch.argsort(torch.tensor(order))]


def check_prompt(prompt: Prompt, original: tuple[int, int]) -> Prompt:
    """The prompt with its box clipped to an image of (h, w) pixels; `CaseError` where it cannot be used.

    Args:
        prompt: a prompt in pixels of the image.
        original: (h, w) of the image.

    Returns:
        The prompt.

    Raises:
        CaseError: it has neither box nor point, its box has no area, or it lies outside of the image.

    Examples:
        >>> check_prompt(Prompt(box=(-5, 2, 50, 8)), (10, 20)).box
        (0.0, 2.0, 20.0, 8.0)
    """
    h, w = original
    if prompt.box is None and not prompt.points:
        raise CaseError("the prompt has neither a box nor a point")
    for x, y in prompt.points:
        if not (0 <= x <= w and 0 <= y <= h):
            raise CaseError(f"the point ({x:g}, {y:g}) is outside of the image of {w} x {h} pixels")
    if prompt.box is None:
        return prompt
    box = np.asarray(prompt.box, dtype=float)
    clipped = box.clip(0, [w, h, w, h])
    shown = ", ".join(f"{value:g}" for value in box)
    if not (box[2] > box[0] and box[3] > box[1]):
        raise CaseError(f"the box ({shown}) has no area (x0, y0, x1, y1 on an image of {w} x {h} pixels)")
    if not (clipped[2] > clipped[0] and clipped[3] > clipped[1]):
        raise CaseError(f"the box ({shown}) is outside of the image of {w} x {h} pixels")
    return prompt.with_box(clipped.tolist())


def prompt_tensors(
    prompts: Sequence[Prompt], frame: Frame, device: torch.device
) -> tuple[tuple[Tensor, Tensor] | None, Tensor | None]:
    """n prompts of one kind -> (points `[n, p, 2]`, labels `[n, p]`) or None, and boxes `[n, 4]` or None.

    Coordinates are in pixels of the network's input.

    Args:
        prompts: prompts that all have a box or all have none, with as many points each.
        frame: of the image.
        device: where the tensors go.

    Returns:
        Points with labels, and boxes, float32.
    """
    points = boxes = None
    if prompts[0].points:
        flat = np.asarray([prompt.points for prompt in prompts], dtype=np.float32)
        coords = frame.points_to_input(flat).reshape(flat.shape).to(device)
        points = coords, torch.tensor([prompt.labels for prompt in prompts], dtype=torch.int, device=device)
    if prompts[0].box is not None:
        boxes = frame.boxes_to_input([prompt.box for prompt in prompts]).to(device)
    return points, boxes
