"""`sqp recalibrate --decisions`: from the decisions on a page to a bundle, and what is refused."""

from __future__ import annotations

import json

import pytest
import torch

from sqp.cli.main import main
from sqp.core.files import write_mask
from sqp.data.masks import read_mask
from sqp.quality import Bundle, predict_records
from sqp.quality.judging.decisions import SCHEMA
from sqp.records import RecordSet
from sqp.records.frozen import mask_hash
from sqp.report.predictions import write_predictions


@pytest.fixture(scope="module")
def reviewed(trained, record_set, tmp_path_factory):
    """OUT of predictions with decisions.json of 60 of its masks in it: accepted where the true Dice is at least 0.8."""
    out = tmp_path_factory.mktemp("reviewed")
    table = predict_records(Bundle.load(trained / "bundle"), [record_set], progress=False)
    write_predictions(out, table)
    records = RecordSet(record_set)
    decisions = [
        {"record_id": row.record_id, "mask_hash": mask_hash(records.mask(row.record_id)), "note": "", "time": "",
         "decision": "accept" if row.dice >= 0.8 else "fix"} for row in table.iloc[::2].itertuples()
    ]  # fmt: skip
    (out / "decisions.json").write_text(json.dumps({"schema": SCHEMA, "threshold": 0.8, "decisions": decisions}))
    return out


def argv(trained, reviewed, out, *others):
    given = ["--predictions", str(reviewed), "--decisions", str(reviewed / "decisions.json"), "--progress", "false"]
    return ["recalibrate", "--model", str(trained / "bundle"), *given, "--out", str(out), *map(str, others)]


def test_interval_and_risk_rule_change_and_no_weight_does(trained, reviewed, tmp_path, capsys):
    assert main(argv(trained, reviewed, tmp_path / "new")) == 0
    said = capsys.readouterr().out
    assert (
        "60 decisions of " in said and "the old 90% intervals contradict" in said and "--risk 0.1 --failure 0.8" in said
    )
    old, new = Bundle.load(trained / "bundle"), Bundle.load(tmp_path / "new")
    assert new.info["own_data"]["decisions"] == 60 and new.conformal.records == 60
    assert {round(value, 6) for value in new.risk.dice.tolist()} <= {0.0, 0.8}
    for name, value in old.model.state_dict().items():
        assert torch.equal(new.model.state_dict()[name], value)
    assert new.ood.description() == old.ood.description() and new.expects == old.expects


def test_redrawn_masks_are_exact(trained, reviewed, record_set, tmp_path, capsys):
    records = RecordSet(record_set)
    (tmp_path / "redrawn").mkdir()
    truths = records.table.drop_duplicates("image_id").set_index("image_id")["truth_path"]
    for name, paths in truths.items():
        write_mask(tmp_path / "redrawn" / f"{name}.png", read_mask(paths[0]))
    assert main(argv(trained, reviewed, tmp_path / "new", "--truth", tmp_path / "redrawn")) == 0
    assert "of 60 redrawn masks" in capsys.readouterr().out
    new = Bundle.load(tmp_path / "new")
    assert new.info["own_data"]["redrawn"] == 60
    small = tmp_path / "redrawn" / f"{truths.index[0]}.png"
    write_mask(small, read_mask(small)[1:])
    assert main(argv(trained, reviewed, tmp_path / "again", "--truth", tmp_path / "redrawn")) == 1
    assert f"skipped {small}" in capsys.readouterr().out
    assert main(argv(trained, reviewed, tmp_path / "no", "--truth", tmp_path / "redrawn", "--strict", "true")) == 2
    (tmp_path / "empty").mkdir()
    assert main(argv(trained, reviewed, tmp_path / "no", "--truth", tmp_path / "empty")) == 2
    assert "has no redrawn mask of a decided image" in capsys.readouterr().err


def test_what_is_refused(trained, reviewed, tmp_path, capsys):
    stored = json.loads((reviewed / "decisions.json").read_text())
    file = tmp_path / "decisions.json"

    def refused(content: dict, *others) -> str:
        file.write_text(json.dumps(stored | content))
        given = argv(trained, reviewed, tmp_path / "new", *others)
        given[given.index("--decisions") + 1] = str(file)
        assert main(given) == 2 and not (tmp_path / "new").exists()
        return capsys.readouterr().err

    assert "has 49 decisions: decide on at least 50" in refused({"decisions": stored["decisions"][:49]})
    other = [stored["decisions"][0] | {"mask_hash": "f" * 16}, *stored["decisions"][1:]]
    assert "1 of 60 decisions are of other masks" in refused({"decisions": other})
    assert "has the schema 'x'" in refused({"schema": "x"})
    assert "--alpha goes with --records" in refused({}, "--alpha", "0.2")
    assert "threshold is 3.0" in refused({}, "--threshold", "3")


def test_predictions_of_another_bundle_are_refused(trained, reviewed, record_set, tmp_path, capsys):
    table = predict_records(Bundle.load(trained / "bundle"), [record_set], progress=False)
    write_predictions(tmp_path / "out", table.assign(predicted_dice=table["predicted_dice"] * 0.9))
    given = argv(trained, reviewed, tmp_path / "new")
    given[given.index("--predictions") + 1] = str(tmp_path / "out")
    assert main(given) == 2 and "are not those of" in capsys.readouterr().err


def test_records_or_decisions(trained, tmp_path, capsys):
    base = ["recalibrate", "--model", str(trained / "bundle"), "--out", str(tmp_path / "new")]
    for others, message in (
        ([], "needs either --records, or --decisions with --predictions"),
        (["--decisions", "d.json"], "--decisions needs --predictions"),
        (["--records", "r", "--truth", "t"], "--truth goes with --decisions"),
    ):
        assert main([*base, *others]) == 2
        assert message in capsys.readouterr().err
