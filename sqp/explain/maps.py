"""The maps of `explain`, a batch at a time: made, compared with the errors, tested, and let go.

Beside the model's own maps stand some that know nothing of it: chance, nearness of the mask's border, its probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from scipy.ndimage import binary_erosion, distance_transform_edt
from torch import Tensor

from sqp.config.explain import ExplainConfig
from sqp.core.progress import followed
from sqp.core.seeding import numpy_generator
from sqp.evaluation.paired import mean_cells
from sqp.explain.attribution import group_maps, shares
from sqp.explain.cams import Layer, branch_maps, cam_maps, spatial_layers
from sqp.explain.data import Material
from sqp.explain.faithfulness import Curves, curves, faithfulness_table, likeness, sanity_table, shuffled_weights
from sqp.explain.localisation import BINS, RANDOM, error_kinds, localisation_table, map_counts
from sqp.metrics.stats import Resamples
from sqp.quality.judging.error_map import error_map
from sqp.quality.model.channels import map_channels, plane_names, resize
from sqp.quality.model.ensemble import Ensemble
from sqp.quality.model.module import QualityModel

SHUFFLED = ", shuffled weights"
PROBABILITY, CERTAINTY = "self/probability", "self/certainty"
CELLS = 8  # of a random map, where there is no CAM whose cells it could have


@dataclass
class MapResults:
    """Tables by name, the curves behind `faithfulness`, and the layer that was looked at."""

    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    curves: dict[str, Curves] = field(default_factory=dict)


def study_maps(config: ExplainConfig, material: Material, layers: dict[str, Layer], layer: Layer | None) -> MapResults:
    """Localisation, faithfulness, sanity and shares of the input groups over all records."""
    model, n = material.bundle.model.to(config.device), len(material)
    other = shuffled_weights(model, config.seed)
    checked = numpy_generator(config.seed, "checked").permutation(n)[: config.checked if layer else 0]
    counts: dict[str, np.ndarray] = {}
    share: dict[str, np.ndarray] = {}
    names: list[str] = list(config.cams)
    alike = {name: np.full(n, np.nan) for name in names}
    traces: dict[str, list[Curves]] = {}
    starts = range(0, n, config.batch_size)
    for start in followed(starts, len(starts), "maps", "batch"):
        index = np.arange(start, min(start + config.batch_size, n))
        planes, scores = material.batch(index, config.device)
        cams = config_cams(config, model, planes, scores, layer)
        maps = cams | plain_maps(config, material, index, planes, scores, layer)
        few = np.flatnonzero(np.isin(index, checked))
        if layer and len(few):
            for name in names:
                mixed = cam_maps(other, planes[few], _rows(scores, few), layer_of(other, layer), name, config.effect)
                alike[name][index[few]] = likeness(cams[name][few], mixed)
                full = np.full((len(index), *mixed.shape[1:]), np.nan, np.float32)
                full[few] = mixed
                maps[name + SHUFFLED] = full
            generator = numpy_generator(config.seed, "deletion", start)
            for name in (*names, RANDOM):
                both_curves = curves(model, planes[few], _rows(scores, few), maps[name][few], config.effect, generator)
                traces.setdefault(name, []).append(both_curves)
        _count(counts, maps, material, index)
        for group, values in shares(group_maps(model, planes, scores, config.attribution, config.effect)).items():
            share.setdefault(group, np.full(n, np.nan))[index] = values
    order = np.sort(checked)
    resamples = Resamples.draw(material.group[order], config.n_resamples, config.seed) if len(order) else None
    result = MapResults({"attribution": _share_table(share, material)})
    if material.known.any():
        result.tables["localisation"] = _localisation(counts, material)
    if resamples is not None and layer:
        result.curves = {name: Curves(*map(np.concatenate, zip(*parts, strict=True))) for name, parts in traces.items()}
        random = result.curves[RANDOM]
        cams_only = {name: result.curves[name] for name in names}
        result.tables["faithfulness"] = faithfulness_table(cams_only, random, resamples)
        result.tables["sanity"] = sanity_table({name: alike[name][order] for name in names}, resamples)
    return result


def config_cams(
    config: ExplainConfig,
    model: QualityModel | Ensemble,
    planes: Tensor,
    scores: Tensor | None,
    layer: Layer | None,
) -> dict[str, np.ndarray]:
    """The CAMs that are asked for, by name `[b, s, s]`, of volumes `[b, s, s, s]`; none without a layer."""
    names: list[str] = list(config.cams) if layer else []
    return {name: cam_maps(model, planes, scores, layer, name, config.effect) for name in names if layer}


def plain_maps(
    config: ExplainConfig,
    material: Material,
    index: np.ndarray,
    planes: Tensor,
    scores: Tensor | None,
    layer: Layer | None,
) -> dict[str, np.ndarray]:
    """The maps beside the CAMs `[b, s, s]` (of volumes `[b, s, s, s]`).

    Error map of the second head, each uncertainty map, references.
    """
    model, channels = material.bundle.model, plane_names(material.bundle.channels, material.dims)
    maps = {}
    if model.spec.error_map:
        maps["error_map"] = error_maps(model, planes, scores)
    for name in map_channels(material.bundle.channels):
        values = planes[:, channels.index(name)].cpu().numpy()
        if name == PROBABILITY:
            maps["mask against probability"] = disagreement(material.masks[index], values)
        else:
            maps[f"1 - {name}" if name == CERTAINTY else name] = 1 - values if name == CERTAINTY else values
    maps["border of the mask"] = border_maps(material.masks[index])
    ids = material.rows["record_id"].iloc[index].tolist()
    cells = layer.side if layer else CELLS
    return maps | {RANDOM: random_maps(ids, material.bundle.size, cells, config.seed, material.dims)}


def error_maps(model: QualityModel | Ensemble, planes: Tensor, scores: Tensor | None) -> np.ndarray:
    """The second head's error map `[b, s, s]`, of volumes `[b, s, s, s]`, brought up to the planes' frame, linearly."""
    small, shape = torch.from_numpy(error_map(model, planes, scores)), planes.shape[2:]
    mode = "bilinear" if len(shape) == 2 else "trilinear"
    return F.interpolate(small[:, None], shape, mode=mode, align_corners=False)[:, 0].numpy()


def layer_of(other: QualityModel | Ensemble, layer: Layer) -> Layer:
    """The same layer in a copy of the model."""
    return spatial_layers(other)[layer.name]


def input_maps(
    config: ExplainConfig, material: Material, layers: dict[str, Layer], index: np.ndarray
) -> dict[str, np.ndarray]:
    """What is drawn for each input group `[b, s, s]`: the CAM of its branch where it has one, else its attribution."""
    planes, scores = material.batch(index, config.device)
    model = material.bundle.model
    if config.cams:
        branches = branch_maps(model, planes, scores, layers, config.cams[0], config.effect)
        if branches:
            return branches
    return group_maps(model, planes, scores, config.attribution, config.effect)


def _rows(scores: Tensor | None, index: np.ndarray) -> Tensor | None:
    return None if scores is None else scores[torch.from_numpy(index).to(scores.device)]


def _count(counts: dict[str, np.ndarray], maps: dict[str, np.ndarray], material: Material, index: np.ndarray) -> None:
    """Add the batch's pixels to `counts`; maps that were not made (NaN) and records without truth stay 0."""
    for place, row in enumerate(index):
        if not material.known[row]:
            continue
        kinds = error_kinds(material.masks[row], material.truths[row])
        for name, values in maps.items():
            if name not in counts:
                counts[name] = np.zeros((len(material), 4, BINS), np.uint32)
            if not np.isnan(values[place]).any():
                counts[name][row] = map_counts(values[place], kinds)


def _localisation(counts: dict[str, np.ndarray], material: Material) -> pd.DataFrame:
    parts = []
    for name, keep in material.subsets().items():
        table = localisation_table(counts, material.resamples, keep)
        table.insert(0, "subset", name)
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def _share_table(share: dict[str, np.ndarray], material: Material) -> pd.DataFrame:
    """The mean share of each input group in the attribution, by subset."""
    rows = []
    for subset, keep in material.subsets().items():
        for group, values in share.items():
            row: dict[str, object] = {"subset": subset, "group": group, "n": int(np.isfinite(values[keep]).sum())}
            rows.append(row | mean_cells("share", np.where(keep, values, np.nan), material.resamples))
    return pd.DataFrame(rows)


REACH = 0.05  # of the frame's side, over which nearness falls to 1 / e


def random_maps(record_ids: Sequence[str], size: int, cells: int, seed: int = 0, dims: int = 2) -> np.ndarray:
    """float32 `[n, size, size]` in 0-1: noise on cells x cells, brought up as a CAM is; by seed and record id.

    With `dims` 3, for volumes, `[n, size, size, size]`.
    """
    noise = [numpy_generator(seed, "random map", name).random((cells,) * dims) for name in record_ids]
    return np.stack([resize(values.astype(np.float32), size) for values in noise]).clip(0, 1)


def border_maps(masks: np.ndarray) -> np.ndarray:
    """bool `[n, s, s]` -> float32: exp(-distance to the mask's outline / 5 % of the side); 0 for an empty mask."""
    out = np.zeros(masks.shape, np.float32)
    for row, mask in enumerate(masks):
        outline = mask & ~binary_erosion(mask)
        if outline.any():
            out[row] = np.exp(-distance_transform_edt(~outline) / (REACH * len(mask)))
    return out


def disagreement(masks: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """bool and 0-1 `[n, s, s]` -> float32: how improbable the mask is at each pixel, by the segmenter's own samples."""
    return np.where(masks, 1 - probability, probability).astype(np.float32)
