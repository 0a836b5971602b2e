"""The command line: exit statuses, one clear sentence, nearest names, YAML, help that answers at once."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from sqp.cli import main as cli
from sqp.cli.groups import BASIC, GENERAL, GROUPS
from sqp.cli.main import main
from sqp.cli.options import flat_hints, option_names
from sqp.cli.overview import COMMANDS
from sqp.cli.parser import config_class, from_mapping, parse
from sqp.config.generate import GenerateConfig
from sqp.core.errors import CaseError, ConfigError


def test_help_names_every_command_and_imports_nothing_heavy():
    code = "import sys; from sqp.cli.main import main; main(['--help']); print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert all(name in out for name in COMMANDS)
    assert out.strip().endswith("False")


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["export", "--help"]])
def test_a_reader_that_has_gone_is_no_error(args):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write) as gone:
        done = subprocess.run([sys.executable, "-m", "sqp", *args], stdout=gone, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_help_and_prints_its_config(name, capsys):
    assert main([name, "--help"]) == 0
    option = "card" if name == "export" else "out"
    assert f"--{option}" in capsys.readouterr().out
    assert main([name, "--print_config"]) == 0
    assert f"{option}:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["genrate"], "unknown command 'genrate', did you mean 'generate'?"),
        (["fit", "--out", "y"], "`sqp fit segmenter`, `sqp fit localizer`, `sqp fit classifier`"),
        (["generate", "--imags", "x"], "unknown option 'imags', did you mean 'images'?"),
        (["train", "--records", "x", "--out", "y", "--epoch", "3"], "unknown option 'epoch', did you mean 'epochs'?"),
        (["generate", "--images", "x"], "the option --out is missing"),
        (["generate", "--images", "x", "--out", "y", "--sampler.ratios", "1"], "did you mean 'sampler.ratio'?"),
        (["generate", "--images", "x", "--out", "y", "--checkpont", "f"], "did you mean 'segmenter.checkpoint'?"),
        (["generate", "--images", "x", "--out", "y", "--corruptions", "3"], "did you mean 'variants.*.corruptions'?"),
        (["generate", "--images", "x", "--out", "y", "--name", "a"], "write --segmenter.name or --sampler.name"),
        (["generate", "--images", "x", "--out", "y", "--seed", "one"], "seed"),
        (["generate", "--images", "/nowhere", "--out", "y"], "/nowhere does not exist"),
        (["generate", "--config", "/nowhere.yaml"], "/nowhere.yaml"),
        (["train", "--records", "/nowhere", "--out", "y"], "/nowhere is no record set"),
        (["export", "--model", "/nowhere"], "export needs --onnx FILE, --card FILE or both"),
        (["export", "--model", "/nowhere", "--card", "c.md"], "/nowhere is no bundle"),
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


FOUND = ["--images", "a", "--out", "b"]


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--max-images=5", "--strict=false"], {"max_images": 5, "strict": False}),
        (["--max_images", "5", "--strict"], {"max_images": 5, "strict": True}),
        (["--only=train"], {"only": ["train"]}),
        (["--only=train", "val"], {"only": ["train", "val"]}),
        (["--only", "train", "--only", "val", "test"], {"only": ["train", "val", "test"]}),
        (["--only", "[train,", "val]"], {"only": ["train", "val"]}),
        (["--truth=a=b"], {"truth": Path("a=b")}),
        (["--checkpoint", "w.pth", "--n=3"], {"segmenter.checkpoint": Path("w.pth"), "sampler.n": 3}),
        (["--sampler", "tta", "--segmenter=medsam"], {"sampler.name": "tta", "segmenter.name": "medsam"}),
        (["--sampler", "{name: tta, n: 2}"], {"sampler.name": "tta", "sampler.n": 2}),
        (["--variants.train.truth-jitter=3"], {"variants.train.truth_jitter": 3}),
    ],
)
def test_options_as_people_type_them(args, expected):
    config = parse("generate", [*FOUND, *args])
    for name, value in expected.items():
        found = config
        for part in name.split("."):
            found = found[part] if isinstance(found, dict) else getattr(found, part)
        assert found == value


def test_the_file_of_a_group_stays_a_file(tmp_path):
    (tmp_path / "s.yaml").write_text("{name: tta, n: 2}")
    assert parse("generate", [*FOUND, "--sampler", str(tmp_path / "s.yaml")]).sampler.n == 2


def test_equal_signs_and_tuples_of_other_commands():
    config = parse("predict", ["--model=m", "--out=o", "--records=a", "--records=b", "--fail-under=0.7"])
    assert (config.fail_under, config.records) == (0.7, [Path("a"), Path("b")])
    for size in (["--size", "96", "128"], ["--size=96,128"], ["--size=[96, 128]"]):
        assert parse("demo", size).size == (96, 128)


def test_the_short_forms_are_told(capsys):
    main(["--help"])
    assert "--segmenter.checkpoint FILE" in capsys.readouterr().out
    main(["generate", "--help"])
    assert "--segmenter.checkpoint FILE" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("bad", ["smapler: {n: 4}", "sampler: {nn: 4}", "variants:\n  train: {corruption: 3}"])
def test_unknown_keys_of_yaml_are_refused_with_the_nearest(tmp_path, bad):
    path = tmp_path / "c.yaml"
    path.write_text(f"images: a\nout: b\n{bad}\n")
    with pytest.raises(ConfigError, match=r"unknown option .* did you mean"):
        parse("generate", ["--config", str(path)])


def test_option_names_are_dotted():
    assert {"images", "segmenter.checkpoint", "variants.*.corruptions"} <= set(option_names(GenerateConfig))


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


def stage(monkeypatch, run):
    monkeypatch.setattr(cli, "import_module", lambda name: SimpleNamespace(run=run))
    monkeypatch.setattr(cli, "parse", lambda name, args: object())


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (errno.ENOSPC, "the disk is full, could not write there/x"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EACCES, "no permission for there/x"),
        (errno.EROFS, "choose another folder"),
        (errno.ENOENT, "there/x does not exist"),
        (errno.ENOTDIR, "there/x is, or lies under, a file"),
        (errno.EIO, "there/x (Input/output error)"),
    ],
)
def test_an_error_of_the_system_is_one_sentence(monkeypatch, capsys, code, message):
    def run(config):
        raise OSError(code, os.strerror(code), "there/x")

    stage(monkeypatch, run)
    assert main(["generate"]) == 2
    err = capsys.readouterr().err
    assert message in err and "Traceback" not in err and len(err.strip().splitlines()) == 1


def test_out_that_is_a_file(monkeypatch, tmp_path, capsys):
    (tmp_path / "out").write_text("")
    stage(monkeypatch, lambda config: (tmp_path / "out").mkdir(exist_ok=True))
    assert main(["generate"]) == 2
    assert f"{tmp_path / 'out'} is, or lies under, a file" in capsys.readouterr().err
    stage(monkeypatch, lambda config: (tmp_path / "out" / "deeper").mkdir(parents=True))
    assert main(["generate"]) == 2


def test_sigterm_is_as_ctrl_c_and_the_handler_goes_again(monkeypatch):
    finished = []

    def run(config):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        finally:
            finished.append(True)

    before = signal.getsignal(signal.SIGTERM)
    stage(monkeypatch, run)
    assert main(["generate"]) == 130
    assert finished and signal.getsignal(signal.SIGTERM) is before


def test_main_runs_in_another_thread(monkeypatch):
    stage(monkeypatch, lambda config: None)
    statuses = []
    thread = threading.Thread(target=lambda: statuses.append(main(["generate"])))
    thread.start()
    thread.join()
    assert statuses == [0]


def test_a_bug_is_not_swallowed(monkeypatch):
    def run(config):
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "import_module", lambda name: SimpleNamespace(run=run))
    monkeypatch.setattr(cli, "parse", lambda name, args: object())
    with pytest.raises(ZeroDivisionError):
        main(["generate"])


def test_one_file_holds_the_sections_of_a_pipeline(tmp_path):
    path = tmp_path / "pipeline.yaml"
    path.write_text("generate: {images: a, out: b, sampler: {n: 4}}\ntrain: {records: [b], out: c, size: 64}\n")
    assert parse("generate", ["--config", str(path)]).sampler.n == 4
    config = parse("train", [f"--config={path}", "--size", "32"])
    assert (config.size, config.records) == (32, [Path("b")])
    with pytest.raises(ConfigError, match="has no section 'evaluate'; it has: generate, train"):
        parse("evaluate", ["--config", str(path)])
    path.write_text("generate: [")
    with pytest.raises(ConfigError, match="is no YAML"):
        parse("generate", ["--config", str(path)])


def test_a_part_of_a_scripts_yaml_is_checked_like_options():
    config = from_mapping("train", {"records": ["a"], "out": "b", "scores": ["all"]})
    assert config.records == [Path("a")] and config.out == Path("b") and config.scores == ["all"]
    for values, message in (
        ({"out": "b"}, "the option --records is missing"),
        ({"records": ["a"], "out": "b", "sizes": 64}, "unknown option 'sizes', did you mean 'size'"),
        ({"records": ["a"], "out": "b", "size": "large"}, "--size is 'large'; it must be a whole number"),
    ):
        with pytest.raises(ConfigError, match=message):
            from_mapping("train", values)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sampler.n", "abc"], "the option --sampler.n is 'abc'; it must be a whole number"),
        (["--seed", "1.5"], "the option --seed is '1.5'; it must be a whole number"),
        (["--workers", "many"], "the option --workers is 'many'; it must be a whole number, or null"),
        (["--sampler.edges", "maybe"], "the option --sampler.edges is 'maybe'; it must be true or false"),
        (["--label", "x"], "the option --label is 'x'; it must be a whole number, or several of them"),
        (["--variants", "3"], "the option --variants is '3'; it must be a mapping"),
        (["--sampler.p", "x"], "the option --sampler.p is 'x'; it must be a number"),
        (["--seed"], "the option --seed needs a value: a whole number"),
        (["--truth", ""], "the option --truth is empty: give a path"),
        (["--truth="], "the option --truth is empty: give a path"),
    ],
)
def test_a_wrong_type_is_told_in_words(options, message):
    with pytest.raises(ConfigError) as error:
        parse("generate", ["--images", "a", "--out", "b", *options])
    assert message in str(error.value) and "class" not in str(error.value)


def test_an_empty_path_is_not_the_current_folder(tmp_path):
    (tmp_path / "c.yaml").write_text("images: ''\nout: o\n")
    (tmp_path / "d.yaml").write_text("generate:\n  images: a\n  out: o\n  referee:\n    weights: ''\n")
    (tmp_path / "e.yaml").write_text("images: a\nout: o\nsampler: 3\n")
    for argv, message in (
        (["--images", "", "--out", "b"], "--images is empty"),
        (["--config", str(tmp_path / "c.yaml")], "images is empty"),
        (["--config", str(tmp_path / "d.yaml")], "referee.weights is empty"),
        (["--config", str(tmp_path / "e.yaml")], "sampler is 3; it must be a mapping"),
    ):
        with pytest.raises(ConfigError, match=message):
            parse("generate", argv)


@pytest.mark.parametrize(
    ("command", "options", "message"),
    [
        ("predict", ["--records", "r", "--checkpoint", "x"], "--checkpoint is about records that are made of --images"),
        ("predict", ["--records", "r", "--prompter", "otsu"], "--prompter is about records"),
        ("predict", ["--images", "i", "--masks", "m", "--prompter", "otsu"], "--prompter is about the segmenter's own"),
        ("predict", ["--model", "fast", "--images", "I", "--masks", "I", "--checkpoint", "I"], "--checkpoint is given"),
        ("predict", ["--model", "fast", "--images", "I", "--masks", "I", "--localizer", "I"], "--localizer is given"),
        (
            "generate",
            ["--images", "I", "--masks", "I", "--segmenter", "none", "--checkpoint", "x"],
            "segmenter is none",
        ),
        ("generate", ["--images", "I", "--checkpoint", "x", "--checkpoints", "y", "z"], "both given"),
    ],
)
def test_an_option_that_would_say_nothing_is_refused(command, options, message, tmp_path, capsys):
    argv = [str(tmp_path) if option == "I" else option for option in options]
    assert main([command, *argv, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--network", "unnet"], "unknown network 'unnet', did you mean 'unet'? known: unet, fpn_resnet50, fpn,"),
        (["--layout=isik"], "unknown layout 'isik', did you mean 'isic'? known: auto, prepared,"),
        (["--val_split", "vall"], "unknown split 'vall', did you mean 'val'? known: segmenter,"),
        (["--train_splits", "train", "tranes"], "unknown split 'tranes', did you mean 'train'? known: segmenter,"),
    ],
)
@pytest.mark.parametrize("yaml", [False, True])
def test_a_wrong_choice_is_told_with_the_nearest_and_all_names(options, message, yaml, tmp_path, capsys):
    name, *values = " ".join(options).replace("=", " ").split()
    if yaml:
        (tmp_path / "c.yaml").write_text(f"{name[2:]}: {values[0] if len(values) == 1 else values}\n".replace("'", ""))
        options = ["--config", str(tmp_path / "c.yaml")]
    assert main(["fit", "segmenter", "--images", "a", "--out", str(tmp_path / "o"), *options]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"sqp: {message}") and "fit segmenter" not in err


@pytest.mark.parametrize("name", GROUPS)
def test_help_has_basic_options_first_and_every_option_once(name, capsys):
    main([name, "--help"])
    text = capsys.readouterr().out
    titles = [line.rstrip(":") for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert titles[: len(GROUPS[name])] == list(GROUPS[name]) and titles[-1] == GENERAL
    shown = re.findall(r"^  --([\w.]+)", text, re.M)
    assert len(shown) == len(set(shown)) and set(flat_hints(config_class(name))) - {"BOUNDS"} <= set(shown)
    assert shown[: len(GROUPS[name][BASIC])] == list(GROUPS[name][BASIC])
    assert "<class" not in text and "ITEM" not in text


def test_predict_help_fits_two_screens(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    main(["predict", "--help"])
    assert capsys.readouterr().out.count("\n") <= 2 * 66


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["predict", "--images", "/nowhere", "--model", "fast"], "--images /nowhere does not exist: check the path"),
        (["predict", "--images", ".", "--masks", "/no"], "--masks /no does not exist"),
        (["predict", "--images", ".", "--model", "fst"], "'fst', did you mean 'fast'?"),
        (["predict", "--images", ".", "--checkpoints", ".", "/n.pth"], "--checkpoints /n.pth does not exist"),
        (["generate", "--images", ".", "--out", "x", "--referee.weights", "/n"], "--referee.weights /n does not exist"),
        (["train", "--records", ".", "--out", "x", "--pretrained_file", "/n"], "--pretrained_file /n does not exist"),
        (["train", "--records", ".", "--out", "x", "--optimizer", "adamv"], "did you mean 'adam'?"),
        (["train", "--records", ".", "--out", "x"], ". is no record set: no records.parquet; make one with"),
        (["generate", "--images", ".", "--out", "x", "--segmenter", "litemedsm"], "did you mean 'litemedsam'?"),
        (["generate", "--images", ".", "--out", "x", "--prompter", "ots"], "unknown prompter 'ots', did you mean"),
        (["predict", "--images", ".", "--references", "/r"], "--references /r does not exist"),
        (
            ["predict", "--images", ".", "--risk", "0.1", "--audit", "9", "--audit_decisions", "/d.json"],
            "--audit_decisions /d.json does not exist: save it on the page of `sqp predict`",
        ),
        (["predict", "--config", "/c.yaml"], "--config /c.yaml does not exist: check the path"),
    ],
)
def test_small_mistakes_are_told_before_torch_is_imported(args, message):
    code = "import sys; from sqp.cli.main import main; print(main(sys.argv[1:]), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True)
    assert message in done.stderr and done.stdout.split() == ["2", "False"]


def test_help_lists_the_choices_of_an_option_and_of_a_list(capsys):
    main(["fit", "segmenter", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "{unet,fpn_resnet50,fpn,swin_unet,unet3d,unet25d,litemedsam,universeg}" in said and "(default: unet)" in said
    assert "{segmenter,train,calibration,val,test,raters} ..." in said


def test_a_tilde_of_a_config_leads_home_whoever_gives_it():
    config = config_class("generate")(images=Path("~/x"), out=Path("y"), masks=Path("~/m"))
    assert (config.images, config.masks) == (Path.home() / "x", Path.home() / "m")
    config.segmenter.checkpoint = Path("~/w.pth")
    assert config.segmenter.checkpoint == Path.home() / "w.pth"
    assert from_mapping("train", {"records": ["~/a"], "out": "~/b"}).records == [Path.home() / "a"]
