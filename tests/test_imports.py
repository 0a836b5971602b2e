"""What judges loads neither what trains, nor what explains, nor what draws figures: seconds of every run."""

from __future__ import annotations

import subprocess
import sys

from sqp.data.synthetic import write_synthetic

HEAVY = (
    *("pytorch_lightning", "lightning_fabric", "torchmetrics", "umap", "numba", "matplotlib", "sklearn", "monai"),
    *("scipy.stats", "scipy.signal", "pytorch_grad_cam", "nibabel"),
)


def loaded(code: str, *args: str) -> str:
    """What of it a process of its own has loaded after the code."""
    code += f"\nimport sys\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_judging_from_python_and_a_run_with_its_pictures_and_page(tmp_path):
    write_synthetic(tmp_path, 2, seed=0, size=(64, 64))
    args = ["predict", "--model", "fast", "--workers", "0", "--out", str(tmp_path / "out")]
    args += ["--images", str(tmp_path / "images"), "--masks", str(tmp_path / "masks")]
    code = "import sys, numpy, sqp\nmask = numpy.zeros((48, 64), bool)\nmask[9:30, 9:40] = True\n"
    code += "sqp.load('fast').assess(numpy.full((48, 64, 3), 200, 'uint8'), mask)\n"
    assert loaded(code + "from sqp.cli.main import main\nassert main(sys.argv[1:]) == 0", *args) == "[]"
    assert len(list((tmp_path / "out" / "overlays").iterdir())) == 2
