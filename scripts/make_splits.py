"""Make a split file, by group (lesion, patient), for `sqp generate --splits OUT.json`.

python scripts/make_splits.py DATA OUT.json [--seed 0] [--fractions train=0.6 calibration=0.15 val=0.1 test=0.15]
    DATA: whatever `sqp generate --images` takes; a CSV with a column `group` for data of your own.
python scripts/make_splits.py
    configs/splits/{isic2018,ham10000}.json, from the data in $SQP_DATA (default ../shared/data).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sqp.core.errors import ConfigError, SqpError
from sqp.core.hashing import sha256_of
from sqp.data.cases import find_cases
from sqp.data.split_files import check_splits, write_splits
from sqp.data.splits import FRACTIONS, Splits, ham10000_splits, isic2018_splits, make_splits

ROOT = Path(__file__).resolve().parent.parent
MAKERS = {"isic2018": isic2018_splits, "ham10000": ham10000_splits}


def main(argv: Sequence[str] | None = None) -> int:
    """Write the files; 2 where the user can mend something."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, help="folder, CSV or root of a data set")
    parser.add_argument("out", nargs="?", type=Path, help="the JSON that is written")
    parser.add_argument("--layout", default="auto", help="layout of DATA (default auto)")
    parser.add_argument("--fractions", nargs="+", metavar="SPLIT=SHARE", help="shares of the images, summing to 1")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    try:
        if args.data is None:
            known_data_sets(args.seed)
        elif args.out is None:
            raise ConfigError("OUT.json is missing: python scripts/make_splits.py DATA OUT.json")
        else:
            fractions = read_fractions(args.fractions) if args.fractions else FRACTIONS
            own_data(args.data, args.out, fractions, args.seed, args.layout)
    except SqpError as error:
        print(f"make_splits: {error}", file=sys.stderr)
        return 2
    return 0


def own_data(
    data: Path, out: Path, fractions: Mapping[str, float] = FRACTIONS, seed: int = 0, layout: str = "auto"
) -> Splits:
    """Split any data by group; a column `split` that it has does not count."""
    cases = find_cases(data, layout=layout).cases
    splits = make_splits(cases, fractions, seed, data.resolve().stem)
    labels = data if data.suffix.lower() == ".csv" else data / "labels.csv"
    splits = replace(splits, labels_sha256=sha256_of(labels) if labels.is_file() else "")
    check_splits(splits, cases)
    write_splits(out, splits)
    print(out, json.dumps(splits.counts()))
    if all(case.group == case.image_id for case in cases):
        print("the data name no groups: each image counts as its own; several images of a lesion may be parted")
    return splits


def read_fractions(entries: Sequence[str]) -> dict[str, float]:
    """`["train=0.8", "test=0.2"]` as a mapping; `ConfigError` where an entry is none."""
    try:
        return {name: float(share) for name, share in (entry.split("=") for entry in entries)}
    except ValueError:
        raise ConfigError(f"--fractions {' '.join(entries)}: write them as train=0.6 calibration=0.15 ...") from None


def known_data_sets(seed: int) -> None:
    """The splits that the repository carries."""
    data = Path(os.environ.get("SQP_DATA", ROOT.parent / "shared" / "data"))
    for name, maker in MAKERS.items():
        if not (data / name / "labels.csv").is_file():
            raise ConfigError(f"{data / name / 'labels.csv'} does not exist: set SQP_DATA to the folder of the data")
        cases = find_cases(data / name, layout="prepared").cases
        splits = replace(maker(cases, seed), labels_sha256=sha256_of(data / name / "labels.csv"))
        check_splits(splits, cases)
        write_splits(ROOT / "configs" / "splits" / f"{name}.json", splits)
        print(name, json.dumps(splits.counts()))


if __name__ == "__main__":
    sys.exit(main())
