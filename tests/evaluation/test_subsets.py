"""Which rows are judged together, and on which of calibration their lines are fitted."""

from __future__ import annotations

import pandas as pd
from predicted_rows import predictions

from sqp.evaluation.subsets import subsets


def test_subsets_part_the_rows_and_calibrate_on_their_kind():
    table = predictions()
    test, calibration = (table[table["split"] == split] for split in ("test", "calibration"))
    parts = {part.name: part for part in subsets(test, calibration, ["shift"])}
    assert len(parts.pop("all").test) == len(test)
    assert sum(len(part.test) for part in parts.values()) == len(test)
    assert set(parts["natural"].calibration["variant"]) == {"natural"}
    for name in ("spread", "spread_unseen"):
        assert set(parts[name].calibration["variant"]) == {"erosion", "swap"}
    assert set(parts["spread_unseen"].test["variant"]) == {"shift"}


def test_refined_masks_are_a_kind_of_their_own():
    table = predictions()
    made = table[table["variant"] == "natural"].assign(refined_by="unc_fpc")
    table = pd.concat([table.assign(refined_by=""), made.assign(record_id=made["record_id"] + "r")])
    test, calibration = (table[table["split"] == split] for split in ("test", "calibration"))
    parts = {part.name: part for part in subsets(test, calibration, ["shift"])}
    assert set(parts["natural"].test["refined_by"]) == set(parts["natural"].calibration["refined_by"]) == {""}
    assert set(parts["refined"].test["refined_by"]) == set(parts["refined"].calibration["refined_by"]) == {"unc_fpc"}
    assert len(parts["refined"].test) == len(parts["natural"].test)


def test_without_calibration_rows_of_a_kind_all_are_used_and_said():
    table = predictions()
    test = table[table["split"] == "test"]
    natural = table[(table["split"] == "calibration") & (table["variant"] == "natural")]
    parts = {part.name: part for part in subsets(test, natural, ["shift"])}
    assert parts["spread"].fit == "8 all calibration rows"


def test_each_data_set_apart():
    table = predictions(datasets=2)
    test, calibration = (table[table["split"] == split] for split in ("test", "calibration"))
    titles = [part.title for part in subsets(test, calibration, [])]
    names = ("natural", "spread", "all")
    assert titles == [name + end for name in names for end in ("", ", d0", ", d1")]
    natural = test[test["variant"] == "natural"]
    assert {part.name for part in subsets(natural, calibration, [])} == {"natural"}


def test_lines_of_natural_masks_come_from_the_same_prompters():
    """The simulated manual rows are planted with an absurd Dice: no line and no median may see them."""
    table = predictions()
    natural, manual = table["variant"] == "natural", table["prompter"] == "truth_box"
    table.loc[natural & manual & (table["split"] == "calibration"), "dice"] = 0.01
    test = table[(table["split"] == "test") & ~(natural & manual)]
    calibration = table[table["split"] == "calibration"]
    parts = {part.name: part for part in subsets(test, calibration, ["shift"])}
    assert set(parts["natural"].calibration["prompter"]) == {"otsu"}
    assert parts["natural"].fit == "4 natural (otsu) calibration rows"
    assert (parts["all"].calibration["dice"] > 0.01).all() and set(parts["all"].calibration["variant"]) == {
        "natural", "erosion", "swap",
    }  # fmt: skip
    none = calibration[calibration["prompter"] == "truth_box"]
    assert next(subsets(test, none, ["shift"])).fit == "4 natural (any prompter) calibration rows"
