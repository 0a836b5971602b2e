"""Every command of the documents: its options exist, and it runs, in the order of the page, on tiny images.

A fence without a language, or of `sh`, holds commands; any other language (text, yaml ...) is not run. Of the commands
only `sqp` is run; any other must stand in `ELSEWHERE` with who runs it. A yaml fence whose first line is `# NAME.yaml`
is that file, a python fence is run with an image and its mask at hand. What makes a run small is put behind a command's
own options (`SMALL`), and LiteMedSAM is a fake of the same interface. `sqp ...` between backticks is checked, not run.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from fakes import FakeSegmenter, put_fake
from PIL import Image
from tiny_volumes import write_data

from sqp import segmenters
from sqp.cli.main import _joined, main
from sqp.cli.overview import COMMANDS
from sqp.cli.parser import parse
from sqp.core.errors import ConfigError
from sqp.data.synthetic import write_synthetic
from sqp.records import fitted
from sqp.segmenters.weights import locate

ROOT = Path(__file__).parents[1]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]
ELSEWHERE = {"make": ".ci/run"}
SMALL = {
    "generate": ["--sampler.n=2", "--workers=0"],
    "train": ["--epochs=1", "--size=32", "--alpha=0.3", "--workers=0", "--progress=false"],
    "predict": ["--gallery=3", "--worst=1"],
    "evaluate": ["--n_resamples=20", "--gallery=3"],
    "explain": ["--max_records=8", "--checked=2", "--neighbours=2", "--cases=1", "--n_resamples=20"],
    "fit localizer": ["--size=64", "--epochs=1", "--progress=false"],
    "fit segmenter": ["--width=4", "--epochs=1", "--progress=false"],
    "export": [],
    "status": [],
    "merge": [],
}
MADE_BEFORE = {
    "explain.md": [
        "sqp generate --images my/images --truth my/masks --out runs/mine/records",
        "sqp train --records runs/mine/records --out runs/mine/model",
    ]
}
"""What a page takes for granted, as its reader comes from the README."""
SLOW = {"README.md", "explain.md", "fitting.md", "guide.md", "references.md", "tutorial.md", "volumes.md"}


class Block(NamedTuple):
    """A fence: its language and what it holds."""

    language: str
    text: str


def blocks(page: Path) -> Iterator[Block]:
    for language, text in re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
        yield Block(language, text)


def commands(text: str) -> list[list[str]]:
    """The words of each command; lines that end in a backslash are joined, comments left out."""
    lines = text.replace("\\\n", " ").splitlines()
    return [words for words in (shlex.split(line, comments=True) for line in lines) if words]


def shell_commands(page: Path) -> list[list[str]]:
    return [words for block in blocks(page) if block.language in ("", "sh") for words in commands(block.text)]


def check_options(words: list[str]) -> None:
    """ConfigError for an option that `sqp` does not know; what an excerpt leaves out may be missing, and its files."""
    name, *args = _joined([word for word in words[1:] if word != "..."])
    if name not in COMMANDS:
        raise ConfigError(f"unknown command 'sqp {name}'")
    cut = "..." in words or "--config" in args  # what the rest lacks, or contradicts, may be there
    if "--config" in args:
        del args[args.index("--config") : args.index("--config") + 2]
    try:
        parse(name, args)
    except ConfigError as error:
        partly = any(sentence in str(error) for sentence in ("is missing", "expected one argument"))
        if "unknown" in str(error) or not (cut or partly):
            raise


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_has_options_that_exist(page, capsys):
    for words in shell_commands(page):
        assert words[0] == "sqp" or words[0] in ELSEWHERE, f"{words[0]} is run by no test: mark its fence as text"
        if words[0] == "sqp":
            check_options(words)
    prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for told in re.findall(r"`(sqp [a-z][^`]*)`", prose):
        words = shlex.split(" ".join(told.split()))
        if len(words) > 2 and "COMMAND" not in words and words[1] in {name.split()[0] for name in COMMANDS}:
            check_options(words)


@pytest.mark.parametrize(
    "wrong",
    ["sqp generate --images a --out b --sampler.m 3", "sqp evalute --records a", "sqp train --records a --epoch 3"],
)
def test_a_wrong_option_is_noticed(wrong):
    with pytest.raises(ConfigError, match=r"unknown (option|command)"):
        check_options(shlex.split(wrong))


FIGURE = re.compile(
    r"(?<![\w.,\[])(?:\d\.\d{3}(?: \[\d\.\d{3}, \d\.\d{3}\])?|\d{1,3}(?:,\d{3})+)(?![\d.,]\d)",
)
"""A number of three decimals, with its interval where it has one, or a count such as 3,457."""


@pytest.mark.parametrize("page", ["README.md", "docs/results.md", "docs/guide.md"])
def test_every_figure_stands_in_a_benchmark(page):
    measured = "\n".join(path.read_text() for path in sorted((ROOT / "benchmarks").rglob("*.md")))
    told = set(FIGURE.findall((ROOT / page).read_text()))
    assert told and not sorted(figure for figure in told if figure not in measured)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Tiny images with masks as the pages name them, and a LiteMedSAM that costs nothing."""
    for name, seed, number in (("my", 3, 60), ("new", 4, 4), ("few", 6, 4)):
        write_synthetic(tmp_path / name, number, seed=seed, size=(48, 64))
        (tmp_path / name / "labels.csv").unlink()
    write_data(tmp_path / "mr", 30)
    write_data(tmp_path / "new_mr", 2)
    write_synthetic(tmp_path / "more_my", 40, seed=5, size=(48, 64))
    write_data(tmp_path / "more_mr", 20)
    for name, truth in (("my", "masks"), ("mr", "labels")):  # of other cases, so of other names
        for kind in ("images", truth):
            (tmp_path / name / f"more_{kind}").mkdir()
            for file in (tmp_path / f"more_{name}" / kind).iterdir():
                file.rename(tmp_path / name / f"more_{kind}" / f"more_{file.name}")
    put_fake(monkeypatch)
    monkeypatch.setattr(fitted, "locate", locate)  # the bundles that come with sqp ask for LiteMedSAM's own hash
    monkeypatch.setitem(
        segmenters.SEGMENTERS, "litemedsam", lambda checkpoint=None, **options: FakeSegmenter(channels=256)
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(words: list[str]) -> None:
    """A command that must end well, with what makes it small."""
    name = _joined(words[1:])[0]
    small = [*SMALL[name], *(["--patch=16"] if words[1] == "fit" and "unet3d" in words else [])]
    assert main([*words[1:], *small]) == 0, " ".join(words)


def on_page(names: set[str], slow: bool) -> list[Path]:
    return [page for page in PAGES if (page.name in names) == slow and shell_commands(page)]


def run_page(page: Path, home: Path, patch: pytest.MonkeyPatch) -> None:
    """All that the page has its reader do; a function `build_NAME` is the segmenter of that name from then on."""
    for command in MADE_BEFORE.get(page.name, []):
        run(shlex.split(command))
    image = np.asarray(Image.open(next((home / "new" / "images").iterdir())))
    mask = np.asarray(Image.open(next((home / "new" / "masks").iterdir()))) > 127
    for block in blocks(page):
        if block.language in ("", "sh"):
            for words in commands(block.text):
                if words[0] == "sqp":
                    run(words)
        elif block.language == "yaml" and (found := re.match(r"# (\w+\.yaml)\n", block.text)):
            (home / found[1]).write_text(block.text)
        elif block.language == "python":
            space = {"image": image, "mask": mask}
            exec(compile(block.text, str(page), "exec"), space)
            builders = {key.removeprefix("build_"): one for key, one in space.items() if key.startswith("build_")}
            for name, builder in builders.items():
                patch.setitem(segmenters.SEGMENTERS, name, builder)


@pytest.mark.parametrize("page", on_page(SLOW, False), ids=lambda page: page.name)
def test_the_commands_run(page, home, monkeypatch, capsys):
    run_page(page, home, monkeypatch)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("page", on_page(SLOW, True), ids=lambda page: page.name)
def test_the_commands_of_long_pages_run(page, home, monkeypatch, capsys):
    run_page(page, home, monkeypatch)
