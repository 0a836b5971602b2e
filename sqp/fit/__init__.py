"""Training of the networks that the generator uses, one file a kind of network. Nothing heavy is imported here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqp.config.fit import FitConfig
    from sqp.fit.task import FitTask

TASKS: dict[str, str] = {
    "unet": "segmenter:SegmenterTask",
    "fpn_resnet50": "segmenter:SegmenterTask",
    "fpn": "segmenter:SegmenterTask",
    "swin_unet": "segmenter:SegmenterTask",
    "unet3d": "volume_segmenter:VolumeTask",
    "unet25d": "volume_segmenter:VolumeTask",
    "universeg": "in_context:InContextTask",
    "litemedsam": "decoder:DecoderTask",
    "heatmap": "localizer:LocalizerTask",
    "heatmap3d": "volume_localizer:HeatmapTask",
    "landmarks": "landmarks:LandmarkTask",
    "classifier": "classifier:ClassifierTask",
}
"""The network of a segmenter, the method of a localizer, or classifier -> file and class that fit it."""


def task_of(config: FitConfig) -> FitTask:
    """The kind of network that a config asks for."""
    file, name = TASKS[config.kind].split(":")
    task: FitTask = getattr(import_module(f"sqp.fit.{file}"), name)(config)
    return task
