"""Images and masks as a program hands them over: arrays of numpy, images of Pillow, paths, batches of torch's."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import repeat, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from sqp.core.errors import CaseError, ConfigError
from sqp.data.images import image_of_array, image_of_picture, read_image
from sqp.data.masks import mask_of_array, mask_of_picture, read_mask

Pixels = np.ndarray | torch.Tensor | Image.Image | str | os.PathLike[str]
"""An array of numpy, a tensor of torch, an image of Pillow, or the file of one."""
Pair = tuple[Any, Any, str]
"""An image, a mask, and the image's id."""
UNNAMED = "image"
COLOURS = (1, 3, 4)
_NONE = object()


def image_of(pixels: object) -> np.ndarray:
    """RGB uint8 `[h, w, 3]`, a file read as `sqp predict` reads it. CaseError for what is no image."""
    if isinstance(pixels, str | os.PathLike):
        return read_image(Path(pixels))
    pixels = _colours_last(_array(pixels), 3)
    if isinstance(pixels, np.ndarray):
        return image_of_array(pixels)
    return image_of_picture(_picture(pixels, "image"))


def mask_of(pixels: object) -> np.ndarray:
    """bool `[h, w]`, a file read as `sqp predict` reads it. CaseError for what is no mask."""
    if isinstance(pixels, str | os.PathLike):
        return read_mask(Path(pixels), given=True)
    pixels = _without_channel(_array(pixels), 2)
    if isinstance(pixels, np.ndarray):
        return mask_of_array(pixels)
    return mask_of_picture(_picture(pixels, "mask"))


def name_of(pixels: object) -> str:
    """The id of an image: of a file its name without the ending, as in `sqp predict`."""
    return Path(pixels).stem if isinstance(pixels, str | os.PathLike) else UNNAMED


def pairs_of(images: Any, masks: Any = None, names: Iterable[str] | None = None) -> Iterator[Pair]:
    """Image, mask and id of each pair, one by one; no more is asked of an iterator than the pair that comes next.

    Args:
        images: many (a list, an iterator, an array `[n, h, w]` or `[n, h, w, 3]`) or one, for all masks; without masks
            what gives pairs of both: a Dataset or DataLoader of torch's, or an iterator.
        masks: as many masks: a list, an iterator, an array `[n, h, w]`.
        names: ids of the images, one a mask; default `name_of` each.

    Returns:
        An iterator of (image, mask, id).

    Raises:
        ConfigError: there are more of one than of the other.
    """
    if masks is None:
        pairs = _handed_over(images)
    elif _is_one(images):
        pairs = zip(repeat(images), _each(masks), strict=False)
    else:
        lengths = [len(many) if hasattr(many, "__len__") else None for many in (images, masks)]
        if None not in lengths and lengths[0] != lengths[1]:
            raise ConfigError(f"there are {lengths[0]} images and {lengths[1]} masks: give one mask for each image")
        pairs = _zipped(_each(images), _each(masks))
    return _named(pairs, names)


def _named(pairs: Iterable[tuple[Any, Any]], names: Iterable[str] | None) -> Iterator[Pair]:
    given = iter(names) if names is not None else None
    for image, mask in pairs:
        name = name_of(image) if given is None else next(given, None)
        if name is None:
            raise ConfigError("there are fewer names than masks: give one for each")
        yield image, mask, str(name)


def _zipped(images: Iterable[Any], masks: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    for index, (image, mask) in enumerate(zip_longest(images, masks, fillvalue=_NONE)):
        if image is _NONE or mask is _NONE:
            fewer, more = ("images", "masks") if image is _NONE else ("masks", "images")
            raise ConfigError(f"there are {index} {fewer} and more {more}: give one mask for each image")
        yield image, mask


def _is_one(images: object) -> bool:
    """Whether it is one image, and no stack or list of them."""
    if isinstance(images, np.ndarray):
        return images.ndim == 2 or (images.ndim == 3 and images.shape[2] in COLOURS)
    return isinstance(images, str | os.PathLike | Image.Image)


def _each(many: Any) -> Iterable[Any]:
    """What is iterated over; one mask (an array `[h, w]`, a path) is one."""
    one = many.ndim <= 2 if isinstance(many, np.ndarray) else isinstance(many, str | os.PathLike | Image.Image)
    if one:
        return [many]
    if not hasattr(many, "__iter__"):
        raise ConfigError(f"{type(many).__name__} is no list, array or iterator of images or masks: give one")
    return many


def _handed_over(source: Any) -> Iterator[tuple[Any, Any]]:
    """Pairs of what gives (image, mask), {"image": …, "mask": …}, or batches of them."""
    if not hasattr(source, "__iter__") and hasattr(source, "__getitem__") and hasattr(source, "__len__"):
        items: Iterable[Any] = (source[index] for index in range(len(source)))  # a Dataset of torch's
    elif hasattr(source, "__iter__") and not isinstance(source, str | np.ndarray):
        items = source
    else:
        raise ConfigError(f"there are no masks, and {type(source).__name__} gives no pairs of image and mask")
    for item in items:
        try:
            image, mask = (item["image"], item["mask"]) if isinstance(item, Mapping) else item[:2]
        except (KeyError, TypeError, ValueError):
            raise ConfigError(
                "a pair must be (image, mask) or {'image': image, 'mask': mask}: give images and masks, or such pairs"
            ) from None
        image, mask = _array(image), _array(mask)
        batched = isinstance(image, np.ndarray) and image.ndim == 4
        if not batched:
            yield _colours_last(image, 3), _without_channel(mask, 2)
            continue
        yield from _zipped(_colours_last(image, 4), _without_channel(mask, 3))


def _array(value: Any) -> Any:
    """A tensor as an array, all else as it is."""
    if not isinstance(value, torch.Tensor):
        return value
    value = value.detach().cpu()
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()


def _colours_last(image: Any, dims: int) -> Any:
    """`[…, c, h, w]` as torch has it -> `[…, h, w, c]`."""
    if (
        isinstance(image, np.ndarray)
        and image.ndim == dims
        and image.shape[-1] not in COLOURS
        and image.shape[-3] in COLOURS
    ):
        return np.moveaxis(image, -3, -1)
    return image


def _without_channel(mask: Any, dims: int) -> Any:
    """`[…, 1, h, w]` -> `[…, h, w]`."""
    if isinstance(mask, np.ndarray) and mask.ndim == dims + 1 and mask.shape[-3] == 1:
        return mask[..., 0, :, :]
    return mask


def _picture(pixels: object, what: str) -> Image.Image:
    """Pillow's image; CaseError for what is none."""
    if isinstance(pixels, Image.Image):
        return pixels
    kind = f"{type(pixels).__module__}.{type(pixels).__name__}".removeprefix("builtins.")
    raise CaseError(
        f"the {what} is a {kind}: give an array of numpy, a tensor of torch, an image of Pillow, or the path of a file"
    )
