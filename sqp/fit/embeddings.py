"""What the encoder of a promptable segmenter says of each image, computed once, with its truth and boxes.

The folder's name is a hash of the cases, their files and the weights; a build that was interrupted goes on where it
stopped. Of an image of 256 x 64 x 64 features that is 2 MB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch import Tensor
from tqdm import tqdm

from sqp.core.errors import CaseError
from sqp.core.files import write_json
from sqp.core.types import Case
from sqp.core.untrusted import read_json
from sqp.fit.cache import Images, allocate, cache_key, read_pair
from sqp.prompts import PROMPTERS
from sqp.records.build_lock import made_once
from sqp.segmenters.prompt_tensors import check_prompt, prompt_tensors
from sqp.segmenters.sam import PromptableSegmenter

BOXES = ("truth_box", "otsu")  # prompters, in the order of `boxes`


class EmbeddingCache:
    """Memory maps, a row a case: features float16 `[n, c, h, w]`, truth bool `[n, g, g]`, sizes `[n, 2]`, boxes.

    The truth lies in the upper left corner of the segmenter's output, `sizes` are its (h, w) there; boxes `[n, 2, 4]`
    (`BOXES`) are xyxy in pixels of the network's input. `broken` says by row why a case cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self.features, self.truth = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("features", "truth"))
        self.sizes, self.boxes = (np.load(folder / f"{name}.npy") for name in ("sizes", "boxes"))
        told = read_json(folder / "done")
        self.broken: dict[int, str] = {int(row): why for row, why in told.items()}


def build_embeddings(
    cases: Sequence[Case], segmenter: PromptableSegmenter, folder: Path, progress: bool = True
) -> EmbeddingCache:
    """The cache of these cases under `folder`, each encoded unless it is there."""
    home = folder / cache_key(cases, segmenter.name, segmenter.weights_sha256)
    with made_once(home) as wanted:
        if wanted:
            n, side = len(cases), segmenter.size // segmenter.stride
            if not (home / "filled.npy").exists():
                home.mkdir(parents=True, exist_ok=True)
                prompt_encoder = segmenter.sam.prompt_encoder
                shape = (n, prompt_encoder.embed_dim, *prompt_encoder.image_embedding_size)
                masks = {"truth": (np.bool_, (n, side, side)), "sizes": (np.int64, (n, 2))}
                boxes = {"boxes": (np.float32, (n, len(BOXES), 4)), "filled": (np.bool_, (n,))}
                allocate(home, {"features": (np.float16, shape)} | masks | boxes)
            broken: dict[int, str] = {}
            filled = open_memmap(home / "filled.npy", "r+")
            for row in tqdm(range(n), unit="image", desc="encoding images", disable=None if progress else True):
                if not filled[row]:
                    try:
                        _encode(cases[row], row, segmenter, home)
                        filled[row] = True
                    except CaseError as error:
                        broken[row] = str(error)
            write_json(home / "done", broken)
    return EmbeddingCache(home)


def _encode(case: Case, row: int, segmenter: PromptableSegmenter, home: Path) -> None:
    """Fill one row. CaseError where a file is broken, or the truth is empty (it has no box)."""
    image, truth = read_pair(case)
    boxes = []
    for name in BOXES:
        (prompt,) = PROMPTERS[name](image, truth=truth)[:1]
        prompt = check_prompt(prompt, truth.shape)
        found = prompt_tensors([prompt], segmenter.frame(truth.shape), torch.device("cpu"))[1]
        assert found is not None  # both prompters give boxes
        boxes.append(found[0].numpy())
    embedding = segmenter.encode(image)
    h, w = embedding.frame.grid
    open_memmap(home / "features.npy", "r+")[row] = embedding.features[0].cpu().numpy()
    open_memmap(home / "truth.npy", "r+")[row, :h, :w] = embedding.frame.mask_to_grid(truth).numpy()
    open_memmap(home / "sizes.npy", "r+")[row] = h, w
    open_memmap(home / "boxes.npy", "r+")[row] = np.stack(boxes)


@dataclass
class CachedEmbeddings(Images):
    """The rows of one split. A batch: features float32, truth and valid bool `[n, 1, g, g]`, boxes `[n, 2, 4]`."""

    cache: EmbeddingCache
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, index: Sequence[int]) -> dict[str, Tensor]:
        rows = self.rows[np.asarray(index)]
        truth = torch.from_numpy(self.cache.truth[rows])
        sizes, side = torch.from_numpy(self.cache.sizes[rows]), torch.arange(truth.shape[-1])
        valid = (side[:, None] < sizes[:, 0, None, None]) & (side < sizes[:, 1, None, None])
        return {
            "features": torch.from_numpy(self.cache.features[rows]).float(),
            "truth": truth[:, None],
            "valid": valid[:, None],
            "boxes": torch.from_numpy(self.cache.boxes[rows]),
        }
