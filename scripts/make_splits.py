"""Write configs/splits/{isic2018,ham10000}.json from the data in $SQP_DATA (default ../shared/data).

python scripts/make_splits.py [--seed 0]
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path

from sqp.data.cases import find_cases
from sqp.data.split_files import check_splits, sha256_of, write_splits
from sqp.data.splits import ham10000_splits, isic2018_splits

ROOT = Path(__file__).resolve().parent.parent
MAKERS = {"isic2018": isic2018_splits, "ham10000": ham10000_splits}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    data = Path(os.environ.get("SQP_DATA", ROOT.parent / "shared" / "data"))
    for name, maker in MAKERS.items():
        if not (data / name / "labels.csv").is_file():
            raise SystemExit(f"{data / name / 'labels.csv'} does not exist: set SQP_DATA to the folder of the data")
        cases = find_cases(data / name, layout="prepared").cases
        splits = replace(maker(cases, seed), labels_sha256=sha256_of(data / name / "labels.csv"))
        check_splits(splits, cases)
        write_splits(ROOT / "configs" / "splits" / f"{name}.json", splits)
        print(name, json.dumps(splits.counts()))


if __name__ == "__main__":
    main()
