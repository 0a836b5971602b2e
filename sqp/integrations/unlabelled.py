"""How good a network's masks of unlabelled images are, as it trains: what the callbacks of training loops share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sqp.core.errors import CaseError, ConfigError
from sqp.data.images import image_of_array, read_image

Image = np.ndarray | str | Path
Segment = Callable[[Any, np.ndarray], np.ndarray]
"""(network, image uint8 `[h, w, 3]`) -> mask bool `[h, w]`."""


class Assessor(Protocol):
    """What `sqp.load()` gives."""

    def assess(self, image: Any, mask: Any) -> Any:
        """An assessment with dice, low, high and verdict."""


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """The network in eval mode and without gradients, and afterwards each of its modules as it was."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def segment(network: nn.Module, image: np.ndarray) -> np.ndarray:
    """The mask of a network that takes float `[1, 3, h, w]` in 0 to 1 and gives logits `[1, c, h', w']`.

    Of one channel the mask is where the logit is above 0, of several wherever the greatest is not channel 0. The logits
    are upsampled to the image. Networks that want another input need a function of their own in its place.

    Args:
        network: in eval mode.
        image: uint8 `[h, w, 3]`.

    Returns:
        bool `[h, w]`.
    """
    first = next(network.parameters(), None)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
    logits: Tensor = network(pixels if first is None else pixels.to(first.device, first.dtype))
    whole = functional.interpolate(logits.float(), size=image.shape[:2], mode="bilinear", align_corners=False)[0]
    mask = whole[0] > 0 if len(whole) == 1 else whole.argmax(dim=0) > 0
    return mask.cpu().numpy()


class Unlabelled:
    """Images without ground truth, segmented by a network and judged by a quality model.

    Args:
        model: what judges: `sqp.load()`, or anything with `assess(image, mask)`.
        images: files, or arrays as `sqp.load().assess` takes them; at least one.
        segment: how the network segments an image.

    Raises:
        ConfigError: there is no image.
    """

    def __init__(self, model: Assessor, images: Sequence[Image], segment: Segment = segment) -> None:
        if not len(images):
            raise ConfigError("no unlabelled image is given: name at least one")
        self.model, self.images, self.segment = model, list(images), segment

    def judge(self, network: nn.Module) -> dict[str, float]:
        """The network's masks of all images in numbers.

        Args:
            network: it is put into eval mode while it segments, and back.

        Returns:
            predicted_dice, the mean over the images that have one (NaN without); accepted, the share of all images;
            abstained, the share of all images.

        Raises:
            CaseError: an image cannot be read, or the mask does not fit it.
        """
        dice, verdicts = [], []
        with evaluating(network):
            for one in self.images:
                image = image_of_array(one) if isinstance(one, np.ndarray) else read_image(one)
                mask = np.asarray(self.segment(network, image))
                if mask.shape != image.shape[:2]:
                    raise CaseError(f"the network's mask is {mask.shape}, its image {image.shape[:2]}: resize it")
                found = self.model.assess(image, mask.astype(bool))
                dice.append(found.dice)
                verdicts.append(found.verdict)
        known = np.asarray(dice, float)[np.isfinite(dice)]
        return {
            "predicted_dice": float(known.mean()) if len(known) else float("nan"),
            "accepted": verdicts.count("accept") / len(verdicts),
            "abstained": verdicts.count("abstain") / len(verdicts),
        }
