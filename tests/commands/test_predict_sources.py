"""predict makes of a record what its bundle reads, and nothing else: referee, segmenter, the maker's probabilities."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import sqp
from sqp.cli.main import main
from sqp.commands import generate, predict, train
from sqp.config.generate import GenerateConfig, RefereeConfig, SamplerConfig, SegmenterConfig, VariantPlan
from sqp.config.predict import PredictConfig
from sqp.config.train import TrainConfig
from sqp.core.errors import ConfigError
from sqp.quality.bundle.storage import Bundle
from sqp.records import RecordSet

IMAGES = 3


@pytest.fixture(scope="module")
def records(lesions, fake_for_module, tmp_path_factory) -> Path:
    """Natural masks under the centre point, and corruptions, with a referee."""
    out = tmp_path_factory.mktemp("sources") / "records"
    variants = {"train": VariantPlan(corruptions=1)}
    fake = {"segmenter": SegmenterConfig("fake"), "referee": RefereeConfig("fake"), "sampler": SamplerConfig(n=2)}
    generate.run(GenerateConfig(lesions, out, prompter="centre", variants=variants, **fake))
    return out


def trained(records: Path, inputs: str, scores: list[str]) -> Path:
    name = inputs.replace("/", "_")
    config = TrainConfig(
        [records], records.with_name(name), inputs, scores, size=32, epochs=1, alpha=0.3, progress=False
    )
    return train.run(config).bundle


@pytest.fixture(scope="module")
def refereed(records) -> Path:
    return trained(records, "image+mask+referee", ["referee_dice"])


@pytest.fixture(scope="module")
def bare(records) -> Path:
    return trained(records, "image+mask", [])


@pytest.fixture
def data(lesions, tmp_path) -> Path:
    """Three of the images, their masks made elsewhere, and probabilities behind these."""
    for kind in ("images", "masks", "probs"):
        (tmp_path / "data" / kind).mkdir(parents=True)
    for path in sorted((lesions / "masks").iterdir())[:IMAGES]:
        shutil.copy(next((lesions / "images").glob(f"{path.stem}.*")), tmp_path / "data" / "images")
        shutil.copy(path, tmp_path / "data" / "masks")
        soft = np.where(np.asarray(Image.open(path)) > 127, 0.9, 0.2).astype(np.float32)
        np.save(tmp_path / "data" / "probs" / f"{path.stem}.npy", soft)
    return tmp_path / "data"


def judge(bundle: Path, data: Path, **options) -> PredictConfig:
    given = {"out": data.with_name("out"), "masks": data / "masks", "worst": 1} | options
    return PredictConfig(bundle, images=data / "images", **given)


def test_a_bundle_of_image_mask_and_referee_needs_no_segmenter_but_the_referee(refereed, data, fake_segmenter):
    assert Bundle.load(refereed).sources == ("referee",)
    result = predict.run(judge(refereed, data))
    (referee,) = fake_segmenter
    assert referee.encoded == IMAGES and referee.decoded == [3] * IMAGES
    assert result.table[["predicted_dice", "referee_dice"]].notna().all().all()
    assert "entropy (bits) of the referee" in (data.with_name("out") / "report.html").read_text()
    made = RecordSet(data.with_name("out") / "records")
    assert made.config["segmenter"]["name"] == "none" and made.config["referee"]["prompts"] == 3
    assert not [name for name in made.map_names() if name.startswith("self/")]
    assert set(made.table.sampler) == {""} and set(made.table.n_samples) == {0}
    fake_segmenter.clear()
    assert predict.run(judge(refereed, data)).table.equals(result.table) and fake_segmenter == []


def test_the_referees_encoder_tells_a_strange_image_whoever_made_the_mask(
    records, refereed, bare, data, fake_segmenter
):
    assert set(Bundle.load(refereed).ood.spaces) == {"model", "image"}
    table = predict.run(judge(refereed, data)).table
    assert table[["ood_image_distance", "ood_image_knn_distance"]].notna().all().all()
    vectors = RecordSet(data.with_name("out") / "records").maps(table.record_id[0], ["features/referee_embedding"])
    own = RecordSet(records).maps(RecordSet(records).table.record_id[0], ["features/embedding"])
    assert vectors["features/referee_embedding"].shape == own["features/embedding"].shape
    table = predict.run(judge(bare, data, out=data / "bare")).table  # nothing encodes the image, so nothing is known
    assert table["ood_image_distance"].isna().all() and table["ood_distance"].notna().all()


def test_its_own_masks_are_made_by_the_segmenter_of_the_training_records(refereed, data, fake_segmenter):
    table = predict.run(judge(refereed, data, masks=None)).table
    assert set(table.segmenter) == {"fake"} and set(table.prompter) == {"centre"}
    assert len(fake_segmenter) == 1 and fake_segmenter[0].encoded == IMAGES  # the referee shares its encoding


def test_records_of_another_referee_are_refused_naming_the_key(refereed, bare, data, fake_segmenter):
    own = GenerateConfig(
        data / "images", data / "r", masks=data / "masks", segmenter=SegmenterConfig("none"),
        referee=RefereeConfig("fake", prompts=4),
    )  # fmt: skip
    generate.run(own)
    given = PredictConfig(refereed, data / "out", records=[own.out])
    with pytest.raises(ConfigError, match=r"referee\.prompts=4, .* expects 3: generate the records again"):
        predict.run(given)
    generate.run(replace(own, out=data / "none", referee=RefereeConfig("none")))
    with pytest.raises(ConfigError, match=r"referee/own_box; it has no map: .*, e\.g\. --referee litemedsam"):
        predict.run(replace(given, records=[data / "none"]))
    assert len(predict.run(replace(given, model=bare, records=[own.out, data / "none"])).table) == 2 * IMAGES


def test_image_and_mask_alone_load_no_segmenter_at_all(bare, data, fake_segmenter, capsys):
    assert Bundle.load(bare).sources == ()
    status = main(["predict", "--model", str(bare), "--images", str(data / "images"), "--masks", str(data / "masks"),
                   "--out", str(data / "fast"), "--fail_under", "0.0"])  # fmt: skip
    assert status in (0, 3) and fake_segmenter == []  # 3: so small a model may abstain
    made = RecordSet(data / "fast" / "records")
    assert made.map_names() == () and made.table.area.between(0, 1).all() and len(made.table) == IMAGES
    assert "predictions.csv" in capsys.readouterr().out


def test_labels_choose_the_structure_of_the_masks_of_images(data, fake_segmenter):
    """The bundle that comes with sqp judges the values of `--label` as it judges a binary mask of them."""
    argv = ["predict", "--model", "fast", "--images", str(data / "images"), "--worst", "0"]
    assert main([*argv, "--masks", str(data / "masks"), "--out", str(data / "binary")]) == 0
    several = data / "several"
    several.mkdir()
    for path in (data / "masks").iterdir():
        inside = np.asarray(Image.open(path)) > 127
        Image.fromarray(np.where(inside, 2, 1).astype(np.uint8) * (np.arange(inside.shape[1]) > 0)).save(
            several / path.name
        )
    assert main([*argv, "--masks", str(several), "--out", str(data / "refused"), "--strict"]) == 2
    assert main([*argv, "--masks", str(several), "--label", "2", "--out", str(data / "chosen")]) == 0
    binary, chosen = (pd.read_parquet(data / name / "predictions.parquet") for name in ("binary", "chosen"))
    assert chosen.predicted_dice.equals(binary.predicted_dice)


def test_masks_that_are_all_empty_are_told(bare, data, fake_segmenter):
    assert "every mask is empty" not in predict.run(judge(bare, data)).summary()
    for path in (data / "masks").iterdir():
        Image.fromarray(np.zeros_like(np.asarray(Image.open(path)))).save(path)
    nothing = predict.run(judge(bare, data, out=data / "nothing"))
    assert set(nothing.table.verdict) == {"abstain"} and "every mask is empty\n" in nothing.summary()
    mistyped = replace(nothing, label=[7]).summary()  # of volumes: their masks may hold several labels
    assert "every mask is empty: no pixel has --label 7, look whether that is the value" in mistyped


def test_probabilities_of_the_maker_are_used_where_they_are_given(bare, data, fake_segmenter):
    generate.run(GenerateConfig(data / "images", data / "r", masks=data / "masks", probs=data / "probs",
                                segmenter=SegmenterConfig("fake"), sampler=SamplerConfig(n=2)))  # fmt: skip
    records = RecordSet(data / "r")
    maps = records.maps(records.table.record_id[0], ["given/probability", "given/entropy"])
    assert maps["given/probability"].max() == pytest.approx(0.9, abs=1e-3)
    assert maps["given/entropy"].max() <= 1
    area = records.table.area
    expected = 2 * 0.9 * area / (0.9 * area + 0.2 * (1 - area) + area)
    assert records.table.given_soft_dice_confidence.to_numpy() == pytest.approx(expected.to_numpy(), abs=0.02)
    alone = predict.run(judge(bare, data, masks=None, probs=data / "probs")).table
    with_masks = predict.run(judge(bare, data, out=data / "both")).table
    assert alone.predicted_dice.tolist() == with_masks.predicted_dice.tolist()  # cut at 0.5 they are these masks
    assert "given_soft_dice_confidence" in alone and fake_segmenter[1:] == []


def test_what_a_bundle_lacks_is_told(refereed, data, fake_segmenter, tmp_path):
    moved = shutil.copytree(refereed, tmp_path / "moved")
    text = (moved / "bundle.json").read_text()
    (moved / "bundle.json").write_text(
        text.replace('"prompters": [', f'"localizer_sha256": "{"ab" * 32}", "prompters": [')
    )
    remedy = r"is prompted by a localizer: give its file, --localizer FILE \(in Python: localizer=FILE\)"
    with pytest.raises(ConfigError, match=remedy):
        predict.run(judge(moved, data))
    with pytest.raises(ConfigError, match=r"bundle\.json is not the file that .* was trained with"):
        sqp.load(moved, localizer=moved / "bundle.json")
    with pytest.raises(ConfigError, match=r"referee\.weights is /no/file, which does not exist"):
        sqp.load(refereed, referee_weights="/no/file")
    (moved / "localizer.safetensors").write_bytes(b"another")
    with pytest.raises(ConfigError, match=r"is not the file that .* was trained with \(sha256 abababababab"):
        predict.run(judge(moved, data))
    shutil.copytree(refereed, tmp_path / "given")
    (tmp_path / "given" / "bundle.json").write_text(
        text.replace('"name": "fake",\n        "precision', '"name": "none",\n        "precision')
    )
    with pytest.raises(ConfigError, match="was trained on given masks and brings no segmenter: give --masks DIR"):
        predict.run(judge(tmp_path / "given", data, masks=None))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"masks": None}, "segmenter none segments nothing: give --masks DIR"),
        ({"variants": {"*": VariantPlan(["centre"])}}, r"variants\.\* asks for masks of a segmenter"),
        ({"variants": {"*": VariantPlan(truth_jitter=1)}}, r"leave its prompters and truth_jitter out"),
    ],
)
def test_without_a_segmenter_masks_must_be_given(data, changes, message):
    config = GenerateConfig(data / "images", data / "r", masks=data / "masks", segmenter=SegmenterConfig("none"),
                            referee=RefereeConfig("none"))  # fmt: skip
    with pytest.raises(ConfigError, match=message):
        generate.run(replace(config, **changes))
    assert not config.out.exists()


def test_every_annotation_of_a_coco_file_is_judged_and_written_back(bare, data, capsys):
    images = sorted((data / "images").iterdir())
    entries = [{"id": n, "file_name": path.name, "height": 48, "width": 64} for n, path in enumerate(images)]
    box = [[10.0, 10.0, 40.0, 10.0, 40.0, 30.0, 10.0, 30.0]]
    annotations = [
        {"id": 3 * n + k, "image_id": n, "category_id": k, "segmentation": box} for n in range(3) for k in (0, 1)
    ]
    annotations[-1]["segmentation"] = {"size": [9, 9], "counts": [81]}
    categories = [{"id": 0, "name": "lesion"}, {"id": 1, "name": "hair"}]
    content = {"images": entries, "annotations": annotations, "categories": categories}
    (data / "masks.json").write_text(json.dumps(content))
    command = ["predict", "--model", str(bare), "--images", str(data / "images"), "--masks", str(data / "masks.json")]
    command += ["--out", str(data / "out"), "--worst", "0", "--write", "coco", "cvat"]
    assert main(command) == 1
    table = pd.read_parquet(data / "out" / "predictions.parquet")
    assert (
        table["image_id"].tolist() == [f"{path.stem}_{3 * n + k}" for n, path in enumerate(images) for k in (0, 1)][:-1]
    )
    assert table["group"].nunique() == 3 and table["mask"].str.contains("given").all()
    said = capsys.readouterr().out
    assert "run lengths are of size [9, 9]" in said and "for cvat: " in said
    written = json.loads((data / "out" / "coco.json").read_text())
    assert [one["score"] for one in written["annotations"]] == pytest.approx(table["predicted_dice"], abs=1e-6)
    made = {path: path.stat().st_mtime_ns for path in (data / "out" / "records" / "maps").iterdir()}
    assert main([*command, "--label", "lesion"]) == 2  # another choice is another record set
    assert main([*command, "--label", "mole"]) == 2
    assert "--label mole is not in" in capsys.readouterr().err
    assert main(command) == 1 and made == {path: path.stat().st_mtime_ns for path in made}
