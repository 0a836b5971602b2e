"""Rows as `evaluate` reads them, with predictions."""

from __future__ import annotations

import numpy as np
import pandas as pd

VARIANTS = ("natural", "erosion", "swap", "shift")


def predictions(images: int = 24, datasets: int = 1) -> pd.DataFrame:
    """Test and calibration records of four variants an image, predicted with an error of 0.05."""
    rng = np.random.default_rng(0)
    table = []
    for i in range(images):
        for variant in VARIANTS:
            dice = float(rng.uniform(0.3, 1))
            predicted = float(np.clip(dice + rng.normal(0, 0.05), 0, 1))
            table.append({
                "image_id": f"i{i}", "record_id": f"i{i}-{variant}", "group": f"g{i // 2}",
                "split": "test" if i // 2 % 3 else "calibration", "variant": variant,
                "dataset": f"d{i % datasets}",
                "prompter": "otsu" if i % 2 else "truth_box", "dice": dice, "predicted_dice": predicted,
                "low": predicted - 0.1, "high": predicted + 0.1,
                "c_lesion": dice + rng.normal(0, 0.2), "area": float(rng.uniform(0.1, 0.4)),
            })  # fmt: skip
    return pd.DataFrame(table)
