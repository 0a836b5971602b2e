"""Make a bundle's interval and out-of-distribution statistics anew, without training: minutes in place of hours.

python scripts/recalibrate.py runs/isic2018/model/bundle runs/isic2018/model/bundle_new \
    --records runs/isic2018/records [--cache runs/cache] [--ood_quantile 0.99] [--alpha 0.1] [--calibrate_on all] \
    [--calibrate_splits calibration val]

The records must be those that it was trained on; val and calibration may have more groups. The cache of decoded
records is that of `sqp train`, if it is there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sqp.commands.recalibrate import recalibrate, training_config
from sqp.core.errors import script_status
from sqp.quality.bundle.storage import Bundle


def main(argv: Sequence[str] | None = None) -> None:
    """Read, recalibrate, write; print what has changed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("out", type=Path, help="folder of the new bundle")
    parser.add_argument("--records", type=Path, nargs="+", required=True)
    parser.add_argument("--cache", type=Path, help="folder of the decoded records (default: OUT/cache)")
    parser.add_argument("--ood_quantile", type=float)
    parser.add_argument("--alpha", type=float)
    parser.add_argument("--calibrate_on", choices=("all", "natural"))
    parser.add_argument("--calibrate_splits", nargs="+", help="calibration, or calibration val")
    args = parser.parse_args(argv)
    bundle = Bundle.load(args.bundle)
    names = ("cache", "ood_quantile", "alpha", "calibrate_on", "calibrate_splits")
    changed = {name: value for name in names if (value := getattr(args, name)) is not None}
    made = recalibrate(bundle, training_config(bundle, args.records, args.out, **changed))
    made.save(args.out)
    for name, before, after in (
        ("half width of the interval, in scales", bundle.conformal.quantile, made.conformal.quantile),
        ("distances are of the features of", ", ".join(bundle.ood.spaces), ", ".join(made.ood.spaces)),
        ("quantile of the distances", bundle.ood.quantile, made.ood.quantile),
    ):
        print(f"{name}: {before} -> {after}")
    print(f"bundle: {args.out}")


if __name__ == "__main__":
    sys.exit(script_status("recalibrate", main))
