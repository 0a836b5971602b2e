"""Segmentation by registration: each reference is an atlas, laid over the image, and its mask is carried along.

The classic of reverse classification accuracy (Valindria et al., IEEE TMI 36, 2017), where the judged image with its
mask is the atlas that is laid over every reference. SimpleITK registers: an affine transform, then a B-spline, both by
Mattes' mutual information of the grey pixels. Several atlases vote alike. It suits structures that lie in much the same
place of much the same picture (organs, CT, MR), and says little of lesions.

Cost: a registration a pair of image and reference, 0.1 to 0.2 s of one thread.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sqp.core.errors import ConfigError
from sqp.core.types import Segmenter
from sqp.segmenters.personalised import shares_of
from sqp.segmenters.universeg import ReadsGrey

NAME = "atlas"
SIZE = 96
"""Longer side of what is registered, in pixels."""
BINS = 32  # of the joint histogram
SHRINK, SMOOTH = (4, 2, 1), (2, 1, 0)
"""Of each level of the affine registration: how much smaller the images are, and how blurred, in pixels."""
AFFINE_STEPS, SPLINE_STEPS, MESH = 60, 15, 4
"""Most steps of each level, and of the B-spline, which has so many cells along each side."""
LEAST_SIDE = 16
"""Images with a shorter side are laid over each other by their centres alone."""


class AtlasSegmenter(ReadsGrey):
    """An in-context segmenter (`sqp.core.types.InContextSegmenter`) that learns nothing: references are registered.

    It has no weights; its hash is that of the settings of the registration.
    """

    size = SIZE

    def __init__(self) -> None:
        self.name = NAME
        settings = (SIZE, BINS, SHRINK, SMOOTH, AFFINE_STEPS, SPLINE_STEPS, MESH)
        self.weights_sha256 = hashlib.sha256(f"{NAME} {settings}".encode()).hexdigest()

    def transfer(self, query: Tensor, supports: Sequence[Tensor]) -> Callable[[Sequence[np.ndarray]], Tensor]:
        """Features of an image, and of k references -> a function: their masks -> share of votes for each pixel.

        Args:
            query: `[1, h', w']`.
            supports: k of them, each registered to the image before the function is called.

        Returns:
            masks bool `[h, w]` -> float32 `[h', w']` in 0..1.
        """
        carries = [registered(query[0].numpy(), support[0].numpy()) for support in supports]

        def probability(masks: Sequence[np.ndarray]) -> Tensor:
            votes = [
                torch.from_numpy(carry(shares_of(mask, support.shape[1:]).numpy()))
                for carry, mask, support in zip(carries, masks, supports, strict=True)
            ]
            return torch.stack(votes).mean(0).clamp(0, 1)

        return probability


def registered(fixed: np.ndarray, moving: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """An image registered to another: a function that carries what is drawn on it over to that.

    Args:
        fixed: float32 `[h, w]` in 0..1.
        moving: float32 `[h', w']` in 0..1.

    Returns:
        float32 `[h', w']` -> float32 `[h, w]`, linear between pixels, 0 where the moving image has none. Where mutual
        information leads nowhere (one grey value, no overlap) the images are laid over each other by their centres.

    Raises:
        ConfigError: SimpleITK is not installed.
    """
    sitk = _simple_itk()
    target, source = sitk.GetImageFromArray(fixed), sitk.GetImageFromArray(moving)
    transform = sitk.CenteredTransformInitializer(
        target, source, sitk.AffineTransform(2), sitk.CenteredTransformInitializerFilter.GEOMETRY
    )
    if min(*fixed.shape, *moving.shape) >= LEAST_SIDE:
        with _one_thread(sitk), suppress(RuntimeError):  # SimpleITK's own, where there is nothing to go by
            transform = _aligned(sitk, target, source, transform)

    def carry(plane: np.ndarray) -> np.ndarray:
        return sitk.GetArrayFromImage(sitk.Resample(sitk.GetImageFromArray(plane), target, transform, sitk.sitkLinear))

    return carry


def _aligned(sitk: ModuleType, target: Any, source: Any, start: Any) -> Any:
    """The affine transform from a first guess on, then the B-spline upon it."""
    affine = _method(sitk)
    affine.SetInitialTransform(start, inPlace=False)
    affine.SetOptimizerAsRegularStepGradientDescent(2.0, 1e-2, AFFINE_STEPS)
    affine.SetOptimizerScalesFromPhysicalShift()
    affine.SetShrinkFactorsPerLevel(SHRINK)
    affine.SetSmoothingSigmasPerLevel(SMOOTH)
    found = affine.Execute(target, source)
    spline = _method(sitk)
    spline.SetMovingInitialTransform(found)
    spline.SetInitialTransform(sitk.BSplineTransformInitializer(target, [MESH, MESH]), inPlace=False)
    spline.SetOptimizerAsLBFGSB(numberOfIterations=SPLINE_STEPS)
    spline.SetShrinkFactorsPerLevel([2])
    spline.SetSmoothingSigmasPerLevel([1])
    return sitk.CompositeTransform([found, spline.Execute(target, source)])


@contextmanager
def _one_thread(sitk: ModuleType) -> Iterator[None]:
    """So the same answer at any time: threads add up a histogram in the order in which they end."""
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)  # the metric asks for no other number
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)


def _method(sitk: ModuleType) -> Any:
    """Mattes' mutual information of all pixels."""
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricSamplingStrategy(method.NONE)
    method.SetInterpolator(sitk.sitkLinear)
    return method


def _simple_itk() -> ModuleType:
    try:
        import SimpleITK
    except ImportError as error:
        raise ConfigError(
            f"the segmenter {NAME} needs SimpleITK, which is not installed: pip install 'sqp[atlas]'"
        ) from error
    return SimpleITK


def build_atlas(
    base: Segmenter | None, checkpoint: str | os.PathLike | None = None, device: str | torch.device = "cpu"
) -> AtlasSegmenter:
    """The builder that the table names.

    Args:
        base: not read.
        checkpoint: not read, as it has no weights.
        device: not read; it works on the CPU.

    Returns:
        The segmenter.

    Raises:
        ConfigError: SimpleITK is not installed.
    """
    _simple_itk()
    return AtlasSegmenter()
