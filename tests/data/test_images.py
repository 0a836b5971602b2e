from __future__ import annotations

import warnings

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from sqp.core.errors import CaseError
from sqp.data.images import image_of_array, read_image, read_probability, turned_in_place
from sqp.data.masks import holds_photograph, mask_of_array, read_mask

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
MASK = np.zeros((6, 9), dtype=bool)
MASK[1:4, 2:7] = True


def save(path, array, mode=None, **options):
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_exif_orientation_is_undone(tmp_path, orientation, suffix):
    stored = {  # what a camera stores so that a viewer shows COLOUR
        1: COLOUR,
        2: COLOUR[:, ::-1],
        3: COLOUR[::-1, ::-1],
        4: COLOUR[::-1],
        5: COLOUR.transpose(1, 0, 2),
        6: np.rot90(COLOUR, 1),
        7: COLOUR[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(COLOUR, -1),
    }[orientation]
    path = save(tmp_path / f"a.{suffix}", np.ascontiguousarray(stored), exif=exif(orientation))
    assert np.array_equal(read_image(path), COLOUR)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_turned_within_its_size_is_told(tmp_path, orientation):
    for name, side, expected in (("wide", 9, orientation in (2, 3, 4)), ("square", 6, orientation > 1)):
        for suffix in ("jpg", "png", "tif", "webp"):
            path = save(tmp_path / f"{name}.{suffix}", COLOUR[:, :side], exif=exif(orientation))
            assert turned_in_place(path) == expected, suffix
            assert not turned_in_place(path, path)  # a mask with the tag is turned with it
            assert turned_in_place(path, save(tmp_path / "m.png", MASK[:, :side])) == expected
    assert not turned_in_place(save(tmp_path / "a.png", COLOUR))
    assert not turned_in_place(tmp_path / "none.jpg")


def test_a_tag_behind_the_pixels_of_a_png_is_found(tmp_path):
    path = save(tmp_path / "a.png", COLOUR, exif=exif(3))
    content = path.read_bytes()
    at = content.index(b"eXIf") - 4
    size = 12 + int.from_bytes(content[at : at + 4])
    path.write_bytes(content[:at] + content[at + size : -12] + content[at : at + size] + content[-12:])
    assert turned_in_place(path) and np.array_equal(read_image(path), COLOUR[::-1, ::-1])
    text = PngInfo()
    text.add_text("Comment", "Orientation")
    assert not turned_in_place(save(tmp_path / "b.png", COLOUR, pnginfo=text))


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [("f4", "32-bit floating-point"), ("f2", "16-bit floating-point"), ("u4", "32-bit whole")],
)
def test_colours_that_no_image_has_are_named_as_such(tmp_path, dtype, kind):
    tifffile = pytest.importorskip("tifffile")  # of scikit-image
    tifffile.imwrite(tmp_path / "a.tif", (COLOUR / 255).astype(dtype), photometric="rgb")
    for read in (read_image, read_mask):
        with pytest.raises(CaseError, match=rf"a\.tif is a TIFF of 3 channels of {kind} numbers, which is not read"):
            read(tmp_path / "a.tif")
    (tmp_path / "a.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:6])
    with pytest.raises(CaseError, match="it is no image, or none of"):
        read_image(tmp_path / "a.tif")


def test_mask_follows_exif(tmp_path):
    path = save(tmp_path / "m.png", np.ascontiguousarray(np.rot90(MASK * np.uint8(255))), exif=exif(6))
    assert np.array_equal(read_mask(path), MASK)


@pytest.mark.parametrize("mode", ["L", "LA", "1", "P", "RGB", "RGBA", "CMYK"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    grey = np.repeat((MASK * np.uint8(255))[..., None], 3, axis=2)
    suffix = "tif" if mode == "CMYK" else "png"
    image = read_image(save(tmp_path / f"a.{suffix}", grey, mode))
    assert image.dtype == np.uint8
    assert image.flags.writeable
    assert np.array_equal(image, grey)


def test_transparent_pixels_are_white(tmp_path):
    rgba = np.zeros((4, 4, 4), dtype=np.uint8)
    rgba[:2, :, 3] = 255
    image = read_image(save(tmp_path / "a.png", rgba))
    assert (image[:2] == 0).all()
    assert (image[2:] == 255).all()


@pytest.mark.parametrize(("top", "full"), [(200, 255), (255, 255), (4000, 4095), (4096, 65535), (65535, 65535)])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_deep_grey_is_scaled_by_its_range(tmp_path, top, full, suffix):
    values = np.array([[0, top // 2, top]], dtype=np.uint16)
    image = read_image(save(tmp_path / f"a.{suffix}", values))
    expected = np.round(values / full * 255)
    assert np.array_equal(image[..., 0], expected)
    assert np.array_equal(image[..., 2], expected)


def test_full_16_bit_is_divided_by_257(tmp_path):
    values = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    assert np.array_equal(read_image(save(tmp_path / "a.png", values))[..., 0], values // 257)


@pytest.mark.parametrize(
    "kind", ["label", "8 bit", "16 bit", "8 in 16", "1 bit", "rgba", "alpha", "grey alpha", "soft"]
)
def test_masks_of_every_kind(tmp_path, kind):
    byte = MASK * np.uint8(255)
    opaque = np.full_like(byte, 255)
    array = {
        "label": MASK.astype(np.uint8),
        "8 bit": byte,
        "16 bit": MASK * np.uint16(65535),
        "8 in 16": MASK * np.uint16(255),
        "1 bit": MASK,
        "rgba": np.stack([byte, byte, byte, opaque], axis=2),
        "alpha": np.stack([0 * byte] * 3 + [byte], axis=2),
        "grey alpha": np.stack([opaque, byte], axis=2),
        "soft": np.where(MASK, 180, 70).astype(np.uint8),
    }[kind]
    mask = read_mask(save(tmp_path / "m.png", array))
    assert mask.dtype == bool
    assert np.array_equal(mask, MASK)


def test_palette_mask_with_inverted_indices(tmp_path):
    paletted = Image.frombytes("P", MASK.shape[::-1], (~MASK).astype(np.uint8).tobytes())
    paletted.putpalette([255, 255, 255, 0, 0, 0])  # index 0 is white, the lesion
    paletted.save(tmp_path / "m.png")
    assert np.array_equal(read_mask(tmp_path / "m.png"), MASK)


@pytest.mark.parametrize("value", [0, 255])
def test_empty_and_full_masks(tmp_path, value):
    mask = read_mask(save(tmp_path / "m.png", np.full((5, 4), value, np.uint8)))
    assert mask.all() == (value > 0)
    assert mask.any() == (value > 0)


@pytest.mark.parametrize("top", [2, 20])
def test_the_number_of_a_label_is_no_foreground_without_being_chosen(tmp_path, top):
    path = save(tmp_path / "labels.png", MASK * np.uint8(top))
    with pytest.raises(CaseError, match=rf"labels.png.*greatest value is {top}"):
        read_mask(path)


def photograph(side=96):
    """A dark spot on bright skin, its colours apart, its light from one side."""
    y, x = np.mgrid[:side, :side] / side
    spot = np.exp(-(((x - 0.5) ** 2 + (y - 0.5) ** 2) / 0.04))
    skin = 0.75 + 0.2 * x - 0.6 * spot
    return (255 * np.clip(np.stack([skin, skin * 0.8, skin * 0.7], axis=2), 0, 1)).astype(np.uint8)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA"])
def test_a_photograph_is_no_mask(tmp_path, mode):
    path = save(tmp_path / "p.png", photograph(), mode)
    with pytest.raises(CaseError, match=r"mask .*p\.png is no mask but a photograph or a map of probabilities: \d+%"):
        read_mask(path)
    assert holds_photograph(path)


def test_colours_alone_betray_a_photograph(tmp_path):
    y, x = np.mgrid[:64, :64]
    green = np.where(x < 32, 0, 255)
    flat = np.stack([np.full((64, 64), 128), green, np.full((64, 64), 128)], axis=2).astype(np.uint8)
    assert read_mask(save(tmp_path / "two.png", flat)).mean() == 0.5  # a mask in two colours
    flat[..., 2] = 4 * y
    with pytest.raises(CaseError, match="no mask but a photograph"):
        read_mask(save(tmp_path / "many.png", flat))


def test_a_photograph_as_an_array_is_no_mask():
    with pytest.raises(CaseError, match="the mask array is no mask but a photograph"):
        mask_of_array(photograph()[..., 0])


@pytest.mark.parametrize("quality", [50, 90])
@pytest.mark.parametrize("side", [64, 128, 512])
@pytest.mark.parametrize("third", ["ring", "core"])
def test_a_small_third_level_of_a_lossy_mask_is_not_cut_at_half(tmp_path, quality, side, third):
    y, x = np.mgrid[:side, :side] - side / 2 + 0.3
    away = np.hypot(x, 1.3 * y)
    array = np.where(away < side / 4, 255, 0).astype(np.uint8)
    array[(away >= side / 4) & (away < side / 4 + 4) if third == "ring" else away < side / 6] = 128
    Image.fromarray(array).save(tmp_path / "m.jpg", quality=quality)
    with pytest.raises(CaseError, match=r"values, not two: .* has blurred them: save label maps as PNG"):
        read_mask(tmp_path / "m.jpg")


@pytest.mark.parametrize("quality", [20, 60, 90])
@pytest.mark.parametrize("side", [64, 128, 512])
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("radius", [0.02, 0.3, 0.7])
def test_masks_with_soft_and_compressed_edges_pass(tmp_path, quality, side, mode, radius):
    y, x = np.mgrid[: 4 * side, : 4 * side] / (4 * side) - 0.5
    ragged = radius * (1 + 0.2 * np.sin(9 * np.arctan2(y, x)))
    drawn = Image.fromarray((np.hypot(x, y) < ragged).astype(np.uint8) * 255)
    image = drawn.resize((side, side), Image.Resampling.BICUBIC)
    expected = np.asarray(image) > 127.5
    image.convert(mode).save(tmp_path / "m.jpg", quality=quality)
    assert not holds_photograph(tmp_path / "m.jpg")
    assert (read_mask(tmp_path / "m.jpg") != expected).mean() < 0.01


def test_a_broken_file_is_not_called_a_photograph(tmp_path):
    (tmp_path / "m.png").write_text("no image")
    assert not holds_photograph(tmp_path / "m.png")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_masks_of_0_and_1_are_no_probabilities(tmp_path, dtype):
    array = MASK.astype(dtype)
    np.save(tmp_path / "p.npy", array)
    for path in (tmp_path / "p.npy", save(tmp_path / "p.png", array)):
        with pytest.raises(CaseError, match=rf"holds 0 and 1 as {array.dtype}, .* as --masks"):
            read_probability(path)
    np.save(tmp_path / "bool.npy", MASK)
    assert np.array_equal(read_probability(tmp_path / "bool.npy"), MASK.astype(np.float32))
    np.save(tmp_path / "none.npy", 0 * array)
    assert not read_probability(tmp_path / "none.npy").any()


def test_probability_maps(tmp_path):
    p = RNG.uniform(size=(6, 9)).astype(np.float32)
    np.save(tmp_path / "a.npy", p[None])
    assert np.array_equal(read_probability(tmp_path / "a.npy"), p)
    for name, top, dtype in (("8.png", 255, np.uint8), ("16.png", 65535, np.uint16)):
        read = read_probability(save(tmp_path / name, np.round(p * top).astype(dtype)))
        assert read.dtype == np.float32
        np.testing.assert_allclose(read, p, atol=0.51 / top)
    dark = save(tmp_path / "dark.png", np.full((2, 2), 100, np.uint16))
    np.testing.assert_allclose(read_probability(dark), 100 / 65535)  # never stretched


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[0.5, np.nan]]), "NaN"),
        (np.array([[-4.0, 3.0]]), "logits"),
        (np.array([[0.0, 1.1]]), "not within 0-1"),
        (np.array([[0, 1]]), "int64"),
        (np.zeros((2, 3, 4)), r"shape \(2, 3, 4\)"),
    ],
)
def test_bad_probability_maps(tmp_path, values, message):
    np.save(tmp_path / "p.npy", values)
    with pytest.raises(CaseError, match=message):
        read_probability(tmp_path / "p.npy")


@pytest.mark.parametrize("read", [read_image, read_mask])
@pytest.mark.parametrize("kind", ["truncated jpg", "truncated png", "text", "empty", "missing"])
def test_broken_files_are_named(tmp_path, read, kind):
    path = tmp_path / ("broken.jpg" if "jpg" in kind else "broken.png")
    if "truncated" in kind:
        save(path, RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif kind != "missing":
        path.write_text("no image" if kind == "text" else "")
    with pytest.raises(CaseError, match=r"broken\.(jpg|png)"):
        read(path)


def test_broken_npy_is_named(tmp_path):
    (tmp_path / "p.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(CaseError, match=r"p\.npy"):
        read_probability(tmp_path / "p.npy")
    with pytest.raises(CaseError, match="does not exist"):
        read_probability(tmp_path / "q.npy")


def test_pickled_npy_is_not_loaded(tmp_path):
    np.save(tmp_path / "p.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(CaseError, match=r"p\.npy"):
        read_probability(tmp_path / "p.npy")


def test_large_images_open_without_a_warning(tmp_path):
    Image.new("1", (6000, 6000)).save(tmp_path / "large.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_mask(tmp_path / "large.png").shape == (6000, 6000)


def test_arrays_are_read_as_files_of_them(tmp_path):
    rng = np.random.default_rng(0)
    deep = rng.integers(0, 4096, (5, 7)).astype(np.uint16)
    rgba = rng.integers(0, 256, (5, 7, 4)).astype(np.uint8)
    for name, array in (("deep", deep), ("rgba", rgba), ("grey", rgba[..., 0]), ("colour", rgba[..., :3])):
        Image.fromarray(array).save(tmp_path / f"{name}.png")
        assert (image_of_array(array) == read_image(tmp_path / f"{name}.png")).all()
    shares = rng.uniform(0, 1, (5, 7, 3))
    assert (image_of_array(shares) == np.round(shares * 255)).all()
    assert (image_of_array(rgba[..., :1] > 127) == np.where(rgba[..., :1] > 127, 255, 0)).all()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((2, 2), np.nan), "the image array holds values from nan"),
        (np.full((2, 2, 3), np.nan), "the image array is float64: give colours as uint8, or as floats in 0-1"),
        (np.zeros(4, np.uint8), r"the image array has shape \[4\]: give one of \[h, w\], \[h, w, 1\], \[h, w, 3\]"),
        (np.array([["a", "b"]]), "the image array is <U1"),
    ],
)
def test_arrays_that_are_no_image(array, message):
    with pytest.raises(CaseError, match=message):
        image_of_array(array)


def test_a_mask_array_is_read_by_the_rule_of_files():
    assert mask_of_array(np.array([[0, 255], [127, 128]], np.uint8)).tolist() == [[False, True], [False, True]]
    assert mask_of_array(np.eye(2)).tolist() == np.eye(2, dtype=bool).tolist()
    with pytest.raises(CaseError, match="the mask array holds negative or non-finite values"):
        mask_of_array(np.full((2, 2), -1.0))
