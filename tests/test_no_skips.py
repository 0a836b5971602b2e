"""A skip that nothing explains fails where SQP_NO_SKIPS is set."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest

def test_passes():
    pass

def test_explained():
    pytest.skip("no CUDA device")

@pytest.mark.skipif(True, reason="no chromium")
def test_by_mark():
    pass

@pytest.fixture
def lacking():
    pytest.importorskip("a_module_that_nobody_has")

def test_by_fixture(lacking):
    pass

@pytest.mark.xfail(reason="known", strict=True)
def test_expected_failure():
    assert False
"""
MODULE = 'import pytest\npytest.importorskip("a_module_that_nobody_has")\n'


@pytest.mark.parametrize(
    ("no_skips", "counts"), [("1", "1 passed, 1 skipped, 1 xfailed, 3 errors"), ("", "1 passed, 4 skipped, 1 xfailed")]
)
def test_which_skips_fail(tmp_path, no_skips, counts):
    (tmp_path / "test_one.py").write_text(TESTS)
    (tmp_path / "test_whole.py").write_text(MODULE)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "SQP_NO_SKIPS": no_skips}
    command = [sys.executable, "-m", "pytest", "-p", "no_skips", "-p", "no:cacheprovider", "-c", os.devnull, "-n", "0"]
    command += ["--rootdir", str(tmp_path), "--continue-on-collection-errors", str(tmp_path)]
    told = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path).stdout
    assert counts in told
    assert ("nothing may skip here (SQP_NO_SKIPS is set): Skipped: no chromium" in told) == bool(no_skips)
