"""Fixtures that several rooms use (pyproject puts `tests` on the path, for `recordsets`)."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from fakes import put_fake
from hypothesis import settings
from no_skips import pytest_make_collect_report, pytest_runtest_makereport
from recordsets import make_record_set

from sqp.commands import generate, train
from sqp.config.generate import SEEN, UNSEEN, GenerateConfig, SamplerConfig, SegmenterConfig, VariantPlan
from sqp.config.train import TrainConfig
from sqp.data.synthetic import write_synthetic
from sqp.records import RecordWriter

__all__ = ["pytest_make_collect_report", "pytest_runtest_makereport"]  # hooks of pytest, found by name

settings.register_profile("sqp", derandomize=True)  # the same examples in every run: a failure is the change's
settings.load_profile("sqp")


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Two workers of pytest-xdist on two cores: more threads would only wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def record_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small record set with all splits, not to be changed."""
    return make_record_set(tmp_path_factory.mktemp("records"))


@pytest.fixture(scope="session")
def trained(record_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """OUT of a short training run on `record_set`, not to be changed; the bundle lies in OUT/bundle."""
    from sqp.commands.train import run
    from sqp.config.train import TrainConfig

    out = tmp_path_factory.mktemp("train")
    run(TrainConfig([record_set], out, size=32, epochs=12, batch_size=8, progress=False))
    return out


@pytest.fixture(scope="session")
def lesions(tmp_path_factory):
    """40 synthetic images of 48 x 64 with masks, groups and splits."""
    return write_synthetic(tmp_path_factory.mktemp("data") / "lesions", 40, seed=3, size=(48, 64))


@pytest.fixture
def fake_segmenter(monkeypatch):
    """The fake for one test."""
    return put_fake(monkeypatch)


@pytest.fixture(scope="module")
def fake_for_module():
    """The fake while what a whole module shares is made."""
    with pytest.MonkeyPatch.context() as patch:
        yield put_fake(patch)


@contextmanager
def _stopped_after(n):
    written, write = [], RecordWriter.write

    def stop(self, record, *parts):
        if len(written) == n:
            raise KeyboardInterrupt
        written.append(record.record_id)
        write(self, record, *parts)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RecordWriter, "write", stop)
        yield written


@pytest.fixture
def stopped_after():
    """`with stopped_after(n) as written:` a run is interrupted when it would write a further record."""
    return _stopped_after


@pytest.fixture
def config(lesions, fake_segmenter, tmp_path):
    """A generate config over all of the data, with every kind of record."""
    plan = VariantPlan(prompters=["centre"], truth_jitter=1, corruptions=3, families=[*SEEN, *UNSEEN])
    return GenerateConfig(
        images=lesions,
        out=tmp_path / "records",
        segmenter=SegmenterConfig("fake"),
        sampler=SamplerConfig(n=3),
        variants={"*": plan, "test": VariantPlan()},
    )


@pytest.fixture(scope="session")
def bundle(lesions, tmp_path_factory) -> Path:
    """A bundle: two epochs on records of the fake segmenter, seed 5."""
    folder = tmp_path_factory.mktemp("fake")
    with pytest.MonkeyPatch.context() as patch:
        put_fake(patch)
        generate.run(
            GenerateConfig(
                images=lesions,
                out=folder / "records",
                segmenter=SegmenterConfig("fake"),
                sampler=SamplerConfig(n=3),
                variants={"train": VariantPlan(corruptions=1)},
                seed=5,
            )
        )
    config = TrainConfig([folder / "records"], folder / "model", size=32, epochs=2, alpha=0.3, progress=False)
    made = train.run(config).bundle
    told = json.loads((made / "bundle.json").read_text())
    for part in (told["ood"], told["ood"]["image"]):  # whether so small a model knows a mask is not the question here
        part["threshold"] = part["neighbours"]["threshold"] = 1e6
    (made / "bundle.json").write_text(json.dumps(told))
    return made
