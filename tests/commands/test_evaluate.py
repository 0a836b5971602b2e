"""evaluate end to end on tables: files, subsets, leakage, and what is told where input is broken."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, get_args

import numpy as np
import pandas as pd
import pytest
import yaml
from predicted_rows import predictions

from sqp import quality
from sqp.commands.evaluate import run
from sqp.config.evaluate import EvaluateConfig, Target
from sqp.core.errors import ConfigError
from sqp.evaluation import evaluate
from sqp.evaluation import result as result_module
from sqp.evaluation.comparison import TARGETS
from sqp.evaluation.rows import check_groups, load_rows
from sqp.quality.bundle.provenance import hashes_of
from sqp.quality.judging.conformal import Conformal
from sqp.quality.judging.verdict import VERDICTS
from sqp.records import read_record_sets
from sqp.records.schema import NEEDED

EVIDENCE = {  # of predictions alone: without the record sets nothing is measured
    "agreement.csv", "agreement.md", "agreement.png", "agreement_bland_altman.png", "calibration.csv",
    "selective.csv", "selective.md", "selective.png", "intervals.csv", "coverage_by_level.csv", "intervals.md",
    "intervals.png", "tiers.md", "risk.csv", "risk.md", "risk.png", "segmentation.md", "raters.md",
}  # fmt: skip


def config(tmp_path: Path, table: pd.DataFrame, **options) -> EvaluateConfig:
    table.to_parquet(tmp_path / "predictions.parquet")
    return EvaluateConfig(
        **{"out": tmp_path / "out", "predictions": tmp_path, "n_resamples": 50, "unseen": ["shift"]} | options
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("evaluate")


@pytest.fixture(scope="module")
def result(folder):
    return run(config(folder, predictions()))


@pytest.fixture(autouse=True)
def without_evidence(result, monkeypatch):
    """The pages are made once, in `result`; further runs go without (tests/evaluation/pages looks at each)."""
    monkeypatch.setattr(result_module, "PAGES", {})


def test_all_outputs(folder, result):
    names = {path.name for path in (folder / "out").glob("[!.]*")}
    assert names == {
        "evaluation.csv", "evaluation.md", "predictions.csv", "predictions.parquet", "predicted_vs_true.png",
        "calibration.png", "distribution.png", "report.html", "run.yaml", *EVIDENCE,
    }  # fmt: skip
    assert all(path.exists() for path in result.files.values())
    back = pd.read_csv(folder / "out" / "evaluation.csv")
    assert list(back["subset"].unique()) == ["natural", "spread", "spread_unseen", "all"]
    assert list(back["method"][:5]) == ["quality_model", "predict_the_median", "predict_the_mean", "c_lesion", "area"]
    np.testing.assert_allclose(back["mae"], result.table["mae"], atol=1e-6)
    stored = yaml.safe_load((folder / "out" / "run.yaml").read_text())
    assert stored["config"]["unseen"] == ["shift"]
    assert stored["counts"] == {"test": 64, "test_with_truth": 64, "calibration": 32, "raters": 0, "unreadable": 0}


def test_the_page_says_what_the_rows_are(result):
    text = result.text
    assert "truth_box (simulated manual) 8" in text
    assert "Lines fitted on 8 natural (otsu, truth_box (simulated manual)) calibration rows." in text
    assert "Lines fitted on 16 spread (seen families) calibration rows." in text
    assert "Variants: shift 16." in text
    assert "## spread_unseen" in text


def test_a_group_in_two_splits_is_refused(tmp_path):
    table = predictions()
    table.loc[table["image_id"] == "i1", "split"] = "test"  # i0 of the same group is in calibration
    with pytest.raises(ConfigError, match="g0"):
        run(config(tmp_path, table))
    assert not (tmp_path / "out").exists()


def test_a_bundle_that_has_seen_a_test_group_is_refused():
    test = predictions()
    check_groups(test, hashes_of(["other"]), Path("bundle"))
    with pytest.raises(ConfigError, match=r"bundle was trained .* on 1 of the groups that are tested, g3"):
        check_groups(test, hashes_of(["g3"]), Path("bundle"))


@pytest.mark.parametrize(
    ("change", "options", "says"),
    [
        (
            lambda t: t,
            {"split": "raters"},
            r"no record is in split 'raters' \(splits found: calibration, test\)",
        ),
        (lambda t: t.assign(dice=np.nan), {}, "no record of split 'test' has a ground truth"),
        (lambda t: t.drop(columns="group"), {}, "has no column group"),
        (lambda t: t, {"predictions": None}, "either --model BUNDLE or --predictions"),
        (lambda t: t, {"predictions": None, "model": Path("m")}, "--model needs --records"),
        (lambda t: t, {"n_resamples": 0}, "n_resamples is 0"),
        (lambda t: t, {"batch_size": 0}, "batch_size is 0; it must be at least 1"),
        (lambda t: t, {"gallery": -1}, "gallery is -1"),
        (lambda t: t, {"accept": 0.5}, r"reject is 0\.7, accept 0\.5"),
        (lambda t: t.assign(low=2.0), {}, "its low end above its high end"),
        (lambda t: t, {"target": ["hd96"]}, "unknown target 'hd96', did you mean 'hd95'"),
        (lambda t: t, {"mondrian": "aria"}, "unknown mondrian 'aria', did you mean 'area'"),
        (lambda t: t, {"tiers": [0.8, 0.5]}, "--tiers needs two different numbers in 0 to 1, the lower one first"),
        (lambda t: t, {"tier_risk": [0.1, 0.2]}, "--tier_risk needs .* the greater one first"),
    ],
)
def test_broken_input_is_one_sentence(tmp_path, change, options, says):
    with pytest.raises(ConfigError, match=says):
        run(config(tmp_path, change(predictions()), **options))


def test_an_evaluation_is_not_overwritten_unless_told(tmp_path):
    settings = config(tmp_path, predictions(6))
    run(settings)
    (settings.out / "evaluation.csv").write_text("old")
    with pytest.raises(ConfigError, match="--overwrite"):
        run(settings)
    settings.overwrite = True
    run(settings)
    assert (settings.out / "evaluation.csv").read_text().startswith("subset,dataset,method")


def test_a_single_test_row_still_makes_a_report(tmp_path):
    table = predictions()
    one = pd.concat([table[table["split"] == "calibration"], table[table["split"] == "test"].head(1)])
    result = run(config(tmp_path, one))
    assert (result.table["n"] == 1).all()
    assert result.table["spearman"].isna().all()
    assert "one row: no correlation" in result.text


def test_verdicts_are_made_anew_with_the_thresholds_of_this_run(tmp_path, result):
    table = predictions().assign(verdict="abstain")
    low = run(config(tmp_path, table, accept=0.0, reject=0.0))
    assert set(low.predictions["verdict"]) == {"accept"}
    assert "abstain" not in set(result.predictions["verdict"]) <= set(VERDICTS)


def test_records_that_cannot_be_read_are_left_out_and_told(tmp_path, result):
    assert result.exit_status == 0
    table = predictions()
    lost = table.index[table["split"] == "test"][:2]
    table["unreadable"], table["reason"] = table.index.isin(lost), ""
    table.loc[lost, ["predicted_dice", "low", "high"]] = np.nan
    table.loc[lost, "reason"] = "image x.jpg is cut off"
    result = run(config(tmp_path, table))
    assert result.exit_status == 1 and len(result.predictions) == 62
    for text in (result.text, result.summary(), (tmp_path / "out" / "report.html").read_text()):
        assert "2 test records cannot be read and are left out: image x.jpg is cut off" in text


def record_sets(tmp_path: Path) -> tuple[Path, Path]:
    """Two record sets, test and calibration, as tables only."""
    made = predictions()
    own = ["predicted_dice", "low", "high"]
    for split in ("test", "calibration"):
        (tmp_path / split).mkdir()
        part = made[made["split"] == split].drop(columns=own)
        part = part.assign(**{name: "" for name in NEEDED if name not in part} | {"truth_path": None})
        part["natural"] = part["variant"] == "natural"
        part.to_parquet(tmp_path / split / "records.parquet")
    return tmp_path / "test", tmp_path / "calibration"


def test_a_model_predicts_the_test_and_calibration_splits_only(tmp_path, monkeypatch):
    asked = {}

    class FakeBundle:
        risk = None
        info: ClassVar = {"groups_sha256": hashes_of(predictions().query("split == 'calibration'")["group"])}
        load = classmethod(lambda cls, folder: cls())
        conformal = Conformal(1.0, 0.1, 10, 10)

    def fake(bundle, folders, batch_size, *, splits, **options):
        asked.update(folders=folders, splits=splits)
        table = read_record_sets(folders)
        return table.assign(predicted_dice=0.9 * table["dice"], low=0.0, high=1.0, verdict="review", ood=False)

    monkeypatch.setitem(vars(quality), "Bundle", FakeBundle)  # before the networks are imported
    monkeypatch.setitem(vars(quality), "predict_records", fake)
    test, calibration = record_sets(tmp_path)
    result = run(EvaluateConfig(tmp_path / "out", [test, calibration], tmp_path / "bundle", n_resamples=20, gallery=0))
    assert asked == {"folders": [str(test), str(calibration)], "splits": ["test", "calibration"]}
    load_rows(EvaluateConfig(tmp_path / "out", [test, calibration], tmp_path / "bundle"))
    assert asked == {"folders": [str(test)], "splits": ["test"]}  # scripts want no more
    model = result.table[result.table["method"] == "quality_model"]
    np.testing.assert_allclose(model[["pearson", "coverage"]], 1)
    assert "no gallery" in (tmp_path / "out" / "report.html").read_text().lower()


def test_predictions_that_lack_a_test_record_or_hold_one_twice_are_refused(tmp_path):
    folders = list(record_sets(tmp_path))
    made = predictions().query("split == 'test'")
    with pytest.raises(ConfigError, match="no prediction for 1 of 64 test records, i2-natural among them"):
        run(config(tmp_path, made.iloc[1:], records=folders))
    with pytest.raises(ConfigError, match="record i2-natural is there twice"):
        run(config(tmp_path, pd.concat([made, made.head(1)]), records=folders))


def test_predictions_are_joined_by_id_where_the_folder_has_moved(tmp_path):
    folders = list(record_sets(tmp_path))
    made = predictions().query("split == 'test'").assign(record_set="/moved/away")
    result = run(config(tmp_path, made, records=folders))
    assert set(result.predictions["record_set"]) == {str(folders[0])}


def test_without_the_record_sets_the_page_has_no_gallery(tmp_path):
    result = run(config(tmp_path, predictions().assign(record_set="/moved/away"), overlays=2))
    page = (tmp_path / "out" / "report.html").read_text()
    assert "No gallery: the record sets of this table are not there" in page and 'id="cases">[]<' in page
    assert "overlays" not in result.files


def test_raters_rows_are_the_natural_ones_with_several_truths(tmp_path):
    table = predictions()
    table["truth_path"] = [["a.png", "b.png"] if i < 16 else ["a.png"] for i in range(len(table))]
    table.loc[table["group"] == "g1", "split"] = "raters"  # images i2 and i3, rows 8 to 15
    rows = load_rows(config(tmp_path, table))
    assert rows.raters["record_id"].tolist() == ["i2-natural", "i3-natural"]
    assert load_rows(config(tmp_path, table.drop(columns="truth_path"))).raters.empty
    assert np.isnan(rows.alpha) and rows.calibration["calibrates"].all()


def test_the_choices_of_the_config_are_the_targets_that_there_are():
    assert list(get_args(Target)) == list(TARGETS)


def test_an_evaluation_is_a_library_call_that_writes_nothing(tmp_path, result):
    settings = config(tmp_path, predictions())
    evaluation = evaluate(load_rows(settings), settings)
    pd.testing.assert_frame_equal(evaluation.table, result.table)
    assert evaluation.text.startswith("# Predicted against true Dice") and evaluation.left_out == ""
    assert not settings.out.exists()
