"""The same skin as another camera, light or file format would show it: appearance alone, nothing moves.

What a network sees in training decides which cameras it holds for. Each effect is drawn for each image by itself, as
in ImageNet-C (Hendrycks and Dietterich, ICLR 2019): white balance, exposure and gamma, saturation and hue, uneven light
and the rim of the lens, lost focus, fewer pixels, sensor noise, JPEG; of dermoscopy also hair and rulers.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as vision

from sqp.data.artefacts import draw_hair, draw_ruler, light, vignette

Effect = Callable[[Tensor, np.random.Generator], Tensor]
"""One image `[3, h, w]` in 0-1 -> the same shape; what leaves 0-1 is cut off after it."""


def photographed(image: Tensor, generator: torch.Generator) -> Tensor:
    """Images as other cameras would show them.

    Args:
        image: float `[n, 3, h, w]` in 0-1.
        generator: All randomness; each image has its own stream.

    Returns:
        The same shape and device, in 0-1.

    Examples:
        >>> skin = torch.full((2, 3, 32, 32), 0.6)
        >>> other = photographed(skin, torch.Generator().manual_seed(0))
        >>> other.shape == skin.shape, bool((other != skin).any())
        (True, True)
    """
    seeds = torch.randint(2**62, (len(image),), generator=generator).tolist()
    rows = [as_seen(row, np.random.default_rng(seed)) for row, seed in zip(image.cpu(), seeds, strict=True)]
    return torch.stack(rows).to(image)


def as_seen(image: Tensor, rng: np.random.Generator) -> Tensor:
    """One image `[3, h, w]` in 0-1, each effect with its own probability, in the order in which light meets them."""
    for effect, share in EFFECTS.items():
        if rng.random() < share:
            image = effect(image, rng).clamp(0, 1)
    return image


def white_balance(image: Tensor, rng: np.random.Generator) -> Tensor:
    """A gain for each colour, at most a fifth up or down; the mean brightness is kept."""
    gains = torch.tensor(np.exp(rng.uniform(-0.2, 0.2, 3)), dtype=image.dtype)
    return image * (gains / gains.mean())[:, None, None]


def colour_constancy(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Shades of grey (Finlayson and Trezzi, 2004; Minkowski norm 6): the picture's own cast taken out."""
    cast = image.pow(6).mean(dim=(1, 2), keepdim=True).pow(1 / 6).clamp(min=1e-3)
    return image * (cast.mean() / cast)


def exposure(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Brightness, gamma and contrast."""
    image = (image * math.exp(rng.uniform(-0.5, 0.4))).clamp(0, 1).pow(math.exp(rng.uniform(-0.4, 0.4)))
    mean = image.mean()
    return (image - mean) * rng.uniform(0.6, 1.4) + mean


def saturation_and_hue(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Colours paler or stronger, and turned by at most 20 degrees."""
    image = vision.adjust_saturation(image, rng.uniform(0.4, 1.6))
    return vision.adjust_hue(image, rng.uniform(-20, 20) / 360)


def uneven_light(image: Tensor, rng: np.random.Generator) -> Tensor:
    """A slope of light, and darker corners or the black rim of the lens."""
    pixels = image.permute(1, 2, 0).numpy()
    pixels = pixels * light(rng, pixels.shape[:2], rng.uniform(0.3, 1.5))[..., None]
    return _tensor(vignette(rng, pixels, rng.uniform(0.1, 1)), image)


def hair(image: Tensor, rng: np.random.Generator) -> Tensor:
    """A few hairs, or many."""
    return _tensor(draw_hair(rng, image.permute(1, 2, 0).numpy(), int(rng.integers(2, 16))), image)


def ruler(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Millimetre ticks along an edge."""
    return _tensor(draw_ruler(rng, image.permute(1, 2, 0).numpy()), image)


def lost_focus(image: Tensor, rng: np.random.Generator) -> Tensor:
    """A Gaussian blur, its sigma 0.2 to 1.2 % of the longer side."""
    sigma = rng.uniform(0.002, 0.012) * max(image.shape[1:])
    return vision.gaussian_blur(image, [2 * math.ceil(3 * sigma) + 1] * 2, [sigma, sigma])


def fewer_pixels(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Shrunk to a share between a quarter and nine tenths of its sides, and enlarged again."""
    h, w = image.shape[1:]
    share = rng.uniform(0.25, 0.9)
    small = F.interpolate(image[None], (max(1, round(h * share)), max(1, round(w * share))), mode="area")
    return F.interpolate(small, (h, w), mode="bilinear", align_corners=False)[0]


def noise(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Gaussian noise of each pixel and colour, at most 5 %."""
    grain = rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(0.005, 0.05))
    return image + torch.from_numpy(grain).to(image)


def jpeg(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Saved as a JPEG of quality 10 to 90 and read again."""
    pixels, file = (image.clamp(0, 1) * 255).round().to(torch.uint8), io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=int(rng.integers(10, 91)))
    return _tensor(np.array(Image.open(file, formats=["JPEG"])), image) / 255


EFFECTS: dict[Effect, float] = {
    hair: 0.1,
    ruler: 0.07,
    uneven_light: 0.25,
    white_balance: 0.6,
    exposure: 0.6,
    saturation_and_hue: 0.5,
    colour_constancy: 0.2,
    lost_focus: 0.25,
    fewer_pixels: 0.25,
    noise: 0.2,
    jpeg: 0.3,
}
"""What may happen to an image, and to which share of the images."""


def _tensor(pixels: np.ndarray, like: Tensor) -> Tensor:
    """float `[h, w, 3]` -> `[3, h, w]` of the same kind as another image."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1).to(like)
