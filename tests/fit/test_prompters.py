"""`sqp fit localizer` and `sqp fit classifier` on synthetic lesions, and their prompters in `sqp generate`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score

from sqp.cli.main import main
from sqp.config.fit import FitClassifierConfig, FitLocalizerConfig
from sqp.core.errors import ConfigError
from sqp.data import find_cases
from sqp.data.synthetic import write_synthetic
from sqp.fit import classifier as classifier_report
from sqp.fit import run as fit
from sqp.fit.classifier import label_of, measures
from sqp.networks.checkpoint import fitted_images, read_header
from sqp.prompts.classifier import ClassifierSpec, load_classifier
from sqp.prompts.localizer import LocalizerSpec
from sqp.records import RecordSet
from sqp.records.fitted import image_hash

COMMON = {"size": 64, "epochs": 2, "batch_size": 4, "learning_rate": 0.01, "progress": False, "accelerator": "cpu"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """48 images; a diagnosis that follows the number, so that both classes are in every split."""
    folder = write_synthetic(tmp_path_factory.mktemp("data"), 48, seed=3, size=(48, 64))
    table = pd.read_csv(folder / "labels.csv")
    table.assign(dx=["mel" if k % 2 else "nv" for k in range(len(table))]).to_csv(folder / "labels.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def localizer(data, tmp_path_factory):
    config = FitLocalizerConfig(data, tmp_path_factory.mktemp("l"), encoder="mobilenetv2_035", width=8, **COMMON)
    return config, fit.fit_network(config)


@pytest.fixture(scope="module")
def classifier(data, tmp_path_factory):
    config = FitClassifierConfig(data, tmp_path_factory.mktemp("c"), model="mobilenetv2_035", **COMMON)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifier_report, "RESAMPLES", 50)
        return config, fit.fit_network(replace(config, report_splits=["val", "test"]))


def auc_range(probability: np.ndarray, positive: np.ndarray, slack: float = 1e-4) -> tuple[float, float]:
    """The least and the greatest AUC of probabilities that are up to `slack` off: a CPU may break ties either way."""
    least, most = (float(roc_auc_score(positive, probability + side * 2 * slack * positive)) for side in (-1, 1))
    return least - 1e-6, most + 1e-6


def test_a_tie_does_not_settle_the_auc():
    p, positive = np.array([0.5, 0.5 + 1e-7, 0.9, 0.1]), np.array([True, False, True, False])
    low, high = auc_range(p, positive)
    assert low < 0.75 < 1 < high and low <= roc_auc_score(positive, p) <= high


def test_a_localizer_is_fitted_and_prompts(localizer, data, fake_segmenter, tmp_path):
    config, result = localizer
    ((path, value),) = result.checkpoints.items()
    assert path.name == "localizer-mobilenetv2_035-seed0.safetensors" and result.watched == "box_iou"
    log = pd.read_csv(config.out / "members" / "0" / "metrics.csv")
    assert value == pytest.approx(log["val/box_iou"].max())
    header = read_header(path, LocalizerSpec)
    assert header.spec.size == 64 and header.info["val"]["box_iou"] == pytest.approx(value)
    train = [case for case in find_cases(data).cases if case.split == "train"]
    assert fitted_images(path) == sorted(image_hash(case.image_id) for case in train)
    assert f"--prompter localizer --prompter_options.checkpoint {path}" in result.summary()
    args = ["generate", "--images", str(data), "--segmenter", "fake", "--n", "2", "--out", str(tmp_path / "r")]
    args += ["--prompter", "localizer", "--prompter_options.checkpoint", str(path), "--only", "train", "test"]
    assert main(args) == 1  # images that it was fitted on cannot serve in train
    records = RecordSet(tmp_path / "r")
    assert set(records.table.split) == {"test"} and set(records.table.prompter) == {"localizer"}
    assert set(records.config["prompter_sha256"]["localizer"]) == {"checkpoint"}
    assert "was fitted on it" in (tmp_path / "r" / "skipped.csv").read_text()


def test_a_localizer_may_prompt_on_what_it_was_fitted_on_in_no_split_that_counts(
    localizer, data, fake_segmenter, tmp_path
):
    _, result = localizer
    table = pd.read_csv(data / "labels.csv")
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("images", "masks"):
        (moved / name).symlink_to(data / name)
    table.assign(split=table.split.replace("train", "segmenter")).to_csv(moved / "labels.csv", index=False)
    args = ["generate", "--images", str(moved), "--segmenter", "fake", "--n", "1", "--out", str(tmp_path / "r")]
    args += ["--prompter", "localizer", "--prompter_options.checkpoint", str(next(iter(result.checkpoints)))]
    assert main([*args, "--max_images", "12"]) == 0
    assert "segmenter" in set(RecordSet(tmp_path / "r").table.split)


def test_a_classifier_is_fitted_judged_and_prompts(classifier, data, fake_segmenter, tmp_path):
    config, result = classifier
    ((path, value),) = result.checkpoints.items()
    assert path.name == "mobilenetv2_035-melanoma-seed0.safetensors" and 0 <= value <= 1
    spec = read_header(path, ClassifierSpec).spec
    assert spec.classes == ("melanoma", "other") and spec.mean == pytest.approx((0.485, 0.456, 0.406))
    report = pd.read_csv(config.out / "report.csv")
    assert report.split.tolist() == ["val"] * 3 + ["test"] * 3
    assert report.measure.tolist() == ["auc", "balanced_accuracy", "accuracy"] * 2
    assert ((report.low <= report.value) & (report.value <= report.high)).all()
    images = [case for case in find_cases(data).cases if case.split == "val"]
    p, truth, _ = classifier_report._predicted(load_classifier(str(path)), images, "melanoma", False)
    low, high = auc_range(p[:, 0], np.asarray(truth) == 0)
    for auc in (report.value[0], value):  # of the same images, one by one and in batches
        assert low <= auc <= high
    assert "balanced_accuracy" in result.summary()
    plan = f"""
images: {data}
segmenter: fake
prompter: plus
prompters:
  plus: {{prompter: cam, checkpoint: {path}, method: gradcam++, target: melanoma}}
  random: {{prompter: cam, checkpoint: {path}, method: randomcam, use: box}}
variants: {{test: {{prompters: [random, centre]}}}}
sampler: {{n: 2}}
only: [test, calibration]
"""
    (tmp_path / "plan.yaml").write_text(plan.replace("segmenter: fake", "segmenter: {name: fake}"))
    assert main(["generate", "--config", str(tmp_path / "plan.yaml"), "--out", str(tmp_path / "r")]) == 0
    records = RecordSet(tmp_path / "r")
    table = records.table
    assert set(table[table.split == "test"].prompter) == {"plus", "random", "centre"}
    assert set(table[table.split == "calibration"].prompter) == {"plus"}
    made = [yaml.safe_load(text)["made_by"] for text in table.prompt[table.prompter != "centre"]]
    assert set(made) <= {"cam", "cam_flat", "cam_sampled"}
    assert set(records.config["prompter_sha256"]) == {"plus", "random"}


def test_every_diagnosis_may_be_a_class(data, tmp_path):
    config = FitClassifierConfig(data, tmp_path / "c", model="resnet10t", target="diagnosis", **COMMON)
    (path,) = fit.fit_network(replace(config, epochs=1, report_splits=[])).checkpoints
    assert read_header(path, ClassifierSpec).spec.classes == ("mel", "nv")


def test_a_finished_run_is_answered(localizer, classifier, monkeypatch):
    monkeypatch.setattr(fit, "fit_member", None)
    for config, result in (localizer, classifier):
        assert fit.fit_network(config).checkpoints == result.checkpoints


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("mel", "melanoma"),
        ("Malignant / Malignant melanocytic proliferations (Melanoma) / Melanoma in situ", "melanoma"),
        ("Benign / Benign melanocytic proliferations / Nevus", "other"),
        ("other", "other"),
    ],
)
def test_what_is_called_melanoma(data, text, label):
    case = find_cases(data).cases[0]
    assert label_of(replace(case, diagnosis=text), "melanoma") == label


@pytest.mark.parametrize(
    ("cls", "changes", "message"),
    [
        (FitLocalizerConfig, {"encoder": "vit_tiny_patch16_224"}, "takes one size of image only"),
        (FitLocalizerConfig, {"train_splits": ["test"]}, "which is for testing"),
        (FitLocalizerConfig, {"width": 0}, "width is 0"),
        (FitClassifierConfig, {"model": "mobilenetv2"}, "unknown timm model 'mobilenetv2', did you mean"),
        (
            FitClassifierConfig,
            {"target": "melanom"},
            "unknown target 'melanom', did you mean 'melanoma'",
        ),
        (FitClassifierConfig, {"size": 100}, "size is 100; the input of a classifier must be a multiple of 32"),
        (FitClassifierConfig, {"pretrained_file": Path("nowhere.pth")}, "nowhere.pth does not exist"),
    ],
)
def test_wrong_options(data, tmp_path, cls, changes, message):
    with pytest.raises(ConfigError, match=message):
        fit.fit_network(cls(data, tmp_path / "o", **(COMMON | changes)))


def test_images_without_a_diagnosis_or_of_one_class_cannot_be_learned(data, tmp_path):
    table = pd.read_csv(data / "labels.csv")
    for dx, message in (("", "no case with a diagnosis is in split train"), ("nv", "of the class 'other'")):
        folder = tmp_path / f"d{dx}"
        folder.mkdir()
        for name in ("images", "masks"):
            (folder / name).symlink_to(data / name)
        table.assign(dx=dx).to_csv(folder / "labels.csv", index=False)
        with pytest.raises(ConfigError, match=message):
            fit.fit_network(FitClassifierConfig(folder, tmp_path / "o", **COMMON))


def test_measures_are_scikit_learn_s(monkeypatch):
    monkeypatch.setattr(classifier_report, "RESAMPLES", 5)
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 60)
    probability = rng.dirichlet(np.ones(3), 60)
    auc, balanced, plain = (row["value"] for row in measures(probability, truth, list(range(60)), "val"))
    predicted = probability.argmax(1)
    assert auc == pytest.approx(roc_auc_score(truth, probability, multi_class="ovr"))
    assert balanced == pytest.approx(balanced_accuracy_score(truth, predicted))
    assert plain == pytest.approx(accuracy_score(truth, predicted))
