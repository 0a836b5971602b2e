from __future__ import annotations

from pathlib import Path

import pytest

from sqp.core.errors import ConfigError
from sqp.core.types import Case
from sqp.data.licences import of_licences

CASES = [Case(name, Path(f"{name}.png"), licence=licence) for name, licence in (("a", "CC-0"), ("b", "NOS"), ("c", ""))]


def test_cases_of_the_named_licences():
    assert of_licences(CASES, []) == CASES
    assert [case.image_id for case in of_licences(CASES, ["CC-0"])] == ["a"]
    assert [case.image_id for case in of_licences(CASES, ["NOS", "unknown"])] == ["b", "c"]


def test_none_is_left():
    with pytest.raises(ConfigError, match="no case has the licence CC0; the data has: CC-0, NOS, unknown"):
        of_licences(CASES, ["CC0"])
