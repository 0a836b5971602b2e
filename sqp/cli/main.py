"""The command line: `sqp COMMAND --flags`, one dataclass a command, exit statuses as the design says.

Only the asked command's config is imported, and its module after the options are read: `sqp --help` answers at once.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from sqp.cli.options import at_home, check_values, explain, flat_hints, friendly, section
from sqp.core.errors import ConfigError, SqpError, printable, unknown_name
from sqp.core.memory import keep_freed_memory
from sqp.core.streams import complain, forget, lost, open_streams

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
    listed: str = ""  # the option that names right after the command belong to


COMMANDS = {
    "generate": Command(
        "sqp.config.generate:GenerateConfig",
        "sqp.commands.generate",
        "segment images, sample the uncertainty, write a record set",
    ),
    "train": Command(
        "sqp.config.train:TrainConfig",
        "sqp.commands.train",
        "train the quality model: record set -> predicted Dice",
    ),
    "predict": Command(
        "sqp.config.predict:PredictConfig",
        "sqp.commands.predict",
        "predict the Dice of masks, whoever made them",
    ),
    "evaluate": Command(
        "sqp.config.evaluate:EvaluateConfig",
        "sqp.commands.evaluate",
        "judge the quality model beside every analytic score on the same rows",
    ),
    "explain": Command(
        "sqp.config.explain:ExplainConfig",
        "sqp.commands.explain",
        "show what the quality model looks at, and whether that is where the errors are",
    ),
    "compare": Command(
        "sqp.config.compare:CompareConfig",
        "sqp.commands.compare",
        "set finished runs side by side: configs, val metrics, test tables",
        listed="runs",
    ),
    "fit segmenter": Command(
        "sqp.config.fit:FitSegmenterConfig",
        "sqp.commands.fit",
        "train a plain network that segments, for generate",
    ),
    "fit localizer": Command(
        "sqp.config.fit:FitLocalizerConfig",
        "sqp.commands.fit",
        "train a small network that finds the lesion, for the prompter localizer",
    ),
    "fit classifier": Command(
        "sqp.config.fit:FitClassifierConfig",
        "sqp.commands.fit",
        "train a classifier on diagnoses, for the prompter cam",
    ),
    "export": Command(
        "sqp.config.export:ExportConfig",
        "sqp.commands.export",
        "write a quality model as one ONNX file, and its model card",
    ),
    "recalibrate": Command(
        "sqp.config.recalibrate:RecalibrateConfig",
        "sqp.commands.recalibrate",
        "make a bundle's interval and distances anew, without training",
    ),
    "splits": Command(
        "sqp.config.splits:SplitsConfig",
        "sqp.commands.splits",
        "make a split file by group (lesion, patient)",
    ),
    "freeze": Command(
        "sqp.config.freeze:FreezeConfig",
        "sqp.commands.freeze",
        "freeze the spread test masks of a record set, before any training",
    ),
    "demo": Command("sqp.config.demo:DemoConfig", "sqp.commands.demo", "run all of it on synthetic lesions, on a CPU"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status (0 done, 1 cases skipped, 2 user's error, 3 below `--fail-under`)."""
    open_streams()
    try:
        status = _run(_joined(_readable(sys.argv[1:] if argv is None else argv)))
        sys.stdout.flush()  # here, where a reader that has gone (`sqp --help | head -1`) can be told from an error
        return status
    except SqpError as error:
        complain(str(error))
        return USER_ERROR
    except KeyboardInterrupt:
        complain("stopped; what was finished stays, the same command goes on from there")
        return INTERRUPTED
    except BrokenPipeError:
        forget(sys.stdout)  # Python flushes once more at its end
        return DONE
    except OSError as error:
        if lost(sys.stdout):
            forget(sys.stdout)
        complain(_say_os_error(error))
        return USER_ERROR
    except MemoryError:
        complain("the memory is not enough: give smaller images or a smaller --batch_size, or fewer --workers")
        return USER_ERROR


def _readable(args: Sequence[str]) -> list[str]:
    """The arguments. ConfigError for one that no file of a run could hold."""
    for arg in args:
        if printable(arg) != arg:
            raise ConfigError(f"{arg} is not UTF-8, or holds a null: rename the file, and correct the command")
    return list(args)


def _run(args: list[str]) -> int:
    """The exit status of a command that went well, or as its result says."""
    if not args or args[0] in ("-h", "--help"):
        print(_overview())
        return DONE
    if args[0] == "--version":
        from sqp import __version__

        print(f"sqp {__version__}")
        return DONE
    if args[0] not in COMMANDS:
        longer = [name for name in COMMANDS if name.startswith(f"{args[0]} ")]
        if longer:
            raise ConfigError(f"`sqp {args[0]}` needs to know what: {', '.join(f'`sqp {name}`' for name in longer)}")
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


def parse(name: str, args: Sequence[str]) -> Any | None:
    """The options of a command as its config dataclass; None where help or the config was printed instead."""
    cls = _config_class(name)
    listed = COMMANDS[name].listed
    if listed and args and not args[0].startswith("-"):
        args = [f"--{listed}", *args]
    try:
        return _read(name, lambda parser: parser.parse_args(_sections(name, friendly(cls, args))))
    except SystemExit:
        return None


def from_mapping(name: str, values: Mapping[str, Any]) -> Any:
    """The config of a command out of a mapping, as a part of a study's YAML, checked like its options."""
    check_values(_config_class(name), dict(values))
    return _read(name, lambda parser: parser.parse_object(dict(values)))


def _config_class(name: str) -> type:
    module, cls_name = COMMANDS[name].config.split(":")
    return getattr(import_module(module), cls_name)


def _read(name: str, read: Callable[[Any], Any]) -> Any:
    """What `read` takes from the parser of a command, as its config; ConfigError where that refuses it."""
    import jsonargparse

    cls = _config_class(name)
    parser = jsonargparse.ArgumentParser(
        prog=f"sqp {name}",
        description=(cls.__doc__ or "").split("\n")[0],
        epilog=SHORT_FORMS if any("." in option for option in flat_hints(cls)) else None,
        exit_on_error=False,
        allow_abbrev=False,  # `--epoch` is told, not taken for `--epochs`
    )
    parser.add_argument("--config", action="config", help="YAML file with any of the options below.")
    parser.add_class_arguments(cls, None)
    try:
        namespace = read(parser)
    except jsonargparse.ArgumentError as error:
        raise ConfigError(explain(name, cls, str(error))) from error
    except OSError as error:
        raise ConfigError(f"{name}: cannot read {error.filename}: {error.strerror}") from error
    values = parser.instantiate(namespace).as_dict()
    values.pop("config", None)
    return cls(**{key: at_home(value) for key, value in values.items()})


def _joined(args: Sequence[str]) -> list[str]:
    """The arguments, a command of two words as one.

    >>> _joined(["fit", "segmenter", "--out", "x"])
    ['fit segmenter', '--out', 'x']
    """
    firsts = {name.split()[0] for name in COMMANDS if " " in name}
    if len(args) > 1 and args[0] in firsts and not args[1].startswith("-"):
        return [" ".join(args[:2]), *args[2:]]
    return list(args)


def _sections(name: str, args: list[str]) -> list[str]:
    """`--config FILE` cut to the command's section."""
    out = list(args)
    for i, token in enumerate(args):
        if token == "--config" and i + 1 < len(args):
            out[i + 1] = section(args[i + 1], name, COMMANDS, _config_class(name))
        elif token.startswith("--config="):
            out[i] = "--config=" + section(token.removeprefix("--config="), name, COMMANDS, _config_class(name))
    return out


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
