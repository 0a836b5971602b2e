"""The features that distances are measured in, of records with their predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sqp.quality.bundle.provenance import one_encoder
from sqp.quality.bundle.sources import REFEREE
from sqp.quality.judging.strangeness import IMAGE, MODEL
from sqp.quality.model.features import EMBEDDING, REFEREE_EMBEDDING, has_feature, vectors_in, with_features
from sqp.quality.model.inference import Outputs
from sqp.records import RecordSet


def image_feature(sources: Sequence[str], configs: Sequence[Mapping[str, Any]]) -> str | None:
    """The vector that tells a strange image, for a model that reads these sources of records of these configs.

    Of the referee where the model reads one, as it looks at every image whoever made the mask; else of the segmenter.
    None where the records are not of one encoder, whose vectors would not compare.
    """
    name, part = (REFEREE_EMBEDDING, "referee") if REFEREE in sources else (EMBEDDING, "segmenter")
    return name if one_encoder(configs, part) else None


def known_features(
    rows: pd.DataFrame,
    outputs: Mapping[str, Outputs],
    configs: Sequence[Mapping[str, Any]],
    sources: Sequence[str],
) -> dict[str, dict[str, np.ndarray]]:
    """By split of `outputs` the features `[n, d]` by kind, of the rows (record_set, record_id, split) in their order.

    Those of the image are among them where every record set keeps them (`image_feature`).
    """
    found = {split: {MODEL: out.features} for split, out in outputs.items()}
    name = image_feature(sources, configs)
    if name is None or not all(has_feature(RecordSet(folder), name) for folder in rows["record_set"].unique()):
        return found
    for split in found:
        vectors = vectors_in(with_features(rows[rows["split"] == split], (name,)), name)
        if vectors is not None:
            found[split][IMAGE] = vectors
    return found
