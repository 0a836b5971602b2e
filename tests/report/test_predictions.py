"""predictions.csv and .parquet: columns, order, ids, atomicity, reading back."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from sqp.core.errors import ConfigError
from sqp.quality.judging.columns import DIGEST, RECORD, SCORES, dictionary_markdown, score_names
from sqp.records.schema import COLUMNS, CONTENT
from sqp.report.predictions import ordered, read_predictions, with_masks, worst_first, write_predictions


def test_columns_come_in_the_order_of_the_design(tmp_path, predictions):
    csv, parquet = write_predictions(tmp_path, predictions)
    design = [
        "image",
        "mask",
        "predicted_dice",
        "low",
        "high",
        "verdict",
        "reason",
        "referee_dice",
        "strangeness",
        "record_id",
    ]
    assert list(DIGEST) == list(pd.read_csv(csv).columns) == design
    assert sorted(p.name for p in tmp_path.iterdir()) == ["predictions.csv", "predictions.parquet"]
    table = pd.read_parquet(parquet)
    assert list(table.columns[:13]) == [*design, "image_id", "c_lesion", "area"]
    assert len(table) == len(pd.read_csv(csv)) == len(predictions)
    assert table["image"].equals(predictions["image_path"]) and table["referee_dice"].isna().all()
    assert all(Path(mask).is_file() for mask in table["mask"])


def test_the_mask_that_was_given_is_named(predictions):
    table = with_masks(predictions, {"img1": "in/img1_seg.png"})
    assert table["mask"][1] == "in/img1_seg.png" and table["mask"][2].endswith("masks/rec-002.png")


def test_the_page_of_the_columns_is_what_the_command_prints():
    page = (Path(__file__).parents[2] / "docs" / "predictions.md").read_text()
    assert page.endswith(dictionary_markdown()), "write docs/predictions.md anew: columns.dictionary_markdown()"


def test_every_column_of_a_record_and_every_score_is_in_the_dictionary():
    from sqp.uncertainty.scores import SCORES as COMPUTED

    assert {*COLUMNS, CONTENT} <= {*RECORD, *DIGEST}
    assert {*COMPUTED} <= {*SCORES}


def test_a_digest_that_lacks_a_column_names_the_whole_table(tmp_path, predictions):
    csv, parquet = write_predictions(tmp_path, predictions)
    with pytest.raises(ConfigError, match=r"predictions\.csv has no column variant: give .*predictions\.parquet"):
        read_predictions(csv, ("variant",))
    parquet.unlink()
    with pytest.raises(ConfigError, match="no predictions table of sqp"):
        read_predictions(csv, ("variant",))


def test_strange_ids_and_leading_zeros_come_back(tmp_path, predictions):
    predictions.loc[1, "image_id"] = "007"
    write_predictions(tmp_path, predictions)
    for name in ("predictions.csv", "predictions.parquet"):
        assert list(read_predictions(tmp_path / name)["record_id"]) == list(predictions["record_id"])
    back = read_predictions(tmp_path)
    assert list(back["image_id"]) == list(predictions["image_id"])
    pd.testing.assert_series_equal(back["predicted_dice"], predictions["predicted_dice"])


def test_a_missing_column_is_named(tmp_path, predictions):
    with pytest.raises(ValueError, match="lacks verdict"):
        write_predictions(tmp_path, predictions.drop(columns="verdict"))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("none.csv", None, "no predictions at"),
        ("x.csv", "a,b\n1,2\n", "no column record_id"),
        ("x.parquet", "no", "cannot read"),
    ],
)
def test_what_is_no_predictions_table_is_told(tmp_path, name, content, says):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=says):
        read_predictions(tmp_path / name)
    with pytest.raises(ConfigError, match=r"holds no predictions\.parquet"):
        read_predictions(tmp_path)


def test_provenance_is_no_score(predictions):
    assert score_names(predictions.assign(scale=0.1, ood_distance=2.0, strangeness=0.5, ood=False)) == [
        "c_lesion",
        "area",
    ]


def test_abstentions_come_before_the_lowest_prediction(predictions):
    table = worst_first(predictions)
    assert pd.isna(table["predicted_dice"][0])
    best = predictions["predicted_dice"].idxmax()
    predictions.loc[best, "verdict"] = "abstain"  # out of distribution: it has a prediction
    assert worst_first(predictions)["record_id"][1] == predictions["record_id"][best]
    assert table["predicted_dice"][1:].is_monotonic_increasing


def test_ordering_loses_no_column(predictions):
    assert set(ordered(predictions).columns) == {*predictions.columns, *DIGEST, "prompter_label"}


def test_a_prompter_that_knows_the_truth_is_called_simulated_manual(tmp_path, predictions):
    predictions.loc[0, "prompter"] = "truth_centroid"
    write_predictions(tmp_path, predictions)
    labels = read_predictions(tmp_path)["prompter_label"]
    assert labels[0] == "truth_centroid (simulated manual)" and set(labels[1:]) == {"otsu"}


def test_the_fitted_network_is_the_referee_where_no_other_is():
    table = pd.DataFrame({"image_id": ["a", "b"], "record_id": ["a1", "b1"], "supervised_dice": [0.5, 0.75]})
    assert ordered(table)["referee_dice"].tolist() == [0.5, 0.75]
    assert ordered(table.assign(referee_dice=[0.25, float("nan")]))["referee_dice"].tolist() == [0.25, 0.75]
