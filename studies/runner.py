"""What the studies share: the command line and its config, sqp's commands, cases, predictions, rows that stay, tables.

A study is a module with a `main` under `@study`; it is run as `python -m studies.NAME` in the root of the repository.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from sqp.cli.overview import COMMANDS
from sqp.cli.parser import from_mapping
from sqp.config.generate import UNSEEN, GenerateConfig
from sqp.core.errors import CaseError, ConfigError, SqpError, lookup
from sqp.core.files import sha256_of_all, write_text
from sqp.core.seeding import numpy_generator
from sqp.core.types import Case, Prompt
from sqp.core.untrusted import read_yaml
from sqp.core.volume import Volume
from sqp.evaluation.paired import mean_cells
from sqp.metrics.stats import Resamples
from sqp.prompts import prompter_for
from sqp.quality import Bundle, predict_records
from sqp.records import RecordSet
from sqp.records.frozen import freeze, write_frozen
from sqp.records.load import LoadedCase, load_case
from sqp.records.make import check_parts, collect_cases, select_cases
from sqp.records.plan import for_cases, of_volumes
from sqp.report.predictions import read_predictions, write_predictions
from sqp.report.tables import formatted, markdown, write_csv

Option = tuple[tuple[str, ...], dict[str, Any]]
Main = Callable[[Sequence[str] | None], None]


def option(*names: str, **keywords: Any) -> Option:
    """An option of a study, as argparse's `add_argument` takes it."""
    return names, keywords


def study(
    *options: str | Option, required: Collection[str] = (), optional: Collection[str] = ()
) -> Callable[[Callable[[argparse.Namespace], None]], Main]:
    """Makes `main(args)` a `main(argv)` whose help is the module's docstring.

    Options are names of paths, in their order, and what `option` gives. With `required` the first path is `config`, and
    `args.settings` is what it holds (`read_config`).
    """

    def wrap(function: Callable[[argparse.Namespace], None]) -> Main:
        def main(argv: Sequence[str] | None = None) -> None:
            parser = argparse.ArgumentParser(
                prog=f"python -m studies.{Path(sys.argv[0]).stem}",
                description=sys.modules[function.__module__].__doc__,
                formatter_class=argparse.RawDescriptionHelpFormatter,
            )
            for one in options:
                names, keywords = ((one,), {"type": Path}) if isinstance(one, str) else one
                parser.add_argument(*names, **keywords)
            args = parser.parse_args(argv)
            if required:
                args.settings = read_config(args.config, required, optional)
            function(args)

        return main

    return wrap


def status(main: Main, argv: Sequence[str] | None = None) -> int:
    """The exit status of a study: 0, or 2 after one sentence where it raises an SqpError."""
    try:
        main(argv)
    except SqpError as error:
        print(f"{Path(sys.argv[0]).stem}: {error}", file=sys.stderr)
        return 2
    return 0


def read_config(path: Path, required: Collection[str], optional: Collection[str] = ()) -> dict[str, Any]:
    """The config of a study: a mapping that has all `required` keys, and none that is not among these and `optional`.

    Where it has a key `base`, the path of another config, that one's keys hold but for those that stand here, too.
    ConfigError naming the key that is lacking, or the one that is unknown with the nearest that is not.
    """
    settings = read_yaml(path)
    if not isinstance(settings, dict):
        raise ConfigError(f"{path} holds no keys; it needs {', '.join(required)}")
    if "base" in settings:
        settings = read_config(Path(settings.pop("base")), required, optional) | settings
    for key in settings:
        lookup(f"key in {path}", str(key), dict.fromkeys([*required, *optional]))
    lacking = [key for key in required if key not in settings]
    if lacking:
        raise ConfigError(f"{path} lacks the key '{lacking[0]}'; it needs {', '.join(required)}")
    return settings


def command(name: str, *parts: Mapping[str, Any]) -> Any:
    """The result of a command of sqp, its options out of several mappings of which the last one that has a key wins."""
    config = from_mapping(name, {key: value for part in parts for key, value in part.items()})
    return import_module(COMMANDS[name].module).run(config)


def generate_config(options: Mapping[str, Any], out: Path) -> GenerateConfig:
    """A checked config of `sqp generate`, for a study that makes its records itself."""
    config: GenerateConfig = from_mapping("generate", {**options, "out": str(out)})
    check_parts(config)
    return config


def listed(case: Case) -> dict[str, str]:
    """A row of a CSV of cases (`--images CSV`), with the paths of image and truth, group, split and licence."""
    return {
        "image_id": case.image_id,
        "image": str(case.image_path.absolute()),
        "truth": ";".join(str(path.absolute()) for path in case.truth_paths),
        **{name: getattr(case, name) for name in ("group", "split", "dataset", "licence", "diagnosis")},
    }


def cases_of(config: GenerateConfig) -> list[Case]:
    """The cases that a generate config names."""
    return select_cases(collect_cases(config)[0], config)


def of_cases(config: GenerateConfig, cases: Sequence[Case]) -> tuple[GenerateConfig, bool]:
    """The config as it is meant for these cases, and whether they are volumes."""
    return for_cases(config, cases), of_volumes(cases)


def loaded_with_truth(case: Case) -> LoadedCase:
    """The pixels of a case; CaseError where it has no ground truth."""
    loaded = load_case(case)
    if loaded.truth is None:
        raise CaseError(f"{case.image_id} has no ground truth")
    return loaded


def prompted(case: Case, config: GenerateConfig) -> tuple[LoadedCase, Prompt]:
    """A case with its truth, and the configured prompter's first prompt; CaseError where either is missing.

    ConfigError for a prompter that this kind of image does not have.
    """
    loaded = loaded_with_truth(case)
    name, own = config.prompter_named(config.prompter)
    prompter = prompter_for(name, isinstance(loaded.image, Volume))
    options = {"generator": numpy_generator(config.seed, case.image_id, "prompt"), **own}
    return loaded, prompter(loaded.image, truth=loaded.truth, **options)[0]


def rows_of_cases(cases: Sequence[Case], rows: Callable[[Case], Iterable[dict[str, Any]]]) -> pd.DataFrame:
    """What `rows` gives for each case, after image_id and group.

    A case that cannot be used is told and skipped; ConfigError where none is left.
    """
    found = []
    for case in tqdm(cases, unit="case", disable=None):
        try:
            found += [{"image_id": case.image_id, "group": case.group} | row for row in rows(case)]
        except CaseError as error:
            tqdm.write(f"skipped {case.image_id}: {error}")
    if not found:
        raise ConfigError(f"none of the {len(cases)} images could be used: check the paths, the split and the truth")
    return pd.DataFrame(found)


def means(
    rows: pd.DataFrame,
    keys: Sequence[str],
    measures: Collection[str],
    more: Mapping[str, Callable[[pd.DataFrame], float]] = {},
) -> pd.DataFrame:
    """A row a setting: how many images, the mean of each measure with its 95 % interval by group, and `more`."""
    out = []
    for key, part in rows.groupby(list(keys), sort=False, dropna=False):
        row: dict[str, Any] = dict(zip(keys, key, strict=True)) | {"images": len(part)}
        resamples = Resamples.draw(part["group"].astype(str).to_numpy())
        for name in measures:
            row |= mean_cells(name, part[name].to_numpy(float), resamples)
        out.append(row | {name: value(part) for name, value in more.items()})
    return pd.DataFrame(out)


def predictions_key(bundle: Path, records: Iterable[str | Path], frozen: Iterable[str | Path] = ()) -> str:
    """16 hex digits that tell from which bundle, record sets and frozen sets predictions were made."""
    tables = [Path(folder) / "records.parquet" for folder in records]
    return sha256_of_all([*bundle.iterdir(), *tables, *frozen])[:16]


def predictions(work: Path, bundle: Callable[[], Bundle], records: Sequence[str | Path], **asked: Any) -> pd.DataFrame:
    """Those of a bundle on record sets, kept in the folder `work`; `asked` goes to `predict_records`."""
    if not (work / "predictions.parquet").exists():
        write_predictions(work, predict_records(bundle(), list(map(str, records)), **asked))
    return read_predictions(work)


def kept(path: Path, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """The table of a CSV file, which is made first where it is not there yet."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_csv(make(), path)
    return pd.read_csv(path)


def collected(folders: Iterable[Path], name: str, out: Path) -> pd.DataFrame:
    """The tables `name` of the folders that have one, as one; written to `out`, too."""
    files = [folder / name for folder in folders if (folder / name).exists()]
    table = pd.concat([pd.read_csv(file) for file in files], ignore_index=True)
    write_csv(table, out / name)
    return table


def holds(folder: Path, splits: Collection[str]) -> bool:
    """Whether a record set has a record of one of the splits."""
    return bool(RecordSet(folder).table["split"].isin(splits).any())


def sets_below(root: Path, split: str, but: Collection[str] = ()) -> list[Path]:
    """The record sets ROOT/MAKER/PART that hold records of the split or of calibration, `but` for some parts.

    ConfigError where there is none.
    """
    folders = [run.parent for run in sorted(root.glob("*/*/run.yaml")) if run.parent.name not in but]
    folders = [folder for folder in folders if holds(folder, (split, "calibration"))]
    if not folders:
        raise ConfigError(f"{root} holds no record set of the split {split}: give ROOT of ROOT/MAKER/PART")
    return folders


def frozen_spread(records: Path, path: Path) -> Path:
    """The file of the frozen spread test masks of a record set; frozen now where there is none yet."""
    if not path.exists():
        write_frozen(path, freeze(RecordSet(records), "test", UNSEEN))
    return path


def shown(table: pd.DataFrame, headings: Mapping[str, str]) -> str:
    """The table as markdown under these headings."""
    return markdown(formatted(table, headings))


def write_page(path: Path, *blocks: str) -> None:
    """A page of markdown, printed, too."""
    text = "\n\n".join(blocks)
    write_text(path, text + "\n")
    print(text)
