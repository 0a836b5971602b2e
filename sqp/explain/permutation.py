"""What the model cannot do without: an input is taken from another record, and the loss of agreement is measured.

Permutation importance (Breiman 2001; Fisher, Rudin and Dominici, JMLR 2019) of each channel, each score, and of sets of
them. `mask only`, `image only` and `uncertainty only` leave one input in its place and take all others from one other
record. It tells what this trained model relies on, not what a model trained without the input could do. Natural masks
trade with natural ones and corrupted with corrupted ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from sqp.core.seeding import numpy_generator
from sqp.explain.attribution import plane_groups
from sqp.explain.data import Material
from sqp.metrics.agreement import mae, spearman
from sqp.metrics.stats import Resamples, bootstrap, paired_difference
from sqp.quality.model.channels import IMAGE, MASK, map_channels
from sqp.quality.model.tabular import features_of
from sqp.records.schema import FEATURE_PREFIX

Predict = Callable[[Callable[[np.ndarray], tuple[Tensor, Tensor | None]]], np.ndarray]
"""(rows -> planes and scores of a batch) -> predicted Dice `[n]` of all records."""

WHOLE = "nothing"


@dataclass(frozen=True)
class Input:
    """A name, what it is (channel, score, set, only), and the planes and scores that are taken from another record."""

    name: str
    kind: str
    planes: tuple[int, ...] = ()
    scores: tuple[int, ...] = ()


def inputs_of(channels: Sequence[str], scores: Sequence[str], dims: int = 2) -> list[Input]:
    """Every channel, every score, each vector of the segmenter's features as one, and the sets that there are.

    Examples:
        >>> [one.name for one in inputs_of(("mask", "self/epkl"), ())]
        ['mask', 'self/epkl', 'uncertainty', 'mask only', 'uncertainty only']
    """
    groups, all_scores = plane_groups(channels, dims), tuple(range(len(scores)))
    maps = tuple(i for name in map_channels(channels) for i in groups[name])
    parts = {name: (tuple(groups[name]), ()) for name in (MASK, IMAGE) if name in groups}
    if maps or scores:
        parts["uncertainty"] = (maps, all_scores)  # type: ignore[assignment]
    inputs = [Input(name, "channel", tuple(index)) for name, index in groups.items()]
    named = [FEATURE_PREFIX + features_of([name])[0] if name.startswith(FEATURE_PREFIX) else name for name in scores]
    inputs += [
        Input(
            name,
            "features" if name.startswith(FEATURE_PREFIX) else "score",
            scores=tuple(np.flatnonzero(columns).tolist()),
        )
        for name in dict.fromkeys(named)
        for columns in [[score == name for score in named]]
    ]
    if len(map_channels(channels)) > 1:
        inputs.append(Input("all maps", "set", maps))
    if len(scores) > 1:
        inputs.append(Input("all scores", "set", scores=all_scores))
    if "uncertainty" in parts:
        inputs.append(Input("uncertainty", "set", maps, all_scores))
    planes = {i for index in groups.values() for i in index}
    for name, (kept, kept_scores) in parts.items() if len(parts) > 1 else ():
        moved, other = sorted(planes - set(kept)), [i for i in all_scores if i not in kept_scores]
        inputs.append(Input(f"{name} only", "only", tuple(moved), tuple(other)))
    return inputs


def donors(strata: np.ndarray, seed: int = 0) -> np.ndarray:
    """int `[n]`: for each record another one of its stratum (itself where it is alone)."""
    out = np.arange(len(strata))
    for value in np.unique(strata):
        order = numpy_generator(seed, "permutation", value).permutation(np.flatnonzero(strata == value))
        out[order] = np.roll(order, 1)
    return out


def permuted_predictions(
    predict: Predict, planes: Tensor, scores: Tensor | None, inputs: Sequence[Input], donor: np.ndarray
) -> dict[str, np.ndarray]:
    """Predicted Dice `[n]` as it is (`nothing`), and with each input taken from the donor. Planes `[n, c, s, s]`."""

    def batch(rows: np.ndarray, taken: Input | None = None) -> tuple[Tensor, Tensor | None]:
        own, given = planes[rows].float(), None if scores is None else scores[rows].clone()
        if taken is None:
            return own, given
        if taken.planes:
            own[:, list(taken.planes)] = planes[donor[rows]][:, list(taken.planes)].float()
        if given is not None and scores is not None and taken.scores:
            k = scores.shape[1] // 2
            columns = [*taken.scores, *(k + i for i in taken.scores)]  # the value and whether it is missing
            given[:, columns] = scores[donor[rows]][:, columns]
        return own, given

    out = {WHOLE: predict(batch)}
    for taken in inputs:
        out[taken.name] = predict(lambda rows, taken=taken: batch(rows, taken))  # type: ignore[misc]
    return out


def importance_table(
    predictions: dict[str, np.ndarray],
    inputs: Sequence[Input],
    dice: np.ndarray,
    keep: np.ndarray,
    resamples: Resamples,
) -> pd.DataFrame:
    """A row per input over the records `keep`: Spearman and MAE that are left, what is lost, with paired intervals."""
    truth = np.where(keep, dice, np.nan)
    whole = predictions[WHOLE]
    n = int(np.isfinite(truth).sum())
    start = {"spearman": spearman(whole, truth), "mae": mae(whole, truth)}
    ends = {name: bootstrap(stat, whole, truth, resamples=resamples) for name, stat in _STATISTICS.items()}
    rows: list[dict[str, object]] = [
        {"taken_away": WHOLE, "kind": "", "n": n, **start}
        | {f"{name}_{end}": value for name, pair in ends.items() for end, value in zip(_ENDS, pair, strict=True)}
        | {"note": ""}
    ]
    for taken in inputs:
        without = predictions[taken.name]
        row: dict[str, object] = {"taken_away": taken.name, "kind": taken.kind, "n": n}
        row |= {name: stat(without, truth) for name, stat in _STATISTICS.items()}
        lost = paired_difference(spearman, truth, whole, without, resamples=resamples)
        risen = paired_difference(mae, truth, without, whole, resamples=resamples)
        for name, loss in (("spearman_loss", lost), ("mae_rise", risen)):
            row |= dict(zip((name, f"{name}_low", f"{name}_high"), loss, strict=True))
        rows.append(row | {"note": _words(taken, lost.low, lost.high, risen.low, risen.high)})
    return pd.DataFrame(rows)


_STATISTICS = {"spearman": spearman, "mae": mae}
_ENDS = ("low", "high")


def _words(taken: Input, low: float, high: float, mae_low: float, mae_high: float) -> str:
    """Whether the input matters, by both intervals; an `only` row is there for what is left."""
    if taken.kind == "only":
        return ""
    if np.isnan([low, high, mae_low, mae_high]).all():
        return "no interval: one group, or no statistic"
    needed = [name for name, end in (("order", low), ("error", mae_low)) if end > 0]
    if needed:
        return f"needed ({' and '.join(needed)})"
    return "harmful" if high < 0 and mae_high < 0 else "no loss that the interval shows"


def no_gradient_predict(infer_batch: Callable[[Tensor, Tensor | None], np.ndarray], n: int, batch_size: int) -> Predict:
    """`Predict` over n records in batches."""

    def predict(batch: Callable[[np.ndarray], tuple[Tensor, Tensor | None]]) -> np.ndarray:
        parts = [np.arange(start, min(start + batch_size, n)) for start in range(0, n, batch_size)]
        with torch.inference_mode():
            return np.concatenate([infer_batch(*batch(rows)) for rows in parts]).astype(float)

    return predict


def study_importance(material: Material, seed: int, batch_size: int, device: str) -> pd.DataFrame:
    """Permutation importance over the records with truth, by subset."""
    model = material.bundle.model.to(device).eval()
    inputs = inputs_of(material.bundle.channels, model.spec.scores, material.dims)

    def dice_of(planes: Tensor, scores: Tensor | None) -> np.ndarray:
        scores = None if scores is None else scores.to(device)
        return model(planes.to(device), scores).dice.float().cpu().numpy()

    predict = no_gradient_predict(dice_of, len(material), batch_size)
    donor = donors(material.rows["natural"].to_numpy(bool), seed)
    predictions = permuted_predictions(predict, material.planes, material.scores, inputs, donor)
    parts = []
    for name, keep in material.subsets().items():
        table = importance_table(predictions, inputs, material.dice, keep & material.known, material.resamples)
        table.insert(0, "subset", name)
        parts.append(table)
    return pd.concat(parts, ignore_index=True)
