"""The command line: `sqp COMMAND --flags`, one dataclass a command, exit statuses as the design says.

Only the asked command's config is imported, and its module after the options are read: `sqp --help` answers at once.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from sqp.cli.early import check_early
from sqp.cli.overview import COMMANDS, overview
from sqp.cli.parser import parse
from sqp.cli.streams import complain, forget, lost, open_streams
from sqp.core.errors import ConfigError, SqpError, printable, unknown_name
from sqp.core.memory import keep_freed_memory

DONE, SKIPPED, USER_ERROR, BELOW, INTERRUPTED = 0, 1, 2, 3, 130
ALIKE = {errno.EDQUOT: errno.ENOSPC, errno.ENOTDIR: errno.EEXIST, errno.EPERM: errno.EACCES, errno.EROFS: errno.EACCES}


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
        print(overview())
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
    check_early(config)
    keep_freed_memory()
    with _terminated_like_interrupted():
        result = import_module(command.module).run(config)
    summary = getattr(result, "summary", None)
    if summary is not None:
        print(summary())
    return int(getattr(result, "exit_status", DONE))


def _joined(args: Sequence[str]) -> list[str]:
    """The arguments, a command of two words as one.

    Examples:
        >>> _joined(["fit", "segmenter", "--out", "x"])
        ['fit segmenter', '--out', 'x']
    """
    firsts = {name.split()[0] for name in COMMANDS if " " in name}
    if len(args) > 1 and args[0] in firsts and not args[1].startswith("-"):
        return [" ".join(args[:2]), *args[2:]]
    return list(args)


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


if __name__ == "__main__":
    sys.exit(main())
