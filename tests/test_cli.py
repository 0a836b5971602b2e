"""The command line: exit statuses, one clear sentence, nearest names, YAML, help that answers at once."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from sqp import cli
from sqp.cli import COMMANDS, main, option_names, parse
from sqp.config.generate import GenerateConfig
from sqp.errors import CaseError, ConfigError


def test_help_names_every_command_and_imports_nothing_heavy():
    code = "import sys; from sqp.cli import main; main(['--help']); print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert all(name in out for name in COMMANDS)
    assert out.strip().endswith("False")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_help_and_prints_its_config(name, capsys):
    assert main([name, "--help"]) == 0
    assert "--out" in capsys.readouterr().out
    assert main([name, "--print_config"]) == 0
    assert "out:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["genrate"], "unknown command 'genrate', did you mean 'generate'?"),
        (["generate", "--imags", "x"], "unknown option 'imags', did you mean 'images'?"),
        (["generate", "--images", "x"], "the option --out is missing"),
        (["generate", "--images", "x", "--out", "y", "--sampler.ratios", "1"], "did you mean 'sampler.ratio'?"),
        (["generate", "--images", "x", "--out", "y", "--seed", "one"], "seed"),
        (["generate", "--images", "/nowhere", "--out", "y"], "/nowhere does not exist"),
        (["generate", "--config", "/nowhere.yaml"], "/nowhere.yaml"),
        (["train", "--records", "/nowhere", "--out", "y"], "/nowhere is no record set"),
        (["predict", "--model", "/nowhere", "--records", "r", "--out", "y"], "/nowhere is no bundle"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_status_2(args, message, capsys):
    assert main(args) == 2
    err = capsys.readouterr().err
    assert err.startswith("sqp: ") and message in err
    assert "Traceback" not in err and len(err.strip().splitlines()) == 1


def test_yaml_flags_bare_booleans_and_lists(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("images: a\nout: b\nonly: [train]\nsampler: {n: 4}\nvariants:\n  train: {corruptions: 3}\n")
    config = parse("generate", ["--config", str(path), "--strict", "--only", "val", "test", "--sampler.n", "5"])
    assert isinstance(config, GenerateConfig)
    assert (config.strict, config.only, config.sampler.n) == (True, ["val", "test"], 5)
    assert config.variants["train"].corruptions == 3


@pytest.mark.parametrize("bad", ["smapler: {n: 4}", "sampler: {nn: 4}", "variants:\n  train: {corruption: 3}"])
def test_unknown_keys_of_yaml_are_refused_with_the_nearest(tmp_path, bad):
    path = tmp_path / "c.yaml"
    path.write_text(f"images: a\nout: b\n{bad}\n")
    with pytest.raises(ConfigError, match="unknown option .* did you mean"):
        parse("generate", ["--config", str(path)])


def test_option_names_are_dotted():
    assert {"images", "segmenter.checkpoint", "variants.corruptions"} <= set(option_names(GenerateConfig))


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (SimpleNamespace(summary=lambda: "fine"), 0),
        (SimpleNamespace(exit_status=1, summary=lambda: "one skipped"), 1),
        (SimpleNamespace(exit_status=3), 3),
        (CaseError("broken.jpg is truncated"), 2),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_statuses(monkeypatch, tmp_path, outcome, status):
    def run(config):
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    monkeypatch.setattr(cli, "import_module", lambda name: SimpleNamespace(run=run))
    monkeypatch.setattr(cli, "parse", lambda name, args: object())
    assert main(["generate"]) == status


def test_a_bug_is_not_swallowed(monkeypatch):
    def run(config):
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "import_module", lambda name: SimpleNamespace(run=run))
    monkeypatch.setattr(cli, "parse", lambda name, args: object())
    with pytest.raises(ZeroDivisionError):
        main(["generate"])
