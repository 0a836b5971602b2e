"""Where the errors of predictors lie: in how few images, and whether all err on the same ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from sqp.evaluation.comparison import through_line, with_aggregates
from sqp.metrics import agreement
from sqp.metrics.match_distributions import worst_share
from sqp.report.findings import MODEL


def shared_errors(
    test: pd.DataFrame, calibration: pd.DataFrame, predictors: dict[str, str], scores: Sequence[str]
) -> pd.DataFrame:
    """A row a method: `worst`, its squared error's share in the worst 1 % of images, and `with_model`.

    That is Pearson's correlation of its errors with the model's. Both are of the `n` rows that the method and the model
    have. `predictors` maps names, the model's among them, to columns in Dice; scores go through the least-squares line
    of the calibration rows. Methods without such a row are left out.
    """
    test, calibration, scores = with_aggregates(test[np.isfinite(test["dice"])], calibration, scores)
    truth, image = test["dice"].to_numpy(float), test["image_id"].to_numpy()
    values = {name: test[column].to_numpy(float) for name, column in predictors.items()}
    values |= {name: through_line(test[name].to_numpy(float), name, calibration) for name in scores}
    table = []
    for name, value in values.items():
        keep = np.isfinite(value) & np.isfinite(values[MODEL])
        if keep.any():
            error, models = (value - truth)[keep], (values[MODEL] - truth)[keep]
            found = {"worst": worst_share(error, image[keep]), "with_model": agreement.pearson(error, models)}
            table.append({"method": name, "n": int(keep.sum())} | found)
    return pd.DataFrame(table)
