from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
import yaml
from recordsets import SPLITS, make_record_set

from sqp.commands.train import run
from sqp.config.train import YOUNGER, TrainConfig
from sqp.core.errors import CaseError, ConfigError
from sqp.quality import Bundle
from sqp.quality.bundle.calibration import recalibrate, training_config
from sqp.quality.judging.strangeness import IMAGE
from sqp.quality.model import training
from sqp.quality.model.channels import parse_inputs, record_planes, truth_plane
from sqp.quality.model.rows import calibrates
from sqp.quality.model.tabular import Standardizer
from sqp.quality.model.training import checked_rows
from sqp.records import RecordSet
from sqp.report.model_card import RESERVATIONS, model_card


def config(record_set: Path, out: Path, **changes: object) -> TrainConfig:
    base = TrainConfig([record_set], out, size=32, epochs=2, batch_size=16, inputs="mask+uncertainty", progress=False)
    return replace(base, **changes)  # type: ignore[arg-type]


def content(bundle: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(bundle.iterdir())}


def test_it_learns_and_writes_what_it_says(trained: Path) -> None:
    told = yaml.safe_load((trained / "run.yaml").read_text())
    assert told["val"]["pearson"] > 0.6 and told["val"]["n"] == 18
    assert told["parameters"] > 800_000 and told["seconds"] > 0 and "torch" in told["versions"]
    metrics = pd.read_csv(trained / "metrics.csv")
    assert metrics.epoch.tolist() == list(range(told["epochs"]))
    assert {"train/loss", "val/loss", "val/mae", "val/rmse"} <= set(metrics.columns)
    assert not metrics[["train/loss", "val/mae"]].isna().any(axis=None)
    val = pd.read_csv(trained / "predictions_val.csv")
    assert np.abs(val.predicted_dice - val.dice).mean() == pytest.approx(told["val"]["mae"], abs=1e-5)
    assert metrics["val/mae"].min() == pytest.approx(told["val"]["mae"], abs=1e-4)


def test_the_same_seed_gives_the_same_bundle(record_set: Path, tmp_path: Path) -> None:
    one, two, other = (
        run(config(record_set, tmp_path / name, seed=seed)).bundle for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert content(one) == content(two) != content(other)


def test_rows_of_the_test_split_change_nothing(tmp_path: Path) -> None:
    without = make_record_set(tmp_path / "without" / "records", {**SPLITS, "test": 0})
    planted = make_record_set(tmp_path / "planted" / "records", SPLITS, dice={"test": 17.0})
    assert RecordSet(planted).table.query("split == 'test'").dice.eq(17).all()
    one = run(config(without, tmp_path / "one", scores=["all"]))
    two = run(config(planted, tmp_path / "two", scores=["all"]))
    assert content(one.bundle) == content(two.bundle)


def test_scores_timm_and_every_loss(record_set: Path, tmp_path: Path) -> None:
    for loss in ("laplace_nll", "mse"):
        out = tmp_path / loss
        result = run(
            config(
                record_set,
                out,
                inputs="image+mask",
                backbone="timm:test_efficientnet",
                loss=loss,
                scores=["predicted_iou", "area"],
                optimizer="adam",
                schedule="constant",
                epochs=1,
                balance=0.5,
                calibrate_on="natural",
            )
        )
        bundle = Bundle.load(result.bundle)
        assert bundle.standardizer.names == ("predicted_iou", "area")
        train = RecordSet(record_set).table.query("split == 'train'")
        assert bundle.standardizer == Standardizer.fit(train, ["predicted_iou", "area"])  # of train rows alone
        assert bundle.conformal.records == 12 and np.isfinite(bundle.conformal.quantile)
        assert "Pearson" in result.summary()


class StopAfter(pl.Callback):
    """Ctrl-C when an epoch has ended."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch > self.epoch:
            raise KeyboardInterrupt


def test_an_interrupted_run_goes_on_and_ends_the_same(
    record_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(config(record_set, tmp_path / "whole", epochs=4))
    fit = training.fit
    with monkeypatch.context() as patch:
        patch.setattr(training, "fit", lambda *a, **k: fit(*a, **k, callbacks=[StopAfter(1)]))
        with pytest.raises(KeyboardInterrupt):
            run(config(record_set, tmp_path / "cut", epochs=4))
    assert not (tmp_path / "cut" / "bundle").exists()
    resumed = run(config(record_set, tmp_path / "cut", epochs=4))
    assert content(resumed.bundle) == content(whole.bundle)
    log = [pd.read_csv(tmp_path / name / "metrics.csv") for name in ("whole", "cut")]
    pd.testing.assert_frame_equal(log[0], log[1][log[0].columns])


def test_a_finished_run_is_answered_from_its_files(
    record_set: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "fit", lambda *a, **k: pytest.fail("trained again"))
    again = run(TrainConfig([record_set], trained, size=32, epochs=12, batch_size=8, progress=False))
    assert again.metrics == yaml.safe_load((trained / "run.yaml").read_text())["val"]


def test_another_config_in_the_same_folder(record_set: Path, tmp_path: Path) -> None:
    first = content(run(config(record_set, tmp_path, epochs=1)).bundle)
    with pytest.raises(ConfigError, match=r"trained with dropout=0\.1, this run has dropout=0\.3; .*--overwrite"):
        run(config(record_set, tmp_path, epochs=1, dropout=0.3))
    second = content(run(config(record_set, tmp_path, epochs=1, dropout=0.3, overwrite=True)).bundle)
    assert second != first


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": "image+mask+self/nonsense"}, "lacks the channel self/nonsense; it has self/probability"),
        ({"scores": ["c_lesio"]}, "did you mean 'c_lesion'"),
        ({"backbone": "comapct"}, "did you mean 'compact'"),
        ({"loss": "mae"}, "unknown loss 'mae', did you mean 'mse'"),
        ({"alpha": 1.0}, r"alpha is 1\.0; it must lie between 0 and 1"),
        ({"batch_size": 0}, "batch_size is 0; it must lie between 2 and 65536"),
        ({"alpha": 0.01}, "has 12 groups, an interval at 99% needs at least 99"),
        ({"calibrate_on": "nature"}, "did you mean 'natural'"),
        ({"size": 8}, "size is 8; it must lie between 32 and 2048"),
        ({"learning_rate": -1.0}, r"learning_rate is -1\.0"),
        ({"records": []}, "no record set given"),
        ({"accelerator": "gpuu"}, "Lightning refuses"),
    ],
)
def test_wrong_options(record_set: Path, tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(config(record_set, tmp_path, **changes))


@pytest.mark.parametrize("split", ["train", "val", "calibration"])
def test_a_missing_split_is_named(tmp_path: Path, split: str) -> None:
    records = make_record_set(tmp_path / "records", {k: n for k, n in SPLITS.items() if k != split})
    with pytest.raises(ConfigError, match=f"no record is in split '{split}', which is needed to"):
        run(config(records, tmp_path / "out"))


def test_no_truth(tmp_path: Path) -> None:
    records = make_record_set(tmp_path / "records", truth=False)
    with pytest.raises(ConfigError, match="no record of split 'train' has a ground truth"):
        run(config(records, tmp_path / "out"))


def test_a_group_in_two_splits(record_set: Path, tmp_path: Path) -> None:
    other = make_record_set(tmp_path / "records", {"test": 1}, seed=1)
    table = RecordSet(other).table.assign(image_id="train000", group="train000")
    table.to_parquet(other / "records.parquet")
    with pytest.raises(ConfigError, match="train000 sits in two splits"):
        run(replace(config(record_set, tmp_path / "out"), records=[record_set, other]))


def test_training_that_diverges(record_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "plane_statistics", lambda data: ([float("nan")] * 6, [1.0] * 6))
    with pytest.raises(ConfigError, match="training loss of epoch 0 is nan"):
        run(config(record_set, tmp_path, epochs=1))


def test_no_resume_starts_the_log_anew(record_set: Path, tmp_path: Path) -> None:
    short = config(record_set, tmp_path, epochs=1)
    run(short)
    told = yaml.safe_load((tmp_path / "run.yaml").read_text())
    told["config"]["epochs"] = 3  # as if that run of three epochs had been stopped
    del told["val"]
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(told))
    log = pd.read_csv(tmp_path / "metrics.csv").assign(epoch=7)
    log.to_csv(next((tmp_path / "logs").iterdir()) / "metrics.csv", index=False)
    run(replace(short, epochs=3, resume=False))
    assert pd.read_csv(tmp_path / "metrics.csv").epoch.tolist() == [0, 1, 2]
    assert len(list((tmp_path / "logs").iterdir())) == 1


def test_natural_calibration_is_of_the_prompter_of_the_config(tmp_path: Path) -> None:
    """Natural rows of simulated manual boxes are planted with an absurd Dice: the interval must not see them."""
    records = make_record_set(tmp_path / "records", variants=("natural", "shift"))
    table = RecordSet(records).table
    manual = table.assign(prompter="truth_box", dice=0.0, record_id=table.record_id + "m").query("variant == 'natural'")
    both = pd.concat([table, manual], ignore_index=True).assign(record_set=str(records))
    held = both[both.split == "calibration"]
    kept = held[calibrates(held, "natural")]
    assert len(kept) == 12 and set(kept.prompter) == {"otsu"} and set(kept.variant) == {"natural"}
    assert calibrates(held, "all").all() and len(held) == 36
    given = held.assign(segmenter="given", prompter="mask_box")
    assert calibrates(given, "natural").sum() == 24


def test_too_few_natural_groups_are_told_before_training(tmp_path: Path) -> None:
    records = make_record_set(tmp_path / "records")
    table = RecordSet(records).table
    table.loc[table.split == "calibration", "prompter"] = "truth_box"
    table.to_parquet(records / "records.parquet")
    with pytest.raises(ConfigError, match="has 0 groups"):
        run(config(records, tmp_path / "out", calibrate_on="natural"))


def test_the_peers_recipe() -> None:
    values = yaml.safe_load((Path(__file__).parents[2] / "configs" / "peer_siamese.yaml").read_text())
    recipe = TrainConfig(**values)
    expected = {
        "backbone": "siamese", "size": 300, "loss": "mse", "optimizer": "adam", "learning_rate": 1e-3,
        "schedule": "constant", "weight_decay": 0, "dropout": 0, "augment": False,
    }  # fmt: skip
    assert {name: getattr(recipe, name) for name in expected} == expected
    assert len(parse_inputs(recipe.inputs)) == 3


@pytest.mark.slow
def test_two_processes_train_together(record_set: Path, tmp_path: Path) -> None:
    distributed = {"accelerator": "cpu", "devices": 2, "strategy": "ddp_spawn"}
    result = run(config(record_set, tmp_path, batch_size=8, **distributed))
    assert np.isfinite(result.metrics["mae"]) and Bundle.load(result.bundle).channels[0] == "mask"


def test_the_error_map_is_taught_by_the_truth_and_kept_in_the_bundle(record_set: Path, tmp_path: Path) -> None:
    result = run(config(record_set, tmp_path / "run", error_map=True, flips=4, epochs=12))
    bundle = Bundle.load(result.bundle)
    assert bundle.model.spec.error_map and bundle.model.spec.flips == 4
    table = pd.read_csv(tmp_path / "run" / "predictions_val.csv")
    records = RecordSet(record_set)
    agreement = []
    for name in table.record_id:
        planes = torch.from_numpy(record_planes(records, name, bundle.channels, bundle.size))[None]
        truth = truth_plane(records.table.set_index("record_id").truth_path[name], bundle.size)
        with torch.no_grad():
            drawn = bundle.model(planes).truth_logits[0, 0].sigmoid()
        truth = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(truth)[None], drawn.shape)[0]
        agreement.append(torch.corrcoef(torch.stack([drawn.flatten(), truth.flatten()]))[0, 1].item())
    assert np.mean(agreement) > 0.7  # the probability map shows the true disc


def test_flips_are_those_of_the_square(record_set: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="flips is 3; it must be 1, 2, 4 or 8"):
        run(config(record_set, tmp_path / "run", flips=3))


def test_other_inputs_share_one_cache_and_train_the_same(record_set: Path, tmp_path: Path) -> None:
    for inputs in ("mask+self/entropy", "mask+self/epkl"):
        shared = config(
            record_set,
            tmp_path / inputs.rpartition("/")[2],
            inputs=inputs,
            epochs=1,
            cache=tmp_path / "cache",
            cache_inputs="mask+self/entropy+self/epkl",
        )
        run(shared)
    alone = run(config(record_set, tmp_path / "alone", inputs="mask+self/epkl", epochs=1))
    assert content(alone.bundle) == content(tmp_path / "epkl" / "bundle")
    assert len(list((tmp_path / "cache").glob("*/done"))) == 1


def test_learning_from_natural_masks_alone(record_set: Path, tmp_path: Path) -> None:
    every, natural = (
        run(config(record_set, tmp_path / kind, train_on=kind, epochs=1, cache=tmp_path / "cache"))
        for kind in ("all", "natural")
    )
    counts = [Bundle.load(result.bundle).info["data"]["counts"] for result in (every, natural)]
    assert counts[0]["train"] == {"records": 48, "images": 16, "groups": 16}
    assert counts[1]["train"] == {"records": 16, "images": 16, "groups": 16}
    assert counts[0]["val"] == counts[1]["val"] and every.metrics["n"] == natural.metrics["n"] == 18
    assert len(list((tmp_path / "cache").glob("*/done"))) == 1
    with pytest.raises(ConfigError, match="unknown kind of records 'naturel', did you mean 'natural'"):
        run(config(record_set, tmp_path / "x", train_on="naturel"))


def test_a_run_from_before_a_key_is_known_again(record_set: Path, tmp_path: Path) -> None:
    asked = config(record_set, tmp_path, epochs=1)
    first = run(asked)
    told = yaml.safe_load((tmp_path / "run.yaml").read_text())
    for key in YOUNGER:
        del told["config"][key]
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(told))
    assert run(asked).metrics == first.metrics
    with pytest.raises(ConfigError, match="members=1, this run has members=2"):
        run(replace(asked, members=2))


def test_damaged_records_are_skipped_told_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = make_record_set(tmp_path / "records", features=("embedding",))
    table = RecordSet(records).table
    broken = [table.record_id[table.index[table["split"] == split][0]] for split in ("train", "val", "calibration")]
    (records / "maps" / f"{broken[0]}.npz").write_bytes(b"cut off")
    (records / "masks" / f"{broken[1]}.png").write_bytes(b"")
    (records / "maps" / f"{broken[2]}.npz").unlink()
    # planes of the mask alone: the vectors of the image, which tell strange ones, are read of the damaged maps, too
    asked = config(records, tmp_path / "out", inputs="image+mask", epochs=1, scores=["area"])
    result = run(asked)
    assert set(result.skipped) == set(broken) and result.exit_status == 1
    assert "3 records were skipped" in result.summary() and broken[1] in result.summary()
    assert run(asked).skipped == result.skipped  # a finished run says so, too
    bundle = Bundle.load(result.bundle)
    assert sum(part["records"] for part in bundle.info["data"]["counts"].values()) == (
        table["split"].isin(["train", "val", "calibration"]).sum() - 3
    )
    assert len(bundle.info["skipped_sha256"]) == 3 and broken[0] not in (result.bundle / "bundle.json").read_text()
    assert not pd.read_csv(tmp_path / "out" / "predictions_val.csv").record_id.isin(broken).any()
    made, skipped = recalibrate(bundle, training_config(bundle, [records], tmp_path / "again", progress=False))
    assert not skipped and made.conformal == bundle.conformal  # of the same records
    with pytest.raises(CaseError, match=f"record .* in {re.escape(str(records))}|cannot be read"):
        run(replace(asked, out=tmp_path / "strict", strict=True))


def test_too_few_records_that_can_be_read(tmp_path: Path) -> None:
    records = make_record_set(tmp_path / "records")
    table = RecordSet(records).table
    for name in table.record_id[table["split"] == "val"]:
        (records / "masks" / f"{name}.png").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"records cannot be read .*no record of split 'val' is left"):
        run(config(records, tmp_path / "out", epochs=1))


def test_a_python_user_trains_without_the_command(record_set: Path, tmp_path: Path) -> None:
    asked = config(record_set, tmp_path / "library", epochs=1, members=2)
    labels = []
    trained = training.train(asked, lambda label: labels.append(label) or [])
    assert labels == ["member-0", "member-1"] and trained is not None and not trained.skipped
    by_command = run(replace(asked, out=tmp_path / "command"))
    if by_command.reservations:  # what the command's report found, it writes into the bundle
        trained.bundle.info[RESERVATIONS] = by_command.reservations
    assert content(trained.bundle.save(tmp_path / "bundle")) == content(by_command.bundle)
    assert trained.metrics == by_command.metrics


def beside(folder: Path, references: str | None) -> Path:
    """The same record set as if its masks had been judged beside these references."""
    told = yaml.safe_load((folder / "run.yaml").read_text())
    told["config"] |= {"references_sha256": references} if references else {}
    (folder / "run.yaml").write_text(yaml.safe_dump(told))
    return folder


def test_the_same_mask_beside_other_references_is_another_record(tmp_path: Path) -> None:
    home = make_record_set(tmp_path / "zero")
    others = [beside(Path(shutil.copytree(home, tmp_path / name)), name) for name in ("one", "other")]
    two = checked_rows(config(home, tmp_path / "out", records=[home, *others]))
    assert two.groupby("record_id")["record_set"].nunique().eq(3).all()
    again = shutil.copytree(others[0], tmp_path / "again")
    with pytest.raises(ConfigError, match="is in two of the record sets"):
        checked_rows(config(home, tmp_path / "out", records=[home, *others, again]))


def test_an_interval_over_tasks_counts_data_sets(tmp_path: Path) -> None:
    home = make_record_set(tmp_path / "records")
    options = {"inputs": "mask", "backbone": "tabular", "scores": ["area"], "epochs": 1, "calibrate_over": "tasks"}
    with pytest.raises(ConfigError, match=r"has 1 tasks \(data sets\), an interval at 90% needs at least 9"):
        run(config(home, tmp_path / "out", **options))
    table = pd.read_parquet(home / "records.parquet")
    table.assign(dataset=table["image_id"].str[-1]).to_parquet(home / "records.parquet")
    wide = run(config(home, tmp_path / "tasks", **options | {"alpha": 0.2})).bundle
    narrow = run(config(home, tmp_path / "groups", **options | {"alpha": 0.2, "calibrate_over": "groups"})).bundle
    assert Bundle.load(wide).conformal.quantile >= Bundle.load(narrow).conformal.quantile


def test_images_are_no_strangers_where_a_model_is_shown_what_the_task_is(tmp_path: Path) -> None:
    home = make_record_set(tmp_path / "records", features=("embedding",))
    for images in (True, False):
        bundle = Bundle.load(run(config(home, tmp_path / str(images), epochs=1, ood_images=images)).bundle)
        assert (IMAGE in bundle.ood.spaces) == images


def test_a_model_worse_than_the_mean_is_never_called_finished_without_saying_so(
    record_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    untaught = config(record_set, tmp_path, epochs=1, learning_rate=1e-8)
    result = run(untaught)
    assert "below some 300 a model is often no better than the mean" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "comparison_val.csv").query("subset == 'all' and dataset == 'all'")
    mae = table.set_index("method").mae
    assert mae["quality_model"] > mae["predict_the_mean"]
    sentence = f"no better than the mean: MAE {mae['quality_model']:.3f}, {mae['predict_the_mean']:.3f}"
    assert sentence in result.summary() and sentence in model_card(Bundle.load(result.bundle))
    assert sentence in run(untaught).summary()  # answered from its files
