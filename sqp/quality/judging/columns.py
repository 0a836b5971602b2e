"""What the columns of a predictions table are; light, so that a table is read without the networks.

The one source of docs/predictions.md and of `sqp predict --columns`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pandas as pd

from sqp.records.schema import COLUMNS, RENAMED

DIGEST: Mapping[str, str] = {
    "image": "file of the image",
    "mask": "file of the mask that was judged: the one given, else that of the record",
    "predicted_dice": "predicted Dice, 0 to 1; empty where there is none",
    "low": "low end of the interval of the Dice",
    "high": "high end of it",
    "verdict": "accept, review, reject or abstain",
    "reason": "why there is no verdict (abstain), else empty",
    "referee_dice": "soft Dice of the mask and the referee's independent segmentation (else a fitted network's)",
    "strangeness": "greatest of the record's distances from the training records, each as a share of its threshold: "
    "above 1 is out of distribution; empty where nothing could be measured; where references corrected the model above "
    "1 is what is stranger than their own masks, too",
    "record_id": "id of the record: its row in predictions.parquet, its files in the record set",
}
"""The columns of predictions.csv, in its order, and what each says."""

FIRST = ("image_id", "record_id", "predicted_dice", "low", "high", "verdict")
"""What every predictions table has."""

PREDICTED: Mapping[str, str] = {
    "scale": "what the interval's width is proportional to: the model's own doubt",
    "mask_empty": "whether the mask has no pixel",
    "unreadable": "whether a file of the record could not be read; reason says which",
    "ood_distance": "Mahalanobis distance of the model's features from those of the training images",
    "ood_knn_distance": "distance of the model's features to the tenth nearest training image, 0 to 2",
    "ood_image_distance": "Mahalanobis distance of the image's embedding from those of the training images",
    "ood_image_knn_distance": "distance of the image's embedding to the tenth nearest training image, 0 to 2",
    "ood": "whether strangeness is above 1, or could not be measured, or the image is unlike all references",
    "record_set": "folder of the record set",
    "prompter_label": "the prompter; one that knows the truth is marked (simulated manual)",
    "audit": "with --audit: whether the mask was drawn for a person to look at",
    "slices": "of a volume that references judge: number of slices of its mask that were judged",
    "worst_slice": "of such a volume: the slice of the lowest predicted Dice, from 0 at the feet",
}
"""What else a prediction adds to a record's columns."""

OTHER = ("image", "mask", "reason", "strangeness", *PREDICTED)
"""Columns of a prediction beside `FIRST`."""

RECORD: Mapping[str, str] = {
    "image_id": "id of the case: its file's name, or as a table names it",
    "group": "what a split must not cut: the lesion or the patient, else the image",
    "split": "segmenter, train, calibration, val, test, raters, or empty",
    "dataset": "the data set",
    "licence": "its licence, where it is known",
    "diagnosis": "the diagnosis, where it is known",
    "image_path": "file of the image, as `image`",
    "mask_path": "file of the mask within the record set",
    "truth_path": "files of the ground truth, one a rater",
    "height": "of the image, pixels",
    "width": "of the image, pixels",
    "spacing": "of a volume's voxels, mm; empty for images",
    "segmenter": "who made the mask; `given` is a mask made elsewhere",
    "weights_sha256": "hash of the segmenter's weights",
    "prompter": "what prompted the segmenter",
    "prompt": "the prompt, JSON: box, points, labels",
    "sampler": "how the uncertainty was sampled",
    "n_samples": "number of samples",
    "seed": "seed of the samples",
    "variant": "natural, or the corruption's name",
    "severity": "of the corruption",
    "natural": "whether the mask is as its maker made it",
    "parent_record_id": "record from which this one was made",
    "refined_by": "refinement of the mask",
    "fused_by": "fusion of the samples",
    "dice": "true Dice; empty without ground truth, the mean over raters where there are several",
    "iou": "true IoU, alike",
    "referee_own": "whether the mask is the referee's own, so that the referee says nothing of it",
    "files": "stamp of image and truth, by which a changed file is noticed",
    "frames": "how the grid of each source of maps lies over the image, JSON",
    "content": "hash of mask and maps, by which a changed file is noticed",
}
"""The columns that a record set has already."""

SCORES: Mapping[str, str] = {
    "c_lesion": "mean certainty over the mask",
    "pairwise_dice": "mean Dice of the samples' masks, pair by pair",
    "soft_dice_confidence": "soft Dice of the mask and the samples' mean",
    "predicted_iou": "SAM's own prediction of its IoU; empty for masks that it did not make",
    "stability": "IoU of SAM's mask at a higher and a lower threshold; empty for masks that it did not make",
    "mean_entropy": "1 - mean entropy (bits) over the mask",
    "max_confidence": "largest mean probability",
    "mean_probability": "mean probability over the image",
    "area": "share of the image that is the mask",
    "referee_dice_min": "Dice of the mask and a single answer of the referee, the least",
    "referee_dice_max": "the same, the greatest",
    "referee_self_dice": "Dice of the mask and the referee's answer to the mask's own box",
    "referee_agreement": "agreement of the referee's answers with each other",
    "referee_confidence": "how sure the referee is, whatever the mask",
    "rca_max": "reverse classification accuracy: with the mask as the only example each reference is segmented, and "
    "its Dice taken; the greatest",
    "rca_mean": "the same, the mean over references",
    "rca_median": "the same, the median",
    "references": "how many references the image was judged by",
    "references_dice": "mean Dice of these references, each drawn as the others show it",
    "references_size": "how common the mask's size is among these references'",
    "references_likeness": "how like the image is to the nearest of four or more references, 1 as they are to each "
    "other; below 0.25 it is unlike all of them",
    "supervised_dice": "soft Dice of the mask and the mean of a fitted network's answers",
    "supervised_confidence": "how sure the fitted network is, whatever the mask",
    "given_soft_dice_confidence": "soft_dice_confidence by the probabilities behind a given mask",
}
"""The analytic scores beside `referee_dice`: higher is better (`area` and `references` have no sign)."""


def dictionary() -> list[tuple[str, Mapping[str, str]]]:
    """The columns in parts: a heading, and name -> what it says."""
    return [
        ("predictions.csv, and the first columns of predictions.parquet", DIGEST),
        ("predictions.parquet: scores (those that the records have)", SCORES),
        ("predictions.parquet: more of the prediction", PREDICTED),
        ("predictions.parquet: the record", RECORD),
    ]


def dictionary_text() -> str:
    """What `sqp predict --columns` prints."""
    width = max(len(name) for _, columns in dictionary() for name in columns)
    parts = [
        "\n".join([heading, *(f"  {name:<{width}}  {what}" for name, what in columns.items())])
        for heading, columns in dictionary()
    ]
    return "\n\n".join(parts)


def dictionary_markdown() -> str:
    """The tables of docs/predictions.md."""
    parts = []
    for heading, columns in dictionary():
        rows = [f"| `{name}` | {what} |" for name, what in columns.items()]
        parts.append("\n".join([f"## {heading}", "", "| column | what it says |", "| :-- | :-- |", *rows]))
    return "\n\n".join(parts) + "\n"


def score_names(table: pd.DataFrame) -> list[str]:
    """Names of the analytic scores in a table: its numeric columns beside provenance and predictions.

    A score that an older sqp stored under two names counts once.

    Args:
        table: a table of records or predictions.

    Returns:
        Their names, in the table's order.

    Examples:
        >>> score_names(pd.DataFrame({"record_id": ["a"], "dice": [0.9], "predicted_dice": [0.8], "area": [0.7]}))
        ['area']
    """
    known = {*COLUMNS, *FIRST, *OTHER, *RENAMED}
    return [name for name in table.select_dtypes("number").columns if name not in known]


def with_former_scores(table: pd.DataFrame, names: Iterable[str]) -> pd.DataFrame:
    """The table with those of `names` that it lacks since they have another name today, for bundles of an older sqp.

    Args:
        table: a table of records or predictions.
        names: names of scores that a bundle asks for.

    Returns:
        The same table, or a copy with the columns added.

    Examples:
        >>> with_former_scores(pd.DataFrame({"mean_entropy": [0.9]}), ["foreground_certainty"]).columns.tolist()
        ['mean_entropy', 'foreground_certainty']
    """
    lacking = [name for name in names if name not in table and RENAMED.get(name) in table]
    return table.assign(**{name: table[RENAMED[name]] for name in lacking})
