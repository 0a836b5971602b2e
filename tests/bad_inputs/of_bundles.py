"""Damaged bundles and checkpoints: refused in one sentence that names the file."""

from __future__ import annotations

import json
from itertools import product

from bad_inputs import damage as d
from bad_inputs.world import Case

USE = "predict --model {bad} --records {records} --worst 0 --out {out}"
OTHER = {
    "predict": "predict --model {bad} --images {images} --masks {masks} --workers 0 --worst 0 --out {out}",
    "evaluate": "evaluate --model {bad} --records {records} --out {out}",
    "explain": "explain --model {bad} --records {records} --out {out}",
    "export": "export --model {bad} --card {out}/card.md",
}
NETWORK = "generate --images {images} --segmenter unet --checkpoint {bad}/n.safetensors --out {out}"
LOCALIZER = (
    "generate --images {images} --prompter localizer --prompter_options.checkpoint {bad}/n.safetensors "
    "--segmenter fake --out {out}"
)
TIMM = (
    "train --records {records} --backbone timm:resnet18 --size 32 --pretrained_file {bad}/n.pth "
    "--progress false --out {out}"
)
PTH = "generate --images {images} --segmenter litemedsam --checkpoint {bad}/n.pth --out {out}"
HEADER = json.dumps({"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}}).encode()
META = {"__metadata__": {"sqp_segmenter": ""}, "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}


def told(text: str) -> bytes:
    """A safetensors file whose header says this of its network."""
    header = json.dumps(META | {"__metadata__": {"sqp_segmenter": text}}).encode()
    return d.safetensors(header, b"\0\0\0\0")


def network(name: str, content: bytes, words: str = "n.safetensors") -> Case:
    return Case(f"checkpoint-{name}", d.write("n.safetensors", content), NETWORK, 2, words)


def bundle(name: str, *makes: d.Make, words: str = "damaged", command: str = USE) -> Case:
    return Case(f"bundle-{name}", d.copied("bundle", *makes), command, 2, words)


SPEC = {"format": "1", "info": {}}
PARTS = ("format", "model", "planes", "scores", "calibration", "ood", "expects")
WRONG = {"null": None, "list": [], "text": "x", "number": 7, "true": True}
INSIDE = [
    ("model", "channels", 3),
    ("model", "channels", [1, 2]),
    ("model", "channels", ["planets"]),
    ("model", "size", -1),
    ("model", "size", "large"),
    ("model", "size", 10**9),
    ("model", "size", 1e300),
    ("model", "backbone", 5),
    ("model", "backbone", "timm:nothing"),
    ("model", "scores", {"a": 1}),
    ("model", "width", 10**7),
    ("model", "dropout", "much"),
    ("model", "flips", 3),
    ("model", "planets", 3),
    ("calibration", "quantile", "wide"),
    ("calibration", "alpha", None),
    ("calibration", "groups", []),
    ("scores", "mean", 3),
    ("scores", "names", ["a"]),
    ("ood", "threshold", "far"),
    ("ood", "quantile", None),
    ("ood", "neighbours", {"k": "many", "threshold": 1}),
    ("ood", "neighbours", {"k": 10**9, "threshold": 1}),
    ("ood", "neighbours", []),
]
CASES = [
    Case("bundle-none", d.folder("x"), USE, 2, "no bundle"),
    Case("bundle-a-file", d.write("f", "x"), USE.replace("{bad}", "{bad}/f"), 2, "no bundle"),
    Case("bundle-missing", d.folder("x"), USE.replace("{bad}", "{bad}/none"), 2, "no bundle"),
    bundle("json-missing", d.gone("bundle.json"), words="no bundle"),
    bundle("json-folder", d.replaced_by_folder("bundle.json"), words="no bundle"),
    bundle("json-dangling", d.gone("bundle.json"), d.link("bundle.json"), words="no bundle"),
    bundle("json-empty", d.write("bundle.json", "")),
    bundle("json-cut", d.truncated("bundle.json")),
    bundle("json-garbage", d.write("bundle.json", d.GARBAGE)),
    bundle("json-deep", d.write("bundle.json", d.DEEP)),
    bundle("json-huge-number", d.write("bundle.json", '{"format": ' + d.HUGE_NUMBER + "}")),
    bundle("json-list", d.write("bundle.json", "[]")),
    bundle("weights-missing", d.gone("model.safetensors"), words="no bundle"),
    bundle("weights-empty", d.write("model.safetensors", b"")),
    bundle("weights-cut", d.truncated("model.safetensors")),
    bundle("weights-garbage", d.write("model.safetensors", d.GARBAGE)),
    bundle("weights-length", d.write("model.safetensors", d.safetensors(b"{}", length=2**62))),
    bundle("weights-claim", d.write("model.safetensors", d.safetensors(HEADER, b"\0" * 4))),
    bundle("weights-none", d.write("model.safetensors", d.safetensors(b"{}"))),
    bundle("weights-header-deep", d.write("model.safetensors", d.safetensors(d.DEEP.encode()))),
    *[bundle(f"without-{part}", d.edited_json("bundle.json", part, drop=True), words="") for part in PARTS],
    *[
        bundle(f"{part}-{name}", d.edited_json("bundle.json", part, value=value), words="")
        for part, (name, value) in product(
            ("model", "planes", "scores", "calibration", "ood", "expects"), WRONG.items()
        )
        if not (part == "expects" and value == [])
    ],
    *[
        bundle(f"{part}-{key}-{i}", d.edited_json("bundle.json", part, key, value=value), words="")
        for i, (part, key, value) in enumerate(INSIDE)
    ],
    bundle("expects-of-words", d.edited_json("bundle.json", "expects", value=["x"])),
    bundle(
        "expects-of-nothing", d.edited_json("bundle.json", "expects", value=[{}]), command=OTHER["predict"], words=""
    ),
    bundle(
        "expects-without-segmenter",
        d.edited_json("bundle.json", "expects", 0, "segmenter", drop=True),
        command=OTHER["predict"],
        words="",
    ),
    bundle(
        "expects-segmenter-a-word",
        d.edited_json("bundle.json", "expects", 0, "segmenter", value="x"),
        command=OTHER["predict"],
        words="",
    ),
    bundle(
        "expects-sampler-keys",
        d.edited_json("bundle.json", "expects", 0, "sampler", value={"x": 1}),
        command=OTHER["predict"].replace("--masks {masks} ", ""),
        words="",
    ),
    bundle(
        "expects-seed",
        d.edited_json("bundle.json", "expects", 0, "seed", value="x"),
        command=OTHER["predict"],
        words="",
    ),
    bundle("data-a-word", d.edited_json("bundle.json", "data", value="x"), words=""),
    bundle("training-a-list", d.edited_json("bundle.json", "training", value=[1]), command=OTHER["evaluate"], words=""),
    bundle(
        "groups-a-number", d.edited_json("bundle.json", "groups_sha256", value=3), command=OTHER["evaluate"], words=""
    ),
    bundle("members-absurd", d.edited_json("bundle.json", "members", value=10**9), words=""),
    bundle("members-words", d.edited_json("bundle.json", "members", value="two"), words=""),
    bundle("views-words", d.edited_json("bundle.json", "views", value="two"), words=""),
    *[bundle(f"garbage-{verb}", d.write("bundle.json", d.GARBAGE), command=line) for verb, line in OTHER.items()],
    *[bundle(f"cut-{verb}", d.truncated("model.safetensors"), command=line) for verb, line in OTHER.items()],
    network("empty", b""),
    network("garbage", d.GARBAGE),
    network("length", d.safetensors(b"{}", length=2**62)),
    network("no-header", d.safetensors(b"{}")),
    network("header-garbage", told("hello")),
    network("header-deep", told(d.DEEP)),
    network("header-huge-number", told('{"format": ' + d.HUGE_NUMBER + "}")),
    network("header-list", told("[]")),
    network("header-null", told("null")),
    network("no-spec", told(json.dumps(SPEC))),
    network("spec-a-list", told(json.dumps(SPEC | {"spec": []}))),
    network("spec-unknown-key", told(json.dumps(SPEC | {"spec": {"name": "unet", "x": 1}}))),
    network("spec-unknown-network", told(json.dumps(SPEC | {"spec": {"name": "vnet"}})), ""),
    network("spec-name-a-number", told(json.dumps(SPEC | {"spec": {"name": 3}})), ""),
    network("spec-size-a-word", told(json.dumps(SPEC | {"spec": {"name": "unet", "size": "x"}})), ""),
    network("spec-width-negative", told(json.dumps(SPEC | {"spec": {"name": "unet", "width": -4}})), ""),
    network("spec-width-absurd", told(json.dumps(SPEC | {"spec": {"name": "unet", "width": 10**9}})), ""),
    network("info-a-list", told(json.dumps({"format": "1", "spec": {"name": "unet"}, "info": [1]})), ""),
    network("info-without-images", told(json.dumps(SPEC | {"spec": {"name": "unet", "width": 4}})), ""),
    Case("checkpoint-missing", d.folder("x"), NETWORK, 2, "n.safetensors does not exist"),
    Case("checkpoint-folder", d.folder("n.safetensors"), NETWORK, 2, "n.safetensors"),
    Case("checkpoint-dangling", d.link("n.safetensors"), NETWORK, 2, "n.safetensors does not exist"),
    Case(
        "checkpoint-of-another",
        d.copied("data"),
        NETWORK.replace("{bad}/n.safetensors", "{checkpoint}").replace("unet ", "swin_unet "),
        2,
        "swin_unet",
    ),
    Case("localizer-garbage", d.write("n.safetensors", d.GARBAGE), LOCALIZER, 2, "n.safetensors"),
    Case("localizer-missing", d.folder("x"), LOCALIZER, 2, "does not exist"),
    Case(
        "localizer-of-a-segmenter", d.folder("x"), LOCALIZER.replace("{bad}/n.safetensors", "{checkpoint}"), 2, "unet"
    ),
    Case("pth-empty", d.write("n.pth", b""), PTH, 2, "n.pth"),
    Case("pth-garbage", d.write("n.pth", d.GARBAGE), PTH, 2, "n.pth"),
    Case("pth-folder", d.folder("n.pth"), PTH, 2, "n.pth"),
    Case("pth-zip", d.write("n.pth", d.npz(a=b"x")), PTH, 2, "n.pth"),
    Case("model-safetensors-as-pth", d.write("n.pth", d.safetensors(b"{}")), PTH, 2, "n.pth"),
    Case(
        "pretrained-garbage",
        d.write("n.pth", d.GARBAGE),
        TIMM,
        2,
        "n.pth",
    ),
    Case(
        "pretrained-missing",
        d.folder("x"),
        TIMM,
        2,
        "n.pth",
    ),
    Case(
        "pretrained-fit",
        d.write("n.pth", d.GARBAGE),
        "fit classifier --images {data} --size 32 --pretrained_file {bad}/n.pth --out {out}",
        2,
        "n.pth",
    ),
]
