"""The options of a command -> its config, by jsonargparse over one dataclass."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

from sqp.cli.groups import arrange
from sqp.cli.options import check_values, explain, flat_hints, friendly, section, written
from sqp.cli.overview import COMMANDS, SHORT_FORMS
from sqp.core.errors import ConfigError


def parse(name: str, args: Sequence[str]) -> Any | None:
    """The options of a command as its config dataclass; None where help or the config was printed instead."""
    cls = config_class(name)
    listed = COMMANDS[name].listed
    if listed and args and not args[0].startswith("-"):
        args = [f"--{listed}", *args]
    try:
        return _read(name, lambda parser: parser.parse_args(_sections(name, friendly(cls, args))))
    except SystemExit:
        return None


def from_mapping(name: str, values: Mapping[str, Any]) -> Any:
    """The config of a command out of a mapping, as a part of a study's YAML, checked like its options."""
    check_values(config_class(name), dict(values))
    return _read(name, lambda parser: parser.parse_object(dict(values)))


def config_class(name: str) -> type:
    """The config dataclass of a command; imported here, so that `sqp --help` imports none."""
    module, cls_name = COMMANDS[name].config.split(":")
    return getattr(import_module(module), cls_name)


def _read(name: str, read: Callable[[Any], Any]) -> Any:
    """What `read` takes from the parser of a command, as its config; ConfigError where that refuses it."""
    import jsonargparse

    cls = config_class(name)
    parser = jsonargparse.ArgumentParser(
        prog=f"sqp {name}",
        description=(cls.__doc__ or "").split("\n")[0],
        epilog=SHORT_FORMS if any("." in option for option in flat_hints(cls)) else None,
        exit_on_error=False,
        formatter_class=_formatter(jsonargparse.DefaultHelpFormatter),
        allow_abbrev=False,  # `--epoch` is told, not taken for `--epochs`
    )
    parser.add_argument("--config", action="config", help="YAML file with any of the options.")
    option, what, text = COMMANDS[name].printing
    if option:
        parser.add_argument(option, action=_printing(text), help=what)
    parser.add_class_arguments(cls, None)
    arrange(parser, name, [field.name for field in dataclasses.fields(cls) if _required(field)])
    try:
        namespace = read(parser)
    except jsonargparse.ArgumentError as error:
        raise ConfigError(explain(name, cls, str(error))) from error
    except OSError as error:
        raise ConfigError(f"{name}: cannot read {error.filename}: {error.strerror}") from error
    values = parser.instantiate(namespace).as_dict()
    values.pop("config", None)
    return cls(**values)


def _printing(text: str) -> type[argparse.Action]:
    """The action of an option that prints what MODULE:FUNCTION gives, and ends."""

    class Printing(argparse.Action):
        def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None, **_: Any) -> None:
            super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, help=help)

        def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
            module, function = text.split(":")
            print(getattr(import_module(module), function)())
            parser.exit()

    return Printing


def _formatter(base: Any) -> Any:
    """jsonargparse's formatter of the help, which says an option as people write it, with its choices and default."""

    class Formatter(base):
        def _format_action_invocation(self, action: Any) -> str:
            hint = getattr(action, "_typehint", None)
            if hint is None or not action.option_strings:
                return super()._format_action_invocation(action)
            return f"{action.option_strings[0]} {written(hint)}".rstrip()

        def _get_help_string(self, action: Any) -> str:
            if getattr(action, "_typehint", None) is None:
                return super()._get_help_string(action)
            if action.required:
                return f"{action.help} (required)"
            default = action.default
            shown = str(default).lower() if isinstance(default, bool) else default
            some = default is not None and default is not False and default not in ([], {}, (), "")
            return f"{action.help} (default: {shown})".replace("%", "%%") if some else action.help

    return Formatter


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _sections(name: str, args: list[str]) -> list[str]:
    """`--config FILE` cut to the command's section."""
    out = list(args)
    for i, token in enumerate(args):
        if token == "--config" and i + 1 < len(args):
            out[i + 1] = section(args[i + 1], name, COMMANDS, config_class(name))
        elif token.startswith("--config="):
            out[i] = "--config=" + section(token.removeprefix("--config="), name, COMMANDS, config_class(name))
    return out
