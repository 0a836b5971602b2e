"""The histogram holds every prediction once, in the bar of its verdict."""

from __future__ import annotations

import numpy as np
from PIL import ImageColor

from sqp.quality.judging.verdict import VERDICTS
from sqp.report.histogram import FILLS, SIZE, distribution, heights


def test_bars_add_up_to_the_counts_of_the_verdicts(predictions):
    bars = heights(predictions)
    known = predictions.dropna(subset=["predicted_dice"])
    assert list(bars) == list(VERDICTS)
    assert {name: counts.sum() for name, counts in bars.items()} == {
        name: (known["verdict"] == name).sum() for name in VERDICTS
    }
    one = bars["reject"].nonzero()[0][0]
    assert known.loc[known["verdict"] == "reject", "predicted_dice"].between(one / 25, (one + 1) / 25).any()


def test_a_bar_is_as_high_as_its_count(predictions):
    """Two bars of one colour, one with twice the masks."""
    table = predictions.head(3).assign(predicted_dice=[0.53, 0.54, 0.93], verdict="accept")
    drawn = np.asarray(distribution(table)).astype(int)
    assert drawn.shape == (SIZE[1], SIZE[0], 3)
    near = (abs(drawn - ImageColor.getrgb(FILLS["accept"])).sum(axis=-1) < 12)[:, 300:]  # right of the legend
    columns = near.sum(axis=0)
    two, one = columns[:300].max(), columns[300:].max()
    assert abs(two - 2 * one) <= 4 and one > 50


def test_no_predictions_still_draw(predictions):
    assert distribution(predictions.head(0)).size == SIZE
