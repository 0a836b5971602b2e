"""`sqp splits`: a data set -> its splits, by group, as a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sqp.config.splits import SplitsConfig
from sqp.core.files import check_free, sha256_of
from sqp.core.types import Case
from sqp.data.cases import find_cases
from sqp.data.split_files import check_splits, write_splits
from sqp.data.splits import Splits, ham10000_splits, isic2018_splits, make_splits

RULES: Mapping[str, Callable[[Iterable[Case], int], Splits]] = {
    "isic2018": isic2018_splits,
    "ham10000": ham10000_splits,
}


@dataclass
class SplitsResult:
    """The splits, and where they were written."""

    splits: Splits
    file: Path
    grouped: bool

    def summary(self) -> str:
        """For the terminal."""
        lines = [f"{self.file} {json.dumps(self.splits.counts())}"]
        if not self.grouped:
            lines.append(
                "the data name no groups: each image counts as its own; several images of a lesion may be parted"
            )
        return "\n".join(lines)


def run(config: SplitsConfig) -> SplitsResult:
    """Read the cases, split them by group, check and write; ConfigError where a file is there, or a split stays empty.

    The same data, rule and seed give the same file, byte by byte.
    """
    check_free(config.out, config.overwrite)
    cases = find_cases(config.images, layout=config.layout).cases
    if config.rule in RULES:
        splits = RULES[config.rule](cases, config.seed)
    else:
        splits = make_splits(cases, config.shares, config.seed, config.images.resolve().stem)
    labels = config.images if config.images.suffix.lower() == ".csv" else config.images / "labels.csv"
    splits = replace(splits, labels_sha256=sha256_of(labels) if labels.is_file() else "")
    check_splits(splits, cases)
    write_splits(config.out, splits)
    return SplitsResult(splits, config.out, any(case.group != case.image_id for case in cases))
