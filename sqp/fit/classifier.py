"""The LightningModule that trains a classifier of whole images: balanced cross-entropy, watched by the AUC on val.

A case's diagnosis as the class that a classifier learns.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy, MulticlassAUROC

from sqp.core.types import Case
from sqp.fit.module import FitModule, Recipe
from sqp.prompts.classifier import ClassifierSpec

TARGETS = ("melanoma", "diagnosis")
MELANOMA, OTHER = "melanoma", "other"


def label_of(case: Case, target: str) -> str:
    """The class of a case that has a diagnosis: melanoma or other, or the diagnosis itself, in small letters.

    Melanoma is what the archives call so: mel (HAM10000), or a path of words that holds it (the ISIC archive).

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
