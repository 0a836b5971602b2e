"""What a run of generate tells at its end."""

from __future__ import annotations

from dataclasses import replace

from sqp.config.generate import SamplerConfig
from sqp.records.make import GenerateResult, make_record_set


def test_the_summary_names_only_what_there_is_to_tell(tmp_path):
    plain = GenerateResult(tmp_path, images=2, records=8, written=3)
    assert plain.summary() == f"8 records (3 new) of 2 images in {tmp_path}" and plain.exit_status == 0
    told = replace(plain, skipped={"a": "broken"}, unsplit=1, notes=["One note.", "Another."])
    assert told.exit_status == 1 and told.summary().splitlines() == [
        plain.summary(),
        f"1 images skipped, reasons in {tmp_path / 'skipped.csv'}",
        "1 images are in no split: train and evaluate will not use them",
        "One note.",
        "Another.",
    ]


def test_given_masks_that_nobody_split_are_not_counted_as_left_out_of_a_split(config, lesions):
    """Splits matter where some images have one: then train and evaluate would not use the others."""
    given = {"images": lesions / "images", "masks": lesions / "masks", "variants": {}, "max_images": 2}
    result = make_record_set(replace(config, sampler=SamplerConfig(n=2), **given))
    assert result.images == result.written == 2 and result.unsplit == 0 and "split" not in result.summary()
