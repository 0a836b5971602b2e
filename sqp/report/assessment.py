"""What `sqp.load().assess` says of one mask: it prints in one line, and shows itself with its picture."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from math import nan

import numpy as np
from PIL import Image

from sqp.report.html import data_uri
from sqp.report.overlays import overlay
from sqp.report.predictions import interval
from sqp.report.view import View


@dataclass(frozen=True, repr=False)
class Assessment:
    """What is said of one mask: predicted Dice, its interval (NaN where there is none), verdict, and why it abstains.

    It prints in one line, a notebook shows it with its picture, and `plot()` gives that picture.

    maps: by name, over the whole image, each on its own grid: `self/entropy` … float16 `[gh, gw]`, and where the bundle
    draws it `error` `[s, s]`, the probability that a pixel of the mask is wrong. scores: by name, as in
    predictions.parquet (`referee_dice` …; NaN where there is none). ood: whether it is out of distribution. covered:
    the (rows, columns) of a map that the image takes, by name; the last cells of a network of stride 4 may reach past
    its border. image_id and record_id: as in predictions.parquet. strangeness: as in predictions.csv. image, mask: the
    files, "" for what is in memory. draw: makes `view`.
    """

    dice: float
    low: float
    high: float
    verdict: str
    maps: Mapping[str, np.ndarray]
    reason: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    ood: bool = False
    covered: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    image_id: str = ""
    record_id: str = ""
    strangeness: float = nan
    image: str = ""
    mask: str = ""
    draw: Callable[[], View] | None = field(default=None, compare=False)

    @cached_property
    def view(self) -> View | None:
        """The picture of image, outline and maps, at most 640 pixels long; None where it is not of `Model.assess`.

        Drawn when it is asked for first, of the image and the mask as they are then.
        """
        return None if self.draw is None else self.draw()

    def __repr__(self) -> str:
        why = f", {self.reason}" if self.reason else ""
        return f"Assessment(dice {interval(self.dice, self.low, self.high)}, {self.verdict}{why})"

    def plot(self) -> Image.Image:
        """The image with the mask's outline, its uncertainty and, where the bundle draws it, its error map.

        Returns:
            A picture of Pillow, which a notebook shows; `.save("a.png")` writes it.

        Raises:
            ValueError: it was made without a picture, not by `Model.assess`.
        """
        if self.view is None:
            raise ValueError("this Assessment has no picture: only those of Model.assess have one")
        shown = {"predicted_dice": self.dice, "low": self.low, "high": self.high, "verdict": self.verdict}
        return overlay(self.view, {"record_id": "", "reason": self.reason, **shown})

    def _repr_html_(self) -> str:
        """For a notebook: the line, and the picture."""
        line = f"<p>{escape(repr(self))}</p>"
        if self.view is None:
            return line
        buffer = io.BytesIO()
        self.plot().save(buffer, format="PNG")
        return f'{line}<img alt="image, mask and maps" src="{data_uri(buffer.getvalue(), "png")}">'
