from __future__ import annotations

import pytest
import torch
from segment_anything import sam_model_registry
from tiny_sam import tiny_sam

from sqp.core.errors import ConfigError
from sqp.segmenters import build_segmenter
from sqp.segmenters.sam import min_max, standardise


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """segment_anything's registry builds a tiny network; the file holds other weights than it starts with."""
    for name in ("vit_b", "vit_l", "vit_h"):
        monkeypatch.setitem(sam_model_registry, name, tiny_sam)
    path = tmp_path / "tiny.pth"
    torch.save(tiny_sam(seed=1).state_dict(), path)
    return path


@pytest.mark.parametrize(
    ("name", "normalise", "trained"),
    [
        ("sam_vit_b", standardise, True),
        ("sam_vit_l", standardise, True),
        ("sam_vit_h", standardise, True),
        ("medsam", min_max, False),
    ],
)
def test_checkpoint_reaches_the_registry_s_network(checkpoint, name, normalise, trained):
    segmenter = build_segmenter(name, checkpoint)
    assert (segmenter.name, segmenter.normalise, segmenter.trained_multimask) == (name, normalise, trained)
    for key, value in tiny_sam(seed=1).state_dict().items():
        assert torch.equal(segmenter.sam.state_dict()[key], value), key


def test_checkpoint_of_another_size(checkpoint):
    state = torch.load(checkpoint, weights_only=True)
    state["image_encoder.pos_embed"] = torch.zeros(1, 8, 8, 32)
    torch.save(state, checkpoint)
    with pytest.raises(
        ConfigError, match=r"not a checkpoint of sam_vit_b: 'image_encoder.pos_embed' is \[1, 8, 8, 32\]"
    ):
        build_segmenter("sam_vit_b", checkpoint)


@pytest.mark.parametrize(("name", "width"), [("vit_b", 768), ("vit_l", 1024), ("vit_h", 1280)])
def test_registry_s_architectures_have_the_geometry_that_the_segmenter_derives(name, width, monkeypatch):
    monkeypatch.setattr(torch.nn.init, "trunc_normal_", lambda tensor, **_: tensor)
    with torch.device("meta"):
        sam = sam_model_registry[name]()
    assert sam.image_encoder.pos_embed.shape == (1, 64, 64, width)
    assert sam.prompt_encoder.input_image_size == (1024, 1024)
    assert sam.prompt_encoder.mask_input_size == (256, 256)
