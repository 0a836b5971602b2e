"""The names that configs list are those of the tables."""

from __future__ import annotations

from typing import get_args

import pytest

from sqp.config.generate import GenerateConfig, RefereeConfig, SamplerConfig, SegmenterConfig
from sqp.config.predict import PredictConfig
from sqp.config.segmenter import MULTIMASK, Multimask
from sqp.core import names
from sqp.core.errors import ConfigError
from sqp.data import CORRUPTIONS, LAYOUTS
from sqp.prompts import PROMPTERS
from sqp.quality.model.backbones import BACKBONES, VOLUME_BACKBONES
from sqp.segmenters import PRECISIONS, SEGMENTERS
from sqp.segmenters.dropout import AUTO, SITES
from sqp.uncertainty import MEASURES, SAMPLERS
from sqp.uncertainty.fusion import FUSIONS
from sqp.uncertainty.refine import REFINEMENTS
from sqp.uncertainty.tta import SETS


@pytest.mark.parametrize(
    ("listed", "table"),
    [
        (names.Corruption, CORRUPTIONS),
        (names.Precision, PRECISIONS),
        (names.Sampler, SAMPLERS),
        (names.TransformSet, SETS),
        (names.DropoutSite, [AUTO, *SITES]),
        (names.Measure, MEASURES),
        (names.Fusion, FUSIONS),
        (names.Refinement, REFINEMENTS),
        (names.Layout, ["auto", *LAYOUTS]),
        (Multimask, MULTIMASK),
    ],
)
def test_a_config_lists_what_the_table_has(listed, table):
    assert sorted(get_args(listed)) == sorted(table)


def test_names_that_are_checked_before_torch_is_imported_are_those_of_the_tables():
    assert sorted(names.SEGMENTERS) == sorted(SEGMENTERS) and sorted(names.PROMPTERS) == sorted(PROMPTERS)
    assert sorted(names.BACKBONES) == sorted([*BACKBONES, *VOLUME_BACKBONES])


def test_a_referee_is_prompted_by_what_needs_neither_mask_nor_truth():
    own = set(get_args(names.IndependentPrompter)) - {"supervised"}  # the box of what a fitted network draws
    assert all(PROMPTERS[name].images and not PROMPTERS[name].needs for name in own)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": SamplerConfig("tat")}, "unknown sampler 'tat', did you mean 'tta'"),
        ({"sampler": SamplerConfig(set="ful")}, "unknown set of transforms 'ful'"),
        ({"sampler": SamplerConfig(sites=("neek",))}, "unknown site of dropout 'neek'"),
        ({"segmenter": SegmenterConfig(multimask="maybe")}, "unknown multimask 'maybe'"),
        ({"layout": "isix"}, "unknown layout 'isix', did you mean 'isic'"),
        ({"segmenter": SegmenterConfig("none")}, "segmenter none segments nothing"),
        ({"referee": RefereeConfig("litemedsam", jitter=2.0)}, r"referee\.jitter is 2\.0"),
    ],
)
def test_a_config_refuses_by_itself_what_needs_no_file(options, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        GenerateConfig(tmp_path, tmp_path / "out", **options)


def test_python_and_yaml_say_true_alike():
    assert SegmenterConfig(multimask=True) == SegmenterConfig(multimask="true")


def test_predict_needs_something_to_judge():
    with pytest.raises(ConfigError, match="either --images"):
        PredictConfig()
