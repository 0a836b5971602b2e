"""The bundles that come with sqp, from nothing: networks, masks of several makers, quality models.

python -m studies.default_bundle configs/default_bundle.yaml runs/default_bundle [--only fit records train]
    [--referees litemedsam] [--max_images 5]

A network's mask counts only on an image that it was not fitted on, so train is cut in two halves by group and every
network of the config is fitted on each (OUT/fit), for the masks of the other half; calibration, val and test, which
none has seen, have those of the first half. Each maker's records
lie in OUT/records/REFEREE/MAKER/{first,second,val,rest}, those of copies as other cameras would show them in
PART_cameras; "{name}" in a generate section is the file of that network; a maker with `masks: classical` segments
nothing. Records of `domains`, other data sets, are for choosing: no model learns from them. What is shipped beside a
bundle (`ship`) is named as it lies there: `localizer` and `supervised`, networks of the first half, in half precision;
"{NAME_2}" is that of the second half, which images of no half may be compared with, too. A referee with `train: OTHER`
has the records of OTHER for train, and a model of `train` is trained beside its `beside`, by default the first referee.
`images` and `splits` of the config may be lists of the same length: several data sets, learned from as one.
OUT/bundles gets a folder a model, with the referees' networks beside it, checked: licences and size.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors.torch import load_file

from sqp.bundles import BUNDLES, LARGEST
from sqp.core.errors import ConfigError, lookup
from sqp.core.types import Case
from sqp.data import find_cases
from sqp.data.licences import UNKNOWN, of_licences
from sqp.data.split_files import read_splits, write_splits
from sqp.data.splits import Groups, Splits, apply_splits, halved, subset_by_group
from sqp.networks.checkpoint import read_header, rounded, save_checkpoint
from sqp.prompts.localizer import LocalizerSpec
from sqp.quality.bundle.expected_config import LOCALIZER, network_names
from sqp.quality.bundle.licences import check_licences
from sqp.quality.bundle.sources import REFEREE, SUPERVISED
from sqp.quality.bundle.storage import Bundle
from sqp.report.tables import write_csv
from sqp.segmenters.plain import NetworkSpec
from studies.classical import masks
from studies.other_cameras import copies
from studies.runner import command, listed, option, status, study

KEYS = ("images", "splits", "licence", "fit", "generate", "referees", "makers", "train")
OPTIONAL = ("domains",)
STEPS = ("fit", "records", "train")
REST = ["calibration", "test"]
BESIDE = "beside"
KINDS = ("images", "cameras")
"""What a maker segments: the images, and copies of them as other cameras would show them."""


@dataclass(frozen=True)
class Part:
    """Images whose masks are made by networks that have not seen them: `share` of the maker's images of `kind`.

    What is not `learned` from is a domain that is held out: other images, for choosing.
    """

    name: str
    images: str
    licence: list[str]
    splits: Path
    only: list[str]
    networks: Mapping[str, Path]
    kind: str
    share: float = 1.0
    learned: bool = True

    def cases(self) -> list[Case]:
        """Its images, by their licence."""
        everything = apply_splits(list(find_cases(Path(self.images)).cases), read_splits(self.splits))
        return [case for case in of_licences(everything, self.licence) if case.split in self.only]


def parts(settings: Mapping[str, Any], out: Path) -> Iterator[Part]:
    """Both halves of train, val, the rest, and other domains; networks are fitted where they are not there yet."""
    halves = halved(read_splits(settings["splits"]))
    files = [out / f"{name}_half.json" for name in ("first", "second")]
    for file, splits in zip(files, halves, strict=True):
        write_splits(file, splits)
    fitted = [{name: network(settings, name, out, file) for name in settings["fit"]} for file in files]
    shipped = {
        own: rounded_network(of_half[name], own, out)
        for name, values in settings["fit"].items()
        if values.get("ship")
        for own, of_half in zip((name, f"{name}_2"), fitted, strict=True)
    }
    data, official, others = (settings["images"], settings["licence"]), Path(settings["splits"]), fitted[0] | shipped
    # the network that was fitted on the first half makes the masks of what is left of train: the second
    yield Part("second", *data, files[0], ["train"], others, "train", 0.5)
    yield Part("first", *data, files[1], ["train"], fitted[1], "train", 0.5)
    yield Part("val", *data, official, ["val"], others, "val")
    yield Part("rest", *data, official, REST, others, "rest")
    for name, domain in settings.get("domains", {}).items():
        of_domain = (domain["images"], domain["licence"], Path(domain["splits"]), domain["only"])
        yield Part(name, *of_domain, others, "domain", learned=False)


def pooled(settings: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """The config with one table of images and one file of splits in place of those of several data sets."""
    if isinstance(settings["images"], str):
        return dict(settings)
    cases: list[Case] = []
    splits: dict[str, Groups] = {}
    for images, file in zip(settings["images"], settings["splits"], strict=True):
        of_set = read_splits(file)
        cases += [case for case in apply_splits(find_cases(Path(images)).cases, of_set) if case.split]
        for split, groups in of_set.splits.items():
            splits.setdefault(split, {}).update(groups)
    table, file = out / "data" / "pooled.csv", out / "data" / "pooled.json"
    table.parent.mkdir(parents=True, exist_ok=True)
    write_csv(pd.DataFrame([listed(case) for case in cases]), table)
    write_splits(file, Splits(splits, dataset="+".join(Path(images).name for images in settings["images"])))
    return {**settings, "images": str(table), "splits": str(file)}


def network(settings: Mapping[str, Any], name: str, out: Path, splits: Path) -> Path:
    """The checkpoint of a network, fitted on the split `segmenter`."""
    values = {key: value for key, value in settings["fit"][name].items() if key not in ("command", "ship")}
    data = {key: settings[key] for key in ("images", "licence")} | {"max_images": settings.get("max_images", 0)}
    own = {"splits": str(splits), "train_splits": ["segmenter"], "out": str(out / "fit" / f"{name}_{splits.stem}")}
    return next(iter(command(settings["fit"][name]["command"], data, values, own).checkpoints))


def rounded_network(file: Path, name: str, out: Path) -> Path:
    """A checkpoint, its weights rounded to half precision, as it is shipped: OUT/NAME.safetensors."""
    target = out / f"{name}.safetensors"
    if not target.exists() or target.stat().st_mtime < file.stat().st_mtime:
        is_localizer = name.startswith(Path(LOCALIZER).stem)
        kind: type[LocalizerSpec] | type[NetworkSpec] = LocalizerSpec if is_localizer else NetworkSpec
        header = read_header(file, kind)
        save_checkpoint(target, rounded(load_file(file)), header.spec, header.info)
    return target


def records(settings: Mapping[str, Any], referee: str, part: Part, out: Path) -> Iterator[Path]:
    """The record sets of all makers on a part, judged beside a referee: of the images, and of copies of them."""
    if part.kind == "train":
        referee = settings["referees"][referee].get("train", referee)
    of_referee = settings["referees"][referee]
    for maker, values in settings["makers"].items():
        own = {key: value for key, value in values.items() if key not in (*KINDS, "masks")}
        for kind in (kind for kind in KINDS if values.get(kind, {}).get(part.kind)):
            asked = round(values[kind][part.kind] * part.share * of_referee.get("share", 1.0))
            most = min(asked, settings.get("max_images", asked))
            name = part.name if kind == "images" else f"{part.name}_{kind}"
            keys = {
                "encodings": str(out / "encodings"),
                **filled({**settings["generate"], **of_referee["generate"], **own}, part.networks),
                **data(part, kind, values.get("masks") == "classical", most, out / "data" / part.name / maker),
                "max_images": most,
                "out": str(out / "records" / referee / maker / name),
            }
            made = command("generate", keys)
            print(f"{referee}, {maker}, {name}: {made.summary()} ({made.seconds:.0f} s)", flush=True)
            yield made.out


def data(part: Part, kind: str, classical: bool, most: int, home: Path) -> dict[str, Any]:
    """The options that name at most so many images of a part, or copies of them in `home`, and classical masks."""
    if kind == "images" and not classical:
        return {"images": part.images, "licence": part.licence, "splits": str(part.splits), "only": part.only}
    cases = subset_by_group(part.cases(), most, 0)
    table = copies(cases, home / "cameras") if kind == "cameras" else None
    if classical:
        table = masks(cases if table is None else list(find_cases(table).cases), home / f"classical_{kind}")
    # nothing was fitted to draw classical masks: their licence is that of the images
    licences = sorted({case.licence or UNKNOWN for case in cases})
    return {"images": str(table)} | ({"masks_licence": licences} if classical else {})


def filled(value: Any, networks: Mapping[str, Path]) -> Any:
    """A section with the file of each network in place of "{name}"."""
    if isinstance(value, Mapping):
        return {key: filled(one, networks) for key, one in value.items()}
    if isinstance(value, list):
        return [filled(one, networks) for one in value]
    if isinstance(value, str) and value.startswith("{") and value.endswith("}"):
        return str(lookup("network of the config", value[1:-1], networks))
    return value


def model(settings: Mapping[str, Any], name: str, folders: Sequence[Path], out: Path) -> Path:
    """The bundle of a model, with the localizer of its referee, checked: licences and size."""
    own = {"records": [str(folder) for folder in folders], "out": str(out / "train" / name)}
    asked = {key: value for key, value in settings["train"][name].items() if key != BESIDE}
    result = command("train", asked, own)
    print(f"{name}: {result.summary()}", flush=True)
    target = out / "bundles" / name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(result.bundle, target)
    bundle = Bundle.load(target)
    if REFEREE in bundle.sources and bundle.expects[0]["referee"].get("localizer_sha256"):
        shutil.copy(out / LOCALIZER, target / LOCALIZER)
    if SUPERVISED in bundle.sources:
        for file in network_names(bundle.expects):
            shutil.copy(out / file, target / file)
    if allowed := BUNDLES.get(name, tuple(settings["licence"])):
        check_licences(bundle.info, allowed, name)
    size = sum(file.stat().st_size for file in target.iterdir())
    if size >= LARGEST:
        raise ConfigError(f"{target} has {size / 1e6:.1f} MB, {LARGEST / 1e6:g} at most: take a smaller backbone")
    return target


@study(
    "config",
    "out",
    option("--only", nargs="+", choices=STEPS, default=list(STEPS)),
    option("--referees", nargs="+", help="records beside these alone (default: all of the config)"),
    option("--max_images", type=int, help="at most, of each network, part and maker: to try it"),
    required=KEYS,
    optional=OPTIONAL,
)
def main(args: argparse.Namespace) -> None:
    """Make what is not there yet, step by step."""
    settings = args.settings | ({"max_images": args.max_images} if args.max_images else {})
    args.out.mkdir(parents=True, exist_ok=True)
    settings = pooled(settings, args.out)
    everything = list(parts(settings, args.out))  # finished networks are answered from their files
    folders: dict[str, list[Path]] = {}
    for referee in (args.referees or settings["referees"]) if {"records", "train"} & set(args.only) else ():
        lookup("referee of the config", referee, settings["referees"])
        folders[referee] = []
        for part in everything:
            of_part = list(records(settings, referee, part, args.out))
            folders[referee] += of_part if part.learned else []
    first = next(iter(settings["referees"]))
    for name, values in settings["train"].items() if "train" in args.only else ():
        if (beside := values.get(BESIDE, first)) in folders:
            print(f"bundle: {model(settings, name, folders[beside], args.out)}", flush=True)


if __name__ == "__main__":
    sys.exit(status(main))
