"""The wheel installs alone in a fresh environment, and judges masks there with what it brings."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
import yaml

import sqp
from sqp.data.synthetic import write_synthetic

ROOT = Path(__file__).parents[1]
MOST = 40e6
"""Bytes of the wheel, the bundles in it."""
OWN = re.compile(r"sqp(/|-[\d.]+\.dist-info/)")


def said(*words: str | Path, cwd: Path) -> str:
    """What a command says that must end well, in an environment that does not know this checkout."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run([*map(str, words)], cwd=cwd, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built of what is committed or about to be; the sources stay as they are."""
    folder = tmp_path_factory.mktemp("wheel")
    names = said("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).splitlines()
    for name in (name for name in names if (ROOT / name).is_file()):
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "source" / name).write_bytes((ROOT / name).read_bytes())
    said(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, folder / "source", cwd=folder)
    (built,) = folder.glob("sqp-*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_holds_sqp_alone_with_its_data(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert all(OWN.match(name) for name in names)
    tree = {path.relative_to(ROOT).as_posix() for path in (ROOT / "sqp").rglob("*") if path.is_file()}
    lacking = {name for name in tree - set(names) if "__pycache__" not in name}
    assert not lacking
    assert wheel.stat().st_size < MOST


@pytest.mark.slow
def test_it_installs_alone_and_judges(wheel, tmp_path):
    """The libraries are those of this environment: what is tested is what sqp itself brings."""
    said(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    home = Path(said(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip())
    pip = [sys.executable, "-m", "pip", "--python", python]
    said(*pip, "install", "-q", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    (home / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")  # of that folder no .pth is followed

    command = tmp_path / "venv" / "bin" / "sqp"
    where = said(python, "-c", "import sqp; print(sqp.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(home)
    assert said(command, "--version", cwd=tmp_path).strip() == f"sqp {sqp.__version__}"
    assert "--masks" in said(command, "predict", "--help", cwd=tmp_path)
    write_synthetic(tmp_path / "lesions", 2, seed=1, size=(96, 128))
    given = ["--images", "lesions/images", "--masks", "lesions/masks", "--model", "fast", "--out", "judged"]
    assert "2 records of 2 images" in said(command, "predict", *given, cwd=tmp_path)
    assert len((tmp_path / "judged" / "predictions.csv").read_text().splitlines()) == 3


def test_the_citation_is_that_of_this_version():
    told = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert told["version"] == sqp.__version__ and told["license"] == "Apache-2.0"
    assert told["cff-version"] and told["title"].startswith("sqp") and told["authors"]


def test_issue_templates_are_forms_as_github_reads_them():
    folder = ROOT / ".github" / "ISSUE_TEMPLATE"
    forms = [yaml.safe_load(path.read_text()) for path in folder.glob("*.yml") if path.name != "config.yml"]
    assert len(forms) == 3
    for form in forms:
        assert form["name"] and form["description"] and form["body"]
        parts = [part for part in form["body"] if part["type"] != "markdown"]
        assert parts and all(part["id"] and part["attributes"]["label"] for part in parts)
