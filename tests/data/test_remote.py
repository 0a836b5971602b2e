"""Inputs from elsewhere: an object store that runs here, a web server, fsspec's own memory, and tar shards."""

from __future__ import annotations

import functools
import http.server
import io
import shutil
import socketserver
import tarfile
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from sqp.cli.main import main
from sqp.commands import generate, status
from sqp.config.generate import GenerateConfig, SegmenterConfig
from sqp.config.referee import RefereeConfig
from sqp.config.status import StatusConfig
from sqp.core.errors import ConfigError
from sqp.core.mirror import INDEX, mirrored
from sqp.data.remote import unpacked
from sqp.records import RecordSet

fsspec = pytest.importorskip("fsspec", reason="fsspec is in the extra url")
FEW = 4


@pytest.fixture
def data(lesions, tmp_path) -> Path:
    for kind in ("images", "masks"):
        (tmp_path / "data" / kind).mkdir(parents=True)
        for path in sorted((lesions / kind).iterdir())[:FEW]:
            shutil.copy(path, tmp_path / "data" / kind)
    return tmp_path / "data"


@pytest.fixture
def making(data, tmp_path) -> GenerateConfig:
    """Given masks are recorded; no network runs."""
    alone = {"segmenter": SegmenterConfig("none"), "referee": RefereeConfig("none")}
    return GenerateConfig(data / "images", tmp_path / "local", masks=data / "masks", **alone)


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """The address of an S3 that runs in a thread, and whose environment boto knows."""
    moto = pytest.importorskip("moto.server", reason="moto is in the extra ci")
    pytest.importorskip("s3fs", reason="s3fs is in the extra url")
    server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("ACCESS_KEY_ID", "test"), ("SECRET_ACCESS_KEY", "test"), ("DEFAULT_REGION", "us-east-1")):
            patch.setenv(f"AWS_{name}", value)
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        yield f"http://{host}:{port}"
    server.stop()


def filled(url: str, data: Path) -> str:
    """The address, below which the data lie now."""
    fs, there = fsspec.core.url_to_fs(url)
    for file in sorted(data.rglob("*.*")):
        target = f"{there}/{file.relative_to(data).as_posix()}"
        fs.makedirs(target.rpartition("/")[0], exist_ok=True)
        fs.pipe_file(target, file.read_bytes())
    return url


def same(one: Path, two: Path) -> None:
    """Equal to the last byte; where the images lie differs, and when they were written."""
    tables = [RecordSet(out).table.sort_values("record_id", ignore_index=True) for out in (one, two)]
    pd.testing.assert_frame_equal(*(table.drop(columns=["image_path", "files"]) for table in tables))
    hashes = [table["files"].str.split().str[-1].tolist() for table in tables]
    assert hashes[0] == hashes[1]
    for name in tables[0]["record_id"]:
        for file in (f"masks/{name}.png", f"maps/{name}.npz"):
            assert (one / file).read_bytes() == (two / file).read_bytes()


def test_an_object_store_is_a_folder(store, data, making, tmp_path):
    url = filled("s3://archive/skin", data)
    made = generate.run(replace(making, out=tmp_path / "s3", images=Path(f"{url}/images"), masks=Path(f"{url}/masks")))
    assert made.written == FEW and made.exit_status == 0
    generate.run(making)
    same(making.out, tmp_path / "s3")


def test_only_the_files_of_a_part_are_fetched(store, data, making, tmp_path):
    url = filled("s3://archive/parts", data)
    parts = replace(making, out=tmp_path / "p", images=Path(f"{url}/images"), masks=Path(f"{url}/masks"))
    made = generate.run(replace(parts, shard="1/2"))
    here = [file for file in (tmp_path / "p" / "remote").rglob("*.jpg")]
    assert len(here) == FEW and 0 < sum(file.stat().st_size > 0 for file in here) == made.images < FEW
    assert [row.missing for row in status.run(StatusConfig(tmp_path / "p")).parts] == [0, FEW - made.images]
    generate.run(replace(parts, shard="2/2"))
    assert status.run(StatusConfig(tmp_path / "p")).exit_status == 0


def test_what_changes_there_is_made_anew_here(data, making, tmp_path):
    url = filled("memory://changing", data)
    config = replace(making, out=tmp_path / "m", images=Path(f"{url}/images"), masks=Path(f"{url}/masks"))
    assert generate.run(config).written == FEW and generate.run(config).written == 0
    first, second, third, _ = sorted(file.name for file in (data / "images").iterdir())
    fs, there = fsspec.core.url_to_fs(f"{url}/images")
    fs.pipe_file(f"{there}/{first}", (data / "images" / second).read_bytes() + b"longer")
    fs.rm_file(f"{there}/{third}")
    result = generate.run(config)
    assert (result.images, result.written) == (FEW - 1, 1)


def test_a_web_server_that_lists_its_folders(data, making, tmp_path):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(data))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        config = replace(making, out=tmp_path / "h", images=Path(f"{url}/images"), masks=Path(f"{url}/masks"))
        assert generate.run(config).written == FEW
        server.shutdown()
    generate.run(making)
    same(making.out, tmp_path / "h")


def test_a_table_of_images_and_masks_beside_them(data, tmp_path):
    names = {
        kind: [f"{kind}s/{file.name}" for file in sorted((data / f"{kind}s").iterdir())] for kind in ("image", "mask")
    }
    pd.DataFrame(names).to_csv(data / "table.csv", index=False)
    url = filled("memory://table", data)
    alone = {"segmenter": SegmenterConfig("none"), "referee": RefereeConfig("none")}
    made = generate.run(GenerateConfig(Path(f"{url}/table.csv"), tmp_path / "t", masks=Path(f"{url}/masks"), **alone))
    assert made.written == FEW


def test_file_urls_are_paths(data, making):
    config = replace(making, images=Path(f"file://{data}/images"), masks=Path(f"file://{data}/masks"))
    assert config.images == data / "images" and generate.run(config).written == FEW


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("s3://archive/nothing", "s3://archive/nothing does not exist: check the address"),
        ("s3://no-such-bucket-here/x", "s3://no-such-bucket-here/x does not exist: check the address"),
        ("http://127.0.0.1:9/images", "cannot read http://127.0.0.1:9/images (ClientConnectorError"),
    ],
)
def test_what_is_not_there_is_told(store, making, url, told, capsys):
    filled("s3://archive/skin", making.images.parent)
    args = ["generate", "--images", url, "--masks", str(making.masks), "--out", str(making.out)]
    assert main([*args, "--segmenter", "none", "--referee.name", "none"]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1


def test_a_bucket_without_rights_is_one_sentence(store, making, capsys):
    def rights(asked_from: str) -> None:
        """From which request on the store asks who it is that asks."""
        text = {"Content-Type": "text/plain"}
        request = urllib.request.Request(f"{store}/moto-api/reset-auth", asked_from.encode(), text, method="POST")
        urllib.request.urlopen(request).close()

    filled("s3://archive/skin", making.images.parent)
    args = ["generate", "--images", "s3://archive/skin/images", "--masks", str(making.masks), "--out", str(making.out)]
    rights("0")
    try:
        assert main([*args, "--segmenter", "none", "--referee.name", "none"]) == 2
    finally:
        rights("inf")
    error = capsys.readouterr().err
    assert "s3://archive/skin/images must not be read with the credentials of this machine (" in error
    assert error.count("\n") == 1 and not (making.out / "masks").exists()


def test_a_file_that_is_lost_in_between_is_skipped(data, making, tmp_path):
    url = filled("memory://lost", data)
    folder = mirrored(f"{url}/images", tmp_path / "mirror")
    fs, there = fsspec.core.url_to_fs(f"{url}/images")
    gone = sorted(file.name for file in folder.iterdir() if file.name[0] != ".")[0]
    fs.rm_file(f"{there}/{gone}")
    result = generate.run(replace(making, images=folder))
    assert result.exit_status == 1 and f"lost/images/{gone} does not exist" in next(iter(result.skipped.values()))


def test_an_output_is_no_url(making, capsys):
    with pytest.raises(ConfigError, match=r"--out s3://b/out is no folder of this machine"):
        generate.run(replace(making, out=Path("s3://b/out")))


def test_no_name_leads_out_of_the_mirror(tmp_path):
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/evil/a.png", b"x")
    fs.store["/evil/../../b.png"] = fs.store["/evil/a.png"]
    try:
        folder = mirrored("memory://evil", tmp_path / "home" / "mirror")
        assert [path.name for path in tmp_path.rglob("*.png")] == ["a.png"] and (folder / INDEX).is_file()
    finally:
        del fs.store["/evil/../../b.png"]


def tar_of(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def shards(data: Path, folder: Path) -> str:
    """Two tar files with images and masks, and what else there is in such files."""
    pairs = list(zip(*(sorted((data / kind).iterdir()) for kind in ("images", "masks")), strict=True))
    for number in range(2):
        members = {"notes.json": b"{}"}
        for image, mask in pairs[number::2]:
            members |= {f"a/{image.stem}.jpg": image.read_bytes(), f"a/{image.stem}.json": b"{}"}
            members[f"a/{image.stem}.mask.png"] = mask.read_bytes()
        tar_of(folder / f"shard-{number:03d}.tar", members)
    return str(folder / "shard-{000..001}.tar")


def test_tar_shards_are_read_as_a_stream(data, making, tmp_path):
    config = replace(making, out=tmp_path / "t", images=Path(shards(data, tmp_path)), masks=None)
    made = generate.run(config)
    assert made.written == FEW and made.exit_status == 0 and generate.run(config).written == 0
    generate.run(making)
    same(making.out, tmp_path / "t")


def test_tar_shards_of_a_store_and_a_part_of_them(data, making, tmp_path):
    pattern = shards(data, tmp_path)
    fs = fsspec.filesystem("memory")
    for path in tmp_path.glob("*.tar"):
        fs.pipe_file(f"/tars/{path.name}", path.read_bytes())
    url = f"memory://tars/{Path(pattern).name}"
    config = replace(making, out=tmp_path / "t", images=Path(url), masks=None)
    made = [generate.run(replace(config, shard=f"{index}/2")) for index in (1, 2)]
    assert sum(result.written for result in made) == FEW and all(result.images < FEW for result in made)
    assert status.run(StatusConfig(tmp_path / "t")).exit_status == 0


def test_a_damaged_tar_and_one_with_two_images_of_a_name(data, tmp_path):
    whole = Path(shards(data, tmp_path).replace("{000..001}", "000")).read_bytes()
    for size in (1024, 1700):  # between two members, and amid one
        (tmp_path / "cut.tar").write_bytes(whole[:size])
        with pytest.raises(ConfigError, match=r"cut\.tar is no whole tar file"):
            unpacked(str(tmp_path / "cut.tar"), tmp_path / "home")
    tar_of(tmp_path / "twice.tar", {"a/x.jpg": b"1", "b/x.jpg": b"2"})
    with pytest.raises(ConfigError, match=r"two members for x\.jpg, a/x\.jpg and b/x\.jpg"):
        unpacked(str(tmp_path / "twice.tar"), tmp_path / "home")
    tar_of(tmp_path / "none.tar", {"../x.txt": b"1"})
    with pytest.raises(ConfigError, match=r"none\.tar holds no images"):
        unpacked(str(tmp_path / "none.tar"), tmp_path / "home")
    with pytest.raises(ConfigError, match=r"lost\.tar does not exist"):
        unpacked(str(tmp_path / "lost.tar"), tmp_path / "home")


def test_names_of_members_lead_nowhere(tmp_path):
    found = unpacked(str(tar_of(tmp_path / "evil.tar", {"../../x.jpg": b"1", "/y.jpg": b"2"})), tmp_path / "home")
    assert sorted(path.name for path in found["images"].iterdir()) == ["x.jpg", "y.jpg"]
    assert not list(tmp_path.glob("*.jpg"))
