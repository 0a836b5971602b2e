"""`sqp fit segmenter --network universeg`: episodes of one task and other groups, it learns, goes on, segments."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from pytorch_lightning.callbacks import Callback

from sqp.config.fit import FitSegmenterConfig
from sqp.core.errors import ConfigError
from sqp.fit import run as fit
from sqp.fit import task_of, training
from sqp.fit.data import fit_cases
from sqp.fit.episodes import HELD_SUPPORT, EpisodeSampler, episode_loader
from sqp.fit.in_context import EpisodeModule
from sqp.fit.module import Recipe
from sqp.networks.checkpoint import read_header
from sqp.segmenters.plain import NetworkSpec
from sqp.segmenters.universeg import build_network, build_universeg

TASKS = {"bright": 14, "dark": 7}  # images a task that are fitted on; two of each group


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A bright disc is the structure of one task, a dark one that of the other."""
    home = tmp_path_factory.mktemp("tasks")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:32, :40]
    rows = []
    for task, fitted in TASKS.items():
        for i in range(fitted + 3):
            disc = np.hypot(x - rng.uniform(12, 28), y - rng.uniform(10, 22)) < rng.uniform(6, 9)
            grey = 120 + (90 if task == "bright" else -90) * disc + rng.integers(-9, 10, disc.shape)
            mask = 255 * disc
            names = {kind: home / f"{task}_{i}_{kind}.png" for kind in ("image", "truth")}
            for kind, pixels in (("image", np.repeat(grey[..., None], 3, 2)), ("truth", mask)):
                Image.fromarray(pixels.astype(np.uint8)).save(names[kind])
            split = "segmenter" if i < fitted else "val"
            files = {kind: str(file) for kind, file in names.items()}
            rows.append({**files, "dataset": task, "group": f"{task}{i // 2}{split}", "split": split})
    pd.DataFrame(rows).to_csv(home / "tasks.csv", index=False)
    return home / "tasks.csv"


@pytest.fixture
def config(table, tmp_path):
    return FitSegmenterConfig(
        table, tmp_path / "fit", network="universeg", size=32, width=8, epochs=2, batch_size=3, support=3,
        learning_rate=0.01, progress=False, accelerator="cpu",
    )  # fmt: skip


@pytest.fixture
def parts(config):
    """(fitted episodes, episodes of val, cases)."""
    task = task_of(config)
    fitted, held = fit_cases(config, task)
    cases = [*fitted, *held]
    cache, spec = task.cache(cases), task.spec(fitted)
    rows = np.arange(len(cases))
    return *(task.images(cache, part, spec, cases) for part in np.split(rows, [len(fitted)])), cases


def drawn(data, epoch, seed=0, most=3):
    loader = episode_loader(data, 4, most, seed)
    loader.batch_sampler.sampler.set_epoch(epoch)
    return list(loader.batch_sampler)


def test_examples_are_of_the_same_task_and_of_other_groups(parts):
    fitted, held, cases = parts
    episodes = [episode for epoch in range(20) for batch in drawn(fitted, epoch) for episode in batch]
    for episode in [*episodes, *held.held]:
        query = cases[episode.query]
        for row in episode.support:
            assert cases[row].dataset == query.dataset and cases[row].group != query.group
            assert cases[row].split == "segmenter"
    assert {len(episode.support) for episode in episodes} == {1, 2, 3}
    share = np.mean([cases[episode.query].dataset == "dark" for episode in episodes])
    assert share == pytest.approx(0.5, abs=0.1)  # a small task counts as much as a large one
    assert {len(episode.support) for episode in held.held} == {HELD_SUPPORT}


def test_seed_and_epoch_decide_what_is_drawn(parts):
    fitted, *_ = parts
    assert drawn(fitted, 1) == drawn(fitted, 1) != drawn(fitted, 2)
    assert drawn(fitted, 1) != drawn(fitted, 1, seed=1)
    assert len(drawn(fitted, 0)) == len(fitted) // 4 == sum(TASKS.values()) // 4


def test_a_batch_holds_the_query_first_and_each_task_counts_alike(parts):
    _, held, _ = parts
    batch = next(iter(episode_loader(held, 6, 3)))
    assert batch["image"].shape == batch["truth"].shape == (6, 1 + HELD_SUPPORT, 1, 32, 32)
    assert batch["image"].amax((2, 3, 4)).eq(1).all() and not batch["image"][~batch["valid"]].any()
    assert batch["valid"][0, 0, 0].sum() == 26 * 32  # 32 x 40 pixels
    assert batch["weight"].sum() == pytest.approx(len(TASKS))


def test_it_learns_and_its_file_tells_what_it_was_fitted_on(config, monkeypatch):
    config, epochs = replace(config, epochs=6, augment=False), []
    monkeypatch.setattr(EpisodeSampler, "set_epoch", lambda self, epoch: epochs.append(epoch))
    ((path, value),) = fit.fit_network(config).checkpoints.items()
    assert path.name == "universeg-seed0.safetensors" and value > 0.7
    assert sorted(set(epochs)) == list(range(6))  # Lightning asks for the draws of each epoch
    header = read_header(path, NetworkSpec)
    assert header.spec == NetworkSpec("universeg", 32, dropout=0.0, width=8)
    assert len(header.info["data"]["fitted_images"]) == sum(TASKS.values())
    task = task_of(config)
    fitted, held = fit_cases(config, task)
    cases = [*fitted, *held]
    data = task.images(task.cache(cases), np.arange(len(fitted), len(cases)), header.spec, cases)

    def val_dice(network):
        module = EpisodeModule(header.spec, network.eval(), Recipe())
        module.log = lambda *args, **options: None
        with torch.no_grad():
            for batch in episode_loader(data, 4, 3):
                module.validation_step(batch, 0)
        return float(module.val_dice.compute())

    segmenter = build_universeg(None, path)
    assert val_dice(segmenter.network) == pytest.approx(value, abs=1e-4)
    torch.manual_seed(0)
    assert value > val_dice(build_network(header.spec)) + 0.15


class StopAfter(Callback):
    def on_train_epoch_start(self, trainer, module):
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt


def test_a_run_that_was_stopped_goes_on_as_if_it_was_not(config, tmp_path, monkeypatch):
    whole = fit.fit_network(replace(config, out=tmp_path / "whole"))
    keepers = training._keepers
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "_keepers", lambda *args: [*keepers(*args), StopAfter()])
        fit.fit_network(config)
    again = fit.fit_network(config)
    assert list(again.checkpoints.values()) == list(whole.checkpoints.values())
    one, other = (build_universeg(None, next(iter(run.checkpoints))).network.state_dict() for run in (whole, again))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert "--referee universeg --referee.weights" in again.summary()


def test_a_task_of_one_group_is_told(config, table, tmp_path):
    rows = pd.read_csv(table)
    rows.loc[rows.dataset == "dark", "group"] = "one"
    rows.to_csv(tmp_path / "one.csv", index=False)
    with pytest.raises(ConfigError, match=r"the task 'dark' \(column dataset\) has masks of one group only"):
        fit.fit_network(replace(config, images=tmp_path / "one.csv", train_splits=["segmenter"]))


@pytest.mark.parametrize("option", [{"encoder": "resnet18"}, {"dropout": 0.5}, {"cameras": True}, {"pretrained": True}])
def test_what_it_has_not_is_refused(config, option):
    with pytest.raises(ConfigError, match=f"universeg has no option {next(iter(option))}"):
        replace(config, **option)
    for own in ({"support": 4}, {"relabel": 0.1}):
        with pytest.raises(ConfigError, match=f"unet has no option {next(iter(own))}"):
            FitSegmenterConfig(config.images, config.out, **own)
