"""The terminal summary: its counts are those of the table."""

from __future__ import annotations

import re

from sqp.report.predictions import prediction_summary


def test_counts_per_verdict_and_per_tenth(predictions):
    text = prediction_summary(predictions)
    counts = {name: int(n) for name, n in re.findall(r"^  (accept|review|reject|abstain) +(\d+) ", text, re.M)}
    assert counts == {"accept": 2, "review": 3, "reject": 6, "abstain": 1}
    tenths = [int(n) for n in re.findall(r"^  \d\.\d-\d\.\d +(\d+)", text, re.M)]
    assert len(tenths) == 10
    assert sum(tenths) == 11  # the twelfth has no prediction
    assert "none           1" in text


def test_the_five_worst_in_order(predictions):
    lines = prediction_summary(predictions).split("lowest predicted Dice")[1].splitlines()[1:]
    assert [line.split()[0] for line in lines] == [f"image{i}.png" for i in (11, 9, 10, 8, 7)]
    assert "none" in lines[0]
    assert re.search(r"0\.350 \[0\.250, 0\.450\] +reject  true 0\.389", lines[1])


def test_nothing_predicted_and_no_rows(predictions):
    nothing = predictions.assign(predicted_dice=float("nan"), verdict="abstain")
    assert "all abstained" in prediction_summary(nothing)
    assert prediction_summary(predictions.head(0)) == "no records"
    assert prediction_summary(predictions.head(1)).startswith("1 record of 1 image\n")


def test_why_and_by_whom_is_told(predictions):
    table = predictions.assign(reason="", prompter="truth_box")
    table.loc[2, ["verdict", "reason"]] = "abstain", "out of distribution"
    lines = prediction_summary(table).split("lowest predicted Dice")[1].splitlines()[1:]
    assert [line.split()[0] for line in lines[:3]] == ["image11.png", "image2.png", "image9.png"]
    assert "abstain  out of distribution  truth_box (simulated manual)  true" in lines[1]
