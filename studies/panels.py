"""Pictures for docs/uncertainty.md: synthetic lesions under each sampler, each map, each fusion and each refinement.

python -m studies.panels docs    (pydensecrf2 is needed for the CRF: pip install -e '.[crf]')

LiteMedSAM from Otsu's box. Lesions are drawn by code: no patient is shown.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sqp.core.seeding import numpy_generator, torch_generator
from sqp.data.synthetic import Traits, synthetic_lesion
from sqp.metrics.overlap import dice
from sqp.prompts import PROMPTERS
from sqp.report.figures import save
from sqp.segmenters import build_segmenter
from sqp.uncertainty import MEASURES, mean_probability_map, sample
from sqp.uncertainty.fusion import fuse
from sqp.uncertainty.refine import Ensemble, refine
from studies.runner import status, study

LESIONS = {
    "plain": Traits(tone=0.2, contrast=0.85),
    "hairy": Traits(tone=0.3, hairs=14, contrast=0.7, irregularity=0.6),
    "soft border": Traits(tone=0.1, softness=0.9, contrast=0.4, extent=0.6),
}
SAMPLERS = {
    "prompt jitter": {"sampler": "prompt_jitter", "n": 8, "ratio": 0.05},
    "MC dropout": {"sampler": "mc_dropout", "n": 30, "p": 0.01},
    "TTA": {"sampler": "tta", "n": 8, "set": "paper"},
    "noise": {"sampler": "noise", "n": 5, "sigma": 0.05},
}
REFINEMENTS = {
    "CRF": ("crf", {"smooth_weight": 3, "colour_width": 40, "colour_spread": 5, "colour_weight": 3}),
    "UR-SAM midpoint": ("ur_sam_midpoint", {}),
    "UR-SAM printed": ("ur_sam_printed", {"alpha_h": 1.5}),
    "Unc-FPC": ("unc_fpc", {"threshold": 0.9}),
    "Unc-FNC": ("unc_fnc", {"threshold": 0.9}),
    "Unc-FPNC": ("unc_fpnc", {"threshold": 0.9}),
}
FUSIONS = {"mean": {}, "inverse": {}, "exponential": {"lam": 4}, "power_law": {"alpha": 2}}
TITLES = {"mutual_information": "mutual information", "epkl": "EPKL"}
MASK, TRUTH = "#E69F00", "#56B4E9"  # Okabe and Ito


def show(axes: Axes, picture: np.ndarray, title: str, **options: object) -> None:
    """One picture under its title."""
    axes.imshow(picture, interpolation="nearest", **options)
    axes.set_title(title, fontsize=11)
    axes.set_xticks([])
    axes.set_yticks([])


def contours(axes: Axes, mask: np.ndarray, truth: np.ndarray) -> None:
    """Truth below, mask above; nothing for an empty one."""
    for one, colour, width in ((truth, TRUTH, 2.6), (mask, MASK, 1.6)):
        if one.any() and not one.all():
            axes.contour(one, [0.5], colors=colour, linewidths=width)


def grid(rows: int, columns: int) -> tuple[Figure, np.ndarray]:
    """A figure of square pictures."""
    figure = Figure(figsize=(2.35 * columns, 2.55 * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def label(axes: Axes, text: str) -> None:
    """What a row shows, at its left."""
    axes.set_ylabel(text, fontsize=12)


@study("out")
@torch.no_grad()
def main(args: argparse.Namespace) -> None:
    """Write uncertainty_maps.png, uncertainty_samplers.png and uncertainty_refinements.png."""
    segmenter = build_segmenter("litemedsam")
    maps, drawn = grid(len(LESIONS), 2 + len(MEASURES))
    kinds, sampled = grid(len(LESIONS), 1 + len(SAMPLERS))
    masks, refined = grid(len(LESIONS), len(FUSIONS) + len(REFINEMENTS))
    for row, (name, traits) in enumerate(LESIONS.items()):
        lesion = synthetic_lesion(numpy_generator(11, name), (256, 256), traits)
        truth, image = lesion.mask, lesion.image
        prompt = PROMPTERS["otsu"](image)[0]
        embedding = segmenter.encode(image)
        found = {
            label: sample(
                *(segmenter, image, prompt, told["n"], torch_generator(0, name, label)),
                embedding=embedding,
                **{key: value for key, value in told.items() if key != "n"},
            )
            for label, told in SAMPLERS.items()
        }
        samples = found["prompt jitter"]
        ensemble = Ensemble(image, samples.frame.grid_to_image(mean_probability_map(samples)), prompt)
        show(drawn[row, 0], image, "image" if row == 0 else "")
        label(drawn[row, 0], name)
        show(drawn[row, 1], image, "mask (orange), truth (blue)" if row == 0 else "")
        contours(drawn[row, 1], ensemble.mask.numpy(), truth)
        for column, (measure, of) in enumerate(MEASURES.items(), start=2):
            values = samples.frame.grid_to_image(of(samples.logits)).numpy()
            show(drawn[row, column], values, TITLES.get(measure, measure) if row == 0 else "", cmap="cividis")
        show(sampled[row, 0], image, "image" if row == 0 else "")
        label(sampled[row, 0], name)
        for column, (kind, one) in enumerate(found.items(), start=1):
            values = one.frame.grid_to_image(MEASURES["mutual_information"](one.logits)).numpy()
            show(sampled[row, column], values, kind if row == 0 else "", cmap="cividis")
        pictures: dict[str, np.ndarray] = {}
        for rule, options in FUSIONS.items():
            fused = samples.frame.grid_to_image(fuse(samples.logits, rule, **options))
            pictures[rule.replace("_", " ")] = (fused >= 0.5).numpy()
        for title, (rule, options) in REFINEMENTS.items():
            pictures[title] = refine(ensemble, rule, **options).mask
        for axes, (title, mask) in zip(refined[row], pictures.items(), strict=True):
            show(axes, image, title if row == 0 else "")
            contours(axes, mask, truth)
            axes.set_xlabel(f"Dice {dice(mask, truth):.3f}", fontsize=11)
        label(refined[row, 0], name)
    for figure, name in ((maps, "maps"), (kinds, "samplers"), (masks, "refinements")):
        save(figure, args.out / f"uncertainty_{name}.png", dpi=90)


if __name__ == "__main__":
    sys.exit(status(main))
