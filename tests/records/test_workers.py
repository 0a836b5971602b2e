"""As many processes as pay off: by images, cores, memory; what was asked for stands."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from sqp.commands import predict
from sqp.config.generate import GenerateConfig, SegmenterConfig
from sqp.config.predict import PredictConfig
from sqp.config.referee import RefereeConfig, SupervisedConfig
from sqp.core.errors import ConfigError
from sqp.core.types import Case
from sqp.records import workers
from sqp.records import workers as pool


def chosen(images: int, suffix: str = ".png", free: float | None = 1e12, cores: int = 16, **options: object) -> int:
    """Of so many images on such a machine, with LiteMedSAM."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "cpu_count", lambda: cores)
        patch.setattr(workers, "available_memory", lambda: free)
        cases = [Case(str(i), Path(f"{i}{suffix}")) for i in range(images)]
        return workers.workers_for(GenerateConfig(Path("i"), Path("o"), **{"workers": None, **options}), cases)


def test_many_images_use_all_cores():
    assert chosen(10_000) == 8 and chosen(10_000, cores=5) == 2 and chosen(10_000, free=None) == 8
    assert chosen(10_000, cores=2) == 0  # the threads of this process use both


def test_few_images_are_made_here():
    assert [chosen(n) for n in (0, 1, 63, 64, 96)] == [0, 0, 0, 2, 3]
    assert chosen(10_000, cores=1) == 0


def test_no_more_than_the_memory_holds():
    assert [chosen(10_000, free=g * 1e9) for g in (1, 3.9, 4, 9)] == [0, 0, 2, 4]
    assert chosen(10_000, free=25e9, segmenter=SegmenterConfig("sam_vit_h")) == 2
    refereed = {"masks": Path("m"), "segmenter": SegmenterConfig("none"), "referee": RefereeConfig("litemedsam")}
    assert chosen(10_000, free=9e9, **refereed) == 4


def test_without_a_network_it_takes_more_images_to_pay_off():
    alone = {"masks": Path("m"), "segmenter": SegmenterConfig("none"), "referee": RefereeConfig("none")}
    assert chosen(999, **alone) == 0 and chosen(1000, **alone) == chosen(10_000, cores=2, **alone) == 2
    supervised = {**alone, "supervised": SupervisedConfig(Path("n"))}
    assert chosen(64, **supervised) == 2 and chosen(10_000, free=2.2e9, **supervised) == 3


def test_volumes_and_a_gpu_have_one_process():
    assert chosen(10_000, suffix=".nii.gz") == 0 and chosen(10_000, device="cuda") == 0


def test_what_was_asked_for_stands():
    assert chosen(1, workers=3) == 3 and chosen(10_000, workers=0) == 0
    assert GenerateConfig(Path("i"), Path("o")).workers == 0  # generate's own default


def test_predict_leaves_the_choice_to_the_number_of_images(monkeypatch):
    ran = []
    monkeypatch.setattr(pool, "_run_pool", lambda *args: ran.append(args[-1]))
    monkeypatch.setattr(pool, "_run_here", lambda *args: ran.append(0))
    monkeypatch.setattr(workers, "cpu_count", lambda: 8)
    monkeypatch.setattr(workers, "available_memory", lambda: None)
    like = {"segmenter": {"name": "litemedsam"}, "prompter": "otsu", "sampler": {"name": "prompt_jitter", "n": 2}}
    made = predict.generate_config(PredictConfig(images=Path("i")), [like | {"measures": ["entropy"]}])
    for images in (3, 300):
        pool.make_records(made, [Case(str(i), Path(f"{i}.png")) for i in range(images)], [], set())
    assert ran == [0, 4]
    with pytest.raises(ConfigError, match=r"workers is -1; it must lie between 0"):
        PredictConfig(images=Path("i"), workers=-1)


@pytest.mark.parametrize(
    ("processes", "cores", "own", "threads"), [(2, 8, 16, 4), (3, 8, 16, 2), (2, 8, 1, 1), (9, 8, 4, 1)]
)
def test_processes_share_the_cores_and_none_has_more_threads_than_this_one(monkeypatch, processes, cores, own, threads):
    given = []

    def start(workers, context, initializer, initargs):
        given.extend((workers, initargs[-1]))
        raise KeyboardInterrupt  # that much is enough

    monkeypatch.setattr(workers, "ProcessPoolExecutor", start)
    monkeypatch.setattr(workers, "cpu_count", lambda: cores)
    monkeypatch.setattr(workers.torch, "get_num_threads", lambda: own)
    config = GenerateConfig(Path("i"), Path("o"), workers=processes)
    with pytest.raises(KeyboardInterrupt):
        list(pool.make_records(config, [Case("a", Path("a.png"))], [], set()))
    assert given == [processes, threads]


def test_a_worker_leaves_when_its_parent_has_gone_and_not_before(monkeypatch):
    seen = []
    monkeypatch.setattr(workers.os, "_exit", lambda status: seen.append(f"left with {status}"))
    monkeypatch.setattr(workers, "parent_process", lambda: None)  # this is no worker
    workers._leave_with_parent()
    assert seen == []
    parent = SimpleNamespace(join=lambda: seen.append("the parent ended"))
    monkeypatch.setattr(workers, "parent_process", lambda: parent)
    workers._leave_with_parent()
    assert seen == ["the parent ended", "left with 1"]
