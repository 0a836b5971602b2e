"""A folder belongs to the command that made it: nobody else's file is written over or cleared."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import yaml

from sqp.core import files as atomic
from sqp.core.errors import ConfigError, SqpError
from sqp.core.files import note_written, write_text
from sqp.core.ownership import EARLIER, LOCK, MARKER, check_owner, owned, read_marker, remove_written


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name != LOCK)


def test_the_marker_names_the_command_and_what_it_wrote(tmp_path):
    out = tmp_path / "out"
    with owned(out, "train"):
        assert (out / MARKER).is_file()
        write_text(out / "run.yaml", "a")
        (out / "logs").mkdir()
        note_written(out / "logs" / "metrics.csv")
        write_text(tmp_path / "elsewhere", "b")
    told = yaml.safe_load((out / MARKER).read_text())
    assert told["command"] == "train" and told["version"] and told["wrote"] == ["run.yaml", "logs/metrics.csv"]
    with owned(out, "train"):
        write_text(out / "run.yaml", "c")
    assert read_marker(out).wrote == ["run.yaml", "logs/metrics.csv"]


@pytest.mark.parametrize("command", ["generate", "train", "predict", "evaluate", "explain", "compare", "demo"])
def test_a_folder_of_the_user_is_refused_untouched(tmp_path, command):
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "mine.png").write_text("precious")
    with (
        pytest.raises(ConfigError, match="holds files that are not sqp's: choose another --out"),
        owned(tmp_path, command),
    ):
        pass
    assert names(tmp_path) == ["masks/mine.png"] and not (tmp_path / LOCK).exists()


def test_a_folder_of_another_command_is_refused(tmp_path):
    with owned(tmp_path, "generate"):
        write_text(tmp_path / "run.yaml", "a")
    with pytest.raises(ConfigError, match=r"belongs to `sqp generate`: choose another --out for `sqp predict`"):
        check_owner(tmp_path, "predict")


def test_an_empty_folder_and_one_of_a_finder_are_taken(tmp_path):
    (tmp_path / ".DS_Store").touch()
    (tmp_path / MARKER).touch()  # of a run that was killed as it wrote it
    with owned(tmp_path, "train") as own:
        assert not own.earlier
    assert read_marker(tmp_path).command == "train"


def test_what_is_cleared_is_what_is_listed(tmp_path):
    with owned(tmp_path, "train"):
        for name in ("run.yaml", "logs/0/metrics.csv", "checkpoints/last.ckpt"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            write_text(tmp_path / name, "")
    for name in ("logs/mine.txt", "notes.txt"):
        (tmp_path / name).touch()
    with owned(tmp_path, "train") as own:
        own.clear()
        assert own.written() == []
    assert names(tmp_path) == [MARKER, "logs/mine.txt", "notes.txt"] and not (tmp_path / "checkpoints").exists()


def test_a_list_that_leads_out_of_the_folder_clears_nothing_there(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.txt").touch()
    out = tmp_path / "out"
    with owned(out, "train"):
        pass
    (out / "link").symlink_to(tmp_path / "mine")
    lines = ['- "../mine/a.txt"', f'- "{tmp_path}/mine/a.txt"', '- "link/a.txt"', "- 7", '- "half']
    with (out / MARKER).open("a") as file:
        file.write("\n".join(lines))
    with owned(out, "train") as own:
        own.clear()
    assert (tmp_path / "mine" / "a.txt").exists()


def test_only_the_commands_own_files_are_replaced(tmp_path):
    with owned(tmp_path, "explain"):
        write_text(tmp_path / "a.png", "")
        (tmp_path / "b.png").touch()
        remove_written(lambda path: path.suffix == ".png")
    assert names(tmp_path) == [MARKER, "b.png"]
    remove_written(lambda path: True)
    assert names(tmp_path) == [MARKER, "b.png"]


@pytest.mark.parametrize("command", EARLIER)
def test_folders_of_versions_without_markers_are_known_by_their_run_yaml(tmp_path, command):
    config = dict.fromkeys(sorted(EARLIER[command]), 1)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({"config": config}))
    other = "train" if command != "train" else "predict"
    with pytest.raises(ConfigError, match=f"belongs to `sqp {command}`"):
        check_owner(tmp_path, other)
    with owned(tmp_path, command):
        write_text(tmp_path / "new", "")
    with owned(tmp_path, command) as own, pytest.raises(ConfigError, match="made by an earlier sqp"):
        own.clear()
    assert names(tmp_path) == [MARKER, "new", "run.yaml"]


@pytest.mark.parametrize("text", ["config: {seed: 1}", "name: my project", "- 1", "{", "\x00"])
def test_another_run_yaml_is_the_users(tmp_path, text):
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(ConfigError, match="not sqp's"):
        check_owner(tmp_path, "generate")


def test_an_earlier_demo_is_known_by_its_records(tmp_path):
    (tmp_path / "records").mkdir()
    config = dict.fromkeys(sorted(EARLIER["generate"]), 1) | {"images": str(tmp_path / "data")}
    (tmp_path / "records" / "run.yaml").write_text(yaml.safe_dump({"config": config}))
    check_owner(tmp_path, "demo")
    with pytest.raises(ConfigError, match="belongs to `sqp demo`"):
        check_owner(tmp_path, "train")


def test_a_second_run_is_refused_while_the_first_lasts(tmp_path):
    with (
        owned(tmp_path, "predict"),
        pytest.raises(ConfigError, match="another run of sqp writes into"),
        owned(tmp_path, "predict"),
    ):
        pass
    with owned(tmp_path, "predict"), owned(tmp_path, "predict", locked=False):
        pass


def test_a_run_that_failed_before_it_wrote_leaves_no_folder(tmp_path):
    with pytest.raises(ConfigError, match="no"), owned(tmp_path / "out", "train"):
        raise ConfigError("no")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match="no"), owned(tmp_path / "out", "train"):
        write_text(tmp_path / "out" / "a", "")
        raise ConfigError("no")
    assert names(tmp_path / "out") == [MARKER, "a"]


def test_a_full_disk_is_told_with_its_folder(tmp_path, monkeypatch):
    with (
        pytest.raises(SqpError, match=f"the disk is full in {tmp_path / 'out'}; what was finished stays"),
        owned(tmp_path / "out", "train"),
    ):
        monkeypatch.setattr(atomic, "_free", lambda folder: 0 if folder == tmp_path / "out" else 1)
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(SqpError, match=r"the disk is full in /there \(could not write x\)"), owned(tmp_path, "train"):
        raise OSError(errno.EDQUOT, "Disk quota exceeded", "/there/x")
    with pytest.raises(OSError, match="input/output error"), owned(tmp_path, "train"):
        raise OSError(errno.EIO, "input/output error")
