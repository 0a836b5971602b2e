"""A small promptable segmenter that is right by construction, or, with promptable False, one that ignores prompts."""

from __future__ import annotations

import pytest
import torch

from sqp import segmenters
from sqp.core.frame import Frame
from sqp.core.types import Decoded, Embedding
from sqp.segmenters.weights import locate


class FakeSegmenter:
    """Logits: darkness plus a smooth edge of the box; counts its calls; 3 candidates of different IoU.

    Its network is a layer of dropout; `shift` of the logits sets the members of an ensemble apart. The features of an
    image are its darkness, in each of `channels`.
    """

    name = "fake"
    weights_sha256 = "0" * 64

    def __init__(self, size=64, stride=4, promptable=True, k=3, shift=0.0, channels=1):
        self.size, self.stride, self.promptable, self.k = size, stride, promptable, k
        self.channels, self.encoded, self.decoded = channels, 0, []
        self.network, self.shift = torch.nn.Sequential(torch.nn.Dropout(0.2)).eval(), shift

    def encode(self, image):
        self.encoded += 1
        frame = Frame(image.shape[:2], self.size, self.stride)
        small = frame.image_to_input(image)[0].mean(0)[None]
        darkness = torch.nn.functional.avg_pool2d(frame.pad(1 - small / 255), self.stride)
        return Embedding(frame.crop_to_grid(darkness)[None].repeat(1, self.channels, 1, 1), frame)

    def decode(self, embedding, prompts):
        self.decoded.append(len(prompts))
        frame = embedding.frame
        h, w = frame.grid
        y = ((torch.arange(h) + 0.5) * self.stride / frame.scale_xy[1])[:, None]
        x = ((torch.arange(w) + 0.5) * self.stride / frame.scale_xy[0])[None]
        logits, iou = [], []
        for prompt in prompts:
            inside = torch.zeros(h, w)
            if self.promptable and prompt.box is not None:
                x0, y0, x1, y1 = prompt.box
                edge = torch.minimum(torch.minimum(x - x0, x1 - x), torch.minimum(y - y0, y1 - y))
                inside = (edge / 4).clamp(-4, 4)
            elif self.promptable:
                px, py = prompt.points[0]
                inside = 3 - torch.hypot(x - px, y - py) / 8
            base = self.network(6 * embedding.features[:, 0] - 3 + inside)[0] + self.shift
            logits.append(torch.stack([base + i for i in range(self.k)]))
            iou.append(torch.tensor([0.5, 0.9, 0.7])[: self.k])
        tokens = torch.arange(len(prompts)).view(-1, 1, 1).expand(-1, self.k, 5).float()
        return Decoded(torch.stack(logits), torch.stack(iou), tokens)


def put_fake(patch: pytest.MonkeyPatch) -> list[FakeSegmenter]:
    """`--segmenter.name fake` works, any without a file has its hash; the list holds every one that was built."""
    from sqp.records import fitted

    built: list[FakeSegmenter] = []

    def build(checkpoint=None, **options):
        built.append(FakeSegmenter(size=64, stride=4))
        return built[-1]

    def located(name, checkpoint):
        return (None, FakeSegmenter.weights_sha256) if checkpoint is None else locate(name, checkpoint)

    patch.setitem(segmenters.SEGMENTERS, "fake", build)
    patch.setattr(fitted, "locate", located)
    return built


class Seeing(FakeSegmenter):
    """The fake with features that tell dark from bright."""

    def encode(self, image):
        embedding = super().encode(image)
        dark = embedding.features
        return Embedding(torch.cat([dark, 1 - dark, dark * (1 - dark)], 1), embedding.frame)

    def decode(self, embedding, prompts):
        return super().decode(Embedding(embedding.features[:, :1], embedding.frame), prompts)
