"""Fully connected CRF: a probability map snapped to the edges of its image (Krähenbühl & Koltun, NeurIPS 2011)."""

from __future__ import annotations

import numpy as np

from sqp.core.errors import ConfigError


def require() -> None:
    """ConfigError where the extra is not installed.

    Raises:
        ConfigError: pydensecrf2 is not installed.
    """
    try:
        import pydensecrf.densecrf  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "the refinement 'crf' needs pydensecrf2, which is not installed: pip install 'sqp[crf]' (it compiles C++)"
        ) from error


def crf(
    image: np.ndarray,
    probability: np.ndarray,
    *,
    iterations: int = 5,
    smooth_width: float = 3.0,
    smooth_weight: float = 3.0,
    colour_width: float = 80.0,
    colour_spread: float = 13.0,
    colour_weight: float = 10.0,
) -> np.ndarray:
    """Refined probability of the foreground, float32 `[h, w]`, for an image uint8 `[h, w, 3]` of the same size.

    Widths are standard deviations in pixels of this image, `colour_spread` in grey values (0-255): pairs of pixels that
    are near (smooth) or near and of like colour (colour) are drawn to one label, by weight. The defaults are those of
    the library's own example; choose them on val.

    Args:
        image: uint8 `[h, w, 3]`.
        probability: foreground probability `[h, w]` in 0..1.
        iterations: steps of mean field, 1 to 1000.
        smooth_width: deviation in pixels of what is near.
        smooth_weight: its weight.
        colour_width: deviation in pixels of what is near and alike.
        colour_spread: deviation in grey values (0-255).
        colour_weight: its weight.

    Returns:
        float32 `[h, w]` in 0..1.

    Raises:
        ConfigError: pydensecrf2 is not installed, or a number makes no sense.
        ValueError: sizes differ.
    """
    require()
    from pydensecrf.densecrf import DenseCRF2D
    from pydensecrf.utils import unary_from_softmax

    if image.shape != (*probability.shape, 3) or image.dtype != np.uint8:
        raise ValueError(f"crf: image {image.shape} {image.dtype}, probability {probability.shape}: give one size")
    if not 1 <= iterations <= 1000:
        raise ConfigError(f"crf: iterations is {iterations}; give 1 to 1000, usually 5 to 10")
    widths = {"smooth_width": smooth_width, "colour_width": colour_width, "colour_spread": colour_spread}
    for name, value in widths.items():
        if not value > 0:
            raise ConfigError(f"crf: {name} is {value}; give a number above 0")
    h, w = probability.shape
    p = np.clip(probability.astype(np.float32), 0, 1)
    field = DenseCRF2D(w, h, 2)
    field.setUnaryEnergy(unary_from_softmax(np.stack([1 - p, p])))
    field.addPairwiseGaussian(sxy=smooth_width, compat=smooth_weight)
    field.addPairwiseBilateral(
        sxy=colour_width, srgb=colour_spread, rgbim=np.ascontiguousarray(image), compat=colour_weight
    )
    return np.asarray(field.inference(iterations), dtype=np.float32)[1].reshape(h, w)
