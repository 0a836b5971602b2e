"""`--engine ray`: work over the actors of a Ray cluster, by Ray Data. What an actor does, it does without Ray, too.

An actor builds its work once (a model with its weights) and takes items in batches; Ray starts lost actors anew and
gives their batches to others. So an item may come twice, and what is done with it must give the same when it does:
records are files, written whole and by id. An item whose worker dies `TRIES` times is given up, not tried for ever.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from sqp.core.errors import ConfigError, SqpError

OLDEST = (2, 60)
"""The oldest release of Ray that was tested."""
TRIES = 3
"""So often a worker may die over one item."""
BATCH, BLOCKS = 8, 4000
"""Items a task, and most tasks: Ray keeps a kilobyte or two of each in the driver."""
ATTEMPTS = ".sqp-attempts"
ANSWER_S = 5.0  # to wait for whoever listens at an address
MISMATCH = re.compile(r"Version mismatch:.*?Ray: (\S+)\s+Python: (\S+).*?Ray: (\S+)\s+Python: (\S+)", re.DOTALL)

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class RayEngine:
    """How work goes over a cluster.

    Attributes:
        address: HOST:PORT of its head, or auto for the one that this machine belongs to; None: Ray is started here.
        folder: where it is kept what is being tried, on a disk that all nodes share.
        workers: most actors at once; None or 0: as many as the cores of the cluster hold.
        cores: cores of an actor.
        gpus: share of a GPU that an actor takes, 0 for none.
        threads: most threads of an actor's PyTorch.
    """

    address: str | None
    folder: Path
    workers: int | None = None
    cores: int = 1
    gpus: float = 0.0
    threads: int = 1


def check_engine(engine: str, address: str | None, gpu_share: float) -> None:
    """ConfigError for an address, or a share of a GPU, without Ray, and for an address that is none."""
    if engine != "ray":
        for name, given in (("address", address is not None), ("gpu_share", gpu_share != 1)):
            if given:
                raise ConfigError(f"--{name} goes with --engine ray: give that, too, or leave it out")
    elif address not in (None, "auto") and _host_and_port(str(address)) is None:
        raise ConfigError(
            f"address is {address!r}; it must be auto, on a machine of the cluster, or the HOST:PORT of its head, e.g. "
            "10.0.0.1:6379"
        )


def over_ray(
    engine: RayEngine,
    build: Callable[[], Callable[[T], R]],
    items: Sequence[tuple[str, T]],
    lost: Callable[[T, str], R],
) -> Iterator[R]:
    """What comes of each item, in any order.

    Args:
        engine: which cluster, and how many actors.
        build: makes what an actor works with; a function that the nodes can import, and what it is bound to, is sent.
        items: name and item; names tell them apart.
        lost: what comes of an item over which workers died, with the sentence that says so.

    Yields:
        What the work gives.

    Raises:
        ConfigError: Ray is not installed or too old, no cluster answers, or it has not what an actor needs.
        SqpError: what `build` raised on a node, or the cluster itself failed.
    """
    if not items:
        return
    ray = _ray()
    from ray import cloudpickle
    from ray.data import ActorPoolStrategy, DataContext, from_items

    attempts = engine.folder.absolute() / ATTEMPTS
    shutil.rmtree(attempts, ignore_errors=True)
    with _connected(ray, engine.address):
        cores, most = _room(ray, engine)
        context = DataContext.get_current()
        context.enable_progress_bars = False  # sqp shows its own
        rows = [{"name": name, "item": cloudpickle.dumps(item)} for name, item in items]
        tasks = min(-(-len(rows) // BATCH), max(BLOCKS, most))
        made = from_items(rows, override_num_blocks=tasks).map_batches(
            _Actor,
            fn_constructor_args=(build, lost, attempts, engine.threads),
            compute=ActorPoolStrategy(min_size=1, max_size=min(most, tasks)),
            batch_size=None,
            num_cpus=cores,
            num_gpus=engine.gpus or None,
        )
        try:
            attempts.mkdir(parents=True, exist_ok=True)
            for row in made.iter_rows():
                if row["error"]:
                    raise SqpError(row["error"])
                yield cloudpickle.loads(row["result"])
        except ray.exceptions.RayTaskError:
            raise  # a fault of sqp: its traceback is wanted
        except ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[-1]
            raise SqpError(
                f"the Ray cluster failed ({reason}); what was finished stays: run the same command again"
            ) from error
        finally:
            shutil.rmtree(attempts, ignore_errors=True)


class _Actor(Generic[T, R]):
    """What a process of the cluster holds: the work, built once. Called with a batch of names and items."""

    def __init__(
        self, build: Callable[[], Callable[[T], R]], lost: Callable[[T, str], R], attempts: Path, threads: int
    ) -> None:
        import torch

        from sqp.core.memory import keep_freed_memory

        torch.set_num_threads(threads)
        keep_freed_memory()
        self.lost, self.attempts, self.error = lost, attempts, ""
        try:
            self.work = build()
        except SqpError as error:  # what the user can mend: told once, not tried again
            self.error = str(error)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Of each item what came of it, or the error that ends the run."""
        import numpy as np
        from ray import cloudpickle

        names = [str(name) for name in batch["name"]]
        together = self._mark(f"batch of {names[0]}")
        over = _died(together) >= TRIES * (len(names) + 1)  # more often than its items one by one can explain
        _begin(together)
        results, errors = [], []
        for name, item in zip(names, batch["item"], strict=True):
            result, error = None, self.error
            if not error:
                try:
                    result = self._result(name, cloudpickle.loads(item), over)
                except SqpError as raised:
                    error = str(raised)
            results.append(cloudpickle.dumps(result))
            errors.append(error)
        together.unlink(missing_ok=True)
        return {"result": np.array(results, object), "error": np.array(errors, object)}

    def _result(self, name: str, item: T, given_up: bool) -> R:
        """Of one item. That it is tried is kept in a file for as long as it lasts: a worker that dies cannot tell."""
        mark = self._mark(name)
        if given_up or _died(mark) >= TRIES:
            often = f"{_died(mark)} times over it" if not given_up else "over it, or over those beside it,"
            return self.lost(item, f"its worker died {often} (most often for want of memory): try it alone")
        _begin(mark)
        result = self.work(item)
        mark.unlink(missing_ok=True)
        return result

    def _mark(self, name: str) -> Path:
        return self.attempts / hashlib.sha256(name.encode()).hexdigest()[:32]


def _begin(mark: Path) -> None:
    """One try more; the file has a byte for each that did not come to its end."""
    with mark.open("ab") as file:
        file.write(b"x")


def _died(mark: Path) -> int:
    """How many tries did not come to their end."""
    return mark.stat().st_size if mark.exists() else 0


def _ray() -> Any:
    """Ray. ConfigError where it is not installed, or is older than sqp knows."""
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what its C++ says of actors is no news of the run
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ConfigError(f"--engine ray needs Ray ({error}): pip install 'sqp[ray]'") from error
    version = tuple(int(part) for part in re.findall(r"\d+", ray.__version__)[:2])
    if version < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise ConfigError(
            f"--engine ray needs Ray {oldest} or newer, and this is {ray.__version__}: pip install 'sqp[ray]'"
        )
    return ray


@contextmanager
def _connected(ray: Any, address: str | None) -> Iterator[None]:
    """Within a cluster: the one that is asked for, or one that is started here and ends with it."""
    from joblib import cpu_count

    if ray.is_initialized():  # by whoever calls from Python
        yield
        return
    if address not in (None, "auto"):
        _check_answers(str(address))
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    start: dict[str, Any] = {"num_cpus": cpu_count(), "include_dashboard": False} if address is None else {}
    for name in ("ray.data", "ray"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        ray.init(address=address or "local", **quiet, **start)
    except ray.exceptions.AuthenticationError as error:
        raise ConfigError(
            f"the Ray cluster {_where(address)} asks for a token that this machine has not: bring ~/.ray/auth_token of "
            "its head here, or set RAY_AUTH_TOKEN"
        ) from error
    except Exception as error:  # a bare one where its processes take long to start
        raise ConfigError(_why_not(str(error), address)) from error
    try:
        yield
    finally:
        ray.shutdown()


def _host_and_port(address: str) -> tuple[str, int] | None:
    found = re.fullmatch(r"\[?([\w.:-]+?)\]?:(\d{1,5})", address, re.ASCII)
    return (found[1], int(found[2])) if found and 0 < int(found[2]) < 65536 else None


def _check_answers(address: str) -> None:
    """ConfigError where nobody listens: Ray itself would ask for a minute."""
    try:
        socket.create_connection(_host_and_port(address) or ("", 0), ANSWER_S).close()
    except OSError as error:
        raise ConfigError(_why_not(error.strerror or str(error), address)) from error


def _why_not(reason: str, address: str | None) -> str:
    """The sentence that says why there is no cluster."""
    found = MISMATCH.search(reason)
    if found:
        theirs, ours = (f"Ray {found[i]} and Python {found[i + 1]}" for i in (1, 3))
        return f"the Ray cluster runs {theirs}, and sqp here {ours}: install the same in both"
    if address is None:
        return f"Ray could not be started here: {reason}"
    remedy = "start one with `ray start --head`, correct --address, or leave it out"
    return f"no Ray cluster answers {_where(address)} ({reason}): {remedy}"


def _where(address: str | None) -> str:
    return "on this machine" if address in (None, "auto") else f"at {address}"


def _room(ray: Any, engine: RayEngine) -> tuple[int, int]:
    """Cores of an actor, and most actors. ConfigError where no node has what one needs."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cores = min(engine.cores, int(max((node.get("CPU", 0) for node in nodes), default=0)))
    if not cores:
        raise ConfigError("no node of the Ray cluster has a core for tasks: start one with --num-cpus")
    if engine.gpus and not any(node.get("GPU", 0) >= engine.gpus for node in nodes):
        raise ConfigError("no node of the Ray cluster has a GPU: leave out --device, or start one with --num-gpus")
    hold = sum(
        min(int(node.get("CPU", 0)) // cores, int(node.get("GPU", 0) / engine.gpus) if engine.gpus else 1 << 30)
        for node in nodes
    )
    return cores, max(1, engine.workers or hold)
