"""Fused and refined records beside the natural ones they come from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import yaml

from sqp.commands import generate
from sqp.config.generate import SamplerConfig, VariantPlan
from sqp.core.errors import ConfigError
from sqp.core.types import Case
from sqp.records import RecordSet
from sqp.records.plan import plan_case
from sqp.uncertainty.rectify import luminance
from sqp.uncertainty.refine import Ensemble, refine


@pytest.fixture
def refined(config):
    """Four images; an otsu box and a jittered truth box each; power law, then UR-SAM and a comparator."""
    return replace(
        config,
        max_images=4,
        sampler=SamplerConfig(name="prompt_jitter", n=4, ratio=0.2),
        variants={"*": VariantPlan(truth_jitter=1, corruptions=1)},
        fusion="power_law",
        fusion_options={"alpha": 1.0},
        refine=["ur_sam_midpoint", "unc_fpc"],
        refine_options={"unc_fpc": {"threshold": 0.9}},
    )


def test_each_natural_mask_has_its_fused_and_refined_records(refined, fake_segmenter):
    generate.run(refined)
    records = RecordSet(refined.out)
    table = records.table.set_index("record_id")
    derived = table[(table.fused_by != "") | (table.refined_by != "")]
    own = table[(table.variant == "natural") & ~table.index.isin(derived.index)]
    assert fake_segmenter[0].encoded == table.image_id.nunique() >= 4
    assert len(derived) == 3 * len(own) and len(own) == 2 * table.image_id.nunique()
    assert set(derived.fused_by) == {"power_law"} and set(derived.variant) == {"natural"}
    kinds = derived.groupby("parent_record_id").refined_by.agg(sorted)
    assert (kinds.map(tuple) == ("", "unc_fpc", "ur_sam_midpoint")).all() and set(kinds.index) == set(own.index)
    assert derived.predicted_iou.isna().all() and derived.stability.isna().all()
    parents = own.loc[derived.parent_record_id]
    for column in ("prompt", "prompter", "severity", "image_id", "split", "segmenter", "pairwise_dice"):
        assert (parents[column].to_numpy() == derived[column].to_numpy()).all(), column
    for name, row in derived.iterrows():
        maps, before = records.maps(name), records.maps(row.parent_record_id)
        assert set(maps) == {*before, "refined/probability"}
        assert all((maps[key] == before[key]).all() for key in before)  # the samples are the same
        if row.refined_by == "unc_fpc":
            fused = derived[(derived.parent_record_id == row.parent_record_id) & (derived.refined_by == "")].index[0]
            assert not (records.mask(name) & ~records.mask(fused)).any()
    assert len({records.mask(name).tobytes() for name in table.index}) > len(own)


def test_records_of_a_config_without_refinement_are_as_they_were(refined):
    plain = replace(refined, out=refined.out / "plain", fusion=None, fusion_options={}, refine=[], refine_options={})
    generate.run(refined), generate.run(plain)
    more, less = RecordSet(refined.out), RecordSet(plain.out)
    both = more.table.set_index("record_id").loc[less.table.record_id]
    left = less.table.set_index("record_id")
    assert both.drop(columns="mask_path").equals(left.drop(columns="mask_path")[list(both.columns.drop("mask_path"))])
    assert (both.parent_record_id[both.variant == "natural"] == "").all()


def test_a_run_yaml_that_does_not_know_these_keys_goes_on_and_new_ones_are_refused(refined):
    plain = replace(refined, fusion=None, fusion_options={}, refine=[], refine_options={})
    generate.run(plain)
    path = plain.out / "run.yaml"
    stored = yaml.safe_load(path.read_text())
    for key in ("fusion", "fusion_options", "refine", "refine_options"):
        stored["config"].pop(key)
    path.write_text(yaml.safe_dump(stored))
    assert generate.run(plain).written == 0
    with pytest.raises(ConfigError, match="fusion=None, this run has fusion='power_law'"):
        generate.run(refined)


def test_a_crf_leaves_the_probability_behind_its_mask(refined):
    pytest.importorskip("pydensecrf.densecrf")
    generate.run(replace(refined, fusion=None, fusion_options={}, refine=["crf"], refine_options={}))
    records = RecordSet(refined.out)
    crf = records.table[records.table.refined_by == "crf"]
    assert len(crf) and (crf.fused_by == "").all()
    for name in crf.record_id:
        p = records.maps(name)["refined/probability"].astype(float)
        assert p.shape == (12, 16) and abs(p.mean() - records.mask(name).mean()) < 0.1


def test_points_have_no_box_to_rectify_by_and_cost_only_that_record(refined):
    plan = {"*": VariantPlan(prompters=["centre"])}
    only = replace(
        refined, variants=plan, fusion=None, fusion_options={}, refine=["ur_sam_midpoint"], refine_options={}
    )
    result = generate.run(only)
    assert all("this prompt has points only" in reason for reason in result.skipped.values())
    assert len(result.skipped) == result.images >= 4
    table = RecordSet(only.out).table
    assert table.groupby("image_id").size().eq(3).all()
    assert (table[table.refined_by != ""].prompter == "otsu").all()


def test_the_mask_is_the_refinement_of_the_mean_at_the_images_size(refined, monkeypatch):
    seen = []

    def spy(ensemble: Ensemble, name, **options):
        seen.append((ensemble, refine(ensemble, name, **options).mask))
        return refine(ensemble, name, **options)

    monkeypatch.setattr("sqp.records.refine.refine", spy)
    generate.run(replace(refined, fusion=None, fusion_options={}, refine=["ur_sam_midpoint"], refine_options={}))
    records = RecordSet(refined.out)
    table = records.table.set_index("record_id")
    masks = {records.mask(name).tobytes() for name in table.index[table.refined_by != ""]}
    naturals = {records.mask(name).tobytes() for name in table.index[(table.refined_by == "") & table.natural]}
    for ensemble, mask in seen:
        assert ensemble.image.shape == (48, 64, 3) and luminance(ensemble.image).shape == mask.shape
        assert mask.tobytes() in masks and ensemble.mask.numpy().tobytes() in naturals
    assert any((mask != ensemble.mask.numpy()).any() for ensemble, mask in seen)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fusion": "power_lwa"}, "did you mean 'power_law'"),
        ({"fusion_options": {"alhpa": 1}}, "did you mean 'alpha'"),
        ({"fusion": None}, "fusion_options are given, but no fusion"),
        ({"refine": ["cfr"]}, "did you mean 'crf'"),
        ({"refine": ["unc_fpc", "unc_fpc"]}, "names one refinement twice"),
        ({"refine": ["unc_fnc"], "refine_options": {}}, "needs the option threshold"),
        ({"refine": ["ur_sam_midpoint"]}, "unknown refinement .* 'unc_fpc'"),
    ],
)
def test_wrong_names_are_told_before_anything_is_written(refined, changes, message):
    with pytest.raises(ConfigError, match=message):
        generate.run(replace(refined, **changes))
    assert not refined.out.exists()


def test_given_masks_are_not_refined(refined, lesions):
    with pytest.raises(ConfigError, match="segmenter's own masks"):
        generate.run(replace(refined, masks=lesions / "masks"))


def test_the_plan_names_parents_and_ids_change_with_what_is_done(refined, lesions):
    case = Case("a", lesions / "a.png", truth_paths=(lesions / "t.png",), split="train")
    plan = plan_case(case, refined)
    by_id = {p.record_id: p for p in plan}
    assert len(by_id) == len(plan) == 2 + 1 + 2 * 3
    for planned in (p for p in plan if p.parent):
        parent = by_id[planned.parent]
        assert parent.parent == "" and parent.variant == "natural" and parent.prompter == planned.prompter
        assert planned.jitter == parent.jitter
    other = plan_case(case, replace(refined, fusion="inverse", fusion_options={}))
    assert len({p.record_id for p in other if p.parent} & set(by_id)) == 0
    assert np.all([p == q for p, q in zip(plan[:2], other[:2], strict=True)])
