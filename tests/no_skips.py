"""In CI a test that skips has failed: what it needs is installed there, or the reason stands in `EXPLAINED`.

Set SQP_NO_SKIPS=1 to have it so; `.ci/run` does.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

EXPLAINED = {
    "CUDA": "a machine without an NVIDIA GPU",
    "glibc": "not Linux, or one of another C library",
    "Ray did not start": "a machine so busy that Ray gives up its own processes, for which it waits 15 to 30 s",
    "oneDNN": "PyTorch without oneDNN, as on some ARM machines",
}
"""A word in the reason of a skip -> on which machines that test has nothing to test."""

Report = pytest.TestReport | pytest.CollectReport


def _judged(report: Report) -> Report:
    """The report, failed where it is of a skip that nothing explains."""
    if not os.environ.get("SQP_NO_SKIPS") or not report.skipped or hasattr(report, "wasxfail"):
        return report
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not any(word in reason for word in EXPLAINED):
        report.outcome = "failed"
        report.longrepr = f"nothing may skip here (SQP_NO_SKIPS is set): {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Report, Report]:
    """A test, or its set-up, that skips."""
    return _judged((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Report, Report]:
    """A whole file that skips when it is imported."""
    return _judged((yield))
