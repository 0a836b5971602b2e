from __future__ import annotations

import copy
import os
from pathlib import Path

import pytest
import torch
from timm.models.tiny_vit import ConvNorm

from sqp.core.errors import ConfigError
from sqp.core.types import Prompt
from sqp.segmenters import build_segmenter
from sqp.segmenters.tinyvit import fold_batch_norm, network, timm_keys
from sqp.segmenters.weights import load_strict, locate, read_state

MOBILESAM = Path(os.environ.get("SQP_WEIGHTS", Path(__file__).parents[3] / "shared" / "weights")) / "mobile_sam.pt"


def test_folding_leaves_a_convolution_with_the_same_output():
    torch.manual_seed(0)
    block = torch.nn.Sequential(ConvNorm(3, 8, 3, 2, 1), torch.nn.Sequential(ConvNorm(8, 8, 3, 1, 1, groups=8)))
    x = torch.randn(4, 3, 16, 16)
    block(x)  # moves the running statistics away from 0 and 1
    folded = fold_batch_norm(copy.deepcopy(block.eval()))
    assert [type(m) for m in folded.modules() if not list(m.children())] == [torch.nn.Conv2d] * 2
    torch.testing.assert_close(folded(x), block(x), atol=1e-5, rtol=0)


def test_encoder_equals_the_unfolded_one_on_the_real_weights(litemedsam, lite_embedding, image):
    path, sha256 = locate("litemedsam")
    plain = network(full_resolution_stem=True).eval()
    load_strict(plain, timm_keys(read_state(path)), "litemedsam", path)
    frame = lite_embedding.frame
    pixels = frame.image_to_input(image)
    pixels = (pixels - pixels.min()) / (pixels.max() - pixels.min())  # the official code: min-max, then zeros
    with torch.no_grad():
        features = plain.image_encoder(frame.pad(pixels))
    torch.testing.assert_close(lite_embedding.features, features, atol=1e-5, rtol=0)
    assert litemedsam.weights_sha256 == sha256


def test_litemedsam_finds_the_disc(litemedsam, lite_embedding):
    decoded = litemedsam.decode(lite_embedding, [Prompt(box=(18, 10, 46, 38))])
    assert lite_embedding.frame.grid == (192, 256) == decoded.grid
    mask = lite_embedding.frame.grid_to_image(decoded.logits)[0, 0] > 0
    y, x = torch.meshgrid(torch.arange(48) + 0.5, torch.arange(64) + 0.5, indexing="ij")
    disc = (x - 32) ** 2 + (y - 24) ** 2 < 14**2
    assert 2 * (mask & disc).sum() / (mask.sum() + disc.sum()) > 0.95


def test_a_point_gives_one_candidate_since_litemedsam_learned_boxes(litemedsam, lite_embedding):
    assert litemedsam.decode(lite_embedding, [Prompt(points=((32, 24),), labels=(1,))]).iou.shape == (1, 1)


def test_geometry_of_mobilesam():
    with torch.device("meta"):
        sam = network(full_resolution_stem=False)
        assert sam.image_encoder.img_size == 1024
        assert sam.image_encoder(torch.empty(1, 3, 1024, 1024)).shape == (1, 256, 64, 64)


def test_checkpoint_of_litemedsam_is_not_one_of_mobilesam(tmp_path):
    with pytest.raises(ConfigError, match="holds the weights of litemedsam, not of mobilesam"):
        build_segmenter("mobilesam", locate("litemedsam")[0])
    own = tmp_path / "own.pth"
    torch.save(read_state(locate("litemedsam")[0]) | {"fine_tuned": torch.ones(1)}, own)
    with pytest.raises(ConfigError, match=r"own\.pth is not a checkpoint of mobilesam: 'fine_tuned' is unexpected"):
        build_segmenter("mobilesam", own)


@pytest.mark.slow
@pytest.mark.skipif(not MOBILESAM.is_file(), reason=f"no {MOBILESAM}; set SQP_WEIGHTS to the folder of mobile_sam.pt")
def test_mobilesam_with_its_real_weights_finds_the_disc(image):
    segmenter = build_segmenter("mobilesam", MOBILESAM)
    embedding = segmenter.encode(image)
    decoded = segmenter.decode(embedding, [Prompt(points=((32, 24),), labels=(1,))])
    assert decoded.logits.shape == (1, 3, 192, 256)
    mask = embedding.frame.grid_to_image(decoded.best().logits)[0, 0] > 0
    y, x = torch.meshgrid(torch.arange(48) + 0.5, torch.arange(64) + 0.5, indexing="ij")
    disc = (x - 32) ** 2 + (y - 24) ** 2 < 14**2
    assert 2 * (mask & disc).sum() / (mask.sum() + disc.sum()) > 0.9
