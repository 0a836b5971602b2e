"""Folders of lesions to judge and to show, and a small bundle whose referee is shown references."""

from __future__ import annotations

from pathlib import Path

from few_lesions import copy_lesions, names_of

from sqp.commands import generate, train
from sqp.config.generate import GenerateConfig, RefereeConfig, SamplerConfig, SegmenterConfig
from sqp.config.train import TrainConfig


def few(lesions: Path, home: Path, judged: int, shown: int) -> Path:
    """HOME with `data`, the first lesions, to judge, and `refs`, the last ones, to show."""
    names = names_of(lesions)
    copy_lesions(lesions, home / "data", names[:judged])
    copy_lesions(lesions, home / "refs", names[-shown:])
    return home


def referenced_bundle(lesions: Path, references: Path, home: Path) -> Path:
    """A bundle of masks of the segmenter `fake`, beside the referee `personalised`."""
    records = GenerateConfig(
        lesions,
        home / "records",
        references=references,
        segmenter=SegmenterConfig("fake"),
        sampler=SamplerConfig("deterministic"),
        referee=RefereeConfig("personalised"),
    )
    config = TrainConfig(
        [generate.run(records).out], home / "train", "mask+referee/probability", ["referee_dice", "rca_mean"],
        size=32, epochs=1, alpha=0.3, progress=False,
    )  # fmt: skip
    return train.run(config).bundle
