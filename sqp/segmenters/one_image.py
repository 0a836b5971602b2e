"""Many passes of SAM's mask decoder over one image, at a quarter less time a pass and the same values.

The first layer of the transformer projects the image's features three times before any token has touched them:
once is enough. Attention of 4,096 image tokens to 7 others is PyTorch's fused one, since its softmax over so short
a last dimension is slow on a CPU (3 ms against 0.2 ms).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TRANSFORMER = "mask_decoder.transformer"
PROJECTIONS = (
    "cross_attn_token_to_image.k_proj",
    "cross_attn_token_to_image.v_proj",
    "cross_attn_image_to_token.q_proj",
)
ATTENTIONS = ("self_attn", "cross_attn_token_to_image", "cross_attn_image_to_token", "final_attn_token_to_image")


@contextmanager
def one_image(network: nn.Module | None) -> Iterator[None]:
    """Inside the `with`, every pass must be of one embedding, without mask prompts; values to float32 rounding.

    A network that is no `Sam` is left as it is; None is no network.

    Args:
        network: a `Sam`, any other module, or None.

    Returns:
        a context.
    """
    modules = {} if network is None else dict(network.named_modules())
    if TRANSFORMER not in modules:
        yield
        return
    patched: dict[nn.Module, Callable[[nn.Module], Callable[..., Tensor]]]
    patched = {modules[f"{TRANSFORMER}.layers.0.{name}"]: _once for name in PROJECTIONS}
    for name, module in modules.items():
        if name.startswith(TRANSFORMER) and name.rpartition(".")[2] in ATTENTIONS:
            patched[module] = _fused
    kept: dict[int, list[Tensor]] = {}

    def keep_layout(_module: nn.Module, args: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, ...]:
        *image, tokens = args
        if len(tokens) not in kept:
            kept[len(tokens)] = [x.contiguous(memory_format=torch.channels_last) for x in image]
        return *kept[len(tokens)], tokens

    handle = modules[TRANSFORMER].register_forward_pre_hook(keep_layout)
    try:
        for module, wrap in patched.items():
            module.forward = wrap(module)
        yield
    finally:
        handle.remove()
        for module in patched:
            module.__dict__.pop("forward", None)


def _once(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """Its `forward`, run once for each size of batch."""
    forward, known = module.forward, {}

    def recall(x: Tensor) -> Tensor:
        if len(x) not in known:
            known[len(x)] = forward(x)
        return known[len(x)]

    return recall


def _fused(attention: Any) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The same attention by `scaled_dot_product_attention`."""

    def forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        projected = attention.q_proj(q), attention.k_proj(k), attention.v_proj(v)
        heads = [x.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2) for x in projected]
        return attention.out_proj(F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))

    return forward
