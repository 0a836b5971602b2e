"""Image files -> arrays: EXIF orientation; grey, RGBA, palette, 1-bit and 16-bit read as expected."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from sqp.core.errors import CaseError
from sqp.core.untrusted import FORMATS, check_regular, open_image, read_array
from sqp.data.mask_values import GREY_RANGES

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
PROBABILITY_SUFFIXES = (".npy", ".png", ".tif", ".tiff")

_UNREADABLE = (
    OSError,
    SyntaxError,  # Pillow's word for a broken PNG chunk
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def read_image(path: str | Path) -> np.ndarray:
    """An image file -> RGB uint8 `[h, w, 3]`, turned as its EXIF orientation says.

    Transparent pixels are laid over white, as a viewer shows them. Grey files of more than 8 bits are divided
    by the smallest of 255, 4095 and 65535 that holds their greatest value (so 12 bits kept in a 16-bit file
    come out bright, and a full 16-bit file is divided by 257); float files may hold 0-1 or 0-255. Of 16-bit
    colour Pillow keeps the high byte. Raises `CaseError` for a file that is missing, truncated, no image, too large,
    or of several pages.
    """
    path = Path(path)
    with opened(path, "image") as image:
        return _as_rgb(image, f"image {path}")


def image_of_array(array: np.ndarray) -> np.ndarray:
    """An array `[h, w]`, `[h, w, 1]` (grey), `[h, w, 3]` or `[h, w, 4]` (RGBA) -> RGB uint8 `[h, w, 3]`.

    uint8 as it is, bool as black and white, grey of other types as in a file of them, colours of floats in 0-1.
    CaseError for another shape or type.
    """
    what = "the image array"
    values = plane_of(np.asarray(array), what, (1, 3, 4))
    if values.ndim == 3 and values.dtype.kind == "f" and values.size and 0 <= values.min() <= values.max() <= 1:
        values = np.round(values * 255).astype(np.uint8)
    if values.dtype == bool:
        values = values.astype(np.uint8) * 255
    if values.ndim == 2 and values.dtype != np.uint8 and values.dtype.kind in "iuf":
        return np.repeat(_to_uint8(values, what)[..., None], 3, axis=2)
    if values.dtype != np.uint8:
        raise CaseError(f"{what} is {values.dtype}: give colours as uint8, or as floats in 0-1")
    return _as_rgb(Image.fromarray(values), what)


def image_of_picture(image: Image.Image) -> np.ndarray:
    """An image of Pillow, read as a file of it -> RGB uint8 `[h, w, 3]`, upright."""
    return _as_rgb(ImageOps.exif_transpose(image), "the image")


def plane_of(array: np.ndarray, what: str, channels: tuple[int, ...]) -> np.ndarray:
    """`[h, w]` of one channel, `[h, w, c]` of several. CaseError for another shape, and where nothing is in it."""
    shaped = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in channels)
    if not shaped or not array.size:
        known = ", ".join(["[h, w]", *(f"[h, w, {c}]" for c in channels)])
        raise CaseError(f"{what} has shape {list(array.shape)}: give one of {known}, with at least one pixel")
    return array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array


def _as_rgb(image: Image.Image, what: str) -> np.ndarray:
    if is_deep(image):
        return np.repeat(_to_uint8(np.asarray(image), what)[..., None], 3, axis=2)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        image = Image.alpha_composite(white, rgba)
    return np.array(image.convert("RGB"))


def turned_in_place(path: str | Path, mask: str | Path | None = None) -> bool:
    """Whether an orientation tag turns or mirrors an image within its size, so that a mask of the raw pixels fits and
    lies wrong; False where the file of the mask has the same tag.

    Read off the header, of a PNG also what may stand behind its pixels; False for a file that cannot be read.
    """
    try:
        with open_image(path) as image:
            turn = _orientation(image, Path(path))
            within = turn in (2, 3, 4) or (turn in (5, 6, 7, 8) and image.width == image.height)
        if not within or mask is None or Path(mask).suffix.lower() == ".npy":
            return within
        with open_image(mask) as drawn:
            return _orientation(drawn, Path(mask)) != turn
    except (*_UNREADABLE, CaseError):
        return False


def _orientation(image: Image.Image, path: Path) -> int:
    """The orientation tag of an opened image, 1 where it has none. A PNG is decoded only where a tag may follow."""
    if image.format == "PNG" and "exif" not in image.info and not _may_be_tagged(path):
        return 1
    return int(image.getexif().get(ExifTags.Base.Orientation, 1))


def _may_be_tagged(path: Path) -> bool:
    """Whether a PNG has a chunk that can hold an orientation, by the heads of its chunks."""
    with path.open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            word = file.read(min(length, 32))
            if kind == b"eXIf" or (
                kind[1:] in (b"TXt", b"EXt") and word.startswith((b"XML:com.adobe", b"Raw profile"))
            ):
                return True
            file.seek(length - len(word) + 4, 1)
    return False


def read_probability(path: str | Path) -> np.ndarray:
    """A foreground probability map -> float32 `[h, w]` in 0-1.

    `.npy` of floats in 0-1 (axes of length one are dropped), or uint8 / uint16 as `.npy` or PNG, divided by
    255 or 65535. Raises `CaseError` for NaN, for values outside of 0-1 (logits), and for whole numbers of which 1
    is the greatest: a mask of 0 and 1, or probabilities that are all next to nothing.
    """
    path = Path(path)
    if path.suffix.lower() == ".npy":
        values = _load_npy(path)
    else:
        with opened(path, "probability map") as image:
            values = luminance(image)
    if values.dtype in (np.uint8, np.uint16):
        if values.max(initial=0) == 1:
            raise CaseError(
                f"probability map {path} holds 0 and 1 as {values.dtype}, where 1 is 1/{np.iinfo(values.dtype).max}: "
                "give masks of 0 and 1 as --masks, or save floats in 0-1"
            )
        values = values / np.float32(np.iinfo(values.dtype).max)
    values = np.squeeze(values) if values.ndim > 2 else values
    if values.ndim != 2:
        raise CaseError(f"probability map {path} has shape {values.shape}: save one map [h, w] a file")
    if values.dtype.kind not in "fb":
        raise CaseError(f"probability map {path} is {values.dtype}: save float in 0-1, uint8 or uint16")
    if not np.isfinite(values).all():
        raise CaseError(f"probability map {path} holds NaN or infinite values: mend what wrote it")
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    if low < -1e-6 or high > 1 + 1e-6:
        raise CaseError(
            f"probability map {path} ranges from {low:.4g} to {high:.4g}, not within 0-1: "
            "are these logits? save sigmoid(logits)"
        )
    return np.clip(values, 0, 1).astype(np.float32)


def upright_size(path: str | Path) -> tuple[int, int] | None:
    """(height, width) of an image file, turned as its tag says, off the header; None where it cannot be read so."""
    try:
        with open_image(path) as image:
            w, h = image.size
            return (w, h) if _orientation(image, Path(path)) in (5, 6, 7, 8) else (h, w)
    except (*_UNREADABLE, CaseError):
        return None


@contextmanager
def opened(path: Path, what: str) -> Iterator[Image.Image]:
    """The decoded image, turned upright; every failure becomes a `CaseError` with the file's name."""
    try:
        with open_image(path) as image:
            pages = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)  # a phone's MPO: one and extras
            if pages > 1:
                raise CaseError(f"{what} {path} holds {pages} pages: save the one that is meant as its own file")
            image.load()
            upright = ImageOps.exif_transpose(image)
            upright.format = image.format
            yield upright
    except FileNotFoundError:
        raise CaseError(f"{what} {path} does not exist: check the path") from None
    except UnidentifiedImageError as error:
        pixels = _tiff_pixels(path)
        if pixels:
            raise CaseError(
                f"{what} {path} is a TIFF of {pixels}, which is not read: export it as 8- or 16-bit PNG"
            ) from error
        raise CaseError(
            f"cannot read {what} {path}: it is no image, or none of {', '.join(FORMATS)}, whatever its name says; "
            "export it as one of these"
        ) from error
    except Image.DecompressionBombError as error:
        raise CaseError(f"{what} {path} is too large ({error}): make it smaller, or cut it into parts") from error
    except _UNREADABLE as error:
        raise CaseError(
            f"cannot read {what} {path} ({error or type(error).__name__}): it is truncated or no image; "
            "download or export it again"
        ) from error


TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
TIFF_KINDS = {1: "whole numbers", 2: "signed whole numbers", 3: "floating-point numbers", 6: "complex numbers"}


def _tiff_pixels(path: Path) -> str:
    """What a TIFF that Pillow does not know holds, e.g. "3 channels of 32-bit floating-point numbers"; else ""."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    try:
        with path.open("rb") as file:
            head = file.read(8)
            if head[:4] not in TIFF_HEADS:
                return ""
            tags = ImageFileDirectory_v2(head + (file.read(8) if head[2] == 43 or head[3] == 43 else b""))
            file.seek(tags.next)
            tags.load(file)
        bits, kinds, channels = tags.get(258, (1,)), tags.get(339, (1,)), tags.get(277, 1)
    except (*_UNREADABLE, TypeError, KeyError, IndexError):
        return ""
    several = "one channel" if channels == 1 else f"{channels} channels"
    return f"{several} of {bits[0]}-bit {TIFF_KINDS.get(kinds[0], 'numbers of an unknown kind')}"


def is_deep(image: Image.Image) -> bool:
    """Whether the file is grey with more than 8 bits."""
    return image.mode in ("I", "F") or image.mode.startswith("I;")


def luminance(image: Image.Image) -> np.ndarray:
    """Grey `[h, w]`: uint8, or the file's own type where it has more bits. Transparency is black."""
    if is_deep(image):
        return _native(np.asarray(image))
    if not image.has_transparency_data:
        return np.array(image.convert("RGB").convert("L") if image.mode == "P" else image.convert("L"))
    rgba = image.convert("RGBA")
    grey, alpha = np.array(rgba.convert("L")), np.array(rgba.getchannel("A"))
    if grey.size and grey.min() == grey.max():
        return alpha if alpha.min() < alpha.max() else grey
    return np.where(alpha >= 128, grey, 0).astype(np.uint8)


def _native(array: np.ndarray) -> np.ndarray:
    """Deep grey as uint16 where it fits (Pillow reads some 16-bit files as 32-bit), else as it is."""
    if array.dtype.kind in "iu" and array.size and array.min() >= 0 and array.max() <= 65535:
        return array.astype(np.uint16)
    return array


def _to_uint8(array: np.ndarray, what: str) -> np.ndarray:
    """Deep grey `[h, w]` -> uint8, by the rule in `read_image`."""
    top, low = float(array.max(initial=0)), float(array.min(initial=0))
    ranges = (1, 255) if array.dtype.kind == "f" else GREY_RANGES
    full = next((r for r in ranges if top <= r), None)
    if not np.isfinite(array).all() or low < 0 or full is None:
        raise CaseError(f"{what} holds values from {low:g} to {top:g}: export it as 8- or 16-bit PNG")
    return np.round(array * np.float64(255 / full)).astype(np.uint8)


def _load_npy(path: Path) -> np.ndarray:
    try:
        with check_regular(path, "probability map", CaseError).open("rb") as file:
            return read_array(file, path.stat().st_size)
    except FileNotFoundError:
        raise CaseError(f"probability map {path} does not exist: check the path") from None
    except (OSError, ValueError) as error:
        raise CaseError(f"cannot read probability map {path} ({error}): save it again with numpy.save") from error
