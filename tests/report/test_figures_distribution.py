"""The histogram holds every prediction once, in the bar of its verdict."""

from __future__ import annotations

from sqp.quality.judging.verdict import VERDICTS
from sqp.report.figures import distribution


def test_bars_add_up_to_the_counts_of_the_verdicts(predictions):
    axes = distribution(predictions).axes[0]
    counts = predictions.dropna(subset=["predicted_dice"])["verdict"].value_counts()
    heights = [sum(bar.get_height() for bar in bars) for bars in axes.containers]
    assert heights == [counts.get(name, 0) for name in VERDICTS]
    tops = [bar.get_y() + bar.get_height() for bar in axes.containers[-1]]
    assert sum(tops) == counts.sum()  # stacked, not side by side
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels[0] == f"accept ({counts['accept']})"


def test_no_predictions_still_draw(predictions):
    assert distribution(predictions.head(0)).axes[0].get_xlim() == (0, 1)
