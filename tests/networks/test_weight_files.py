"""No file of weights runs code, whatever option names it; and what is no weights is named for what it is."""

from __future__ import annotations

import ast
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import sqp
from sqp.cli.main import main
from sqp.core.errors import ConfigError
from sqp.networks.timm_models import create
from sqp.networks.weight_files import read_tensors, without_prefixes
from sqp.segmenters.weights import read_state

RAN: list[str] = []
ROOT = Path(sqp.__file__).parent


def ran(text: str) -> str:
    """What the malicious pickle calls."""
    RAN.append(text)
    return text


class Malicious:
    def __reduce__(self):
        return ran, ("code of the file",)


@pytest.fixture(params=["zip", "legacy", "pickle", "wrapped"])
def malicious(request, tmp_path: Path) -> Path:
    """A checkpoint that runs code when it is unpickled."""
    RAN.clear()
    path = tmp_path / "evil.pth"
    state = {"weight": torch.zeros(2), "x": Malicious()}
    if request.param == "pickle":
        path.write_bytes(pickle.dumps(state))
    elif request.param == "wrapped":
        torch.save({"state_dict": {"weight": torch.zeros(2)}, "epoch": Malicious()}, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=request.param == "zip")
    return path


def test_the_pickle_would_run(malicious: Path) -> None:
    """So the tests below can fail."""
    if malicious.read_bytes()[:2] == b"PK":
        torch.load(malicious, weights_only=False)
    else:
        pickle.loads(pickle.dumps(Malicious()))
    assert RAN


IMAGES = ["--images", "IMAGES", "--out", "OUT"]
OPTIONS = {
    "segmenter, promptable": ["generate", *IMAGES, "--segmenter", "mobilesam", "--checkpoint", "FILE"],
    "segmenter, litemedsam": ["generate", *IMAGES, "--checkpoint", "FILE"],
    "segmenter, plain": ["generate", *IMAGES, "--segmenter", "unet", "--checkpoint", "FILE"],
    "ensemble": ["generate", *IMAGES, "--sampler", "ensemble", "--checkpoints", "FILE", "OTHER"],
    "localizer": ["generate", *IMAGES, "--prompter", "localizer", "--prompter_options", "{checkpoint: FILE}"],
    "cam": ["generate", *IMAGES, "--prompter", "cam", "--prompter_options", "{checkpoint: FILE}"],
    "cam, timm": [
        *["generate", *IMAGES, "--prompter", "cam"],
        *["--prompter_options", "{model: mobilenetv2_035, weights: FILE, size: 64}"],
    ],
    "cascade": ["generate", *IMAGES, "--cascade", "mobilesam", "--cascade_options", "{checkpoint: FILE}"],
    "referee": ["generate", *IMAGES, "--referee", "mobilesam", "--referee.weights", "FILE"],
    "referee's localizer": ["generate", *IMAGES, "--referee", "litemedsam", "--referee.localizer", "FILE"],
    "fusion": ["generate", *IMAGES, "--fusion", "learned", "--fusion_options", "{model: FILE}"],
    "predict": ["predict", *IMAGES, "--checkpoint", "FILE"],
    "predict, referee": ["predict", *IMAGES, "--referee_weights", "FILE", "--masks", "IMAGES"],
    "fit classifier": [
        *["fit", "classifier", *IMAGES, "--model", "mobilenetv2_035", "--size", "64"],
        *["--epochs", "1", "--progress", "false", "--pretrained_file", "FILE"],
    ],
    "fit segmenter": [
        *["fit", "segmenter", *IMAGES, "--network", "fpn", "--encoder", "mobilenetv2_035", "--size", "64"],
        *["--epochs", "1", "--progress", "false", "--pretrained_file", "FILE"],
    ],
    "fit decoder": ["fit", "segmenter", *IMAGES, "--network", "litemedsam", "--pretrained_file", "FILE"],
    "fit localizer": ["fit", "localizer", *IMAGES, "--size", "64", "--progress", "false", "--pretrained_file", "FILE"],
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from sqp.data.synthetic import write_synthetic

    fractions = {"segmenter": 0.4, "train": 0.3, "val": 0.3}
    return write_synthetic(tmp_path_factory.mktemp("data"), 12, seed=0, size=(40, 40), fractions=fractions)


@pytest.mark.parametrize("option", OPTIONS)
def test_by_no_option_does_a_file_run_code(option: str, images: Path, tmp_path: Path, monkeypatch) -> None:
    RAN.clear()
    seen: list[object] = []
    real = torch.load

    def watched(*args, **kwargs):
        seen.append(kwargs.get("weights_only"))
        return real(*args, **kwargs)

    monkeypatch.setattr(torch, "load", watched)
    for loader in (pickle.load, pickle.loads):
        monkeypatch.setattr(pickle, loader.__name__, lambda *_, **__: pytest.fail("a file was unpickled"))
    for name in ("evil.pth", "other.pth"):
        torch.save({"weight": torch.zeros(2), "x": Malicious(), "name": name}, tmp_path / name)
    places = {"IMAGES": images, "OUT": tmp_path / "out", "FILE": tmp_path / "evil.pth", "OTHER": tmp_path / "other.pth"}
    argv = OPTIONS[option]
    for word, place in places.items():
        argv = [token.replace(word, str(place)) for token in argv]
    assert main(argv) == 2
    assert not RAN and all(value is True for value in seen)


def test_nothing_runs_and_the_file_is_named(malicious: Path) -> None:
    for read in (read_tensors, read_state, lambda path: create("mobilenetv2_035", file=path)):
        with pytest.raises(ConfigError, match=r"evil\.pth .*sqp never unpickles: .*state_dict"):
            read(malicious)
    assert not RAN


def test_timm_never_opens_the_file_itself(tmp_path: Path, monkeypatch) -> None:
    import timm.models._builder as builder

    monkeypatch.setattr(builder, "load_state_dict", lambda *_, **__: pytest.fail("timm read the file"))
    torch.save({"module." + k: v for k, v in create("mobilenetv2_035").state_dict().items()}, tmp_path / "w.pth")
    model = create("mobilenetv2_035", file=tmp_path / "w.pth")
    assert model.pretrained_cfg["state_dict"] is None


def test_one_reader_opens_files_of_weights() -> None:
    opening = {
        "torch.load",
        "load_file",
        "safe_open",
        "torch.hub.load_state_dict_from_url",
        "pickle.load",
        "joblib.load",
    }
    for path in ROOT.rglob("*.py"):
        calls = [ast.unparse(n.func) for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
        ours = path.name in ("weight_files.py", "training.py", "trainer.py")  # the last: Lightning's own checkpoints
        assert ours or not opening & set(calls), path


STUBS = {
    "is a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 3\n",
    "is a web page": b"\n<!DOCTYPE html><html></html>",
    "is empty": b"",
    "is an archive": b"\x1f\x8b\x08" + b"0" * 40,
    "is an HDF5 file": b"\x89HDF\r\n" + b"0" * 40,
    "is a plain pickle": pickle.dumps({"a": 1}, protocol=4),
    "is not a readable checkpoint": b"just some text",
    "is no readable safetensors": (40).to_bytes(8, "little") + b'{"a": 1}' + b" " * 40,
}


@pytest.mark.parametrize("what", STUBS)
def test_what_only_looks_like_weights_is_named(what: str, tmp_path: Path) -> None:
    for name in ("w.pth", "w.safetensors"):
        (tmp_path / name).write_bytes(STUBS[what])
        with pytest.raises(ConfigError, match=what):
            read_tensors(tmp_path / name)


def test_whole_models_and_numpy_scalars_are_named(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 3), tmp_path / "model.pth")
    with pytest.raises(ConfigError, match=r"whole pickled model .*torch\.nn\.modules\.linear\.Linear.*state_dict"):
        read_tensors(tmp_path / "model.pth")
    torch.save({"state_dict": {"w": torch.ones(1)}, "best": np.float64(0.5)}, tmp_path / "numpy.pth")
    with pytest.raises(ConfigError, match=r"holds numpy scalars or arrays .*state_dict"):
        read_tensors(tmp_path / "numpy.pth")
    with zipfile.ZipFile(tmp_path / "zip.pth", "w") as archive:
        archive.writestr("readme.txt", "x")
    with pytest.raises(ConfigError, match="is a zip archive without PyTorch's weights"):
        read_tensors(tmp_path / "zip.pth")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "_orig_mod.module.", "model._orig_mod."])
def test_prefixes_of_wrappers_are_left_out(prefix: str, tmp_path: Path) -> None:
    state = {"a.weight": torch.ones(2), "b.bias": torch.zeros(1)}
    torch.save({"state_dict": {prefix + k: v for k, v in state.items()}, "epoch": 3}, tmp_path / "w.pth")
    assert list(read_state(tmp_path / "w.pth")) == list(state)
    assert list(without_prefixes({"model.a": torch.ones(1), "b": torch.ones(1)})) == ["model.a", "b"]


def test_the_content_says_the_format_not_the_ending(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "a.pth")
    torch.save({"a": torch.ones(1)}, tmp_path / "b.safetensors")
    for name in ("a.pth", "b.safetensors"):
        assert list(read_tensors(tmp_path / name)) == ["a"]
