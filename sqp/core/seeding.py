"""Randomness as an argument: generators that depend on the seed and a key (a record id), never on order or worker."""

from __future__ import annotations

import hashlib

import numpy as np
import torch


def derive_seed(seed: int, *keys: object) -> int:
    """A 63-bit seed from a base seed and any keys.

    Examples:
        >>> derive_seed(0, "ISIC_0000000") == derive_seed(0, "ISIC_0000000") != derive_seed(1, "ISIC_0000000")
        True
    """
    text = "\x1f".join([str(seed), *(str(key) for key in keys)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def torch_generator(seed: int, *keys: object) -> torch.Generator:
    """A CPU `torch.Generator` for these keys."""
    return torch.Generator().manual_seed(derive_seed(seed, *keys))


def numpy_generator(seed: int, *keys: object) -> np.random.Generator:
    """A `numpy.random.Generator` for these keys."""
    return np.random.default_rng(derive_seed(seed, *keys))
