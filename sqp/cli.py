"""The command line: `sqp COMMAND --flags`, one dataclass a command, exit statuses as the design says.

Only the config of the command that was asked for is imported, and its stage after the options are read, so that
`sqp --help` answers at once.
"""

from __future__ import annotations

import dataclasses
import difflib
import errno
import json
import os
import re
import signal
import sys
import threading
import typing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from sqp.errors import ConfigError, SqpError, unknown_name
from sqp.memory import keep_freed_memory

DONE, SKIPPED, USER_ERROR, BELOW, INTERRUPTED = 0, 1, 2, 3, 130
ALIKE = {errno.EDQUOT: errno.ENOSPC, errno.ENOTDIR: errno.EEXIST, errno.EPERM: errno.EACCES, errno.EROFS: errno.EACCES}
SHORT_FORMS = (
    "Names may have dashes or underscores. A nested option may be given by its last part where no other one ends so:\n"
    "--checkpoint FILE is --segmenter.checkpoint FILE, and --sampler tta is --sampler.name tta."
)


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
        with _terminated_like_interrupted():
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
    except OSError as error:
        print(f"sqp: {_say_os_error(error)}", file=sys.stderr)
        return USER_ERROR


def parse(name: str, args: Sequence[str]) -> Any | None:
    """The options of a command as its config dataclass; None where help or the config was printed instead."""
    import jsonargparse

    command = COMMANDS[name]
    module, cls_name = command.config.split(":")
    cls = getattr(import_module(module), cls_name)
    parser = jsonargparse.ArgumentParser(
        prog=f"sqp {name}",
        description=(cls.__doc__ or "").split("\n")[0],
        epilog=SHORT_FORMS if any("." in option for option in _flat_hints(cls)) else None,
        exit_on_error=False,
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
    """All options of a config, nested ones dotted; `*` stands for the free keys of a mapping.

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
            key = "" if nested is hint else "*."
            names += option_names(typing.cast(type, nested), f"{prefix}{field}.{key}")
    return names


def _friendly(cls: type, args: Sequence[str]) -> list[str]:
    """What people type -> what jsonargparse reads.

    Dashes in names, `--name=value`, a bare `--strict`, `--records A B` and repeated for a list, `--size 9 9` for a
    tuple, and the short forms of nested options (`_full_name`).
    """
    hints = _flat_hints(cls)
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


def _full_name(name: str, value: str, hints: dict[str, Any]) -> str:
    """`checkpoint` -> `segmenter.checkpoint`, where it ends one option only; `sampler tta` -> `sampler.name`.

    A group with a file or with `{...}` stays itself: its YAML. `ConfigError` where several options end so.
    """
    if name in hints:
        return name
    if f"{name}.name" in hints:
        return name if value.startswith("{") or Path(value).is_file() else f"{name}.name"
    ending = [option for option in hints if option.endswith(f".{name}")]
    if len(ending) > 1:
        raise ConfigError(f"the option --{name} is ambiguous: write {' or '.join(f'--{option}' for option in ending)}")
    return ending[0] if ending else name


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
    return f"{name}: {message}"


def _nearest(option: str, known: Sequence[str]) -> str | None:
    """The known option, with all its dots, that is nearest by its full name, its last part or its group."""
    full = {group: group for name in known for group in name.split(".")[:-1] if group != "*"}
    full |= {name.split(".")[-1]: name for name in reversed(known)} | {name: name for name in known}
    for tried in (option, option.split(".")[-1], option.split(".")[0]):
        for match in difflib.get_close_matches(tried, full, n=2, cutoff=0.5):
            if full[match] != option:
                return full[match]
    return None


def _say_os_error(error: OSError) -> str:
    """One sentence: the file, what is wrong with it, the remedy."""
    name = error.filename or "a file"
    told = {
        errno.ENOSPC: f"the disk is full, could not write {name}; free some space and run the same command again",
        errno.EACCES: f"no permission for {name}: change its permissions or choose another folder",
        errno.EEXIST: f"{name} is, or lies under, a file where a folder is needed: choose another folder",
        errno.EISDIR: f"{name} is a folder where a file is needed: check the path",
        errno.ENOENT: f"{name} does not exist: check the path",
    }
    code = ALIKE.get(error.errno or 0, error.errno or 0)
    return told.get(code) or f"cannot read or write {name} ({error.strerror or error}): check it and run again"


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt, so that a killed run puts its records together; in the main thread alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    mine = os.getpid()

    def handle(number: int, frame: Any) -> None:
        if os.getpid() == mine:
            raise KeyboardInterrupt
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a forked worker just ends
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


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
            SHORT_FORMS,
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
