"""Label Studio: a task an image with `predictions`, each a brush mask and a score by which the tasks are sorted."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import sqp
from sqp.core.files import write_text
from sqp.data.annotations.runs import to_brush
from sqp.integrations.judged import Judged

FILE, SETUP = "labelstudio.json", "labelstudio.xml"
LABELS = {"accept": "#2a9d4a", "review": "#e0a100", "reject": "#d23c3c", "abstain": "#808080"}
CONFIG = """<View>
  <Image name="image" value="$image" zoom="true"/>
  <BrushLabels name="tag" toName="image">
{labels}
  </BrushLabels>
</View>
"""


def check() -> None:
    """Nothing is needed."""


def write(rows: Iterable[Judged], folder: Path) -> list[Path]:
    """FOLDER/labelstudio.json, the tasks, and labelstudio.xml, the labelling interface that shows them.

    A prediction a mask: `score` is its predicted Dice, its label the verdict; what else is said stands in `meta` of the
    region. Where images lie on a server, put its address before `data.image`.
    """
    tasks: dict[int, dict[str, Any]] = {}
    for row in rows:
        task = tasks.setdefault(row.group, {"data": {"image": row.image}, "predictions": []})
        task["predictions"].append(prediction(row))
    labels = "\n".join(f'    <Label value="{name}" background="{colour}"/>' for name, colour in LABELS.items())
    write_text(folder / FILE, json.dumps(list(tasks.values())))
    write_text(folder / SETUP, CONFIG.format(labels=labels))
    return [folder / FILE, folder / SETUP]


def prediction(row: Judged) -> dict[str, Any]:
    """One prediction with its region."""
    height, width = row.mask.shape
    region = {
        "id": row.attributes["record_id"],
        "type": "brushlabels",
        "from_name": "tag",
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {"format": "rle", "rle": to_brush(row.mask), "brushlabels": [row.attributes["verdict"]]},
        "score": row.score,
        "meta": {"text": [f"{key}: {value}" for key, value in row.attributes.items()]},
    }
    score = {} if row.score is None else {"score": row.score}
    return {"model_version": f"sqp {sqp.__version__}", **score, "result": [region]}
