"""Freeze the spread test masks of a record set, before any training.

python scripts/freeze_spread.py runs/isic2018/records configs/spread/isic2018.json
"""

from __future__ import annotations

import sys

from sqp.config.generate import UNSEEN
from sqp.records import RecordSet
from sqp.records.frozen import freeze, write_frozen

if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    frozen = freeze(RecordSet(sys.argv[1]), "test", UNSEEN)
    write_frozen(sys.argv[2], frozen)
    print({key: value for key, value in frozen.items() if key != "masks"})
