"""Ways to be uncertain and what to do with it: every method of a config on the same images, a row an image and method.

python -m studies.methods configs/methods_isic2018.yaml runs/methods/litemedsam [--workers 2] [--max_images 3]

1. The learned fusions are fitted on images of the split calibration (OUT/fusion-SET.json).
2. Every option of every method runs on val (OUT/val); the best mean Dice chooses (OUT/chosen.yaml).
3. What was chosen runs on test (OUT/test), once.
A JSON file an image, in an order that is drawn, so that what is done of an interrupted run is a fair sample; the same
command goes on with it. `studies/methods_report.py` makes tables and plots.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from torch import Tensor
from tqdm import tqdm

from sqp.config.generate import GenerateConfig
from sqp.core.errors import CaseError
from sqp.core.files import write_json
from sqp.core.memory import keep_freed_memory
from sqp.core.seeding import numpy_generator, torch_generator
from sqp.core.types import Case, Samples
from sqp.core.volume import Volume
from sqp.metrics import OVERLAP, PIXEL_CALIBRATION
from sqp.records.make import collect_cases
from sqp.records.referees.references import whole_references
from sqp.records.refine import refine_slices
from sqp.records.workers import make_segmenter
from sqp.segmenters.by_examples import ByExamples
from sqp.uncertainty import mean_probability_map, sample
from sqp.uncertainty.fusion import fuse
from sqp.uncertainty.learned_fusion import calibration_pixels, fit
from sqp.uncertainty.refine import Ensemble, refine
from studies.binarise import binarise, filter_uncertain
from studies.runner import cases_of, generate_config, of_cases, option, prompted, status, study

NORMAL = "normal"  # the sampler that does not sample
OVERLAPS = ("dice", "iou", "accuracy", "precision", "recall")


@dataclass(frozen=True)
class Method:
    """`step` on the samples `of`, with its options; kind is mean, fusion, binarise, filter or refine."""

    of: str
    step: str
    kind: str
    rule: str
    options: str  # JSON

    def row(self) -> dict[str, str]:
        """What names it in a table."""
        return {"of": self.of, "step": self.step, "options": self.options}


def methods(settings: dict[str, Any], out: Path) -> Iterator[Method]:
    """Every method of the config with each of its options."""
    for name in [*settings["samplers"], *settings.get("pooled", {})]:
        yield Method(name, "mean", "mean", "", "{}")
        if name == NORMAL:
            continue
        for rule, options in settings["fusions"].items():
            for one in options:
                one = {"model": str(out / f"fusion-{name}.json")} if rule == "learned" else one
                yield Method(name, rule, "fusion", rule, json.dumps(one))
    for step in settings["steps"]:
        kind = next(kind for kind in ("binarise", "filter", "refine") if kind in step)
        for one in step.get("options", [{}]):
            yield Method(step["of"], step["name"], kind, step[kind], json.dumps(one))


class Runner:
    """One image, or one of `volumes`, -> its samples, and its row for each method."""

    def __init__(self, config: GenerateConfig, settings: dict[str, Any], volumes: bool) -> None:
        self.config, self.settings = config, settings
        self.segmenter = make_segmenter(config, volumes, whole_references(config).shown)

    def samples(self, case: Case) -> tuple[Any, Any, dict[str, Samples]]:
        """The loaded case, its prompt and the samples by name. CaseError where its files or prompt are no good."""
        loaded, prompt = prompted(case, self.config)
        segmenter = self.segmenter
        if isinstance(segmenter, ByExamples):
            segmenter = segmenter.apart_from(loaded.image)
        embedding = segmenter.encode(loaded.image)
        found: dict[str, Samples] = {}
        for name, options in self.settings["samplers"].items():
            own = {key: value for key, value in options.items() if key not in ("name", "n")}
            drawn = torch_generator(self.config.seed, case.image_id, name)
            found[name] = sample(
                *(segmenter, loaded.image, prompt, options["n"], drawn),
                **{"sampler": options["name"], "embedding": embedding, **own},
            )
        for name, parts in self.settings.get("pooled", {}).items():
            logits, iou = (torch.cat([getattr(found[part], field) for part in parts]) for field in ("logits", "iou"))
            found[name] = Samples(logits, iou, embedding.frame)
        return loaded, prompt, found

    def pixels(self, case: Case) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Calibration pixels of an image by set of samples, for the learned fusion."""
        loaded, _, found = self.samples(case)
        out = {}
        for name, samples in found.items():
            if len(samples.logits) > 1:
                truth = samples.frame.image_to_grid(torch.from_numpy(loaded.truth).float()) >= 0.5
                generator = torch_generator(self.config.seed, case.image_id, "pixels")
                out[name] = calibration_pixels(samples.logits, truth, self.settings["fit"]["pixels"], generator)
        return out

    def rows(self, case: Case, wanted: list[Method]) -> list[dict[str, Any]]:
        """One row a method: overlap and calibration at the image's size, and the certainty over the mask."""
        loaded, prompt, found = self.samples(case)
        means = {name: mean_probability_map(samples) for name, samples in found.items()}
        ensembles = {
            name: Ensemble(loaded.image, found[name].frame.grid_to_image(p).cpu(), prompt) for name, p in means.items()
        }
        rows = []
        for method in wanted:
            ensemble, options = ensembles[method.of], json.loads(method.options)
            probability, mask, unchanged = ensemble.probability, ensemble.mask, ""
            if method.kind == "fusion":
                fused = fuse(found[method.of].logits, method.rule, **options)
                probability = found[method.of].frame.grid_to_image(fused).cpu()
                mask = probability >= 0.5
            elif method.kind == "binarise":
                mask = binarise(probability, method.rule, **options)
            elif method.kind == "filter":
                mask = filter_uncertain(mask, ensemble.entropy, method.rule, **options)[0]
            elif method.kind == "refine":
                if isinstance(loaded.image, Volume):
                    window = self.config.segmenter.window
                    refined = refine_slices(loaded.image, window, ensemble.probability, prompt, method.rule, **options)
                else:
                    refined = refine(ensemble, method.rule, **options)
                probability = probability if refined.probability is None else refined.probability
                mask, unchanged = torch.from_numpy(refined.mask), refined.unchanged
            measured = outcome(loaded.truth, probability, mask)
            rows.append(
                {"image_id": case.image_id, "group": case.group} | method.row() | measured | {"unchanged": unchanged}
            )
        return rows


def outcome(truth: np.ndarray, probability: Tensor, mask: Tensor) -> dict[str, float]:
    """Every metric of one mask bool `[*space]` and its probability at the image's size."""
    m, p = mask.numpy(), probability.double().clamp(0, 1).numpy()
    found = {name: OVERLAP[name](m, truth) for name in OVERLAPS}
    found |= {name: metric(p, truth) for name, metric in PIXEL_CALIBRATION.items()}
    entropy = Ensemble(np.empty(0), probability, None).entropy.numpy()  # type: ignore[arg-type]
    return found | {"certainty": float((1 - entropy[m]).mean()) if m.any() else float("nan"), "area": float(m.mean())}


_runner: Runner


def _start(config: GenerateConfig, settings: dict[str, Any], volumes: bool, threads: int) -> None:
    global _runner
    torch.set_num_threads(threads)
    keep_freed_memory()
    _runner = Runner(config, settings, volumes)


def _pixels(case: Case) -> Any:
    try:
        return _runner.pixels(case)
    except CaseError as error:
        return f"skipped {case.image_id}: {error}"


def _rows(task: tuple[Case, list[Method], Path]) -> str:
    case, wanted, path = task
    try:
        write_json(path, _runner.rows(case, wanted))
    except CaseError as error:
        return f"skipped {case.image_id}: {error}"
    return ""


def split_cases(config: GenerateConfig, split: str, most: int) -> list[Case]:
    """The cases of one split; with `most` the first so many."""
    cases = cases_of(replace(config, only=[split]))
    return cases[:most] if most else cases


Run = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
"""(function, tasks) -> results as they come."""


@contextmanager
def workers(config: GenerateConfig, settings: dict[str, Any], volumes: bool, n: int) -> Iterator[Run]:
    """Run tasks in n processes that hold a segmenter each; 0 in this one."""
    threads = max(1, torch.get_num_threads() // max(1, n))
    if not n:
        _start(config, settings, volumes, threads)
        yield map
        return
    with get_context("spawn").Pool(n, _start, (config, settings, volumes, threads)) as pool:
        yield pool.imap_unordered


def fit_fusions(run: Run, config: GenerateConfig, settings: dict[str, Any], out: Path, most: int) -> None:
    """OUT/fusion-SET.json for every set of samples, where the config names the learned fusion."""
    sets = [*settings["samplers"], *settings.get("pooled", {})] if "learned" in settings["fusions"] else []
    sets = [name for name in sets if name != NORMAL]
    if all((out / f"fusion-{name}.json").exists() for name in sets):
        return
    cases = split_cases(config, "calibration", most or settings["fit"]["images"])
    found = list(tqdm(run(_pixels, cases), "fit", len(cases), disable=None))
    for name in sets:
        fit([one[name] for one in found if not isinstance(one, str)]).save(out / f"fusion-{name}.json")


def measure(run: Run, cases: list[Case], wanted: list[Method], folder: Path, seed: int) -> None:
    """A file of rows for every case that has none yet."""
    folder.mkdir(exist_ok=True)
    drawn = [cases[i] for i in numpy_generator(seed, "order").permutation(len(cases))]
    tasks = [(case, wanted, folder / f"{case.image_id}.json") for case in drawn]
    todo = [task for task in tasks if not task[2].exists()]
    for problem in tqdm(run(_rows, todo), folder.name, len(todo), disable=None):
        if problem:
            tqdm.write(problem)


def read_rows(folder: Path) -> pd.DataFrame:
    """The rows of all images that are done."""
    return pd.DataFrame([row for path in sorted(folder.glob("*.json")) for row in json.loads(path.read_text())])


def choose(folder: Path) -> dict[str, dict[str, str]]:
    """The options of the best mean Dice on val, by set of samples and step."""
    means = read_rows(folder).groupby(["of", "step", "options"], sort=False).dice.mean().reset_index()
    best = means.loc[means.groupby(["of", "step"], sort=False).dice.idxmax()]
    chosen: dict[str, dict[str, str]] = {}
    for row in best.itertuples():
        chosen.setdefault(row.of, {})[row.step] = row.options
    return chosen


@study(
    "config",
    "out",
    option("--workers", type=int, default=1),
    option("--max_images", type=int, default=0, help="of each split; 0 for all"),
    required=("generate", "fit", "samplers", "fusions", "steps"),
    optional=("pooled", "always"),
)
def main(args: argparse.Namespace) -> None:
    """Fit, choose, test."""
    run_methods(args.settings, args.out, args.workers, args.max_images)


def run_methods(settings: dict[str, Any], out: Path, n_workers: int = 0, most: int = 0) -> None:
    """All methods of a config: OUT/val, OUT/chosen.yaml, OUT/test; of each split the first `most` images, 0 for all."""
    out.mkdir(parents=True, exist_ok=True)
    config = generate_config(settings["generate"], out)
    config, volumes = of_cases(config, collect_cases(config)[0])
    with workers(config, settings, volumes, n_workers) as run:
        fit_fusions(run, config, settings, out, most)
        everything = list(methods(settings, out))
        measure(run, split_cases(config, "val", most), everything, out / "val", config.seed)
        chosen = choose(out / "val")
        (out / "chosen.yaml").write_text(yaml.safe_dump(chosen, sort_keys=False))
        always = {step: json.dumps(options) for step, options in settings.get("always", {}).items()}
        wanted = [m for m in everything if m.options in (chosen[m.of][m.step], always.get(m.step))]
        measure(run, split_cases(config, "test", most), wanted, out / "test", config.seed)


if __name__ == "__main__":
    sys.exit(status(main))
