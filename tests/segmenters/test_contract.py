"""What every segmenter of the table must do. Names whose weights are not at hand run with random ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from plain_networks import SMALL, write_checkpoint
from segment_anything import sam_model_registry
from tiny_sam import tiny_sam
from tiny_universeg import write_universeg

from sqp import segmenters
from sqp.config.fit import VOLUMETRIC
from sqp.config.referee import IN_CONTEXT, OWN_WEIGHTS, READ
from sqp.core.errors import ConfigError
from sqp.core.types import Decoded, Prompt
from sqp.core.volume import Geometry, Volume
from sqp.segmenters import IN_CONTEXT_SEGMENTERS, SEGMENTERS, build_segmenter, tinyvit
from sqp.segmenters.by_examples import Reference
from sqp.segmenters.sam import PromptableSegmenter, min_max

PROMPTS = [Prompt(box=(18, 10, 46, 38)), Prompt(box=(2, 3, 30, 40)), Prompt(box=(0, 0, 64, 48))]


@pytest.fixture(scope="module", params=SEGMENTERS)
def segmenter(request, tmp_path_factory):
    """Each name of the table: LiteMedSAM with its weights, the others with random ones from a file."""
    name = request.param
    if name == "litemedsam":
        return request.getfixturevalue("litemedsam")
    if name in SMALL:
        return build_segmenter(name, write_checkpoint(tmp_path_factory.mktemp("weights") / "w.safetensors", name))
    if name in IN_CONTEXT:
        return shown_two(name, tmp_path_factory.mktemp("weights") / "w.safetensors")
    path = tmp_path_factory.mktemp("weights") / f"{name}.pth"
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        torch.manual_seed(0)
        if name == "mobilesam":
            torch.save(tinyvit.network(full_resolution_stem=False).state_dict(), path)
        for architecture in ("vit_b", "vit_l", "vit_h"):  # the real ones take minutes on a CPU
            patch.setitem(sam_model_registry, architecture, tiny_sam)
        if not path.exists():
            torch.save(tiny_sam().state_dict(), path)
        return build_segmenter(name, path)


def shown_two(name, file):
    """An in-context segmenter with two references; a tiny SAM in place of LiteMedSAM."""
    torch.manual_seed(0)
    base = PromptableSegmenter("tiny", tiny_sam(), min_max, weights_sha256="t" * 64)
    file = write_universeg(file) if name in OWN_WEIGHTS else None
    inner, rng = IN_CONTEXT_SEGMENTERS[name](base, file), np.random.default_rng(0)
    pixels = [rng.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(2)]
    masks = [np.hypot(*(np.indices((48, 64)) - np.array([[[24]], [[20 + 20 * i]]]))) < 10 for i in range(2)]
    shown = [Reference("r", f"{i}", inner.features(pixels[i]), masks[i]) for i in range(2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(segmenters.SEGMENTERS, READ, lambda checkpoint=None, **options: base)
        return build_segmenter(name, file, references=shown)


@pytest.fixture(scope="module")
def image(segmenter, image):
    """A 2D image, or for networks of volumes eight slices of it."""
    if segmenter.name not in VOLUMETRIC:
        return image
    grey = np.stack([image[..., 0] + 5.0 * z for z in range(8)])
    return Volume(grey.astype(np.float32), Geometry.plain(grey.shape, (2.0, 2.0, 2.0)))


@pytest.fixture(scope="module")
def embedding(segmenter, image):
    return segmenter.encode(image)


@pytest.fixture(scope="module")
def decoded(segmenter, embedding):
    return segmenter.decode(embedding, PROMPTS)


def test_encoding(segmenter, embedding):
    assert embedding.features.dtype == torch.float32
    assert embedding.features.ndim == 2 + len(embedding.frame.grid) and len(embedding.features) == 1
    assert torch.isfinite(embedding.features).all()
    assert embedding.frame.original[-2:] == (48, 64)
    assert segmenter.name in SEGMENTERS
    assert len(segmenter.weights_sha256) == 64


def test_decoding(segmenter, embedding, decoded):
    n, k, *grid = decoded.logits.shape
    assert (n, tuple(grid)) == (3, embedding.frame.grid)
    assert decoded.logits.dtype == torch.float32 == decoded.iou.dtype
    assert decoded.iou.shape == (3, k)
    assert torch.isfinite(decoded.logits).all()
    if segmenter.promptable:
        assert decoded.tokens.shape[:2] == (3, k)


def test_deterministic(segmenter, image, embedding, decoded):
    assert torch.equal(segmenter.decode(embedding, PROMPTS).logits, decoded.logits)
    if segmenter.name != "litemedsam":  # a second of encoding; MobileSAM has the same encoder
        assert torch.equal(segmenter.encode(image).features, embedding.features)


def test_order_and_batch_of_prompts_do_not_matter(segmenter, embedding, decoded):
    backwards = segmenter.decode(embedding, PROMPTS[::-1])
    torch.testing.assert_close(backwards.logits.flip(0), decoded.logits, atol=1e-4, rtol=1e-5)
    for row, prompt in enumerate(PROMPTS):
        alone = segmenter.decode(embedding, [prompt])
        torch.testing.assert_close(alone.logits[0], decoded.logits[row], atol=1e-4, rtol=1e-5)
        torch.testing.assert_close(alone.iou[0], decoded.iou[row], atol=1e-4, rtol=1e-5, equal_nan=True)


def test_best_picks_the_highest_predicted_iou():
    iou = torch.tensor([[0.1, 0.9, 0.3], [torch.nan, 0.2, 0.1]])
    logits = torch.arange(6.0).reshape(2, 3, 1, 1).expand(2, 3, 4, 5)
    best = Decoded(logits, iou, logits[..., 0]).best()
    assert best.logits[:, 0, 0, 0].tolist() == [1, 4] == best.tokens[:, 0, 0].tolist()
    assert best.iou.flatten().tolist() == pytest.approx([0.9, 0.2])


def test_unknown_names():
    with pytest.raises(ConfigError, match="unknown segmenter 'litmedsam', did you mean 'litemedsam'"):
        build_segmenter("litmedsam")
    with pytest.raises(ConfigError, match="unknown precision 'half'"):
        build_segmenter("litemedsam", precision="half")
    with pytest.raises(ConfigError, match="unknown device 'toaster'"):
        build_segmenter("litemedsam", device="toaster")


def test_bfloat16_on_a_cpu_without_it_is_told(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    with pytest.warns(UserWarning, match="emulates bfloat16"):
        assert build_segmenter("litemedsam", precision="bfloat16").precision == "bfloat16"
