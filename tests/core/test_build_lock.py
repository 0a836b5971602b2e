"""A folder is made once, however many want it; one that was left half made is made again."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sqp.core.build_lock import made_once


def test_one_makes_it_and_the_others_say_that_they_wait(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home, made = tmp_path / "caches" / "0a", []

    def want(who: int) -> str:
        with made_once(home) as wanted:
            if wanted:
                made.append(who)
                home.mkdir()
                time.sleep(0.2)
                (home / "whole").write_text("yes")
                (home / "done").touch()
        return (home / "whole").read_text()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(want, range(4))) == ["yes"] * 4
    assert len(made) == 1
    assert capsys.readouterr().err == f"another run is making {home}: waiting for it\n" * 3


def test_what_was_left_half_made_is_wanted_again(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), made_once(tmp_path / "0a") as wanted:
        assert wanted
        raise KeyboardInterrupt
    with made_once(tmp_path / "0a") as wanted:
        assert wanted
