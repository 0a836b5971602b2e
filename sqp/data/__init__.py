"""Cases from folders, CSVs and known data sets; splits by group; synthetic lesions; corruptions."""

from __future__ import annotations

from sqp.data.cases import CaseList, find_cases
from sqp.data.corruptions import CORRUPTIONS, corrupt, corrupt_to_dice
from sqp.data.images import read_image, read_probability
from sqp.data.layouts import LAYOUTS
from sqp.data.masks import read_mask
from sqp.data.sizes import check_same_size

__all__ = [
    "CORRUPTIONS",
    "LAYOUTS",
    "CaseList",
    "check_same_size",
    "corrupt",
    "corrupt_to_dice",
    "find_cases",
    "read_image",
    "read_mask",
    "read_probability",
]
