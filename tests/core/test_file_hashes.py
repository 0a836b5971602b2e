from __future__ import annotations

import os
import shutil

import pytest

from sqp.core import files as hashing
from sqp.core.files import sha256_of, sha256_of_all, stamp_of, unchanged


@pytest.fixture
def files(tmp_path):
    """A file, and a folder of two and a hidden one."""
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "series").mkdir()
    for name in ("1", "2", ".DS_Store"):
        (tmp_path / "series" / name).write_bytes(name.encode())
    return [tmp_path / "a", tmp_path / "series"]


def test_the_hash_is_that_of_the_content(files):
    assert sha256_of(files[0]) == "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"  # sha256sum
    assert sha256_of_all([files[0]]) == sha256_of_all(files[:1]) != sha256_of(files[0])


def test_a_stamp_holds_while_the_content_does(files, monkeypatch):
    stamp = stamp_of(files)
    for path in (files[0], files[1] / "1"):
        os.utime(path, ns=(1, 1))
    assert unchanged(stamp, files)  # touched, or copied without its time
    moved = [files[0], files[1].with_name("moved")]
    shutil.copytree(files[1], moved[1])
    assert unchanged(stamp, moved)
    (files[1] / ".other").write_bytes(b"hidden")
    assert unchanged(stamp, files)
    stamp = stamp_of(files)
    monkeypatch.setattr(hashing, "sha256_of", None)
    assert unchanged(stamp, files)  # nothing was read


@pytest.mark.parametrize("change", ["content", "size", "gone", "slice gone", "more", "fewer", "order"])
def test_a_stamp_tells_every_change(files, change):
    stamp = stamp_of(files)
    if change == "content":
        files[0].write_bytes(b"two")
        os.utime(files[0], ns=(5, 5))
    elif change == "size":
        (files[1] / "2").write_bytes(b"22")
    elif change == "gone":
        files[0].unlink()
    elif change == "slice gone":
        (files[1] / "2").unlink()
    files = {"more": [*files, files[0]], "fewer": files[:1], "order": files[::-1]}.get(change, files)
    assert not unchanged(stamp, files)
