"""Progress of long work: a bar with the time left on a terminal, a plain line a minute where there is none."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TypeVar

from tqdm import tqdm

EVERY = 60.0  # seconds between two plain lines
T = TypeVar("T")


class Progress:
    """`with Progress(total, "generate", "image") as bar: ... bar.update()`; in a log the lines come from a thread.

    So a line comes while a single image takes minutes, and while networks are loaded.
    """

    def __init__(self, total: int, what: str, unit: str, *, shown: bool = True) -> None:
        self.total, self.what, self.unit = total, what, unit
        self.done = 0
        self._started = time.monotonic()
        self._closed = threading.Event()
        self._bar = tqdm(total=total, unit=unit, desc=what, disable=None if shown else True)
        self._thread: threading.Thread | None = None
        if shown and self._bar.disable:  # no terminal
            self._thread = threading.Thread(target=self._lines, daemon=True)
            self._thread.start()

    def update(self, n: int = 1) -> None:
        """So many more are done."""
        self.done += n
        self._bar.update(n)

    def say(self, line: str) -> None:
        """A line of its own, above the bar."""
        tqdm.write(line)

    def close(self) -> None:
        """The end of it; twice does no harm."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()
        self._bar.close()

    def line(self) -> str:
        """What a log is told.

        Examples:
            >>> Progress(2000, "generate", "image", shown=False).line()
            'generate: 0 of 2,000 images'
        """
        text = f"{self.what}: {self.done:,} of {self.total:,} {self.unit}{'s' * (self.total != 1)}"
        if not self.done or self.done >= self.total:
            return text
        seconds = (time.monotonic() - self._started) * (self.total - self.done) / self.done
        return f"{text}, {time_left(seconds)} left"

    def _lines(self) -> None:
        while not self._closed.wait(EVERY):
            try:
                print(self.line(), file=sys.stderr, flush=True)
            except (OSError, ValueError):  # nobody reads it any more
                return

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def followed(items: Iterable[T], total: int, what: str, unit: str, *, shown: bool = True) -> Iterator[T]:
    """The items one by one, each counted when the next one is asked for."""
    with Progress(total, what, unit, shown=shown) as progress:
        for item in items:
            yield item
            progress.update()


def time_left(seconds: float) -> str:
    """A duration as people say it, rounded.

    Examples:
        >>> time_left(4), time_left(90), time_left(5400), time_left(200000)
        ('under a minute', '2 min', '1 h 30 min', '55 h 33 min')
    """
    minutes = round(seconds / 60 + 1e-9)
    if minutes < 1:
        return "under a minute"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
