"""Names that data, records and commands share."""

from __future__ import annotations

from typing import Literal, get_args

Split = Literal["segmenter", "train", "calibration", "val", "test", "raters"]

SPLITS: tuple[Split, ...] = get_args(Split)
