"""Cases from folders, CSVs and known data sets; splits by group; synthetic lesions; corruptions."""

from __future__ import annotations

from sqp.data import corruptions, volume_corruptions
from sqp.data.cases import LAYOUTS, CaseList, find_cases
from sqp.data.corruptions import Corruption, corrupt, corrupt_to_dice
from sqp.data.images import check_same_size, read_image, read_mask, read_probability

CORRUPTIONS: dict[str, Corruption] = {
    "erosion": corruptions.erosion,
    "dilation": corruptions.dilation,
    "elastic": corruptions.elastic,
    "blob_add": corruptions.blob_add,
    "blob_cut": corruptions.blob_cut,
    "shift": corruptions.shift,
    "dropout": corruptions.dropout,
    "swap": corruptions.swap,
}

VOLUME_CORRUPTIONS: dict[str, Corruption] = {name: getattr(volume_corruptions, name) for name in CORRUPTIONS}
"""The same names, for masks `[d, h, w]`."""

__all__ = [
    "CORRUPTIONS",
    "LAYOUTS",
    "VOLUME_CORRUPTIONS",
    "CaseList",
    "check_same_size",
    "corrupt",
    "corrupt_to_dice",
    "find_cases",
    "read_image",
    "read_mask",
    "read_probability",
]
