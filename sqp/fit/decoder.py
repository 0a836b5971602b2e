"""The mask decoder of LiteMedSAM, fine-tuned on embeddings that its frozen encoder computes once.

Prompts are boxes as they will come: of the truth, whose sides each move by themselves, and Otsu's. Watched by the mean
Dice on val under Otsu's box, which needs no truth.

A cache of embeddings that was interrupted goes on where it stopped. An image of 256 x 64 x 64 features takes 2 MB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.lib.format import open_memmap
from segment_anything.modeling import Sam
from torch import Tensor, nn

from sqp.core.files import reserve_arrays
from sqp.core.seeding import torch_generator
from sqp.core.types import Case
from sqp.fit.cache import SMALLER, CaseCache, Images, cache_key, fill_cache, read_pair
from sqp.fit.losses import dice_bce, hard_dice
from sqp.fit.module import Recipe
from sqp.fit.segmenter import SegmenterModule, SegmenterTask
from sqp.prompts import PROMPTERS
from sqp.segmenters import build_segmenter
from sqp.segmenters.plain import NetworkSpec
from sqp.segmenters.sam import PromptableSegmenter, check_prompt, prompt_tensors
from sqp.segmenters.tinyvit import network, timm_keys
from sqp.segmenters.weights import load_strict, locate, read_state

DECODER = "litemedsam"
JITTER = 0.15  # share of a box's side by which a side moves at most
OTSU = 1  # of `BOXES`


class DecoderModule(SegmenterModule):
    """`sam.mask_decoder` under training; a batch is that of `CachedEmbeddings`.

    Dice + BCE of the mask, and the squared error of the predicted IoU, so that this score stays one.
    """

    def __init__(self, spec: NetworkSpec, sam: Sam, recipe: Recipe) -> None:
        super().__init__(spec, sam.mask_decoder.requires_grad_(True).train(), recipe)
        self.frozen = (sam.prompt_encoder,)  # in a tuple: no part of this module's weights

    def forward(self, features: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Features `[n, c, h, w]` with one box `[n, 4]` each -> logits `[n, 1, g, g]`, predicted IoU `[n]`."""
        prompt_encoder = self.frozen[0].to(features.device)
        with torch.no_grad():
            position = prompt_encoder.get_dense_pe()
            sparse, dense = prompt_encoder(points=None, boxes=boxes, masks=None)
        outputs = [  # the decoder takes many prompts of one image, not many images
            self.network(
                image_embeddings=features[i : i + 1],
                image_pe=position,
                sparse_prompt_embeddings=sparse[i : i + 1],
                dense_prompt_embeddings=dense[i : i + 1],
                multimask_output=False,
            )
            for i in range(len(features))
        ]
        logits, iou = (torch.cat(parts) for parts in zip(*outputs, strict=True))
        return logits, iou[:, 0]

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Loss of a batch; which box an image gets, and how it moves, depends on (seed, step) alone."""
        generator = torch_generator(self.recipe.seed, "boxes", self.global_step)
        boxes = drawn_boxes(batch["boxes"], generator, JITTER if self.recipe.augment else 0.0)
        loss = self.loss(self(batch["features"], boxes), batch)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(boxes))
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Loss, and the mean over images of the Dice under Otsu's box."""
        output = logits, _ = self(batch["features"], batch["boxes"][:, OTSU])
        self.val_dice.update(hard_dice(logits, batch["truth"], batch["valid"]))
        self.log("val/loss", self.loss(output, batch), batch_size=len(logits))
        self.log("val/dice", self.val_dice, prog_bar=True, batch_size=len(logits))

    def loss(self, output: tuple[Tensor, Tensor], batch: dict[str, Tensor]) -> Tensor:  # type: ignore[override]
        """Soft Dice + BCE, and the squared error of the predicted IoU."""
        logits, iou = output
        dice = hard_dice(logits.detach(), batch["truth"], batch["valid"])
        return dice_bce(logits, batch["truth"], batch["valid"]) + F.mse_loss(iou, dice / (2 - dice))


def drawn_boxes(boxes: Tensor, generator: torch.Generator, jitter: float) -> Tensor:
    """One box `[n, 4]` of each row's two `[n, 2, 4]`, its sides moved by up to `jitter` of its width and height.

    Examples:
        >>> boxes = torch.tensor([[[0.0, 0, 10, 20], [5.0, 5, 9, 9]]])
        >>> drawn_boxes(boxes, torch.Generator().manual_seed(0), 0.0).tolist() in boxes.transpose(0, 1).tolist()
        True
    """
    which = torch.randint(boxes.shape[1], (len(boxes),), generator=generator)
    moves = 2 * torch.rand(len(boxes), 4, generator=generator) - 1
    box = boxes[torch.arange(len(boxes)), which.to(boxes.device)]
    sides = (box[:, 2:] - box[:, :2]).repeat(1, 2)
    return (box + jitter * moves.to(box) * sides).clamp(min=0)


PART = "mask_decoder."


class DecoderTask(SegmenterTask):
    """The mask decoder of a promptable segmenter."""

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


BOXES = ("truth_box", "otsu")  # prompters, in the order of `boxes`


class EmbeddingCache(CaseCache):
    """Memory maps: features float16 `[n, c, h, w]`, truth bool `[n, g, g]`, sizes `[n, 2]`, boxes `[n, 2, 4]`.

    The truth lies in the upper left corner of the segmenter's output, `sizes` are its (h, w) there; boxes (`BOXES`)
    are xyxy in pixels of the network's input.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.features, self.truth = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("features", "truth"))
        self.sizes, self.boxes = (np.load(folder / f"{name}.npy") for name in ("sizes", "boxes"))


def build_embeddings(
    cases: Sequence[Case], segmenter: PromptableSegmenter, folder: Path, progress: bool = True
) -> EmbeddingCache:
    """The cache of these cases under `folder`, each encoded unless it is there."""
    home = folder / cache_key(cases, segmenter.name, segmenter.weights_sha256)
    n, side = len(cases), segmenter.size // segmenter.stride

    def start() -> None:
        if not (home / "filled.npy").exists():
            prompt_encoder = segmenter.sam.prompt_encoder
            shape = (n, prompt_encoder.embed_dim, *prompt_encoder.image_embedding_size)
            masks = {"truth": (np.bool_, (n, side, side)), "sizes": (np.int64, (n, 2))}
            boxes = {"boxes": (np.float32, (n, len(BOXES), 4)), "filled": (np.bool_, (n,))}
            reserve_arrays(home, {"features": (np.float16, shape)} | masks | boxes, SMALLER)

    fill_cache(home, cases, partial(_encode, segmenter=segmenter, home=home), progress=progress, start=start)
    return EmbeddingCache(home)


def _encode(row: int, case: Case, segmenter: PromptableSegmenter, home: Path) -> None:
    """Fill one row, unless it is filled. CaseError where a file is broken, or the truth is empty (it has no box)."""
    filled = open_memmap(home / "filled.npy", "r+")
    if filled[row]:
        return
    image, truth = read_pair(case)
    boxes = []
    for name in BOXES:
        (prompt,) = PROMPTERS[name](image, truth=truth)[:1]
        prompt = check_prompt(prompt, truth.shape)
        found = prompt_tensors([prompt], segmenter.frame(truth.shape), torch.device("cpu"))[1]
        assert found is not None  # both prompters give boxes
        boxes.append(found[0].numpy())
    embedding = segmenter.encode(image)
    h, w = embedding.frame.grid
    open_memmap(home / "features.npy", "r+")[row] = embedding.features[0].cpu().numpy()
    open_memmap(home / "truth.npy", "r+")[row, :h, :w] = embedding.frame.mask_to_grid(truth).numpy()
    open_memmap(home / "sizes.npy", "r+")[row] = h, w
    open_memmap(home / "boxes.npy", "r+")[row] = np.stack(boxes)
    filled[row] = True


@dataclass
class CachedEmbeddings(Images):
    """The rows of one split. A batch: features float32, truth and valid bool `[n, 1, g, g]`, boxes `[n, 2, 4]`."""

    cache: EmbeddingCache
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, index: Sequence[int]) -> dict[str, Tensor]:
        rows = self.rows[np.asarray(index)]
        truth = torch.from_numpy(self.cache.truth[rows])
        sizes, side = torch.from_numpy(self.cache.sizes[rows]), torch.arange(truth.shape[-1])
        valid = (side[:, None] < sizes[:, 0, None, None]) & (side < sizes[:, 1, None, None])
        return {
            "features": torch.from_numpy(self.cache.features[rows]).float(),
            "truth": truth[:, None],
            "valid": valid[:, None],
            "boxes": torch.from_numpy(self.cache.boxes[rows]),
        }
