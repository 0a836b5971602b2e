"""References in `generate`: read and checked like cases, never the judged image itself, both directions, provenance."""

from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from fakes import FakeSegmenter, Seeing
from PIL import Image

from sqp import segmenters
from sqp.commands import generate
from sqp.config.generate import GenerateConfig, RefereeConfig, SamplerConfig, SegmenterConfig, VariantPlan
from sqp.core.errors import CaseError, ConfigError
from sqp.data import read_image
from sqp.records import RecordSet
from sqp.records.referees import references
from sqp.records.referees.references import load_references, reference_cases, references_sha256
from sqp.uncertainty.likeness import UNLIKE, most_different
from sqp.uncertainty.rca import RCA_SCORES
from sqp.uncertainty.referee import REFEREE_SCORES

JUDGED, SHOWN = 3, 4
RCA = list(RCA_SCORES)


@pytest.fixture
def seeing(monkeypatch, fake_segmenter):
    """`--segmenter fake` sees; the list holds every one that was built."""

    def build(checkpoint=None, **options):
        fake_segmenter.append(Seeing(size=64, stride=4))
        return fake_segmenter[-1]

    monkeypatch.setitem(segmenters.SEGMENTERS, "fake", build)
    return fake_segmenter


def draw_disc(folder, name, rng):
    """A dark disc on a bright ground, and its mask."""
    y, x = np.mgrid[:48, :64]
    mask = np.hypot(x - rng.uniform(20, 44), y - rng.uniform(18, 30)) < rng.uniform(8, 14)
    grey = np.where(mask, 30, 220) + rng.integers(-9, 10, (48, 64))
    for kind, pixels in (("images", np.repeat(grey[..., None], 3, 2)), ("masks", mask * 255)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / kind / f"{name}.png")


@pytest.fixture
def data(tmp_path):
    """A few images of a dark disc with masks to judge, and others with masks as references."""
    rng = np.random.default_rng(0)
    for folder, name in [("data", f"a{i}") for i in range(JUDGED)] + [("refs", f"b{i}") for i in range(SHOWN)]:
        draw_disc(tmp_path / folder, name, rng)
    shutil.copytree(tmp_path / "data" / "masks", tmp_path / "data" / "truth")
    return tmp_path / "data"


@pytest.fixture
def config(data, seeing, tmp_path):
    """Given masks, and corruptions of them, with references that are shown to the fake's encoding."""
    return GenerateConfig(
        images=data / "images",
        masks=data / "masks",
        truth=data / "truth",
        references=tmp_path / "refs",
        out=tmp_path / "records",
        segmenter=SegmenterConfig("fake"),
        sampler=SamplerConfig("deterministic"),
        referee=RefereeConfig("personalised"),
        variants={"*": VariantPlan(corruptions=2, families=["shift", "blob_cut"])},
    )


def first(folder):
    return sorted(folder.iterdir())[0]


def test_both_directions_are_scored_and_one_encoding_serves_all(config, seeing):
    result = generate.run(config)
    assert result.exit_status == 0
    assert result.notes == ["2 images are unlike all references, which may be of another modality, e.g. a0"]
    assert [s.encoded for s in seeing] == [SHOWN, JUDGED]
    records = RecordSet(config.out)
    table = records.table
    assert table[[*RCA, *REFEREE_SCORES]].notna().all().all()
    assert (table.rca_max >= table.rca_mean).all() and (table.rca_max >= table.rca_median).all()
    good = table.variant == "natural"  # the truth itself
    for score in ("rca_mean", "referee_dice"):
        assert table[score][good].min() > 0.75 and table[score][good].min() > table[score][~good].mean()
    maps = records.maps(table.record_id[0])
    assert maps["referee/probability"].shape == maps["referee/own_box"].shape == (12, 16)
    assert records.config["referee"]["encoder"] == "fake"


def test_references_alone_give_their_scores_and_no_referee(config, seeing):
    generate.run(replace(config, referee=RefereeConfig("none")))
    table = RecordSet(config.out).table
    assert table[RCA].notna().all().all() and "referee_dice" not in table


def test_without_a_segmenter_the_referees_encoding_is_read(config, seeing):
    generate.run(replace(config, segmenter=SegmenterConfig("none"), referee=RefereeConfig("fake")))
    assert [s.encoded for s in seeing] == [SHOWN, JUDGED]
    assert RecordSet(config.out).table[RCA].notna().all().all()


def test_the_same_references_elsewhere_are_no_change_and_others_are(config, data, tmp_path):
    generate.run(config)
    moved = shutil.move(tmp_path / "refs", tmp_path / "moved")
    again = generate.run(replace(config, references=moved))
    assert again.written == 0
    kept = RecordSet(config.out).run["config"]
    assert len(kept["references_sha256"]) == 64 and "references" not in kept
    first(moved / "images").unlink()
    with pytest.raises(ConfigError, match="references_sha256"):
        generate.run(replace(config, references=moved))
    assert references_sha256(reference_cases(replace(config, references=moved))) != kept["references_sha256"]


def test_encodings_of_references_are_kept(config, tmp_path, monkeypatch):
    monkeypatch.setattr(FakeSegmenter, "frame", lambda self, size: None, raising=False)
    kept = replace(config, encodings=tmp_path / "kept")
    load_references(kept, Seeing(size=64, stride=4))
    assert len(list((tmp_path / "kept").iterdir())) == SHOWN


def test_the_judged_image_is_never_its_own_example(config, data, tmp_path):
    """Under another name and in another format, too."""
    other = read_image(first(data / "images"))
    Image.fromarray(other).save(tmp_path / "refs" / "images" / "copy.bmp")
    shutil.copy(first(data / "masks"), tmp_path / "refs" / "masks" / "copy.png")
    result = generate.run(config)
    assert [note for note in result.notes if "1 image is among the references, and judged by the others" in note]
    with_copy = RecordSet(config.out).table.set_index("record_id")[[*RCA, "referee_dice"]]
    for kind in ("images", "masks"):
        next((tmp_path / "refs" / kind).glob("copy.*")).unlink()
    generate.run(replace(config, out=tmp_path / "without"))
    without = RecordSet(tmp_path / "without").table.set_index("record_id")[[*RCA, "referee_dice"]]
    own = [name for name in without.index if name.startswith(first(data / "images").stem)]
    assert (with_copy.loc[own] - without.loc[own]).abs().max().max() < 1e-9
    assert ((with_copy.loc[without.index] - without).abs() > 1e-6).any().any()  # the others have one example more


def test_an_image_that_is_the_only_reference_has_no_answer(config, data, tmp_path):
    table = pd.DataFrame({"image": [first(data / "images")], "mask": [first(data / "masks")]})
    table.to_csv(tmp_path / "refs.csv", index=False)
    only = replace(config, references=tmp_path / "refs.csv")
    result = generate.run(only)
    assert result.exit_status == 1 and "the image is the only reference" in next(iter(result.skipped.values()))
    alone = generate.run(replace(only, referee=RefereeConfig("none"), out=tmp_path / "alone"))
    scores = RecordSet(tmp_path / "alone").table.set_index("image_id")[RCA]
    assert alone.exit_status == 0 and scores.loc[first(data / "images").stem].isna().all().all()
    assert scores.notna().all(axis=1).sum() == 3 * (JUDGED - 1)


def test_an_empty_mask_has_no_reverse_accuracy(config, data):
    mask = first(data / "masks")
    Image.fromarray(np.zeros((48, 64), np.uint8)).save(mask)
    generate.run(replace(config, variants={}))
    table = RecordSet(config.out).table.set_index("image_id")
    assert table.loc[mask.stem, RCA].isna().all() and table[RCA].notna().all(axis=1).sum() == JUDGED - 1


def spoil_empty(image, mask):
    Image.fromarray(np.zeros((48, 64), np.uint8)).save(mask)
    return f"the mask {mask} is empty"


def spoil_size(image, mask):
    Image.fromarray(np.full((48, 32), 255, np.uint8)).save(mask)
    return "48"


def spoil_image(image, mask):
    image.write_bytes(b"no image")
    return str(image)


def spoil_structures(image, mask):
    values = np.zeros((48, 64), np.uint8)
    values[10:20, 10:20], values[30:40, 30:40] = 1, 2
    Image.fromarray(values).save(mask)
    return "--label"


@pytest.mark.parametrize("spoil", [spoil_empty, spoil_size, spoil_image, spoil_structures])
def test_a_broken_reference_is_left_out_and_told(config, tmp_path, spoil):
    refs = tmp_path / "refs"
    image = first(refs / "images")
    said = spoil(image, first(refs / "masks"))
    result = generate.run(config)
    assert result.exit_status == 1 and said in result.skipped[f"reference {image.stem}"]
    assert RecordSet(config.out).table[RCA].notna().all().all()
    with pytest.raises(CaseError):
        generate.run(replace(config, strict=True, out=tmp_path / "strict"))


def test_no_reference_at_all_is_told_before_anything_is_made(config, tmp_path):
    refs = tmp_path / "refs"
    for mask in (refs / "masks").iterdir():
        Image.fromarray(np.zeros((48, 64), np.uint8)).save(mask)
    with pytest.raises(ConfigError, match=r"no reference can be used: the mask .* is empty"):
        generate.run(config)
    shutil.rmtree(refs / "masks")
    with pytest.raises(ConfigError, match="holds no image with a mask"):
        generate.run(config)
    with pytest.raises(ConfigError, match=r"--references .*nowhere does not exist"):
        generate.run(replace(config, references=tmp_path / "nowhere"))
    (tmp_path / "a.nii.gz").write_bytes(b"")
    pd.DataFrame({"image": ["a.nii.gz"], "mask": ["a.nii.gz"]}).to_csv(tmp_path / "v.csv", index=False)
    with pytest.raises(ConfigError, match="is a volume: here references are images"):
        generate.run(replace(config, references=tmp_path / "v.csv"))
    assert not (config.out / "records.parquet").exists()


def test_one_image_twice_counts_once_and_with_two_masks_is_refused(config, tmp_path):
    refs = tmp_path / "refs"
    image, mask = first(refs / "images"), first(refs / "masks")
    shutil.copy(image, image.with_name(f"again{image.suffix}"))
    shutil.copy(mask, mask.with_name("again.png"))
    found = load_references(config)
    assert len(found.shown) == SHOWN and "1 reference is there twice" in found.notes[0]
    Image.fromarray(~np.asarray(Image.open(mask))).save(mask.with_name("again.png"))
    with pytest.raises(ConfigError, match="are one image with two masks"):
        load_references(config)


def test_of_many_the_most_different_ones_are_shown(config, monkeypatch):
    monkeypatch.setattr(references, "MOST", 2)
    found = load_references(config)
    assert len(found.shown) == 2 and found.notes == ["of 4 references the 2 most different ones are shown"]
    corners = [torch.eye(3)[i % 3] + 0.01 * i for i in range(9)]
    assert sorted(i % 3 for i in most_different(corners, 3)) == [0, 1, 2]


def test_references_travel_to_other_processes(config):
    shown = load_references(config).shown
    again = pickle.loads(pickle.dumps(shown))
    assert torch.equal(again[0].features, shown[0].features) and (again[0].mask == shown[0].mask).all()


def test_an_in_context_referee_says_what_it_needs(config, tmp_path):
    for change, said in (
        ({"references": None}, "give --references DIR"),
        ({"referee": RefereeConfig("personalised", prompters=["otsu"])}, r"referee\.prompters is given, but"),
        ({"referee": RefereeConfig("personalised", encoder="unet")}, "ignores prompts"),
        ({"referee": RefereeConfig("litemedsam", encoder="mobilesam")}, r"referee\.encoder is given, but litemedsam"),
    ):
        with pytest.raises(ConfigError, match=said):
            replace(config, **change)
    with pytest.raises(ConfigError, match=r"unknown referee\.encoder 'lite'"):
        generate.run(replace(config, referee=RefereeConfig("personalised", encoder="lite")))
    plain = replace(config, segmenter=SegmenterConfig("none"), referee=RefereeConfig("personalised"))
    assert plain.referee.encoder == "litemedsam"


def blind(config):
    return replace(config, references=None, referee=RefereeConfig("personalised", needs_references=False))


def test_without_references_it_answers_where_it_may_and_says_that_it_had_none(config):
    generate.run(config)
    assert set(RecordSet(config.out).table.references) == {SHOWN}
    with pytest.raises(ConfigError, match="shown examples: give --references DIR"):
        replace(config, references=None)
    with pytest.raises(ConfigError, match="needs_references is false, but litemedsam reads none"):
        replace(config, referee=RefereeConfig("litemedsam", needs_references=False))
    without = replace(blind(config), out=config.out.with_name("blind"))
    generate.run(without)
    records = RecordSet(without.out)
    assert set(records.table.references) == {0} and records.table[RCA].isna().all().all()
    assert records.table[list(REFEREE_SCORES)].notna().all().all()
    kept = records.run["config"]
    assert "references_sha256" not in kept
    beside = RecordSet(config.out).run["config"]
    assert kept["references_weights_sha256"] == beside["references_weights_sha256"]


def test_what_the_referee_drew_without_references_is_its_own(config):
    """In Otsu's box it agrees with itself; shown references it has another answer."""
    own = replace(config, masks=None, images=config.images.parent, truth=None, prompter="otsu", variants={})
    for one in (own, replace(blind(own), out=config.out.with_name("blind"))):
        generate.run(one)
        assert RecordSet(one.out).table.referee_own.all() == (one.references is None)


def as_coco(folder, categories):
    """The references as COCO: each mask as the run lengths of two annotations, its left and its right half."""
    images, annotations = [], []
    for number, file in enumerate(sorted((folder / "images").iterdir())):
        mask = np.asarray(Image.open(folder / "masks" / file.name)) > 0
        images.append({"id": number, "file_name": file.name, "height": 48, "width": 64})
        for part, half in enumerate((np.arange(64) < 32, np.arange(64) >= 32)):
            flat = (mask & half).T.ravel()
            cuts = [0, *np.flatnonzero(np.diff(flat)) + 1, len(flat)]
            counts = ([0] if flat[0] else []) + np.diff(cuts).tolist()
            annotations.append(
                {"id": len(annotations), "image_id": number, "category_id": part % categories}
                | {"segmentation": {"size": [48, 64], "counts": counts}}
            )
    named = [{"id": i, "name": f"part {i}"} for i in range(2)]
    path = folder / "references.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": named}))
    return path


def test_a_file_of_coco_shows_all_annotations_of_an_image_as_one_mask(config, tmp_path):
    coco = replace(config, references=as_coco(tmp_path / "refs", categories=1))
    for mine, theirs in zip(load_references(coco).shown, load_references(config).shown, strict=True):
        assert (mine.name, mine.content) == (theirs.name, theirs.content) and (mine.mask == theirs.mask).all()


def test_references_of_two_structures_are_refused_unless_one_is_chosen(config, tmp_path):
    two = replace(config, references=as_coco(tmp_path / "refs", categories=2))
    with pytest.raises(ConfigError, match=r"are of 2 structures, part 0, part 1: .* choose it with --label"):
        load_references(two)
    left = load_references(replace(two, label=[0])).shown
    assert all(not reference.mask[:, 32:].any() for reference in left)


def test_a_damaged_annotation_leaves_its_image_out(config, tmp_path):
    path = as_coco(tmp_path / "refs", categories=1)
    content = json.loads(path.read_text())
    content["annotations"][0]["segmentation"]["counts"] = [5]
    path.write_text(json.dumps(content))
    found = load_references(replace(config, references=path))
    assert list(found.left_out) == ["b0"] and len(found.shown) == SHOWN - 1


def test_images_of_another_kind_than_the_references_are_told(config, data, tmp_path, monkeypatch):
    """Bright discs on a dark ground are no dark discs on a bright one; three references are too few to tell."""
    monkeypatch.setattr(references, "unlike_the_others", lambda summaries, groups: [])  # the toy sees little in them
    for file in (data / "images").iterdir():
        Image.fromarray(255 - np.asarray(Image.open(file))).save(file)
    (tmp_path / "refs" / "images" / f"b{SHOWN - 1}.png").unlink()
    (tmp_path / "refs" / "masks" / f"b{SHOWN - 1}.png").unlink()
    assert not generate.run(config).notes
    rng = np.random.default_rng(1)
    for number in range(SHOWN):
        draw_disc(tmp_path / "refs", f"c{number}", rng)
    result = generate.run(replace(config, out=config.out.with_name("more")))
    assert result.exit_status == 0 and result.written == 3 * JUDGED
    assert f"{JUDGED} images are unlike all references, which may be of another modality" in result.notes[0]
    likeness = RecordSet(result.out).table["references_likeness"]
    assert (likeness < UNLIKE).all() and RecordSet(config.out).table["references_likeness"].isna().all()


def test_a_reference_of_another_kind_is_told_by_its_name(config, monkeypatch):
    assert not load_references(config).notes  # of four the others are too few to tell
    monkeypatch.setattr(references, "unlike_the_others", lambda summaries, groups: [len(groups) - 1])
    assert load_references(config).notes == [
        f"1 reference is unlike all others, e.g. b{SHOWN - 1}: look whether it is of another modality, and leave it "
        "out if so"
    ]
