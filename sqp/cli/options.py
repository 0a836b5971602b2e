"""What people type -> what jsonargparse reads, and its messages -> one sentence with the nearest option."""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
import typing
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import yaml

from sqp.config.checks import choices, unknown_choice
from sqp.core.errors import ConfigError
from sqp.core.untrusted import parse_yaml, read_yaml


def check_values(cls: type, values: Any, prefix: str = "") -> None:
    """ConfigError for an empty path in the values of a config's YAML, and for a group of options that is no mapping."""
    hints = typing.get_type_hints(cls)
    for key, value in values.items() if isinstance(values, dict) else ():
        hint, name = hints.get(key), f"{prefix}{key}"
        if value == "" and hint is not None and _holds_paths(hint):
            raise ConfigError(f"the option {name} is empty: give a path, or leave it out")
        if dataclasses.is_dataclass(hint):
            if not isinstance(value, dict | str):
                raise ConfigError(f"the option {name} is {value!r}; it must be {expected(None)}")
            check_values(typing.cast(type, hint), value, f"{name}.")


def section(config: str, command: str, commands: Collection[str], cls: type | None = None) -> str:
    """The part of a YAML file that is meant for a command: `--config` may name one file for a whole pipeline.

    A file whose top level holds nothing but names of commands is cut to the section of this one, returned as YAML
    text; any other is returned as it came. ConfigError where the file has sections, but none for this command.
    """
    path = Path(config).expanduser()
    if not _is_there(str(path)):
        if path.suffix.lower() in (".yaml", ".yml", ".json"):
            raise ConfigError(f"--config {config} does not exist: check the path")
        return config
    config = str(path)
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds no options: write them as `name: value`, a line each")
    if cls is not None:
        check_values(cls, values.get(command, values))
    if not values or not set(values) <= set(commands):
        return config
    if command not in values:
        raise ConfigError(f"{path} has no section '{command}'; it has: {', '.join(values)}")
    return yaml.safe_dump(values[command])


def option_names(cls: type, prefix: str = "") -> list[str]:
    """All options of a config, nested ones dotted; `*` stands for the free keys of a mapping.

    Examples:
        >>> from sqp.config.generate import SamplerConfig
        >>> option_names(SamplerConfig, "sampler.")[:3]
        ['sampler.name', 'sampler.n', 'sampler.ratio']
    """
    names: list[str] = []
    for field, hint in typing.get_type_hints(cls).items():
        inner = [hint, *typing.get_args(hint)]
        nested = next((h for h in inner if dataclasses.is_dataclass(h)), None)
        if nested is not hint:
            names.append(prefix + field)
        if nested is not None:
            key = "" if nested is hint else "*."
            names += option_names(typing.cast(type, nested), f"{prefix}{field}.{key}")
    return names


def friendly(cls: type, args: Sequence[str]) -> list[str]:
    """What people type -> what jsonargparse reads.

    Dashes in names, `--name=value`, a bare `--strict`, `--records A B` and repeated for a list, `--size 9 9` for a
    tuple, and the short forms of nested options (`_full_name`).
    """
    hints = flat_hints(cls)
    out: list[str] = []
    rest = list(args)
    while rest:
        token = rest.pop(0)
        if not token.startswith("--"):
            out.append(token)
            continue
        typed, equals, value = token[2:].partition("=")
        first = value if equals else rest[0] if rest else ""
        name = _full_name(typed.replace("-", "_"), first, hints)
        hint = hints.get(name)
        many = typing.get_origin(hint) in (list, tuple)
        values = [value] if equals else []
        while rest and not rest[0].startswith("--") and (many or (hint is bool and not values)):
            values.append(rest.pop(0))
        option = f"--{name}"
        _check_nested(option, hint, first, name.rpartition(".")[0] not in hints)
        if "" in (values or [first if equals or rest else "x"]) and _holds_paths(hint):
            raise ConfigError(f"the option {option} is empty: give a path, or leave it out")
        if hint is bool:
            out += [option, values[0] if values else "true"]
        elif many and values and values[0].startswith("["):
            out += [option, " ".join(values)]
        elif typing.get_origin(hint) is list and values:
            out += [f"{option}+" if option in out else option, json.dumps(values)]
        elif many and values:
            out += [option, f"[{', '.join(values)}]"]
        else:
            out.append(f"{option}={value}" if equals else option)
    return out


def _check_nested(option: str, hint: Any, value: str, may_be_file: bool) -> None:
    """ConfigError where the YAML of a group or of a mapping, in place or in a file, is none or explodes.

    jsonargparse, which reads it next, would hang. A file that is the value of a mapping's key is not read as YAML.
    """
    if hint is not None and typing.get_origin(hint) is not dict:
        return
    if value.startswith(("{", "[", "&")):
        parse_yaml(value, option)
    elif may_be_file and not value.startswith("-") and _is_there(value):
        read_yaml(Path(value))


def _holds_paths(hint: Any) -> bool:
    """Whether a value is a path, or several; an empty one would be the current folder."""
    return hint is Path or any(_holds_paths(part) for part in typing.get_args(hint))


def _is_there(value: str) -> bool:
    """Whether something other than a folder lies there; False for a text that can be no path."""
    try:
        return Path(value).exists() and not Path(value).is_dir()
    except (OSError, ValueError):
        return False


def _full_name(name: str, value: str, hints: dict[str, Any]) -> str:
    """`checkpoint` -> `segmenter.checkpoint`, where it ends one option only; `sampler tta` -> `sampler.name`.

    A group with a file or with `{...}` stays itself: its YAML. `ConfigError` where several options end so.
    """
    if name in hints:
        return name
    if f"{name}.name" in hints:
        return name if value.startswith("{") or _is_there(value) else f"{name}.name"
    ending = [option for option in hints if option.endswith(f".{name}")]
    if len(ending) > 1:
        raise ConfigError(f"the option --{name} is ambiguous: write {' or '.join(f'--{option}' for option in ending)}")
    return ending[0] if ending else name


def flat_hints(cls: type, prefix: str = "") -> dict[str, Any]:
    hints: dict[str, Any] = {}
    for field, hint in typing.get_type_hints(cls).items():
        if dataclasses.is_dataclass(hint):
            hints |= flat_hints(typing.cast(type, hint), f"{prefix}{field}.")
        else:
            hints[prefix + field] = hint
    return hints


def explain(name: str, cls: type, message: str) -> str:
    """jsonargparse's message in one sentence, with the nearest option where one is unknown."""
    message = re.sub(r"\s+", " ", message).strip()
    unknown = re.search(
        r"[Uu]nrecognized arguments?: (?:--)?([\w.\-]+)|Option ['\"]([\w.\-]+)['\"] is not accepted|"
        r"does not accept option ['\"]([\w.\-]+)['\"]",
        message,
    )
    if unknown:
        option = next(group for group in unknown.groups() if group).replace("-", "_")
        near = _nearest(option, option_names(cls))
        hint = f", did you mean '{near}'?" if near else f"; `sqp {name} --help` lists all options"
        return f"{name}: unknown option '{option}'{hint}"
    required = re.search(r"following arguments are required: ([\w.]+)", message)
    if required:
        return f"{name}: the option --{required.group(1)} is missing; `sqp {name} --help` says what it is"
    bare = re.search(r"argument --([\w.]+): expected (?:one|at least one) argument", message)
    if bare:
        return f"{name}: the option --{bare.group(1)} needs a value: {expected(flat_hints(cls).get(bare.group(1)))}"
    wrong = re.search(r"(?:Parser key|[Kk]ey|argument) [\"']?(?:--)?([\w.]+)[\"']?: (.*)", message)
    if wrong:
        key, why = wrong.groups()
        found = re.findall(r"(?:Got|Given) value: (.*?)(?= Given | Got | - |$)", why)
        kind = flat_hints(cls).get(key)
        names = tuple(map(str, choices(kind)))
        for value in found if names else ():
            if value.strip("'\"") not in names:
                return str(unknown_choice(key, value.strip("'\""), choices(kind)))
        if found and (kind is not None or _is_group(key, cls)):
            return f"{name}: the option --{key} is {found[-1]!r}; it must be {expected(kind)}"
    return f"{name}: {message}"


def _is_group(key: str, cls: type) -> bool:
    return any(option.startswith(f"{key}.") for option in flat_hints(cls))


def expected(hint: Any) -> str:
    """What a value of a type is called.

    Examples:
        >>> expected(int | None), expected(list[Path]), expected(bool)
        ('a whole number, or null', 'a path, or several of them', 'true or false')
    """
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", Path: "a path"}
    parts = [part for part in typing.get_args(hint) if part is not Ellipsis]
    if hint in names:
        return names[hint]
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        return f"one of {', '.join(map(str, parts))}"
    if origin in (list, tuple):
        return f"{expected(parts[0])}, or several of them"
    if parts and origin is not dict:
        kinds = [expected(part) for part in parts if part is not type(None)]
        return " or ".join(kinds) + (", or null" if type(None) in parts else "")
    return "a mapping, e.g. {key: value}, or a YAML file of one"


def written(hint: Any) -> str:
    """What is written behind an option, in the help: a placeholder, or the choices; nothing for true or false.

    Examples:
        >>> written(int | None), written(list[Path]), written(bool), written(typing.Literal["a", "b"])
        ('N', 'PATH ...', '', '{a,b}')
    """
    names = {int: "N", float: "NUMBER", bool: "", str: "TEXT", Path: "PATH", type(None): ""}
    parts = [part for part in typing.get_args(hint) if part is not Ellipsis]
    if hint in names:
        return names[hint]
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        return f"{{{','.join(map(str, parts))}}}"
    if origin in (list, tuple):
        return f"{written(parts[0])} ..."
    kinds = [written(part) for part in parts] if origin is not dict else []
    return "|".join(filter(None, kinds)) or "{KEY: VALUE}"


def _nearest(option: str, known: Sequence[str]) -> str | None:
    """The known option, with all its dots, that is nearest by its full name, its last part or its group."""
    full = {group: group for name in known for group in name.split(".")[:-1] if group != "*"}
    full |= {name.split(".")[-1]: name for name in reversed(known)} | {name: name for name in known}
    for tried in (option, option.split(".")[-1], option.split(".")[0]):
        for match in difflib.get_close_matches(tried, full, n=2, cutoff=0.5):
            if full[match] != option:
                return full[match]
    return None
