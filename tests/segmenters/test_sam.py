from __future__ import annotations

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor
from tiny_sam import tiny_sam

from sqp.core.errors import CaseError, ConfigError
from sqp.core.types import Prompt
from sqp.segmenters.sam import PromptableSegmenter, min_max, output_of, standardise
from sqp.uncertainty.noise import noise
from sqp.uncertainty.tta import tta

BOX = (10.0, 8.0, 50.0, 40.0)
POINT = ((30.0, 20.0),)


def tiny(**options) -> PromptableSegmenter:
    return PromptableSegmenter("tiny", tiny_sam(), standardise, **options)


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize(
    "prompt",
    [
        Prompt(box=BOX),
        Prompt(points=POINT, labels=(1,)),
        Prompt(points=(*POINT, (5.0, 6.0)), labels=(1, 0)),
        Prompt(box=BOX, points=POINT, labels=(1,)),
    ],
    ids=["box", "point", "two points", "box and point"],
)
def test_equal_to_the_official_predictor(image, prompt, multimask):
    segmenter = tiny(multimask=multimask)
    embedding = segmenter.encode(image)
    found = segmenter.decode(embedding, [prompt])
    official = SamPredictor(segmenter.sam)
    official.set_image(image)
    full, iou, logits = official.predict(
        point_coords=np.array(prompt.points) if prompt.points else None,
        point_labels=np.array(prompt.labels) if prompt.points else None,
        box=np.array(prompt.box) if prompt.box else None,
        multimask_output=multimask,
        return_logits=True,
    )
    np.testing.assert_allclose(embedding.features, official.features, atol=1e-5)
    np.testing.assert_allclose(found.iou[0], iou, atol=1e-5)
    np.testing.assert_allclose(found.logits[0], logits[:, :12], atol=1e-5)  # 48 of 64 rows are image
    ours = embedding.frame.grid_to_image(found.logits)[0]  # the last rows: official SAM mixes the padding in
    np.testing.assert_allclose(ours[:, :46], full[:, :46], atol=1e-5)


def test_tokens_are_those_that_make_the_masks(image):
    segmenter = tiny(multimask=True)
    embedding = segmenter.encode(image)
    decoder = segmenter.sam.mask_decoder
    with output_of(decoder.output_upscaling) as upscaled:
        found = segmenter.decode(embedding, [Prompt(box=BOX)])
    for k in range(3):
        kernel = decoder.output_hypernetworks_mlps[k + 1](found.tokens[0, k])
        logits = torch.einsum("c,chw->hw", kernel, upscaled[0][0])
        torch.testing.assert_close(embedding.frame.crop_to_grid(logits), found.logits[0, k])
    assert not decoder.output_upscaling._forward_hooks
    assert not decoder.transformer._forward_hooks and not decoder.transformer._forward_pre_hooks


def test_mixed_prompts_keep_their_order_and_ignore_their_neighbours(image):
    segmenter = tiny(chunk=2)
    embedding = segmenter.encode(image)
    prompts = [
        Prompt(box=BOX),
        Prompt(points=POINT, labels=(1,)),
        Prompt(box=(0, 0, 20, 20)),
        Prompt(points=(*POINT, (5.0, 6.0)), labels=(1, 0)),
        Prompt(box=(5, 5, 60, 44)),
    ]
    together = segmenter.decode(embedding, prompts)
    assert together.logits.shape == (5, 3, 12, 16)
    best = together.best()
    for row, prompt in enumerate(prompts):
        alone = segmenter.decode(embedding, [prompt])
        assert alone.logits.shape[1] == (3 if row == 1 else 1)
        torch.testing.assert_close(best.logits[row], alone.best().logits[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(best.iou[row], alone.best().iou[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(best.tokens[row], alone.best().tokens[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("multimask", "trained", "of_point", "of_box"),
    [("auto", True, 3, 1), ("auto", False, 1, 1), (True, False, 3, 3), (False, True, 1, 1)],
)
def test_number_of_candidates(image, multimask, trained, of_point, of_box):
    segmenter = tiny(multimask=multimask, trained_multimask=trained)
    embedding = segmenter.encode(image)
    assert segmenter.decode(embedding, [Prompt(points=POINT, labels=(1,))]).iou.shape == (1, of_point)
    assert segmenter.decode(embedding, [Prompt(box=BOX)]).iou.shape == (1, of_box)


def test_box_partly_outside_is_clipped(image):
    segmenter = tiny()
    embedding = segmenter.encode(image)
    beyond, clipped = (
        segmenter.decode(embedding, [Prompt(box=box)]).logits for box in [(-20, 10, 90, 99), (0, 10, 64, 48)]
    )
    assert torch.equal(beyond, clipped)


def test_nan_logits_are_a_broken_case(image):
    segmenter = tiny()
    embedding = segmenter.encode(image)
    embedding.features[:] = torch.nan
    with pytest.raises(CaseError, match="tiny returned NaN logits"):
        segmenter.decode(embedding, [Prompt(box=BOX)])


@pytest.mark.parametrize(
    "broken", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.float32), np.zeros((0, 8, 3), np.uint8)]
)
def test_image_of_the_wrong_kind(broken):
    with pytest.raises(CaseError, match="RGB uint8"):
        tiny().encode(broken)


def test_read_only_image_is_taken_as_it_is(image):
    frozen = image.copy()
    frozen.setflags(write=False)
    segmenter = tiny()
    assert torch.equal(segmenter.encode(frozen).features, segmenter.encode(image).features)


def test_bfloat16_encoder_stays_close_and_returns_float32(image):
    exact, rough = tiny().encode(image).features, tiny(precision="bfloat16").encode(image).features
    assert rough.dtype == torch.float32
    difference = (exact - rough).abs().max()
    assert 0 < difference < 0.1 * exact.abs().max()


def test_a_batch_of_images_is_each_of_them(image):
    """Of unlike sizes, too; samplers encode `chunk` disturbed images at once."""
    images = [image, image[:, ::2].copy(), image[::2].copy()]
    one, many = tiny(chunk=1), tiny(chunk=len(images))
    for found, each in zip(many.encode_many(images), images, strict=True):
        wanted = one.encode(each)
        assert found.frame == wanted.frame
        torch.testing.assert_close(found.features, wanted.features, rtol=1e-4, atol=1e-5)
    drawn = [
        sampler(segmenter, image, [Prompt(box=BOX)], 6, [torch.Generator().manual_seed(0)])[0].logits
        for sampler in (noise, tta)
        for segmenter in (one, many)
    ]
    for of_one, of_many in (drawn[:2], drawn[2:]):
        torch.testing.assert_close(of_many, of_one, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("options", [{"precision": "float16"}, {"multimask": "always"}, {"chunk": 0}])
def test_wrong_options(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        tiny(**options)


def test_no_prompt(image):
    with pytest.raises(CaseError, match="no prompt"):
        tiny().decode(tiny().encode(image), [])


def test_min_max_of_a_constant_image_is_finite():
    assert min_max(torch.full((1, 3, 2, 2), 7.0)).abs().max() == 0
