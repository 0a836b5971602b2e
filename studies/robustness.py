"""How far predictions move where the image changes and the mask's quality does not.

python -m studies.robustness runs/default_bundle/records/none/unet/rest default fast --out runs/robustness

Natural masks of a record set, one an image, are judged as given masks: as they are, and after each change of CHANGES
(flips and turns move the mask, too; half the size halves it). Of each model and change: the mean, median and greatest
move of the predicted Dice, how many are abstained from before and after, and the correlation with the true Dice. Writes
OUT/robustness.csv and OUT/robustness.md.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as vision

from sqp.core.errors import ConfigError
from sqp.core.files import write_mask
from sqp.core.seeding import numpy_generator
from sqp.data import read_image
from sqp.metrics.stats import bootstrap
from sqp.records import RecordSet
from sqp.report.tables import write_csv
from studies.runner import command, option, shown, status, study, write_page

Change = Callable[[Image.Image], Image.Image]
AS_IT_IS = "as it is"


def jpeg(image: Image.Image) -> Image.Image:
    """Saved at quality 20."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=20)
    return Image.open(file, formats=["JPEG"]).convert("RGB")


def times(factor: float) -> Change:
    """All values times a factor."""
    return lambda image: Image.fromarray((np.asarray(image) * factor).clip(0, 255).astype(np.uint8))


def blurred(sigma: float) -> Change:
    """A Gaussian blur of so many pixels."""

    def change(image: Image.Image) -> Image.Image:
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        return Image.fromarray(
            vision.gaussian_blur(pixels, [2 * round(3 * sigma) + 1] * 2, [sigma] * 2).permute(1, 2, 0).numpy()
        )

    return change


def halved(image: Image.Image) -> Image.Image:
    """Half the sides."""
    return image.resize((max(1, image.width // 2), max(1, image.height // 2)), Image.Resampling.BOX)


def turned(how: Image.Transpose) -> Change:
    """Flipped or turned."""
    return lambda image: image.transpose(how)


CHANGES: dict[str, tuple[Change, Change | None]] = {
    "JPEG quality 20": (jpeg, None),
    "brightness x 0.6": (times(0.6), None),
    "brightness x 1.4": (times(1.4), None),
    "blur of 2 px": (blurred(2), None),
    "half size": (halved, halved),
    "left-right flip": (turned(Image.Transpose.FLIP_LEFT_RIGHT),) * 2,
    "up-down flip": (turned(Image.Transpose.FLIP_TOP_BOTTOM),) * 2,
    "quarter turn": (turned(Image.Transpose.ROTATE_90),) * 2,
}
"""Name -> what happens to the image, and to the mask."""


def write_changed(rows: pd.DataFrame, records: RecordSet, name: str, home: Path) -> Path:
    """HOME/images and HOME/masks of these records after a change."""
    change, of_mask = CHANGES.get(name, (lambda image: image, None))
    (home / "masks").mkdir(parents=True, exist_ok=True)
    (home / "images").mkdir(exist_ok=True)
    for row in rows.itertuples():
        change(Image.fromarray(read_image(row.image_path))).save(
            home / "images" / f"{row.image_id}.png", compress_level=1
        )
        mask = Image.fromarray(records.mask(row.record_id).astype(np.uint8) * 255)
        moved = mask if of_mask is None else of_mask(mask)
        write_mask(home / "masks" / f"{row.image_id}.png", np.asarray(moved) >= 128)
    return home


def moves(model: str, rows: pd.DataFrame, records: RecordSet, out: Path) -> pd.DataFrame:
    """A row a change: how far the predictions of a model move."""
    found = {}
    for name in (AS_IT_IS, *CHANGES):
        home = write_changed(rows, records, name, out / "changed" / name.replace(" ", "_"))
        asked = {"model": model, "images": str(home / "images"), "masks": str(home / "masks"), "worst": 0, "gallery": 0}
        result = command("predict", asked, {"out": str(out / model / name.replace(" ", "_"))})
        found[name] = result.table.set_index("image_id").loc[rows["image_id"]]
    before, dice = found[AS_IT_IS], rows["dice"].to_numpy(float)
    table = []
    for name in CHANGES:
        after = found[name]
        move = (after["predicted_dice"] - before["predicted_dice"]).abs().to_numpy(float)
        known = np.isfinite(move)
        low, high = bootstrap(np.median, move[known], group=rows["group"].to_numpy()[known])
        table.append(
            {
                "model": model,
                "change": name,
                "n": int(known.sum()),
                "median": np.median(move[known]),
                "median_low": low,
                "median_high": high,
                "mean": move[known].mean(),
                "most": move[known].max(),
                "abstained_before": int((before["verdict"] == "abstain").sum()),
                "abstained": int((after["verdict"] == "abstain").sum()),
                "pearson_before": np.corrcoef(before["predicted_dice"][known], dice[known])[0, 1],
                "pearson": np.corrcoef(after["predicted_dice"][known], dice[known])[0, 1],
            }
        )
    return pd.DataFrame(table)


HEADINGS = {
    "model": "model",
    "change": "change",
    "n": "masks",
    "median": "median move",
    "mean": "mean",
    "most": "greatest",
    "abstained_before": "abstained before",
    "abstained": "abstained after",
    "pearson_before": "Pearson before",
    "pearson": "Pearson after",
}


def about(args: argparse.Namespace, rows: pd.DataFrame) -> str:
    """What the table is of."""
    maker = args.records.parent.name
    return f"{len(rows)} natural masks of {maker} on images of the split {args.split}; moves of the predicted Dice."


@study(
    "records",
    option("models", nargs="+", help="names or folders of bundles"),
    option("--out", type=Path, required=True),
    option("--split", default="test"),
    option("--images", type=int, default=100, help="so many images"),
)
def main(args: argparse.Namespace) -> None:
    """Judge, change, judge again."""
    records = RecordSet(args.records)
    table = records.table
    rows = table[(table["split"] == args.split) & table["natural"].astype(bool) & table["dice"].notna()]
    rows = rows.drop_duplicates("image_id").sort_values("image_id")
    if rows.empty:
        raise ConfigError(
            f"{args.records} has no natural mask with truth in the split {args.split}: give another --split"
        )
    chosen = numpy_generator(0, "robustness").permutation(len(rows))[: args.images]
    rows = rows.iloc[np.sort(chosen)].reset_index(drop=True)
    found = pd.concat([moves(model, rows, records, args.out) for model in args.models], ignore_index=True)
    write_csv(found, args.out / "robustness.csv")
    write_page(args.out / "robustness.md", "# Robustness", about(args, rows), shown(found, HEADINGS))


if __name__ == "__main__":
    sys.exit(status(main))
