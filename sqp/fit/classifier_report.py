"""How good a fitted classifier is, split by split; nothing is chosen by it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

from sqp.config.fit import FitClassifierConfig
from sqp.core.errors import CaseError, lookup
from sqp.core.files import write_text
from sqp.core.tables import csv_text
from sqp.core.types import SPLITS, Case
from sqp.data import read_image
from sqp.fit.classifier import label_of
from sqp.fit.data import split_cases
from sqp.metrics.stats import bootstrap
from sqp.prompts.classifier import Classifier, load_classifier

FILE = "report.csv"
RESAMPLES = 1000


def report_classifier(config: FitClassifierConfig, checkpoint: Path) -> str:
    """Write OUT/report.csv: a row a split of `report_splits` and measure, with its interval; returns it as text.

    ConfigError for an unknown split. Images that cannot be read, or are of no class of the model, are left out.
    """
    for name in config.report_splits:
        lookup("split", name, dict.fromkeys(SPLITS))
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
    for case in tqdm(cases, unit="image", desc="report", disable=None if progress else True):
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
