"""Progress: a bar on a terminal, else a plain line now and then, also while nothing is finished."""

from __future__ import annotations

import io
import time

import pytest

from sqp.core import progress
from sqp.core.progress import Progress, followed


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def often(monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0.01)


def wait_for(capsys, text: str) -> str:
    said = ""
    for _ in range(1000):
        said += capsys.readouterr().err
        if text in said:
            return said
        time.sleep(0.01)
    return pytest.fail(f"no '{text}' in {said}")


def test_a_log_gets_plain_lines_also_while_nothing_is_finished(often, capsys):
    with Progress(3, "generate", "image") as bar:
        wait_for(capsys, "generate: 0 of 3 images\n")
        bar.update(2)
        said = wait_for(capsys, "generate: 2 of 3 images, under a minute left\n")
    assert "%" not in said and "\r" not in said
    capsys.readouterr()
    time.sleep(0.05)
    assert capsys.readouterr().err == ""  # it ends with the work


def test_a_terminal_gets_a_bar(often, monkeypatch):
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    with Progress(2, "predict", "record") as bar:
        bar.update(2)
    assert "predict: 100%" in screen.getvalue() and "of 2 records" not in screen.getvalue()


def test_nothing_is_shown_where_it_is_not_wanted(often, capsys):
    with Progress(2, "predict", "record", shown=False) as bar:
        time.sleep(0.05)
        bar.update()
    assert bar.done == 1 and capsys.readouterr().err == ""


def test_items_are_counted_and_all_given_back(often, capsys):
    assert list(followed(iter("abc"), 3, "maps", "batch")) == ["a", "b", "c"]


def test_a_closed_stream_ends_the_lines_not_the_work(often, monkeypatch):
    closed = io.StringIO()
    closed.close()
    with Progress(2, "generate", "image", shown=False) as bar:
        monkeypatch.setattr("sys.stderr", closed)
        bar._lines()
