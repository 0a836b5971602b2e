"""Two sets compared fairly, and where the error of one lies."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def matched(first: ArrayLike, second: ArrayLike, bins: int = 10, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of two samples of values in [0, 1], as many as make the shares of all bins the same in both.

    Correlations grow with the spread of the truth, so those of two test sets compare only where their truths are
    distributed alike. Of each bin the rows are drawn at random without replacement; a bin that one sample lacks is
    left out of both. Indices, ascending; ValueError where no bin has rows of both.

    >>> [len(rows) for rows in matched([0.1, 0.1, 0.9, 0.9], [0.1, 0.9, 0.9, 0.9])]  # two thirds of each are near 0.9
    [3, 3]
    """
    both = [np.minimum((np.asarray(values, float) * bins).astype(int), bins - 1) for values in (first, second)]
    counts = [np.bincount(own, minlength=bins) for own in both]
    share = np.minimum(*(count / max(1, count.sum()) for count in counts))
    if not share.sum():
        raise ValueError("the two samples have no bin in common")
    share /= share.sum()
    rows = []
    for own, count in zip(both, counts, strict=True):
        most = min(n / part for n, part in zip(count, share, strict=True) if part)
        rng = np.random.default_rng(seed)
        drawn = [rng.permutation(np.flatnonzero(own == i))[: int(most * share[i] + 1e-9)] for i in range(bins)]
        rows.append(np.sort(np.concatenate(drawn)))
    return rows[0], rows[1]


def worst_share(error: ArrayLike, image: ArrayLike, share: float = 0.01) -> float:
    """What part of the summed squared error falls on the worst `share` of the images, rounded up; NaN without error.

    >>> worst_share([3, 0, 1], ["a", "a", "b"], 0.5)
    0.9
    """
    _, codes = np.unique(np.asarray(image), return_inverse=True)
    by_image = np.sort(np.bincount(codes, weights=np.square(np.asarray(error, float))))[::-1]
    total = float(by_image.sum())
    return float(by_image[: int(np.ceil(share * len(by_image)))].sum()) / total if total else float("nan")
