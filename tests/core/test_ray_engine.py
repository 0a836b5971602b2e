"""Work over a Ray cluster: nothing lost, nothing twice, whoever dies; and what is told where there is no cluster.

A cluster takes a quarter of a minute to start: one test starts Ray in the default run, those of two nodes are slow.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sqp.cli.main import main
from sqp.core import ray_engine
from sqp.core.errors import ConfigError, SqpError
from sqp.core.ray_engine import ATTEMPTS, TRIES, RayEngine, check_engine, over_ray

ray = pytest.importorskip("ray", reason="ray is in the extra ray")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of settings of its own that Ray sets
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
N = 40


def squares(kill: Callable[[int], None] = lambda item: None) -> Callable[[], Callable[[int], int]]:
    """What builds the work: the square of an item, after `kill` had its chance. Sent by value."""

    def build() -> Callable[[int], int]:
        def work(item: int) -> int:
            kill(item)
            return item**2

        return work

    return build


def lost() -> Callable[[int, str], str]:
    """What comes of an item that is given up. Sent by value: the nodes cannot import this file."""
    return lambda item, why: f"{item}: {why}"


def spread(folder: Path, build: Any, address: str | None = None, n: int = N, **options: Any) -> Iterator[Any]:
    items = [(f"item {i}", i) for i in range(n)]
    return over_ray(RayEngine(address, folder, **options), build, items, lost())


def run(folder: Path, build: Any, address: str | None = None, **options: Any) -> list[Any]:
    return list(spread(folder, build, address, **options))


def test_ray_started_here(tmp_path):
    try:
        found = run(tmp_path, squares(), workers=1)
    except ConfigError as error:
        if "could not be started here" not in str(error):
            raise
        pytest.skip(f"Ray did not start: {error}")
    assert sorted(found) == [i**2 for i in range(N)]
    assert not ray.is_initialized() and not (tmp_path / ATTEMPTS).exists()


def pickled(number: int) -> bytes:
    """As `ray.cloudpickle` has it."""
    import pickle

    return pickle.dumps(number)


def actor(tmp_path: Path, build: Any) -> Any:
    (tmp_path / ATTEMPTS).mkdir(exist_ok=True)
    return ray_engine._Actor(build, lost(), tmp_path / ATTEMPTS, 1)


def ask(of: Any, *numbers: int) -> dict[str, Any]:
    return of({"name": [f"item {i}" for i in numbers], "item": [pickled(i) for i in numbers]})


def outcomes(of: Any, *numbers: int) -> list[tuple[Any, str]]:
    from ray import cloudpickle

    made = ask(of, *numbers)
    return [(cloudpickle.loads(r), e) for r, e in zip(made["result"], made["error"], strict=True)]


def test_an_item_over_which_workers_die_is_given_up(tmp_path):
    def die(item: int) -> None:
        if item == 2:
            raise KeyboardInterrupt  # as sudden as a kill, as far as the marks go

    for _ in range(TRIES):
        with pytest.raises(KeyboardInterrupt):
            outcomes(actor(tmp_path, squares(die)), 1, 2, 3)
    one, two, three = outcomes(actor(tmp_path, squares(die)), 1, 2, 3)
    assert (one, three) == ((1, ""), (9, ""))
    assert two == ("2: its worker died 3 times over it (most often for want of memory): try it alone", "")


def test_a_batch_whose_workers_die_between_its_items_is_not_tried_for_ever(tmp_path):
    batch = 3
    for _ in range(TRIES * (batch + 1)):
        dying = actor(tmp_path, squares())
        dying.work = lambda item: item
        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr("ray.cloudpickle.dumps", lambda result: (_ for _ in ()).throw(KeyboardInterrupt))
            ask(dying, 1, 2, 3)
    told = [one for one, _ in outcomes(actor(tmp_path, squares()), 1, 2, 3)]
    assert [one.partition(" (")[0] for one in told] == [
        f"{i}: its worker died over it, or over those beside it," for i in (1, 2, 3)
    ]


def test_what_cannot_be_built_is_told_and_not_tried_again(tmp_path):
    def build() -> Any:
        raise ConfigError("no weights on this node")

    assert outcomes(actor(tmp_path, build), 1, 2) == [(None, "no weights on this node")] * 2


def test_an_error_of_an_item_is_told(tmp_path):
    def refuse(item: int) -> None:
        raise SqpError(f"{item} is broken")

    assert outcomes(actor(tmp_path, squares(refuse)), 4) == [(None, "4 is broken")]


@pytest.mark.parametrize(
    ("engine", "address", "share", "told"),
    [
        ("local", "auto", 1.0, "--address goes with --engine ray"),
        ("local", None, 0.5, "--gpu_share goes with --engine ray"),
        ("ray", "somewhere", 1.0, "address is 'somewhere'; it must be auto"),
        ("ray", "ray://host:10001", 1.0, "address is 'ray://host:10001'; it must be auto"),
        ("ray", "host:99999", 1.0, "address is 'host:99999'"),
    ],
)
def test_options_that_do_not_fit(engine, address, share, told):
    with pytest.raises(ConfigError, match=told.replace("?", r"\?")):
        check_engine(engine, address, share)


def test_an_address_that_no_cluster_answers(lesions, tmp_path, capsys):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        args = ["generate", "--images", str(lesions), "--masks", str(lesions / "masks"), "--out", str(tmp_path / "o")]
        args += ["--segmenter", "none", "--referee.name", "none", "--engine", "ray", "--address", address]
        assert main(args) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"sqp: no Ray cluster answers at {address} (Connection refused): start one with `ray start")


def test_no_cluster_on_this_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(ray, "init", lambda **kwargs: (_ for _ in ()).throw(ConnectionError("Could not find any")))
    with pytest.raises(ConfigError, match=r"no Ray cluster answers on this machine \(Could not find any\)"):
        run(tmp_path, squares(), "auto")


def test_a_cluster_that_asks_for_a_token(tmp_path, monkeypatch):
    refused = ray.exceptions.AuthenticationError("InvalidAuthToken: the token does not match")
    monkeypatch.setattr(ray, "init", lambda **kwargs: (_ for _ in ()).throw(refused))
    with pytest.raises(ConfigError, match=r"the Ray cluster on this machine asks for a token .*: bring ~/\.ray/"):
        run(tmp_path, squares(), "auto")


def test_an_old_ray_and_none(tmp_path, monkeypatch):
    monkeypatch.setattr(ray, "__version__", "2.9.3")
    with pytest.raises(ConfigError, match=r"--engine ray needs Ray 2\.\d+ or newer, and this is 2\.9\.3: pip install"):
        run(tmp_path, squares())
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(ConfigError, match=r"--engine ray needs Ray \(.*\): pip install 'sqp\[ray\]'"):
        run(tmp_path, squares())


def test_room_for_actors():
    def room(*nodes: dict[str, float], **engine: Any) -> tuple[int, int]:
        alive = SimpleNamespace(nodes=lambda: [{"Alive": True, "Resources": node} for node in nodes])
        return ray_engine._room(alive, RayEngine(None, Path(), **engine))

    assert room({"CPU": 16}, {"CPU": 8}, cores=2) == (2, 12)
    assert room({"CPU": 1}, {"CPU": 1}, cores=2) == (1, 2)  # no node has two
    assert room({"CPU": 16}, cores=2, workers=3) == (2, 3)
    assert room({"CPU": 16, "GPU": 1}, {"CPU": 64}, cores=2, gpus=0.25) == (2, 4)
    with pytest.raises(ConfigError, match="has a GPU"):
        room({"CPU": 16}, gpus=1.0)
    with pytest.raises(ConfigError, match="has a core for tasks"):
        room({"GPU": 1})


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Of two nodes of two cores; its head has the address."""
    from ray.cluster_utils import Cluster

    try:
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
        made.add_node(num_cpus=2)
    except Exception as error:  # a bare one
        pytest.skip(f"Ray did not start: {error}")
    yield made
    made.shutdown()


@pytest.mark.slow
def test_a_killed_worker_and_a_case_that_kills_its_workers(cluster, tmp_path):
    def kill(item: int) -> None:
        first = tmp_path / "killed once"
        if item == 7 and not first.exists():
            first.touch()
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)  # for as long as it takes
        if item == 13:
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)

    found = run(tmp_path, squares(kill), cluster.address, workers=3)
    told = [one for one in found if isinstance(one, str)]
    assert sorted(one for one in found if isinstance(one, int)) == [i**2 for i in range(N) if i != 13]
    assert told == ["13: its worker died 3 times over it (most often for want of memory): try it alone"]


@pytest.mark.slow
def test_another_version_of_ray_in_the_cluster(cluster, tmp_path, monkeypatch):
    real = ray.__version__
    monkeypatch.setattr(ray, "__version__", "9.0.0")
    with pytest.raises(ConfigError, match=rf"the Ray cluster runs Ray {real} and Python .*, and sqp here Ray 9\.0\.0"):
        run(tmp_path, squares(), cluster.address)


@pytest.mark.slow
def test_a_node_that_is_lost(cluster, tmp_path):
    def slowly(item: int) -> None:
        time.sleep(0.2)

    node = cluster.add_node(num_cpus=2)
    found = []
    for result in spread(tmp_path, squares(slowly), cluster.address, 120, workers=6):
        found.append(result)
        if len(found) == 10:
            cluster.remove_node(node, allow_graceful=False)
    assert sorted(found) == [i**2 for i in range(120)]
