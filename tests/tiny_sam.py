"""A SAM of segment_anything's own classes that is small enough for a test."""

from __future__ import annotations

import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer


def tiny_sam(seed: int = 0) -> Sam:
    """Input 64, embedding 4 x 4, masks 16 x 16 (stride 4), random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = ImageEncoderViT(
            img_size=64, embed_dim=32, depth=1, num_heads=2, out_chans=32, use_rel_pos=True, window_size=2
        )
        prompt_encoder = PromptEncoder(32, (4, 4), (64, 64), mask_in_chans=4)
        transformer = TwoWayTransformer(depth=2, embedding_dim=32, num_heads=2, mlp_dim=64)
        decoder = MaskDecoder(transformer_dim=32, transformer=transformer, iou_head_hidden_dim=32)
        return Sam(encoder, prompt_encoder, decoder).eval()
