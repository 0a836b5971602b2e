"""The kinds of networks that `sqp fit` trains: segmenter, localizer, classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import Field, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import nn

from sqp.config.fit import (
    LOCALIZERS,
    VOLUMETRIC,
    FitClassifierConfig,
    FitConfig,
    FitLocalizerConfig,
    FitSegmenterConfig,
)
from sqp.config.ranges import check_ranges
from sqp.core.errors import ConfigError, lookup
from sqp.core.types import Case
from sqp.fit.batches import CachedImages
from sqp.fit.classifier import TARGETS, ClassifierModule, label_of
from sqp.fit.classifier_report import report_classifier
from sqp.fit.localizer import LocalizerModule
from sqp.fit.module import FitModule, Recipe
from sqp.fit.segmenter import SegmenterModule
from sqp.fit.task import FitTask
from sqp.networks.timm_models import DIVISOR, pixels_of
from sqp.prompts.classifier import ClassifierSpec, build_classifier, classifier_divisor
from sqp.prompts.localizer import LocalizerSpec, build_localizer
from sqp.segmenters.fpn import encoder_name
from sqp.segmenters.plain import NETWORKS, NetworkSpec, build_network

DECODER = "litemedsam"  # of its networks the one of which the decoder alone is fitted


def default_of(option: Field[Any]) -> Any:
    """The value that an option has where nobody gives one."""
    return option.default_factory() if callable(option.default_factory) else option.default


class SegmenterTask(FitTask):
    """A plain network that segments."""

    watched = "dice"
    config: FitSegmenterConfig
    of_others: ClassVar[tuple[str, ...]] = ("spacing", "patch", "neighbours")  # options of other networks

    def check(self) -> None:
        c = self.config
        lookup("network", c.network, dict.fromkeys([*NETWORKS, *VOLUMETRIC, DECODER]))
        given = [f.name for f in fields(c) if f.name in self.of_others and getattr(c, f.name) != default_of(f)]
        if given:
            raise ConfigError(f"{c.network} has no option {given[0]}: leave it out")
        check_ranges(c, {"dropout": (0, 0.95), "width": (0, 4096), "members": (1, 1000), "cycles": (0, c.epochs)})
        if c.cycles and c.epochs % c.cycles:
            raise ConfigError(f"epochs is {c.epochs}; it must be a multiple of cycles, {c.cycles}")

    def spec(self, fitted: Sequence[Case]) -> NetworkSpec:
        """A timm encoder brings the normalisation of its pretrained weights."""
        c = self.config
        spec = NetworkSpec(c.network, c.size, c.dropout, c.encoder, c.width)
        if spec.name not in ("fpn", "fpn_resnet50"):
            return spec
        mean, std = pixels_of(encoder_name(spec))
        return replace(spec, encoder=encoder_name(spec), mean=mean, std=std)

    def network(self, spec: NetworkSpec, pretrained: bool, file: Path | None) -> nn.Module:
        return build_network(spec, pretrained, file)

    def divisor(self, spec: NetworkSpec) -> int:
        return NETWORKS[spec.name].divisor

    def module(self, spec: NetworkSpec, network: nn.Module, recipe: Recipe, fitted: CachedImages) -> FitModule:
        return SegmenterModule(spec, network, recipe)

    def cycles(self) -> int:
        return self.config.cycles

    def seeds(self) -> range:
        return range(self.config.seed, self.config.seed + self.config.members)

    def name(self) -> str:
        return self.config.network

    def next(self, spec: NetworkSpec, checkpoint: Path) -> str:
        return f"--segmenter {spec.name} --checkpoint {checkpoint}"


class LocalizerTask(FitTask):
    """A small network that finds the lesion's box."""

    watched = "box_iou"
    config: FitLocalizerConfig

    def check(self) -> None:
        lookup("method of a localizer", self.config.method, dict.fromkeys(LOCALIZERS))
        check_ranges(self.config, {"width": (1, 4096)})

    def spec(self, fitted: Sequence[Case]) -> LocalizerSpec:
        c = self.config
        return LocalizerSpec(c.encoder, c.size, c.width, *pixels_of(c.encoder))

    def network(self, spec: LocalizerSpec, pretrained: bool, file: Path | None) -> nn.Module:
        return build_localizer(spec, pretrained, file)

    def divisor(self, spec: LocalizerSpec) -> int:
        return DIVISOR

    def module(self, spec: LocalizerSpec, network: nn.Module, recipe: Recipe, fitted: CachedImages) -> FitModule:
        return LocalizerModule(spec, network, recipe)

    def name(self) -> str:
        return f"localizer-{self.config.encoder}"

    def next(self, spec: LocalizerSpec, checkpoint: Path) -> str:
        return f"--prompter localizer --prompter_options.checkpoint {checkpoint}"


class ClassifierTask(FitTask):
    """A classifier of whole images, for class activation maps."""

    watched = "auc"
    needs = "with a diagnosis"
    config: FitClassifierConfig

    def check(self) -> None:
        lookup("target of a classifier", self.config.target, dict.fromkeys(TARGETS))

    def usable(self, case: Case) -> bool:
        return bool(case.diagnosis)

    def spec(self, fitted: Sequence[Case]) -> ClassifierSpec:
        """Its classes are those of the images that it is fitted on. ConfigError where there is one only."""
        c = self.config
        classes = tuple(sorted({label_of(case, c.target) for case in fitted}))
        if len(classes) < 2:
            raise ConfigError(f"all images that are fitted on are of the class '{classes[0]}': nothing can be learned")
        return ClassifierSpec(c.model, c.size, classes, *pixels_of(c.model))

    def network(self, spec: ClassifierSpec, pretrained: bool, file: Path | None) -> nn.Module:
        return build_classifier(spec, pretrained, file)

    def divisor(self, spec: ClassifierSpec) -> int:
        return classifier_divisor(spec)

    def labels(self, spec: ClassifierSpec, cases: Sequence[Case]) -> np.ndarray:
        """The class of each case; ConfigError for one that no fitted image has."""
        index = {name: k for k, name in enumerate(spec.classes)}
        return np.array([lookup("diagnosis in val", label_of(case, self.config.target), index) for case in cases])

    def module(self, spec: ClassifierSpec, network: nn.Module, recipe: Recipe, fitted: CachedImages) -> FitModule:
        labels: Any = fitted.labels
        counts = np.bincount(labels[fitted.rows], minlength=len(spec.classes))
        return ClassifierModule(spec, network, recipe, counts)

    def name(self) -> str:
        return f"{self.config.model}-{self.config.target}"

    def next(self, spec: ClassifierSpec, checkpoint: Path) -> str:
        return f"--prompter cam --prompter_options.checkpoint {checkpoint}"

    def report(self, checkpoint: Path) -> str:
        return report_classifier(self.config, checkpoint)


TASKS: dict[type, type[FitTask]] = {
    FitSegmenterConfig: SegmenterTask,
    FitLocalizerConfig: LocalizerTask,
    FitClassifierConfig: ClassifierTask,
}


def task_of(config: FitConfig) -> FitTask:
    """The kind of network that a config asks for."""
    if isinstance(config, FitSegmenterConfig) and config.network == DECODER:
        from sqp.fit.decoder import DecoderTask  # its libraries take a second to import

        return DecoderTask(config)
    if isinstance(config, FitSegmenterConfig) and config.network in VOLUMETRIC:
        from sqp.fit.volume_tasks import VolumeTask

        return VolumeTask(config)
    if isinstance(config, FitLocalizerConfig) and config.method in LOCALIZERS[1:]:
        from sqp.fit.volume_localizer_tasks import VOLUME_TASKS

        return VOLUME_TASKS[config.method](config)
    return TASKS[type(config)](config)
