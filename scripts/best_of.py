"""Best-of over a pool of prompters: each image's mask by the predicted quality, beside scores and the oracle.

python scripts/best_of.py runs/best_of --model runs/isic2018/model/bundle --split test \
    otsu=runs/isic2018/records localizer=runs/localizer centre=runs/centre cam=runs/cam_gradcam

Each method is NAME=DIR, a record set of the same images (DIR:PROMPTER for a further prompter of a set), all by the
segmenter and sampler that the bundle expects, or any with --anywhere. The single method is chosen on val. Writes
OUT/best_of.csv.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sqp.core.errors import SqpError
from sqp.evaluation.best_of import best_of, read_pool
from sqp.quality.bundle.storage import Bundle
from sqp.report.tables import write_csv


def main(argv: list[str] | None = None) -> None:
    """Read the pool, choose, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("methods", nargs="+", metavar="NAME=DIR")
    parser.add_argument("--model", type=Path, help="bundle of a quality model; without it only scores choose")
    parser.add_argument("--anywhere", action="store_true", help="judge records made otherwise than the bundle expects")
    parser.add_argument("--split", default="test")
    parser.add_argument("--val", default="val")
    args = parser.parse_args(argv)
    wrong = [text for text in args.methods if "=" not in text]
    if wrong:
        sys.exit(f"best_of: write a method as NAME=DIR, not '{wrong[0]}'")
    folders = dict(text.split("=", 1) for text in args.methods)
    try:
        bundle = Bundle.load(args.model) if args.model else None
        if bundle is not None and args.anywhere:
            bundle = bundle.anywhere()
        pool = read_pool(folders, bundle, tuple(dict.fromkeys((args.val, args.split))))
    except SqpError as error:
        sys.exit(f"best_of: {error}")
    table = best_of(pool, args.split, args.val)
    args.out.mkdir(parents=True, exist_ok=True)
    write_csv(table, args.out / "best_of.csv")
    print(table.to_string(index=False, float_format="%.3f"))
    for split, n in pool.left_out.items():
        print(f"{n} images of split {split} left out: not every method has them")


if __name__ == "__main__":
    main()
