"""A classifier of whole images: balanced cross-entropy, watched by the AUC on val; how good it is, split by split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy, MulticlassAUROC

from sqp.config.fit import FitClassifierConfig
from sqp.core.errors import CaseError, ConfigError, lookup
from sqp.core.files import write_text
from sqp.core.progress import followed
from sqp.core.tables import csv_text
from sqp.core.types import Case
from sqp.data import read_image
from sqp.fit.cache import CachedImages
from sqp.fit.data import split_cases
from sqp.fit.module import FitModule, Recipe
from sqp.fit.task import FitTask
from sqp.metrics.stats import bootstrap
from sqp.networks.timm_models import pixels_of
from sqp.prompts.classifier import Classifier, ClassifierSpec, build_classifier, classifier_divisor, load_classifier

FILE = "report.csv"
RESAMPLES = 1000


def report_classifier(config: FitClassifierConfig, checkpoint: Path) -> str:
    """Write OUT/report.csv: a row a split of `report_splits` and measure, with its interval; returns it as text.

    Images that cannot be read, or are of no class of the model, are left out.
    """
    classifier = load_classifier(str(checkpoint))
    cases = split_cases(config)
    rows = []
    for split in config.report_splits:
        part = [case for case in cases if case.split == split and case.diagnosis]
        probability, truth, group = _predicted(classifier, part, config.target, config.progress)
        rows += measures(probability, truth, group, split) if len(truth) else []
    table = pd.DataFrame(rows)
    write_text(Path(config.out) / FILE, csv_text(table))
    return "" if table.empty else table.round(3).to_string(index=False)


def measures(probability: np.ndarray, truth: np.ndarray, group: Sequence[str], split: str) -> list[dict]:
    """AUC (macro, one against the rest), balanced accuracy and accuracy of `[n, classes]` against class numbers `[n]`.

    Each with its 95 % interval over groups; resamples that lack a class have no AUC and are left out.
    """
    predicted = probability.argmax(1)
    found: dict[str, Callable[[np.ndarray], float]] = {
        "auc": lambda rows: _auc(probability[rows], truth[rows]),
        "balanced_accuracy": lambda rows: _balanced_accuracy(truth[rows], predicted[rows]),
        "accuracy": lambda rows: float((truth[rows] == predicted[rows]).mean()),
    }
    every = np.arange(len(truth))
    out = []
    for name, statistic in found.items():
        low, high = bootstrap(statistic, every, group=group, n_resamples=RESAMPLES)
        value = statistic(every)
        out.append({"split": split, "n": len(truth), "measure": name, "value": value, "low": low, "high": high})
    return out


def _auc(probability: np.ndarray, truth: np.ndarray) -> float:
    n = probability.shape[1]
    if len(np.unique(truth)) < n:
        return float("nan")
    scores = probability[:, 1] if n == 2 else probability
    return float(roc_auc_score(truth, scores, multi_class="ovr"))


def _balanced_accuracy(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Mean recall of the classes that are there."""
    return float(np.mean([(predicted[truth == k] == k).mean() for k in np.unique(truth)]))


def _predicted(
    classifier: Classifier, cases: Sequence[Case], target: str, progress: bool
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Probabilities `[n, classes]`, class numbers `[n]` and groups."""
    index = {name: k for k, name in enumerate(classifier.spec.classes)}
    probability, truth, group = [], [], []
    for case in followed(cases, len(cases), "report", "image", shown=progress):
        label = index.get(label_of(case, target))
        try:
            pixels, _ = classifier.pixels(read_image(case.image_path))
        except CaseError:
            continue
        if label is not None:
            with torch.no_grad():
                probability.append(classifier.network(pixels).softmax(1)[0].numpy())
            truth.append(label)
            group.append(case.group)
    return np.array(probability), np.array(truth), group


TARGETS = ("melanoma", "diagnosis")
MELANOMA, OTHER = "melanoma", "other"


def label_of(case: Case, target: str) -> str:
    """The class of a case that has a diagnosis: melanoma or other, or the diagnosis itself, in small letters.

    Melanoma is what the archives call so: mel (HAM10000), or a path of words that holds it (the ISIC archive).

    Examples:
        >>> from pathlib import Path
        >>> label_of(Case("a", Path("a.jpg"), diagnosis="mel"), "melanoma")
        'melanoma'
    """
    name = case.diagnosis.strip().lower()
    if target == "diagnosis":
        return name
    return MELANOMA if name == "mel" or MELANOMA in name else OTHER


class ClassifierModule(FitModule):
    """The network's output is logits `[n, classes]`; `counts` `[classes]` are the images that it is fitted on.

    A class weighs as the inverse of its count, with mean 1 over the images (scikit-learn's class_weight "balanced").
    """

    monitor = "val/auc"

    def __init__(self, spec: ClassifierSpec, network: nn.Module, recipe: Recipe, counts: np.ndarray) -> None:
        super().__init__(spec, network, recipe)
        weights = counts.sum() / (len(counts) * np.maximum(counts, 1))
        self.class_weights: Tensor
        self.register_buffer("class_weights", torch.from_numpy(weights).float(), persistent=False)
        self.auc = MulticlassAUROC(len(counts), average="macro", thresholds=None)
        self.balanced_accuracy = MulticlassAccuracy(len(counts), average="macro")

    def loss(self, output: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Cross-entropy, weighted by class."""
        return F.cross_entropy(output.float(), batch["label"], self.class_weights)

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Loss, AUC (macro, one against the rest) and balanced accuracy (mean recall of the classes)."""
        logits = self(batch["image"], batch["valid"]).float()
        self.log("val/loss", self.loss(logits, batch), batch_size=len(logits))
        for metric in (self.auc, self.balanced_accuracy):
            metric.update(logits.softmax(1), batch["label"])
        self.log(self.monitor, self.auc, prog_bar=True, batch_size=len(logits))
        self.log("val/balanced_accuracy", self.balanced_accuracy, batch_size=len(logits))


class ClassifierTask(FitTask):
    """A classifier of whole images, for class activation maps."""

    watched = "auc"
    needs = "with a diagnosis"
    config: FitClassifierConfig

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
