"""A run over a Ray cluster is the run of this machine, to the last byte; what is there is not made again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from few_lesions import copy_lesions, names_of

from sqp.commands import generate, predict, status
from sqp.config.generate import GenerateConfig, SegmenterConfig, VariantPlan
from sqp.config.predict import PredictConfig
from sqp.config.referee import RefereeConfig
from sqp.config.status import StatusConfig
from sqp.core.errors import ConfigError
from sqp.core.ownership import lock_of
from sqp.core.types import Case
from sqp.records import RecordSet, workers

ray = pytest.importorskip("ray", reason="ray is in the extra ray")
ALONE = {"segmenter": SegmenterConfig("none"), "referee": RefereeConfig("none")}


@pytest.fixture
def making(lesions, tmp_path) -> GenerateConfig:
    """Given masks and their corruptions; no network runs, so that nodes need nothing of the tests."""
    copy_lesions(lesions, tmp_path / "data", names_of(lesions)[:8])
    plan = VariantPlan(corruptions=2, families=["erosion", "swap"])
    config = GenerateConfig(tmp_path / "data/images", tmp_path / "here", masks=tmp_path / "data/masks", **ALONE)
    return replace(config, truth=lesions / "masks", variants={"*": plan})


def same_records(one: Path, two: Path) -> None:
    tables = [RecordSet(out).table.sort_values("record_id", ignore_index=True) for out in (one, two)]
    pd.testing.assert_frame_equal(*tables, check_like=True)
    for name in tables[0]["record_id"]:
        for file in (f"masks/{name}.png", f"maps/{name}.npz"):
            assert (one / file).read_bytes() == (two / file).read_bytes()


def test_what_an_actor_does_is_what_a_process_does(making, tmp_path, monkeypatch):
    """All but Ray itself: the tasks, the work and its outcomes; an actor that comes again counts, and makes nothing."""
    plain = generate.run(making)

    def here(engine, build, items, lost):
        work = build()
        assert engine.cores == 1 and engine.folder == making.out.with_name("there") and engine.address == "host:1"
        for name, task in items:
            outcome = work(task)
            assert name == task[0].image_id and work(task) == outcome
            yield outcome

    monkeypatch.setattr(workers, "over_ray", here)
    spread = replace(making, out=tmp_path / "there", engine="ray", address="host:1")
    made = generate.run(spread)
    assert (made.written, made.records, made.exit_status) == (plain.written, plain.records, 0) == (24, 24, 0)
    same_records(making.out, spread.out)
    assert generate.run(spread).written == 0
    lost = RecordSet(spread.out).table["record_id"][0]
    (spread.out / "masks" / f"{lost}.png").unlink()
    assert generate.run(spread).written == 1
    same_records(making.out, spread.out)
    assert status.run(StatusConfig(spread.out)).exit_status == 0


def test_a_case_over_which_workers_died_is_skipped_and_told(making, monkeypatch):
    def here(engine, build, items, lost):
        work = build()
        for number, (_, task) in enumerate(items):
            yield work(task) if number else lost(task, "its worker died 3 times over it")

    monkeypatch.setattr(workers, "over_ray", here)
    made = generate.run(replace(making, engine="ray"))
    assert made.exit_status == 1 and list(made.skipped.values()) == ["its worker died 3 times over it"]
    assert made.written == 21 and generate.run(making).written == 3


def test_batches_are_predicted_as_here(making, monkeypatch, tmp_path):
    from ray import cloudpickle

    from sqp.quality.judging import predict as judging

    config = PredictConfig(
        Path("fast"), tmp_path / "p", images=making.images, masks=making.masks, batch_size=3, worst=1
    )
    plain = predict.run(config)
    sent = []

    def here(engine, build, items, lost):
        work = cloudpickle.loads(cloudpickle.dumps(build))()
        for _, item in items:
            sent.append(cloudpickle.dumps(item))
            yield work(cloudpickle.loads(sent[-1]))

    monkeypatch.setattr(workers, "over_ray", here)
    monkeypatch.setattr(judging, "over_ray", here)
    made = predict.run(replace(config, out=tmp_path / "q", engine="ray"))
    assert len(sent) == 8 + 3 and max(map(len, sent)) < 100_000  # cases, then the rows of a batch, not the table
    different = ["record_set"]
    pd.testing.assert_frame_equal(plain.table.drop(columns=different), made.table.drop(columns=different))
    csv = [(tmp_path / out / "predictions.csv").read_bytes() for out in "pq"]
    assert csv[0] == csv[1]


def test_two_engines_in_one_folder(making):
    making.out.mkdir()
    with lock_of(making.out), pytest.raises(ConfigError, match="another run of sqp writes into"):
        generate.run(replace(making, engine="ray"))


def test_donors_are_sent_where_masks_are_swapped_alone(making):
    cases = [Case(str(i), Path(f"{i}.png")) for i in range(9)]
    assert workers.lenders(making, cases) == cases
    assert workers.lenders(replace(making, variants={}), cases) == cases[:1]
    assert workers.lenders(replace(making, variants={"*": VariantPlan(families=["swap"])}), cases) == cases[:1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`use_:DeprecationWarning:ray", "ignore::ResourceWarning")  # Ray warns of itself
def test_over_a_real_cluster(making, tmp_path):
    predict.run(PredictConfig(Path("fast"), tmp_path / "p", images=making.images, masks=making.masks, worst=1))
    config = PredictConfig(Path("fast"), tmp_path / "q", images=making.images, masks=making.masks, worst=1)
    assert predict.run(replace(config, engine="ray", workers=2)).exit_status == 0
    same_records(tmp_path / "p" / "records", tmp_path / "q" / "records")
    csv = [(tmp_path / out / "predictions.csv").read_bytes() for out in "pq"]
    assert csv[0] == csv[1]
