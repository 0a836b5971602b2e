"""Images whose red and blue were changed for each other are told, and no others; who reads no colours says nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sqp.bundles import bundle_folder
from sqp.quality import Bundle
from sqp.quality.judging.colours import FEWEST, MOST, swapped_colours


def drawn(folder: Path, n: int, swapped: int) -> list[Path]:
    """Images of skin, the first ones with their channels the other way round."""
    folder.mkdir()
    skin = np.tile(np.array([205, 160, 140], np.uint8), (24, 32, 1))
    for number in range(n):
        Image.fromarray(skin[..., ::-1] if number < swapped else skin).save(folder / f"{number:02d}.png")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def fast() -> Bundle:
    return Bundle.load(bundle_folder(Path("fast")))


@pytest.mark.parametrize(("n", "swapped", "told"), [(6, 6, 6), (6, 4, 4), (6, 3, 0), (6, 0, 0), (FEWEST - 1, 4, 0)])
def test_most_images_must_have_more_blue(n, swapped, told, fast, tmp_path):
    notes = swapped_colours(fast, drawn(tmp_path / "images", n, swapped))
    assert len(notes) == bool(told)
    if told:
        assert notes[0].startswith(f"{told} of {n} images have more blue than red") and "BGR" in notes[0]


def test_of_many_images_some_are_looked_at_and_broken_ones_are_no_evidence(fast, tmp_path):
    files = drawn(tmp_path / "images", 2 * MOST, 2 * MOST)
    assert swapped_colours(fast, files)[0].startswith(f"{MOST} of {MOST} images")
    for file in files:
        file.write_bytes(b"no image")
    assert not swapped_colours(fast, files)


def test_a_bundle_that_reads_no_colours_says_nothing(tmp_path):
    assert not swapped_colours(Bundle.load(bundle_folder(Path("any"))), drawn(tmp_path / "images", 6, 6))
