"""A bundle that reads what references say: trained on their records, and new masks judged beside new references."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from beside_references import few, referenced_bundle
from few_lesions import copy_lesions, names_of
from PIL import Image

import sqp
from sqp.commands import predict
from sqp.config.predict import PredictConfig
from sqp.core.errors import ConfigError
from sqp.quality.bundle.storage import CORRECTION, Bundle
from sqp.quality.judging.correction import FEWEST, PLAN, TOO_FEW
from sqp.records import RecordSet
from sqp.uncertainty.rca import RCA_SCORES

JUDGED, SHOWN = 2, 3
RCA = list(RCA_SCORES)


@pytest.fixture(scope="module")
def folders(lesions, tmp_path_factory) -> Path:
    """`data` to judge, `refs` to show."""
    return few(lesions, tmp_path_factory.mktemp("few"), JUDGED, SHOWN)


@pytest.fixture(scope="module")
def bundle(lesions, folders, fake_for_module, tmp_path_factory) -> Path:
    """Of records whose referee is shown references."""
    return referenced_bundle(lesions, folders / "refs", tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def asked(bundle, folders, tmp_path, fake_segmenter) -> PredictConfig:
    data = folders / "data"
    return PredictConfig(
        bundle, tmp_path / "out", images=data / "images", masks=data / "masks", references=folders / "refs", worst=1
    )


def test_a_bundle_says_that_it_reads_references_and_whose_encoding(bundle):
    known = Bundle.load(bundle)
    assert known.sources == ("referee", "references")
    assert known.expects[0]["references_weights_sha256"] == "0" * 64
    assert known.expects[0]["referee"]["encoder"] == "fake" and "references" not in known.expects[0]


def test_masks_are_judged_beside_references(asked, folders, fake_segmenter):
    table = predict.run(asked).table
    assert table[["predicted_dice", "referee_dice", *RCA]].notna().all().all()
    assert len(fake_segmenter) == 2  # that of the references, and that of the images: no other segmenter
    image, mask = (next((folders / "data" / kind).glob(f"{table.image_id[0]}.*")) for kind in ("images", "masks"))
    model = sqp.load(asked.model, references=asked.references)
    pixels = np.asarray(Image.open(image).convert("RGB")), np.asarray(Image.open(mask)) > 0
    assert model.assess(*pixels).dice == pytest.approx(table.predicted_dice[0], abs=1e-6)


def test_without_references_such_a_bundle_cannot_judge(asked):
    with pytest.raises(ConfigError, match="compares masks with examples of the task: give --references DIR"):
        predict.run(replace(asked, references=None))


def test_one_that_has_learned_from_records_without_any_judges_without_and_says_so(asked, bundle, tmp_path):
    blind = Path(shutil.copytree(bundle, tmp_path / "blind"))
    stored = json.loads((blind / "bundle.json").read_text())
    for expected in stored["expects"]:
        expected["referee"]["needs_references"] = False
    (blind / "bundle.json").write_text(json.dumps(stored))
    result = predict.run(replace(asked, model=blind, references=None))
    assert result.table[["predicted_dice", "referee_dice"]].notna().all().all() and set(result.table["references"]) == {
        0
    }
    assert "no references were given: masks are judged without examples of the task, and less surely" in result.notes


def test_a_broken_reference_is_told_and_the_others_serve(asked, folders, tmp_path):
    refs = shutil.copytree(folders / "refs", tmp_path / "refs")
    sorted((refs / "masks").iterdir())[0].write_bytes(b"no mask")
    result = predict.run(replace(asked, references=refs))
    assert result.exit_status == 1 and len(result.table) == JUDGED
    with pytest.raises(ConfigError, match="a reference cannot be used"):
        sqp.load(asked.model, references=refs)


def test_any_bundle_lets_references_tell_their_scores(asked, tmp_path, monkeypatch):
    monkeypatch.setattr("sqp.records.referees.references.encoder_of", lambda config: ("fake", None))
    monkeypatch.setattr("sqp.records.fitted.encoder_of", lambda config: ("fake", None))
    table = predict.run(replace(asked, model=Path("fast"))).table
    assert table[["predicted_dice", *RCA]].notna().all().all()
    with pytest.raises(ConfigError, match="--references is about records that are made"):
        PredictConfig(records=[tmp_path], references=tmp_path)


@pytest.fixture
def correctable(asked, lesions, tmp_path) -> PredictConfig:
    """By a bundle that references may correct, with as many as that needs."""
    bundle = Path(shutil.copytree(asked.model, tmp_path / "any"))
    stored = json.loads((bundle / "bundle.json").read_text())
    stored[CORRECTION] = {"quantile": 2.0, "groups": 9, "records": 90}
    (bundle / "bundle.json").write_text(json.dumps(stored))
    copy_lesions(lesions, tmp_path / "refs", names_of(lesions)[-FEWEST:])
    return replace(asked, model=bundle, references=tmp_path / "refs")


def test_references_correct_a_bundle_that_may_be_corrected(correctable, folders):
    result = predict.run(correctable)
    learned_from = RecordSet(correctable.out / "references" / "records").table
    assert len(learned_from) > FEWEST * PLAN.corruptions and learned_from["dice"].between(0, 1).all()
    assert (
        set(learned_from["segmenter"]) == {"fake", "truth"}
        and learned_from["natural"].sum() > FEWEST * PLAN.truth_jitter
    )
    assert set(learned_from["references"]) == {FEWEST - 1}  # each is judged beside the others
    assert [note for note in result.notes if f"{len(learned_from)} masks of {FEWEST} references" in note]
    plain = predict.run(replace(correctable, correct=False, out=correctable.out.parent / "plain"))
    assert not (plain.out / "references").exists()
    assert (result.table["predicted_dice"] != plain.table["predicted_dice"]).all()
    half = (result.table["high"] - result.table["low"]) / 2
    assert (half <= 2 * result.table["scale"] + 1e-9).all()
    model = sqp.load(correctable.model, references=correctable.references)
    name = result.table["image_id"][0]
    image, mask = (next((folders / "data" / kind).glob(f"{name}.*")) for kind in ("images", "masks"))
    pixels = np.asarray(Image.open(image).convert("RGB")), np.asarray(Image.open(mask)) > 0
    assert model.assess(*pixels).dice == pytest.approx(result.table["predicted_dice"][0], abs=1e-6)


def test_python_is_told_too_where_references_are_too_few_to_correct(correctable, folders):
    few = folders / "refs"
    result = predict.run(replace(correctable, references=few))
    with pytest.warns(UserWarning, match="correct nothing: the model judges a task that it has not learned"):
        sqp.load(correctable.model, references=few)
    assert [note for note in result.notes if "correct nothing" in note]
    sqp.load(correctable.model, references=few, correct=False)


def test_those_that_are_shown_correct(correctable, lesions, tmp_path, monkeypatch):
    """Of many references the most different ones are shown, and they are the ones that teach."""
    copy_lesions(lesions, tmp_path / "many", names_of(lesions)[-FEWEST - 3 :])
    for module in ("records.referees.references", "quality.judging.correction"):
        monkeypatch.setattr(f"sqp.{module}.MOST", FEWEST)
    predict.run(replace(correctable, references=tmp_path / "many"))
    learned_from = RecordSet(correctable.out / "references" / "records").table
    assert learned_from["image_id"].nunique() == FEWEST
    assert set(learned_from["references"]) == {FEWEST - 1}  # a further one would be judged beside all of them


def test_too_few_references_correct_nothing(correctable, folders):
    few = replace(correctable, references=folders / "refs")
    assert SHOWN < FEWEST and TOO_FEW in predict.run(few).notes
    without = predict.run(replace(few, correct=False, out=few.out.parent / "without"))
    assert TOO_FEW not in without.notes


def test_a_promise_about_a_risk_is_not_made_of_corrected_predictions(correctable):
    with pytest.raises(ConfigError, match="leave out --risk, or give --correct false"):
        predict.run(replace(correctable, risk=0.5))
