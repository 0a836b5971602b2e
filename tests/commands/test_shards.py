"""A run in parts is the run in one piece: whoever makes them, in what order, killed or not; and what is refused."""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from few_lesions import copy_lesions, names_of
from PIL import Image

from sqp.cli.main import main
from sqp.commands import generate, merge, predict, status
from sqp.config.generate import GenerateConfig, VariantPlan
from sqp.config.merge import MergeConfig
from sqp.config.predict import PredictConfig
from sqp.config.status import StatusConfig
from sqp.core.errors import ConfigError
from sqp.core.ownership import lock_of
from sqp.core.shards import Shard
from sqp.records import RecordSet
from sqp.records.parts.claim import claim

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def data(lesions, tmp_path) -> Path:
    """Eight images with masks."""
    return copy_lesions(lesions, tmp_path / "data", names_of(lesions)[:8])


@pytest.fixture
def making(data, fake_segmenter, config, tmp_path) -> GenerateConfig:
    plan = VariantPlan(corruptions=2, families=["erosion", "dilation"])
    return replace(config, images=data, out=tmp_path / "parts", variants={"*": plan})


@pytest.fixture
def judging(data, fake_segmenter, bundle, tmp_path) -> PredictConfig:
    return PredictConfig(
        bundle, tmp_path / "judged", images=data, masks=data / "masks", accept=0.5, reject=0.4, worst=2
    )


def in_parts(command, config, *indices: int, n: int = 3):
    return [command.run(replace(config, shard=f"{i}/{n}")) for i in indices or range(1, n + 1)]


def told(out: Path, name: str | None = None) -> dict[str, int]:
    """Sums over the parts, or of one of them."""
    rows = status.run(StatusConfig(out)).parts
    picked = [row for row in rows if name in (None, row.name)]
    names = ("images", "done", "skipped", "missing", "stale")
    return {key: sum(getattr(row, key) for row in picked) for key in names}


def same_records(one: Path, two: Path) -> None:
    tables = [RecordSet(out).table.sort_values("record_id", ignore_index=True) for out in (one, two)]
    pd.testing.assert_frame_equal(*tables, check_like=True)
    for name in tables[0]["record_id"]:
        for file in (f"masks/{name}.png", f"maps/{name}.npz"):
            assert (one / file).read_bytes() == (two / file).read_bytes()


def test_every_image_is_in_one_part_and_stays_there():
    names = [f"image_{i}" for i in range(2000)]
    parts = [[name for name in names if Shard(16, i).holds(name)] for i in range(1, 17)]
    assert sorted(name for part in parts for name in part) == sorted(names)
    assert min(map(len, parts)) > 80 and max(map(len, parts)) < 170
    assert [next(i for i in range(1, 5) if Shard(4, i).holds(name)) for name in names[:6]] == [
        2,
        1,
        2,
        4,
        4,
        3,
    ]  # for ever


def test_parts_are_the_whole(making, tmp_path):
    results = in_parts(generate, making, 3, 1, 2)
    assert sum(result.images for result in results) == 8 and all(result.exit_status == 0 for result in results)
    result = merge.run(MergeConfig(making.out))
    whole = generate.run(replace(making, out=tmp_path / "whole"))
    assert result.records == whole.records == 24 and result.exit_status == 0
    same_records(making.out, tmp_path / "whole")
    run, plain = (yaml.safe_load((out / "run.yaml").read_text()) for out in (making.out, tmp_path / "whole"))
    assert run["config"] == plain["config"] and run["finished"]
    assert run["counts"]["images"] == 8 and run["counts"]["written"] == 24
    assert (making.out / "splits.json").read_text() == (tmp_path / "whole" / "splits.json").read_text()
    assert merge.run(MergeConfig(making.out)).records == 24
    assert generate.run(making).written == 0  # the joined whole goes on like any other


def test_folders_of_their_own_are_joined(making, tmp_path):
    outs = [tmp_path / "a", tmp_path / "b"]
    for index, out in enumerate(outs, 1):
        generate.run(replace(making, out=out, shard=f"{index}/2"))
    with pytest.raises(ConfigError, match=r"not all parts are there: 2/2 is missing; run them, or .* --partial"):
        merge.run(MergeConfig(tmp_path / "joined", outs[:1]))
    assert merge.run(MergeConfig(tmp_path / "joined", outs)).records == 24
    generate.run(making)
    same_records(making.out, tmp_path / "joined")
    with pytest.raises(ConfigError, match=r"--out .*/parts is one of the folders"):
        merge.run(MergeConfig(making.out, [making.out, making.out]))


def test_where_the_disk_has_no_links_files_are_copied(making, tmp_path, monkeypatch):
    in_parts(generate, making, n=2)
    monkeypatch.setattr(Path, "hardlink_to", lambda *args: (_ for _ in ()).throw(OSError("no links here")))
    assert merge.run(MergeConfig(making.out)).records == 24
    names = list((making.out / "masks").iterdir())
    assert len(names) == 24 and all(path.stat().st_nlink == 1 for path in names)


def test_status_of_parts(making, data):
    generate.run(replace(making, shard="1/3"))
    first = told(making.out, "1/3")
    result = status.run(StatusConfig(making.out))
    assert result.exit_status == 1 and [row.state for row in result.parts] == ["finished", "not begun", "not begun"]
    assert told(making.out) == {
        "images": 8,
        "done": first["images"],
        "skipped": 0,
        "missing": 8 - first["done"],
        "stale": 0,
    }
    assert "run these parts (again): 2/3, 3/3" in result.summary()
    in_parts(generate, making, 2, 3)
    result = status.run(StatusConfig(making.out))
    assert result.exit_status == 0 and f"sqp merge --out {making.out}" in result.summary()
    changed = sorted((data / "images").iterdir())[0]
    Image.new("RGB", (64, 48), (90, 80, 70)).save(changed)
    Image.new("RGB", (64, 48), (90, 80, 70)).save(data / "images" / "added.png")
    assert told(making.out) == {"images": 9, "done": 7, "skipped": 0, "missing": 1, "stale": 1}
    assert status.run(StatusConfig(making.out)).exit_status == 1
    in_parts(generate, making)
    assert told(making.out)["done"] == 9


def test_status_of_a_run_in_one_piece(making, data, capsys):
    Image.new("L", (20, 20)).save(
        data / "images" / f"{sorted((data / 'images').iterdir())[0].name}"
    )  # not its mask's size
    assert generate.run(making).exit_status == 1
    assert main(["status", str(making.out)]) == 0
    row = status.run(StatusConfig(making.out)).whole
    assert (row.images, row.done, row.skipped, row.missing, row.stale) == (8, 7, 1, 0, 0)
    assert re.search(r"part +images +done +skipped +missing +stale +state", capsys.readouterr().out)
    mask = next((making.out / "masks").iterdir())
    mask.write_bytes(b"")
    row = status.run(StatusConfig(making.out)).whole
    assert (row.done, row.stale) == (6, 1) and main(["status", str(making.out)]) == 1


def test_an_interrupted_part(making, stopped_after):
    with stopped_after(2):
        generate.run(replace(making, shard="1/2"))
    part = Shard(2, 1).folder(making.out)
    assert not yaml.safe_load((part / "run.yaml").read_text())["finished"]
    generate.run(replace(making, shard="2/2"))
    assert [row.state for row in status.run(StatusConfig(making.out)).parts] == ["interrupted", "finished"]
    with pytest.raises(ConfigError, match="1/2 was interrupted"):
        merge.run(MergeConfig(making.out))
    n = len(RecordSet(part).table) + len(RecordSet(Shard(2, 2).folder(making.out)).table)
    assert n < 24 and merge.run(MergeConfig(making.out, partial=True)).records == n
    whole = status.run(StatusConfig(making.out)).whole
    assert whole.missing > 0 and "the joined whole lacks images" in status.run(StatusConfig(making.out)).summary()
    generate.run(replace(making, shard="1/2"))
    assert merge.run(MergeConfig(making.out)).records == 24
    assert status.run(StatusConfig(making.out)).exit_status == 0


def test_clocks_that_disagree(making, judging, data):
    """What stands is known by its content, so that a machine whose clock is wrong makes nothing stale or anew.

    The machine of the first part lives before the zip format began, that of the images and the second in 2099.
    """

    def dated(folder: Path, seconds: int) -> None:
        for path in folder.rglob("*"):
            os.utime(path, (seconds, seconds), follow_symlinks=False)

    for command, asked in ((generate, making), (predict, judging)):
        for index, when in ((1, 3600), (2, 4_070_908_800)):
            command.run(replace(asked, shard=f"{index}/2"))
            dated(Shard(2, index).folder(asked.out), when)
        dated(data, 4_070_908_800 + 60)
        assert told(asked.out) == {"images": 8, "done": 8, "skipped": 0, "missing": 0, "stale": 0}
    assert [result.written for result in in_parts(generate, making, n=2)] == [0, 0]
    assert merge.run(MergeConfig(making.out)).records == 24 and merge.run(MergeConfig(judging.out)).records == 8
    assert status.run(StatusConfig(judging.out)).exit_status == 0
    changed = sorted((data / "images").iterdir())[0]  # later by its content, earlier by the clock
    Image.new("RGB", (64, 48), (90, 80, 70)).save(changed)
    os.utime(changed, (60, 60))
    assert told(making.out, None)["stale"] == 1


def test_two_runs_on_one_part_and_two_on_two(making):
    part = claim(making.out, "generate", Shard(2, 1))
    part.mkdir(parents=True)
    with lock_of(part):
        with pytest.raises(ConfigError, match=r"another run of sqp writes into .*1-of-2"):
            generate.run(replace(making, shard="1/2"))
        assert generate.run(replace(making, shard="2/2")).exit_status == 0
        assert status.run(StatusConfig(making.out)).parts[0].state == "running"
    generate.run(replace(making, shard="1/2"))
    with lock_of(part), pytest.raises(ConfigError, match=r"another run of sqp writes into .*1-of-2"):
        merge.run(MergeConfig(making.out))


def test_what_does_not_belong_together(making, data, tmp_path):
    generate.run(replace(making, shard="1/2"))
    with pytest.raises(ConfigError, match=r"1-of-2 was made with seed=0, this part has seed=1"):
        generate.run(replace(making, shard="2/2", seed=1))
    with pytest.raises(ConfigError, match=r"holds parts of 2, this is part 3/4: give i/2"):
        generate.run(replace(making, shard="3/4"))
    with pytest.raises(ConfigError, match=r"holds parts of a run with --shard: join them with `sqp merge"):
        generate.run(making)
    with pytest.raises(ConfigError, match=r"holds parts of a run: join them first with `sqp merge"):
        RecordSet(making.out)
    generate.run(replace(making, out=tmp_path / "other", shard="2/2", seed=1))
    with pytest.raises(ConfigError, match=r"1-of-2 was made with seed=0 and .*2-of-2 with seed=1"):
        merge.run(MergeConfig(tmp_path / "joined", [making.out, tmp_path / "other"]))
    assert not (tmp_path / "joined").exists()
    generate.run(replace(making, out=tmp_path / "whole"))
    with pytest.raises(ConfigError, match="was made in one piece: leave out --shard"):
        generate.run(replace(making, out=tmp_path / "whole", shard="1/2"))
    with pytest.raises(ConfigError, match="holds no parts: name the folders"):
        merge.run(MergeConfig(tmp_path / "whole"))
    with pytest.raises(ConfigError, match="is no folder that `sqp generate` or `sqp predict` wrote"):
        merge.run(MergeConfig(tmp_path / "joined", [data]))
    with pytest.raises(ConfigError, match="is no folder that `sqp generate` or `sqp predict` wrote or began"):
        status.run(StatusConfig(data))


def test_a_damaged_record_and_one_with_other_bytes_are_not_joined(making, tmp_path):
    in_parts(generate, making, n=2)
    mask = next((Shard(2, 1).folder(making.out) / "masks").iterdir())
    kept = mask.read_bytes()
    mask.write_bytes(kept + b"0")
    with pytest.raises(ConfigError, match=rf"record {mask.stem} in .*1-of-2 has a mask or maps that were altered"):
        merge.run(MergeConfig(making.out))
    assert not (making.out / "records.parquet").exists()
    mask.write_bytes(kept)
    generate.run(replace(making, out=tmp_path / "whole"))
    twin = tmp_path / "twin"
    shutil.copytree(tmp_path / "whole", twin)
    assert merge.run(MergeConfig(tmp_path / "one", [tmp_path / "whole", twin])).records == 24
    table = pd.read_parquet(twin / "records.parquet")
    table["content"] = ""
    table.to_parquet(twin / "records.parquet")
    with pytest.raises(ConfigError, match=r"record .* is in .*whole and in .*twin with another mask or maps"):
        merge.run(MergeConfig(tmp_path / "two", [tmp_path / "whole", twin]))


def test_predictions_in_parts_are_those_of_one_run(judging, tmp_path):
    in_parts(predict, judging)
    assert told(judging.out) == {"images": 8, "done": 8, "skipped": 0, "missing": 0, "stale": 0}
    assert not list(judging.out.rglob("report.html"))
    result = merge.run(MergeConfig(judging.out))
    plain = predict.run(replace(judging, out=tmp_path / "plain")).table.set_index("record_id").sort_index()
    joined = pd.read_parquet(judging.out / "predictions.parquet").set_index("record_id").sort_index()
    assert result.records == 8 and set(joined["record_set"]) == {str(judging.out / "records")}
    columns = ["image_id", "predicted_dice", "low", "high", "verdict", "c_lesion"]
    pd.testing.assert_frame_equal(joined[columns], plain[columns], rtol=1e-4, atol=1e-6)  # in batches of another size
    assert (judging.out / "report.html").is_file() and len(list((judging.out / "overlays").iterdir())) == 2
    assert status.run(StatusConfig(judging.out)).exit_status == 0
    pd.testing.assert_frame_equal(
        predict.run(judging).table.set_index("record_id").sort_index()[columns], plain[columns], rtol=1e-4, atol=1e-6
    )


def test_parts_at_a_risk_are_told_as_one_run_would_be(judging, tmp_path):
    """The threshold is chosen among masks that the reject rule leaves, when parts are joined too."""
    low = float(predict.run(replace(judging, out=tmp_path / "low")).table["high"].median())
    asked = replace(judging, risk=0.9, failure=0.01, confidence=0.1, accept=min(1.0, low + 0.01), reject=low)
    predict.run(replace(asked, out=tmp_path / "plain"))
    in_parts(predict, asked, n=2)
    merge.run(MergeConfig(asked.out))
    runs = [yaml.safe_load((out / "run.yaml").read_text()) for out in (asked.out, tmp_path / "plain")]
    assert runs[0]["risk"] == runs[1]["risk"]


def test_truth_is_joined_to_joined_parts(judging, data, tmp_path, monkeypatch):
    shutil.copytree(data / "masks", tmp_path / "truth")
    for path in (tmp_path / "truth").iterdir():
        Image.fromarray(np.roll(np.asarray(Image.open(path)), 2, axis=1)).save(path)
    in_parts(predict, judging, n=2)
    merge.run(MergeConfig(judging.out))
    assert "Accepted with --accept" in (judging.out / "report.html").read_text()
    before = pd.read_parquet(judging.out / "predictions.parquet").set_index("record_id")
    monkeypatch.setattr(predict, "predict_records", lambda *_, **__: pytest.fail("judged again"))
    after = predict.run(replace(judging, truth=tmp_path / "truth")).table.set_index("record_id").loc[before.index]
    assert before["dice"].isna().all() and after["dice"].between(0.5, 0.99).all()
    assert after["predicted_dice"].equals(before["predicted_dice"]) and after["mask"].equals(before["mask"])


def test_more_parts_than_images(judging):
    in_parts(predict, judging, n=20)
    assert told(judging.out)["done"] == 8
    assert merge.run(MergeConfig(judging.out)).records == 8


def test_predictions_of_other_thresholds_are_not_joined(judging):
    predict.run(replace(judging, shard="1/2"))
    with pytest.raises(ConfigError, match=r"made with accept=0.5 and .* with accept=0.6"):
        predict.run(replace(judging, shard="2/2", accept=0.6))


def test_predictions_of_record_sets_in_parts(judging, making):
    generate.run(making)
    asked = PredictConfig(judging.model, judging.out, records=[making.out], accept=0.5, reject=0.4, worst=0)
    predict.run(replace(asked, shard="1/2"))
    assert status.run(StatusConfig(judging.out)).exit_status == 1
    predict.run(replace(asked, shard="2/2"))
    assert told(judging.out) == {"images": 8, "done": 8, "skipped": 0, "missing": 0, "stale": 0}
    assert merge.run(MergeConfig(judging.out)).records == 24


@pytest.mark.parametrize("shard", ["17/16", "0/4", "3", "a/b", "-1/4", "1/0", "3/4/5", ""])
def test_a_part_that_cannot_be(making, judging, shard):
    for config in (making, judging):
        with pytest.raises(ConfigError, match=r"shard is .*; it must be i/n with i from 1 to n"):
            replace(config, shard=shard)


STUB = """#!/usr/bin/env bash
# sbatch of one machine: runs a script, once for each number of its --array, and gives the job a number.
set -e
options=$(grep -hs '^#SBATCH' "${@: -1}") || true
array=$(grep -oE -- '--array=[0-9]+-[0-9]+' <<< "$* $options" | head -1 | cut -d= -f2) || true
if [ -z "$array" ]; then bash "${@: -1}" >&2; fi
for i in $( [ -n "$array" ] && seq ${array%-*} ${array#*-} ); do SLURM_ARRAY_TASK_ID=$i bash "${@: -1}" >&2; done
echo 17
"""


@pytest.mark.slow
def test_the_script_for_slurm(data, tmp_path):
    """The one of the documentation, word for word, by a scheduler that runs its jobs here one after the other."""
    blocks = re.findall(
        r"`(\w+\.sh)`:\n\n```bash\n(.*?)^```", (DOCS / "shards.md").read_text(), re.DOTALL | re.MULTILINE
    )
    home = tmp_path / "job"
    home.mkdir()
    for name, text in blocks:
        (home / name).write_text(text.replace("1-16", "1-2").replace("/16", "/2"))
    shutil.copytree(data / "images", home / "images")
    shutil.copytree(data / "masks", home / "masks")
    tools = {"sbatch": STUB, "srun": 'exec "$@"\n', "sqp": f'exec {sys.executable} -m sqp "$@"\n'}
    for name, text in tools.items():
        (tmp_path / name).write_text(text if text.startswith("#!") else f"#!/usr/bin/env bash\n{text}")
        (tmp_path / name).chmod(stat.S_IRWXU)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "submit.sh"], cwd=home, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(pd.read_csv(home / "judged" / "predictions.csv")) == 8 and (home / "judged" / "report.html").is_file()


@pytest.mark.slow
def test_a_part_that_is_killed_goes_on(data, tmp_path):
    out = tmp_path / "out"
    args = (
        f"generate --images {data} --masks {data / 'masks'} --segmenter none --out {out} --variants.*.corruptions 400"
    )
    args += " --variants.*.families=[erosion] --referee none --shard 1/2"
    command = [sys.executable, "-m", "sqp", *args.split()]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    rows = Shard(2, 1).folder(out) / "rows"
    while process.poll() is None and len(list(rows.glob("*.json"))) < 5:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert main(["status", str(out)]) == 1
    assert status.run(StatusConfig(out)).parts[0].state == "interrupted"
    assert main(args.split()) == 0 and main([*args.split()[:-1], "2/2"]) == 0
    assert main(["status", str(out)]) == 0 and main(["merge", "--out", str(out)]) == 0
    table = RecordSet(out).table
    assert len(table) == 8 * 401 and table["record_id"].is_unique
    assert not list(out.rglob("*.tmp"))
