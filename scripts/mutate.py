"""Mutants of chosen rooms, and which of them no test notices.

python scripts/mutate.py sqp/metrics sqp/uncertainty sqp/quality sqp/records --sample 40 --out benchmarks/mutants

A mutant is one small fault in one place of a module: a comparison moved or turned round, an operator, a number, a
flag, a condition or a function changed, a keyword, an argument or a call left out, nothing returned. No file is
touched: a process forked after the heavy imports loads the mutant in the module's place and runs the module's tests
until one fails (the mutant is killed) or none does (it survived). First come the module's own tests,
tests/ROOM/test_MODULE.py and its doctests, then those of tests/ROOM that name the module, then the room's others, then
those of --more. Tests that take far longer than without the mutant kill it, too.

--sample draws the same places for a seed, whatever else changes in a room. A run that was stopped goes on:
OUT/results.csv keeps what is known of a mutant as long as its module, and for a survivor its tests, are as they were.
OUT/survivors.csv lists who lives; its column `equivalent` is written by hand, and kept: why no test can tell.

Left alone: text, annotations, what is raised or asserted, imports, progress bars and zip's `strict`.
"""

from __future__ import annotations

import argparse
import csv
import fcntl
import hashlib
import importlib
import importlib.util
import math
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import defaultdict
from collections.abc import Collection, Sequence
from contextlib import suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from mutations import ROOT, Mutant, drawn, tree_of

LIMIT_S, LIMIT_TIMES = 10, 5
FAR_S = 900
ASLEEP_S = 90
FIELDS = ["file", "line", "function", "mutant", "outcome", "seconds", "id", "module_sha256", "tests_sha256"]
SILENT = ["-x", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", "--no-header", "--hypothesis-profile=mutants"]
SILENT += ["-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"]


def tests_of(file: Path, more: Sequence[Path]) -> list[list[str]]:
    """Groups of what to run for a module, from the nearest to the farthest."""
    module = file.relative_to(ROOT).with_suffix("")
    room, names = ROOT / "tests" / module.relative_to("sqp").parent, [module.name]
    while not room.is_dir():  # quality/backbones/compact.py has quality/test_backbones.py
        names.append(room.name)
        room = room.parent
    own = [room / f"test_{name}.py" for name in names if (room / f"test_{name}.py").exists()]
    dotted, start = ".".join(module.parts), f"from {'.'.join(module.parts[:-1])} import"
    others, rest = [], []
    for path in sorted(set(room.glob("test_*.py")) - set(own)):
        text = path.read_text()
        (others if dotted in text or (start in text and module.name in text) else rest).append(path)
    groups = [[file, *own], others, rest, [path.resolve() for path in more]]
    return [[str(path.relative_to(ROOT)) for path in group] for group in groups if group]


class _Planted(SourceFileLoader):
    """Loads code that is given."""

    def __init__(self, name: str, file: Path, code: CodeType) -> None:
        super().__init__(name, str(file))
        self.planted = code

    def get_code(self, fullname: str) -> CodeType:
        return self.planted


class Planter(MetaPathFinder):
    """Finds one module: the mutant."""

    def __init__(self, file: Path, code: CodeType) -> None:
        parts = file.relative_to(ROOT).with_suffix("").parts
        self.name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        self.loader = _Planted(self.name, file, code)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self.loader.path, loader=self.loader)


def forked(tests: Sequence[str], planter: Planter, limit_s: float, work: Path) -> tuple[str, float]:
    """killed, survived or late, and the CPU seconds; WORK gets what the tests `said` and `found` to import.

    The limit is of CPU time, so that a busy machine kills nothing; what takes none for `ASLEEP_S` is late, too.
    """
    pid = os.fork()
    if not pid:
        os.setpgid(0, 0)
        status = 3
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(limit_s), math.ceil(limit_s) + 1))
            said = os.open(work / "said", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            for descriptor in (1, 2):
                os.dup2(said, descriptor)
            status = _run_tests(tests, planter, work)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    last, since = -1, time.monotonic()
    while time.monotonic() - since < ASLEEP_S:
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            outcome = "late" if os.WIFSIGNALED(status) else "survived" if status == 0 else "killed"
            return outcome, usage.ru_utime + usage.ru_stime
        ticks = sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
        if ticks != last:
            last, since = ticks, time.monotonic()
        time.sleep(0.05)
    os.killpg(pid, signal.SIGKILL)  # it waits for something
    os.waitpid(pid, 0)
    return "late", limit_s


def _run_tests(tests: Sequence[str], planter: Planter, work: Path) -> int:
    import pytest
    from hypothesis import Phase, settings

    phases = [Phase.explicit, Phase.generate]  # no time for a simpler counterexample
    settings.register_profile("mutants", derandomize=True, database=None, deadline=None, phases=phases)
    sys.meta_path.insert(0, planter)
    importlib.import_module(planter.name)  # before pytest, which reads the file itself where it is an argument
    status = pytest.main([*SILENT, "--basetemp", str(work / f"tmp{os.getpid()}"), *tests])
    (work / "found").write_text("\n".join(sorted(sys.modules)))
    return 0 if status == pytest.ExitCode.NO_TESTS_COLLECTED else int(status)


class Judge:
    """Runs the tests of mutants; the tests of a module must pass without one."""

    def __init__(self, more: Sequence[Path], work: Path) -> None:
        self.more = more
        self.work = work
        self.seconds: dict[tuple[Path, int], float] = {}

    def __call__(self, mutant: Mutant) -> dict[str, str]:
        """A row of results.csv, without its hashes."""
        planter = Planter(mutant.file, mutant.code(tree_of(mutant.file)))
        outcome, total = "survived", 0.0
        for number, tests in enumerate(tests_of(mutant.file, self.more)):
            limit_s = FAR_S if number else LIMIT_S + LIMIT_TIMES * self._without(mutant.file, number, tests)
            outcome, seconds = forked(tests, planter, limit_s, self.work)
            total += seconds
            if outcome != "survived":
                self._without(mutant.file, number, tests)
                break
        return {
            "file": mutant.file.relative_to(ROOT).as_posix(),
            "line": str(mutant.line),
            "function": mutant.function,
            "mutant": mutant.text,
            "outcome": outcome,
            "seconds": f"{total:.1f}",
            "id": mutant.id,
        }

    def _without(self, file: Path, number: int, tests: Sequence[str]) -> float:
        """Seconds of a group of tests without a mutant; what they import is imported here, but for sqp and tests."""
        if (file, number) in self.seconds:
            return self.seconds[file, number]
        whole = Planter(file, compile(tree_of(file), file, "exec", dont_inherit=True))
        outcome, self.seconds[file, number] = forked(tests, whole, FAR_S, self.work)
        if outcome != "survived":
            sys.exit(f"the tests of {file} do not pass as it is:\n{(self.work / 'said').read_text()}")
        own = {path.stem for path in (ROOT / "tests").rglob("*.py")} | {"sqp", "tests", "conftest"}
        for name in (self.work / "found").read_text().split("\n"):
            if name.split(".")[0] not in own:
                with suppress(Exception):  # an alias that only the importing package knows
                    importlib.import_module(name)
        return self.seconds[file, number]


def sha(files: Sequence[Path]) -> str:
    """12 digits of the content of files and of the tests in folders."""
    digest = hashlib.sha256()
    for path in files:
        for file in sorted(path.rglob("test_*.py")) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def known(out: Path) -> dict[str, dict[str, str]]:
    """What earlier runs found, by id."""
    path = out / "results.csv"
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def written(out: Path, rows: dict[str, dict[str, str]], gone: Collection[str] = ()) -> None:
    """results.csv with these rows too, and survivors.csv with the reasons that it had; several processes may write."""
    folder = os.open(out, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    table = {name: row for name, row in (known(out) | rows).items() if name not in gone}
    ordered = sorted(table.values(), key=lambda row: (row["file"], int(row["line"]), row["mutant"], row["id"]))
    survivors = out / "survivors.csv"
    reasons: dict[str, str] = {}
    if survivors.exists():
        with survivors.open(newline="") as file:
            reasons = {row["id"]: row["equivalent"] for row in csv.DictReader(file)}
    lived = [row | {"equivalent": reasons.get(row["id"], "")} for row in ordered if row["outcome"] == "survived"]
    for name, fields, lines in (
        ("results.csv", FIELDS, ordered),
        ("survivors.csv", ["file", "line", "function", "mutant", "id", "equivalent"], lived),
    ):
        with (out / f".{name}.tmp").open("w", newline="") as file:
            writer = csv.DictWriter(file, fields, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(lines)
        (out / f".{name}.tmp").replace(out / name)
    os.close(folder)


def summary(rows: dict[str, dict[str, str]], chosen: Sequence[Mutant]) -> str:
    """Killed by room, of those that were drawn."""
    counts: dict[str, list[bool]] = defaultdict(list)
    for mutant in chosen:
        if mutant.id in rows:
            counts["/".join(mutant.file.relative_to(ROOT).parts[:2])].append(rows[mutant.id]["outcome"] != "survived")
    counts["together"] = [killed for room in counts.values() for killed in room]
    return "\n".join(f"{room}: {sum(of)} of {len(of)} killed ({sum(of) / len(of):.0%})" for room, of in counts.items())


def run(args: argparse.Namespace) -> str:
    """Judge the mutants that are drawn and not known; what was found, by room."""
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    chosen: list[Mutant] = []
    for room in map(Path.resolve, args.rooms):
        files = sorted(room.rglob("*.py")) if room.is_dir() else [room]
        chosen += drawn(files, args.sample, args.seed)
    rows, shas, wanted = known(out), {}, []
    ids, rooms = {mutant.id for mutant in chosen}, [room.resolve() for room in args.rooms]
    gone = [
        name
        for name, row in rows.items()
        if name not in ids and any((ROOT / row["file"]).is_relative_to(room) for room in rooms)
    ]  # of another sample, or of a module that has changed
    written(out, {}, gone)
    for mutant in chosen:
        tests = sorted({Path(name) for group in tests_of(mutant.file, args.more) for name in group})
        shas[mutant.id] = {"module_sha256": sha([mutant.file]), "tests_sha256": sha(tests)}
        row = rows.get(mutant.id)
        same = row and row["module_sha256"] == shas[mutant.id]["module_sha256"]
        if not (same and (row["outcome"] != "survived" or row["tests_sha256"] == shas[mutant.id]["tests_sha256"])):
            wanted.append(mutant)
    with tempfile.TemporaryDirectory() as folder:
        judge = Judge(args.more, Path(folder))
        print(f"{len(wanted)} of {len(chosen)} mutants to judge", flush=True)
        for mutant in wanted:
            row = rows[mutant.id] = judge(mutant) | shas[mutant.id]
            written(out, {mutant.id: row})  # another process may judge other rooms
            print("{outcome:9}{seconds:>6} s  {file}:{line} {function}: {mutant}".format(**row), flush=True)
    return summary(rows, chosen)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rooms", type=Path, nargs="+", help="folders or modules of sqp")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/mutants"), help="folder of the two tables")
    parser.add_argument("--sample", type=int, help="mutants of each room; all without it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--more", type=Path, nargs="*", default=[], help="further tests, for every module")
    print(run(parser.parse_args()))


if __name__ == "__main__":
    main()
