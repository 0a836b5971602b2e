"""The bundles that come with sqp, from nothing: networks, masks of several makers, quality models.

python scripts/default_bundle.py configs/default_bundle.yaml runs/default_bundle [--only fit records train]
    [--referees litemedsam] [--max_images 5]

A network's mask counts only on an image that it was not fitted on, so train is cut in two halves by group and every
network of the config is fitted on each (OUT/fit), for the masks of the other half; calibration, val and test, which
none has seen, have those of the first half, or of the network fitted on all of train (`whole`). Each maker's records
lie in OUT/records/REFEREE/MAKER/{first,second,rest}; "{name}" in a generate section is the file of that network.
OUT/bundles gets a folder a model, with the referee's localizer beside it, checked: licences, and 20 MB at most.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from sqp.bundles import BUNDLES, LARGEST
from sqp.cli.main import from_mapping
from sqp.commands import fit, generate, train
from sqp.core.errors import ConfigError, lookup, script_status
from sqp.core.yaml_files import script_config
from sqp.data.split_files import read_splits, write_splits
from sqp.data.splits import halved
from sqp.networks.checkpoint import read_header, rounded, save_checkpoint
from sqp.prompts.localizer import LocalizerSpec
from sqp.quality.bundle.expected_config import LOCALIZER
from sqp.quality.bundle.licences import check_licences
from sqp.quality.bundle.sources import REFEREE
from sqp.quality.bundle.storage import Bundle

REQUIRED = ("images", "splits", "licence", "fit", "generate", "referees", "makers", "train")  # keys of the config
STEPS = ("fit", "records", "train")
REST = ["calibration", "test"]


@dataclass(frozen=True)
class Part:
    """Images whose masks are made by networks that have not seen them: `share` of the maker's images of `kind`."""

    name: str
    splits: Path
    only: list[str]
    networks: Mapping[str, Path]
    kind: str
    share: float


def parts(told: Mapping[str, Any], out: Path) -> Iterator[Part]:
    """Both halves of train, val, and the rest; the networks are fitted where they are not there yet."""
    halves = halved(read_splits(told["splits"]))
    files = [out / f"{name}_half.json" for name in ("first", "second")]
    for file, splits in zip(files, halves, strict=True):
        write_splits(file, splits)
    fitted = [{name: network(told, name, out, file) for name in told["fit"]} for file in files]
    whole = {name: shipped(told, name, out) for name, values in told["fit"].items() if "whole" in values}
    # the network that was fitted on the first half makes the masks of what is left of train: the second
    yield Part("second", files[0], ["train"], fitted[0], "train", 0.5)
    yield Part("first", files[1], ["train"], fitted[1], "train", 0.5)
    yield Part("val", Path(told["splits"]), ["val"], fitted[0] | whole, "val", 1.0)
    yield Part("rest", Path(told["splits"]), REST, fitted[0] | whole, "rest", 1.0)


def network(told: Mapping[str, Any], name: str, out: Path, splits: Path) -> Path:
    """The checkpoint of a network, fitted on the split `segmenter`."""
    own = {"splits": str(splits), "train_splits": ["segmenter"], "out": str(out / "fit" / f"{name}_{splits.stem}")}
    return _fit(told, name, own)


def shipped(told: Mapping[str, Any], name: str, out: Path) -> Path:
    """The checkpoint fitted on all of train, its weights rounded to half precision."""
    values = told["fit"][name]
    own: dict[str, Any] = {"splits": told["splits"], "train_splits": ["train"], "out": values["whole"]}
    file = _fit(told, name, own | {"epochs": values.get("whole_epochs", values["epochs"])})
    target = out / f"{name}.safetensors"
    if not target.exists() or target.stat().st_mtime < file.stat().st_mtime:
        header = read_header(file, LocalizerSpec)
        save_checkpoint(target, rounded(load_file(file)), header.spec, header.info)
    return target


def _fit(told: Mapping[str, Any], name: str, own: Mapping[str, Any]) -> Path:
    values = {key: value for key, value in told["fit"][name].items() if key not in ("command", "whole", "whole_epochs")}
    data = {key: told[key] for key in ("images", "licence")} | {"max_images": told.get("max_images", 0)}
    result = fit.run(from_mapping(told["fit"][name]["command"], {**data, **values, **own}))
    return next(iter(result.checkpoints))


def records(told: Mapping[str, Any], referee: str, part: Part, out: Path) -> Iterator[Path]:
    """The record sets of all makers on a part, judged beside a referee."""
    of_referee = told["referees"][referee]
    for maker, values in told["makers"].items():
        own = {key: value for key, value in values.items() if key != "images"}
        asked = round(values["images"][part.kind] * part.share * of_referee.get("share", 1.0))
        keys = {
            **{key: told[key] for key in ("images", "licence")},
            **filled({**told["generate"], **of_referee["generate"], **own}, part.networks),
            "splits": str(part.splits),
            "only": part.only,
            "max_images": min(asked, told.get("max_images", asked)),
            "out": str(out / "records" / referee / maker / part.name),
        }
        made = generate.run(from_mapping("generate", keys))
        print(f"{referee}, {maker}, {part.name}: {made.summary()} ({made.seconds:.0f} s)", flush=True)
        yield made.out


def filled(value: Any, networks: Mapping[str, Path]) -> Any:
    """A section with the file of each network in place of "{name}"."""
    if isinstance(value, Mapping):
        return {key: filled(one, networks) for key, one in value.items()}
    if isinstance(value, list):
        return [filled(one, networks) for one in value]
    if isinstance(value, str) and value.startswith("{") and value.endswith("}"):
        return str(lookup("network of the config", value[1:-1], networks))
    return value


def model(told: Mapping[str, Any], name: str, folders: Sequence[Path], out: Path) -> Path:
    """The bundle of a model, with the localizer of its referee, checked: licences and size."""
    values = {**told["train"][name], "records": [str(folder) for folder in folders], "out": str(out / "train" / name)}
    result = train.run(from_mapping("train", values))
    print(f"{name}: {result.summary()}", flush=True)
    target = out / "bundles" / name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(result.bundle, target)
    bundle = Bundle.load(target)
    if REFEREE in bundle.sources and bundle.expects[0]["referee"].get("localizer_sha256"):
        shutil.copy(out / LOCALIZER, target / LOCALIZER)
    check_licences(bundle.info, BUNDLES.get(name, tuple(told["licence"])), name)
    size = sum(file.stat().st_size for file in target.iterdir())
    if size >= LARGEST:
        raise ConfigError(f"{target} has {size / 1e6:.1f} MB, {LARGEST / 1e6:g} at most: take a smaller backbone")
    return target


def main(argv: Sequence[str] | None = None) -> None:
    """Make what is not there yet, step by step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--referees", nargs="+", help="records beside these alone (default: all of the config)")
    parser.add_argument("--max_images", type=int, help="at most, of each network, part and maker: to try it")
    args = parser.parse_args(argv)
    told = script_config(args.config, REQUIRED) | ({"max_images": args.max_images} if args.max_images else {})
    args.out.mkdir(parents=True, exist_ok=True)
    everything = list(parts(told, args.out))  # finished networks are answered from their files
    folders: dict[str, list[Path]] = {}
    for referee in (args.referees or told["referees"]) if {"records", "train"} & set(args.only) else ():
        lookup("referee of the config", referee, told["referees"])
        folders[referee] = [f for part in everything for f in records(told, referee, part, args.out)]
    first = next(iter(told["referees"]))
    for name in told["train"] if "train" in args.only and first in folders else ():
        print(f"bundle: {model(told, name, folders[first], args.out)}", flush=True)


if __name__ == "__main__":
    sys.exit(script_status("default_bundle", main))
