"""What a config checks of itself: names out of a list, numbers in their range; nothing here reads a file.

And the options of a variant that is chosen by name (`check_options`), checked before any work is done.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from sqp.core.errors import ConfigError, lookup, unknown_name
from sqp.core.mirror import without_file_scheme
from sqp.core.names import (
    Corruption,
    DropoutSite,
    IndependentPrompter,
    Layout,
    Measure,
    RecordKind,
    Refinement,
    Sampler,
    Split,
    Tool,
    TransformSet,
)


def at_home(value: Any) -> Any:
    """A value whose paths that start with `~` lead to the home folder, and those with file:// to their place, those in
    lists and mappings too.

    Examples:
        >>> at_home([Path("~")]) == [Path.home()]
        True
    """
    if isinstance(value, Path):
        return without_file_scheme(value.expanduser())
    if isinstance(value, list | tuple):
        return type(value)(map(at_home, value))
    if isinstance(value, dict):
        return {key: at_home(inner) for key, inner in value.items()}
    return str(Path(value).expanduser()) if isinstance(value, str) and value.startswith("~/") else value


@dataclasses.dataclass
class Config:
    """Base of every config: a path that starts with `~` leads to the home folder, whoever gives it, and how."""

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, at_home(value))


KINDS: dict[tuple[Any, ...], str] = {
    typing.get_args(Split): "split",
    typing.get_args(Layout): "layout",
    typing.get_args(Corruption): "corruption",
    typing.get_args(Literal["auto", Sampler]): "sampler",
    typing.get_args(TransformSet): "set of transforms",
    typing.get_args(DropoutSite): "site of dropout",
    typing.get_args(Measure): "measure",
    typing.get_args(Refinement): "refinement",
    typing.get_args(IndependentPrompter): "prompter of a referee (it must not know mask or truth)",
    typing.get_args(RecordKind): "kind of records",
    typing.get_args(Tool): "format of --write",
}
"""What the names of a list are called, where that is not the option's own name."""


OF_TOOLS = (".json", ".xml", ".nrrd", ".dcm")
"""Suffixes of the files of annotation tools."""


def choices(hint: Any) -> tuple[Any, ...]:
    """The names that an annotation lists: of a Literal, or of what holds it (a list, a mapping by such keys).

    Examples:
        >>> choices(list[Literal["a", "b"]])
        ('a', 'b')
    """
    if typing.get_origin(hint) is Literal:
        return typing.get_args(hint)
    inner = [choices(part) for part in typing.get_args(hint)]
    return next((names for names in inner if names), ())


def check_alpha(alpha: float) -> None:
    """ConfigError unless 0 < alpha < 1.

    Args:
        alpha: share of the intervals that may miss.

    Raises:
        ConfigError: it does not lie between 0 and 1.
    """
    if not 0 < alpha < 1:
        raise ConfigError(f"alpha is {alpha}; it must lie between 0 and 1 (0.1 for an interval at 90 %)")


def check_choices(config: Any) -> None:
    """ConfigError for the first option of a config dataclass that holds a name which its annotation does not list.

    Nested configs are looked into. `KINDS` of the class, by option, or of this module, by list, say what the names are
    called.
    """
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        names, value = choices(hints[field.name]), getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            check_choices(value)
        elif names and value is not None:
            for name in value if isinstance(value, list | tuple | dict) else [value]:
                if name not in names:
                    raise unknown_choice(field.name, name, names, getattr(config, "KINDS", {}))


def unknown_choice(
    option: str, value: object, names: tuple[Any, ...], kinds: Mapping[str, str] | None = None
) -> ConfigError:
    """The error for a value of an option that is not among its names, with the nearest one; `kinds` as `KINDS`."""
    kind = (kinds or {}).get(option) or KINDS.get(names, option.rpartition(".")[2].replace("_", " "))
    return unknown_name(kind, str(value), map(str, names))


def check_thresholds(accept: float, reject: float) -> None:
    """ConfigError unless 0 <= reject <= accept <= 1.

    Args:
        accept: least low end of an accepted mask.
        reject: a mask whose high end is below it is rejected.

    Raises:
        ConfigError: they are out of order, or no Dice.
    """
    for name, value in (("accept", accept), ("reject", reject)):
        if not 0 <= value <= 1:
            raise ConfigError(f"{name} is {value}; it is a Dice and must lie between 0 and 1")
    if reject > accept:
        raise ConfigError(f"reject is {reject}, accept {accept}: reject must not be above accept")


Range = tuple[float, float]
LARGEST = 2**31 - 1  # of whole numbers that no range bounds more closely
SHORT = 100_000  # a bound from here on is no help to whoever gave too little
ANY: Range = (-math.inf, math.inf)
COUNT: Range = (0, 10**6)  # of anything that is counted: more is a slip, and would run for ever or out of memory
RANGES: dict[str, Range] = {
    "seed": (0, 2**32 - 1),  # what NumPy, scikit-learn and UMAP take
    "workers": (0, 1024),
    "gpu_share": (0.01, 1),
    "devices": (-1, 1024),  # -1: all
    "num_nodes": (1, 10_000),
    "batch_size": (1, 10**6),
    **dict.fromkeys(("max_images", "max_records", "worst", "gallery", "overlays", "audit"), COUNT),
    **dict.fromkeys(("checked", "neighbours", "cases", "thumbnails", "ood_images"), COUNT),
    "images": (0, 100_000),
    "samples": (1, 1000),  # logits of a sample take a quarter of a megabyte and more
    "n": (1, 1000),
    "n_resamples": (1, 100_000),
    "prompts": (1, 1000),
    "corruptions": (0, 10_000),  # of one image
    "truth_jitter": (0, 10_000),
    "truth_jitter_max": (0, 100),
    "target_alpha": (1e-3, 1e3),
    "target_beta": (1e-3, 1e3),
    "p": (0, 1),
    "risk": (0, 1),
    "failure": (0, 1),
    "confidence": (0, 1),
    "fail_under": (0, 1),
    "label": ANY,
    "segmenter.window": ANY,
}
"""Least and greatest value of an option by its name or the last part of it, in every command; others are 0 or more."""

TRAINING_RANGES: dict[str, Range] = {
    "size": (32, 2048),
    "epochs": (1, 100_000),
    "patience": (1, 100_000),
    "batch_size": (2, 65_536),
    "learning_rate": (1e-8, 10),
    "weight_decay": (0, 10),
}
"""Those of whatever is trained, a network that segments or a quality model."""


def check_ranges(config: Any, ranges: Mapping[str, Range] | None = None) -> None:
    """ConfigError naming the first number of a config dataclass that is NaN, infinite or out of its range.

    That is the one of `ranges`, which name options in full, else of `RANGES`; those of free keys (`prompter_options`)
    need only be finite. Nested configs, lists and mappings are looked into.
    """
    for name, value, own in _numbers(config):
        known = {**RANGES, **(ranges or {})}
        low, high = (known.get(name) or known.get(name.rpartition(".")[2], (0, math.inf))) if own else ANY
        unbounded = high == math.inf
        most = LARGEST if unbounded and isinstance(value, int) else high
        if math.isfinite(value) if isinstance(value, float) else True:
            if low <= value <= most:
                continue
        elif not own or low == -math.inf:
            raise ConfigError(f"{name} is {value}; it must be a finite number")
        if most < SHORT or value > most:
            span = f"must lie between {low:g} and {_plain(most)}"
        else:
            span = f"must be at least {low:g}"
        raise ConfigError(f"{name} is {value}; it {span}")


def _plain(bound: float) -> str:
    """A bound as people write it.

    Examples:
        >>> _plain(65_536), _plain(10**6), _plain(0.95)
        ('65536', '1,000,000', '0.95')
    """
    return f"{bound:g}" if bound != int(bound) else f"{int(bound):,}" if bound >= SHORT else f"{int(bound)}"


def _numbers(config: Any, prefix: str = "", own: bool = True) -> Iterator[tuple[str, int | float, bool]]:
    """(dotted name, number, is it an option of sqp's own) of all that a config holds."""
    if dataclasses.is_dataclass(config):
        for field in dataclasses.fields(config):
            yield from _numbers(getattr(config, field.name), f"{prefix}{field.name}.")
    elif isinstance(config, Mapping):
        for key, value in config.items():
            yield from _numbers(value, f"{prefix}{key}.", own=False)
    elif isinstance(config, list | tuple):
        for value in config:
            yield from _numbers(value, prefix, own)
    elif isinstance(config, int | float) and not isinstance(config, bool):
        yield prefix.rstrip("."), config, own


@dataclasses.dataclass
class CommandConfig(Config):
    """The options of a command: as it is made its choices are checked, and its numbers by `BOUNDS`, then `RANGES`."""

    BOUNDS: typing.ClassVar[Mapping[str, Range]] = {}

    def __post_init__(self) -> None:
        check_choices(self)
        check_ranges(self, self.BOUNDS)


def as_labels(values: Iterable[int | str], masks: Path | None = None) -> list[int | str]:
    """What `--label` gives: a whole number (also 0xRRGGBB) where it is one, else a name.

    ConfigError for a name where `masks` can be no file of an annotation tool.

    Examples:
        >>> as_labels(["2", "0xff0000", "lesion", 3], Path("coco.json"))
        [2, 16711680, 'lesion', 3]
    """
    labels = [_as_number(value) if isinstance(value, str) else value for value in values]
    for label in labels:
        if isinstance(label, str) and (masks is None or not (masks.is_dir() or masks.suffix.lower() in OF_TOOLS)):
            raise label_error(label)
    return labels


def label_error(label: str) -> ConfigError:
    """The error for a name where labels are values."""
    return ConfigError(
        f"the option --label is '{label}'; it must be a whole number, or several of them; names are those of "
        "categories in a file of COCO, Label Studio, CVAT, 3D Slicer or DICOM SEG, given as --masks"
    )


def _as_number(text: str) -> int | str:
    """The number that a text is, else the text."""
    try:
        return int(text, 0)
    except ValueError:
        return text


def check_options(what: str, run: Callable[..., Any], options: Mapping[str, Any], trial: Callable[[], Any]) -> None:
    """ConfigError for an option that `run` does not have (keyword-only parameters count), or one that is missing.

    `trial` runs it once on next to nothing: numbers out of range and values of a wrong type come out here.
    """
    parameters = inspect.signature(run).parameters
    own = {name: p for name, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}
    if not own and options:
        raise ConfigError(f"{what} has no options, but {', '.join(options)} is given: take it out")
    for name in options:
        lookup(f"option of {what}", name, own)
    missing = [name for name, p in own.items() if p.default is inspect.Parameter.empty and name not in options]
    if missing:
        raise ConfigError(f"{what} needs the option {missing[0]}, which has no default: choose it on val")
    try:
        trial()
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{what} cannot use the options {dict(options)}: {error}") from error
