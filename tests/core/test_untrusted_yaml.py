"""Files that are no YAML."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqp.core.errors import ConfigError
from sqp.core.untrusted import read_yaml


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is no text in UTF-8"):
        read_yaml(tmp_path / "a.yaml")


@pytest.mark.parametrize(("text", "message"), [(None, r"a\.yaml does not exist"), ("rows: [", r"a\.yaml is no YAML: ")])
def test_what_cannot_be_read_is_told_in_one_sentence(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_yaml(tmp_path / "a.yaml")
    assert "\n" not in str(caught.value)
