"""What goes into an exported ONNX file and what comes out, for the model card; read off the graph itself."""

from __future__ import annotations

import pandas as pd

from sqp.quality.bundle import Bundle
from sqp.quality.channels import IMAGE, MASK
from sqp.quality.graph import SCORES, Graph, Input
from sqp.report.tables import markdown

MEANING = {
    IMAGE: "RGB, upright, 0 to 255, of any size",
    MASK: "true where the mask is, at the size of the image",
    SCORES: "in the order below, NaN where there is none",
}
MAP = "as a record set stores it, on its own grid and in its own units"


def onnx_section(bundle: Bundle, file: str) -> str:
    """Inputs and outputs of the file of that name, in Markdown: names, types, shapes, the order of the scores."""
    graph = Graph(bundle)
    inputs = pd.DataFrame([{"input": one.name, **_described(one)} for one in graph.inputs()])
    level = f"{1 - bundle.conformal.alpha:.0%}"
    told = {
        "dice": "the predicted Dice",
        "low": f"the low end of its {level} interval",
        "high": "the high end",
        "scale": "the model's own measure of its error, in Dice",
        "error": "`[h, h]` over the whole frame, squashed: the probability that a pixel of the mask is wrong",
    }
    parts = [
        f"`{file}` takes what a record set holds, resizes and normalises it inside, and averages over the flips:",
        markdown(inputs),
        *([_scores(graph.scored)] if graph.scored else []),
        "It gives, in float32:\n\n" + "\n".join(f"- `{name}`: {told[name]}" for name in graph.outputs),
    ]
    return "\n\n".join(parts)


def _described(one: Input) -> dict[str, str]:
    sides = [side or str(length) for side, length in zip(one.sides, one.example.shape, strict=True)]
    kind = str(one.example.dtype).removeprefix("torch.")
    return {"type": kind, "shape": f"[{', '.join(sides)}]", "note": MEANING.get(one.name, MAP)}


def _scores(names: tuple[str, ...]) -> str:
    return f"`{SCORES}`, in order (the file's metadata say it too): {', '.join(f'`{name}`' for name in names)}."
