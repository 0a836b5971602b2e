"""The features that distances are measured in, of records with their predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sqp.io import RecordSet
from sqp.quality.features import EMBEDDING, embeddings_in, has_embedding, with_features
from sqp.quality.inference import Outputs
from sqp.quality.ood import IMAGE, MODEL
from sqp.quality.provenance import one_encoder


def known_features(
    rows: pd.DataFrame, outputs: Mapping[str, Outputs], configs: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, np.ndarray]]:
    """By split of `outputs` the features `[n, d]` by kind, of the rows (record_set, record_id, split) in their order.

    Those of the image are among them where every record set keeps them, made by one segmenter (`configs` of generate).
    """
    kept = one_encoder(configs) and all(has_embedding(RecordSet(folder)) for folder in rows["record_set"].unique())
    found = {split: {MODEL: out.features} for split, out in outputs.items()}
    for split in found if kept else ():
        embedding = embeddings_in(with_features(rows[rows["split"] == split], (EMBEDDING,)))
        if embedding is not None:
            found[split][IMAGE] = embedding
    return found
