"""The penultimate features as a picture, and numbers that say how far the picture can be trusted.

PCA and UMAP (McInnes et al., 2018) bring the standardised features to two dimensions. Trustworthiness (Venna and Kaski,
2001; scikit-learn) says how many neighbours in the picture are neighbours in truth, the k-NN R2 how well the Dice of a
record follows from that of its neighbours in other groups: in the features and in each picture, so what the projection
loses is seen.
"""

from __future__ import annotations

import atexit
import importlib
import os
import sys
import warnings
from collections.abc import Mapping
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness
from sklearn.metrics import pairwise_distances

from sqp.core.errors import ConfigError
from sqp.core.seeding import derive_seed
from sqp.explain.data import Material
from sqp.metrics.agreement import r2
from sqp.metrics.stats import Resamples, bootstrap

FEATURES, PICTURES = "features", ("pca", "umap")
POINTS = (
    *("record_id", "image_id", "group", "variant", "diagnosis", "segmenter", "prompter", "dice", "predicted_dice"),
    "area",
)
"""Columns of the rows that go with the points."""


def check_enough(n: int, neighbours: int) -> None:
    """ConfigError unless there are more than twice as many records as neighbours."""
    if n <= 2 * neighbours:
        raise ConfigError(
            f"{n} records are too few for an embedding with {neighbours} neighbours, it needs more than "
            f"{2 * neighbours}: give more records, or a smaller --neighbours (0: no embedding)"
        )


def standardised(features: np.ndarray) -> np.ndarray:
    """float64 `[n, d']` of `[n, d]`: mean 0 and standard deviation 1, without the constant columns."""
    x = features.astype(np.float64)
    x = x[:, x.std(axis=0) > 1e-9]
    return (x - x.mean(axis=0)) / x.std(axis=0)


def projections(features: np.ndarray, neighbours: int, seed: int = 0) -> tuple[dict[str, np.ndarray], float]:
    """`{"pca": [n, 2], "umap": [n, 2]}` of standardised features, and the share of variance that PCA shows.

    The same seed gives the same picture on the same machine. ConfigError where records are too few.
    """
    check_enough(len(features), neighbours)
    pca = PCA(2, svd_solver="full").fit(features)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # umap tells of tensorflow and numba on import, and of its one thread
        umap = _umap()
        state = derive_seed(seed, "umap") % 2**32
        flat = umap.UMAP(n_neighbors=neighbours, random_state=state, n_jobs=1).fit_transform(features)
    made = {"pca": pca.transform(features), "umap": np.asarray(flat, np.float64)}
    return made, float(pca.explained_variance_ratio_.sum())


def _umap() -> Any:
    """The module. Where no folder can be written in which numba would keep compiled code, it keeps it for this run."""
    try:
        return importlib.import_module("umap")
    except RuntimeError as error:
        if "cannot cache" not in str(error):
            raise
    from numba.core import config

    folder = TemporaryDirectory(prefix="sqp-numba-", ignore_cleanup_errors=True)
    atexit.register(folder.cleanup)
    os.environ["NUMBA_CACHE_DIR"] = config.CACHE_DIR = folder.name  # type: ignore[attr-defined]
    for name in [name for name in sys.modules if name.split(".")[0] in ("umap", "pynndescent")]:
        del sys.modules[name]  # half of them were imported
    return importlib.import_module("umap")


def foreign_neighbours(space: np.ndarray, group: np.ndarray, k: int) -> np.ndarray:
    """int `[n, k]`: the nearest records of other groups in `[n, d]`, nearest first. Memory grows with n squared.

    ConfigError where a record has fewer than k records of other groups.

    Examples:
        >>> foreign_neighbours(np.array([[0.0], [0.1], [1.0]]), np.array(["a", "a", "b"]), 1).tolist()
        [[2], [2], [1]]
    """
    codes = np.unique(group, return_inverse=True)[1]
    fewest = len(codes) - int(np.bincount(codes).max())
    if fewest < k:
        raise ConfigError(
            f"a record has only {fewest} records of other groups, {k} neighbours were asked for: give more "
            "records, or a smaller --neighbours"
        )
    distance = pairwise_distances(space)
    distance[codes[:, None] == codes[None]] = np.inf
    return np.argsort(distance, axis=1, kind="stable")[:, :k]


def embedding_table(
    spaces: Mapping[str, np.ndarray], dice: np.ndarray, group: np.ndarray, k: int, resamples: Resamples
) -> pd.DataFrame:
    """A row per space (features first): trustworthiness of a picture, R2 of the neighbours' mean Dice with interval."""
    rows = []
    known = np.isfinite(dice)
    for name, space in spaces.items():
        row: dict[str, object] = {"space": name, "n": len(space), "dimensions": space.shape[1], "neighbours": k}
        if name != FEATURES:
            row["trustworthiness"] = trustworthiness(spaces[FEATURES], space, n_neighbors=k)
        if known.sum() > 2 * k:
            predicted = np.full(len(dice), np.nan)
            near = foreign_neighbours(space[known], group[known], k)
            predicted[known] = dice[known][near].mean(axis=1)
            low, high = bootstrap(r2, predicted, dice, resamples=resamples)
            row |= {"knn_r2": r2(predicted, dice), "knn_r2_low": low, "knn_r2_high": high}
        rows.append(row)
    return pd.DataFrame(rows)


def disagreeing(rows: pd.DataFrame, features: np.ndarray, k: int, most: int = 50) -> pd.DataFrame:
    """Records whose true Dice is furthest from the mean of their k neighbours (of other groups) in the features.

    Columns: record_id, dice, predicted_dice, neighbours_dice, difference, neighbours (their ids).
    """
    table = rows.reset_index(drop=True)
    known = np.flatnonzero(np.isfinite(table["dice"].to_numpy(float)))
    table, space = table.iloc[known].reset_index(drop=True), features[known]
    near = foreign_neighbours(space, table["group"].astype(str).to_numpy(), k)
    dice, ids = table["dice"].to_numpy(float), table["record_id"].to_numpy(str)
    made = table[["record_id", "dice", "predicted_dice"]].assign(
        neighbours_dice=dice[near].mean(axis=1), difference=dice - dice[near].mean(axis=1)
    )
    made["neighbours"] = [" ".join(ids[row[:5]]) for row in near]
    order = made["difference"].abs().sort_values(ascending=False, kind="stable").index[:most]
    return made.loc[order].reset_index(drop=True)


def study_embedding(
    material: Material, neighbours: int, seed: int = 0
) -> tuple[pd.DataFrame, float, dict[str, pd.DataFrame]]:
    """The points (columns of the rows, pca_x ... umap_y), PCA's share of variance, and the tables."""
    features = standardised(material.features)
    made, explained = projections(features, neighbours, seed)
    spaces = {FEATURES: features, **made}
    tables = {"embedding": embedding_table(spaces, material.dice, material.group, neighbours, material.resamples)}
    rows = material.rows
    points = rows[[name for name in POINTS if name in rows]].copy()
    points["error"] = rows["predicted_dice"] - rows["dice"]
    for name, flat in made.items():
        points[f"{name}_x"], points[f"{name}_y"] = flat.T
    if material.known.sum() > 2 * neighbours:
        tables["neighbours"] = disagreeing(rows, features, neighbours)
    return points, explained, tables
