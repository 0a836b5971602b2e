"""The command line: `sqp COMMAND --flags`, one dataclass a command, exit statuses as the design says.

Only the config of the command that was asked for is imported, and its stage after the options are read, so that
`sqp --help` answers at once.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
import sys
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from sqp.errors import ConfigError, SqpError, unknown_name
from sqp.memory import keep_freed_memory

DONE, SKIPPED, USER_ERROR, BELOW, INTERRUPTED = 0, 1, 2, 3, 130


@dataclass(frozen=True)
class Command:
    """A verb: where its config and its stage live, and what it says of itself."""

    config: str
    stage: str
    summary: str


COMMANDS = {
    "generate": Command(
        "sqp.config.generate:GenerateConfig",
        "sqp.stages.generate",
        "segment images, sample the uncertainty, write a record set",
    ),
    "train": Command(
        "sqp.config.train:TrainConfig",
        "sqp.stages.train",
        "train the quality model: record set -> predicted Dice",
    ),
    "predict": Command(
        "sqp.config.predict:PredictConfig",
        "sqp.stages.predict",
        "predict the Dice of masks, whoever made them",
    ),
    "evaluate": Command(
        "sqp.config.evaluate:EvaluateConfig",
        "sqp.stages.evaluate",
        "judge the quality model beside every analytic score on the same rows",
    ),
    "demo": Command("sqp.config.demo:DemoConfig", "sqp.stages.demo", "run all of it on synthetic lesions, on a CPU"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status (0 done, 1 cases skipped, 2 user's error, 3 below `--fail-under`)."""
    args = list(sys.argv[1:] if argv is None else argv)
    if not args or args[0] in ("-h", "--help"):
        print(_overview())
        return DONE
    if args[0] == "--version":
        from sqp import __version__

        print(f"sqp {__version__}")
        return DONE
    try:
        if args[0] not in COMMANDS:
            raise unknown_name("command", args[0], COMMANDS)
        command = COMMANDS[args[0]]
        config = parse(args[0], args[1:])
        if config is None:
            return DONE
        keep_freed_memory()
        result = import_module(command.stage).run(config)
        summary = getattr(result, "summary", None)
        if summary is not None:
            print(summary())
        return int(getattr(result, "exit_status", DONE))
    except SqpError as error:
        print(f"sqp: {error}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("sqp: stopped; what was finished stays, the same command goes on from there", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        return DONE


def parse(name: str, args: Sequence[str]) -> Any | None:
    """The options of a command as its config dataclass; None where help or the config was printed instead."""
    import jsonargparse

    command = COMMANDS[name]
    module, cls_name = command.config.split(":")
    cls = getattr(import_module(module), cls_name)
    parser = jsonargparse.ArgumentParser(
        prog=f"sqp {name}", description=(cls.__doc__ or "").split("\n")[0], exit_on_error=False
    )
    parser.add_argument("--config", action="config", help="YAML file with any of the options below.")
    parser.add_class_arguments(cls, None)
    try:
        namespace = parser.parse_args(_friendly(cls, args))
    except SystemExit:
        return None
    except jsonargparse.ArgumentError as error:
        raise ConfigError(_explain(name, cls, str(error))) from error
    except OSError as error:
        raise ConfigError(f"{name}: cannot read {error.filename}: {error.strerror}") from error
    values = parser.instantiate(namespace).as_dict()
    values.pop("config", None)
    return cls(**values)


def option_names(cls: type, prefix: str = "") -> list[str]:
    """All options of a config, nested ones dotted.

    >>> from sqp.config.generate import SamplerConfig
    >>> option_names(SamplerConfig, "sampler.")
    ['sampler.name', 'sampler.n', 'sampler.ratio', 'sampler.edges']
    """
    names: list[str] = []
    for field, hint in typing.get_type_hints(cls).items():
        inner = [hint, *typing.get_args(hint)]
        nested = next((h for h in inner if dataclasses.is_dataclass(h)), None)
        if nested is not hint:
            names.append(prefix + field)
        if nested is not None:
            names += option_names(typing.cast(type, nested), f"{prefix}{field}.")
    return names


def _friendly(cls: type, args: Sequence[str]) -> list[str]:
    """What people type -> what jsonargparse reads: a bare `--strict`, and `--records A B` for a list."""
    hints = _flat_hints(cls)
    out: list[str] = []
    rest = list(args)
    while rest:
        token = rest.pop(0)
        hint = hints.get(token[2:].replace("-", "_")) if token.startswith("--") else None
        if hint is not None:
            token = "--" + token[2:].replace("-", "_")
        values: list[str] = []
        if hint is bool or typing.get_origin(hint) is list:
            while rest and not rest[0].startswith("--") and (hint is not bool or not values):
                values.append(rest.pop(0))
        if hint is bool:
            out += [token, values[0] if values else "true"]
        elif typing.get_origin(hint) is list and values and not values[0].startswith("["):
            out += [token, json.dumps(values)]
        else:
            out += [token, *values]
    return out


def _flat_hints(cls: type, prefix: str = "") -> dict[str, Any]:
    hints: dict[str, Any] = {}
    for field, hint in typing.get_type_hints(cls).items():
        if dataclasses.is_dataclass(hint):
            hints |= _flat_hints(typing.cast(type, hint), f"{prefix}{field}.")
        else:
            hints[prefix + field] = hint
    return hints


def _explain(name: str, cls: type, message: str) -> str:
    """jsonargparse's message in one sentence, with the nearest option where one is unknown."""
    message = re.sub(r"\s+", " ", message).strip()
    known = option_names(cls)
    unknown = re.search(
        r"[Uu]nrecognized arguments?: (?:--)?([\w.\-]+)|Option ['\"]([\w.\-]+)['\"] is not accepted|"
        r"does not accept option ['\"]([\w.\-]+)['\"]",
        message,
    )
    if unknown:
        option = next(group for group in unknown.groups() if group).replace("-", "_")
        parts = [*known, *{part for name in known for part in name.split(".")}]
        near = difflib.get_close_matches(option, parts, n=1, cutoff=0.5) or difflib.get_close_matches(
            option.split(".")[0], parts, n=1, cutoff=0.5
        )
        hint = f", did you mean '{near[0]}'?" if near else f"; `sqp {name} --help` lists all options"
        return f"{name}: unknown option '{option}'{hint}"
    required = re.search(r"following arguments are required: ([\w.]+)", message)
    if required:
        return f"{name}: the option --{required.group(1)} is missing; `sqp {name} --help` says what it is"
    return f"{name}: {message}"


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "sqp: how good is this segmentation, when nobody has drawn the ground truth?",
            "",
            "usage: sqp COMMAND [--config FILE.yaml] [--option VALUE ...]",
            "",
            *lines,
            "",
            "sqp COMMAND --help lists the options; sqp COMMAND --print_config prints them as YAML.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
