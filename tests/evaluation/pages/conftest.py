"""One small set of record sets with predictions, as the pages read it: evidence(**options) builds it anew."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from recordsets import make_record_set

from sqp.config.evaluate import EvaluateConfig
from sqp.evaluation.comparison import compare
from sqp.evaluation.evidence import Evidence
from sqp.evaluation.subsets import subsets
from sqp.quality.judging.columns import score_names
from sqp.quality.judging.verdict import judged
from sqp.records import read_record_sets


def predicted(table: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """The rows with a prediction that errs by 0.05, its scale and interval."""
    rng = np.random.default_rng(seed)
    guess = np.clip(table["dice"] + rng.normal(0, 0.05, len(table)), 0, 1)
    return table.assign(
        predicted_dice=guess, scale=0.05, low=np.clip(guess - 0.1, 0, 1), high=np.clip(guess + 0.1, 0, 1)
    )


@pytest.fixture(scope="session")
def records(tmp_path_factory):
    """12 test and 12 calibration images, each natural, eroded and shifted, on disk."""
    return make_record_set(tmp_path_factory.mktemp("evidence") / "records", {"test": 12, "calibration": 12})


@pytest.fixture
def evidence(records, tmp_path) -> Callable[..., Evidence]:
    """`change` edits all rows first; further options are the config's."""

    def make(change: Callable[[pd.DataFrame], pd.DataFrame] = lambda table: table, **options) -> Evidence:
        config = EvaluateConfig(**{"out": tmp_path / "out", "n_resamples": 50, "unseen": ["shift"]} | options)
        table = change(predicted(read_record_sets([records])))
        test, calibration = (table[table["split"] == name].reset_index(drop=True) for name in ("test", "calibration"))
        scores = score_names(test)
        calibration["calibrates"] = True
        parts = list(subsets(judged(test), calibration, config.unseen))
        compared = {part.title: compare(part.test, part.calibration, scores, config.n_resamples) for part in parts}
        return Evidence(config, parts, compared, scores, calibration, table.head(0), 0.1)

    return make
