"""Segmentation by examples with a pixel classifier: a forest that the references train in seconds.

Each pixel is told apart by multi-scale filters of the image, as in ilastik (Berg et al., Nature Methods 16, 2019), and
by the encoding of a promptable segmenter at its place (a forest on deep features, Convpaint: Hinderling et al. 2024).
Two coarse answers are features, too: what the nearest patches of the references say (`personalised`), and a ridge
regression of their masks on the encoding. Of a reference both are drawn by the others, so that the forest learns what
they are worth on an image that they have not seen. Where the answer is cut, and the share that the coarse answers have
in it, is chosen on the references, each drawn by a forest that was not trained on it; how well they were drawn tells
how far the answers are to be trusted.

Cost: some seconds once for all images that the same references are shown for; then about 0.2 s of one thread an image.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np
import torch
from sklearn.ensemble import ExtraTreesClassifier
from torch import Tensor
from torch.nn import functional as F

from sqp.core.seeding import numpy_generator
from sqp.core.types import Embedding, Segmenter
from sqp.metrics.overlap import dice
from sqp.segmenters.personalised import PersonalisedSegmenter, grouped, halves_of, patches, shares_of
from sqp.segmenters.pixel_features import Pixels, filters, on_own_grid, place

COMPONENTS = 24
"""Principal components of the encoding that the forest reads."""
RIDGE = 30.0
FOREGROUND, BACKGROUND = 6_000, 10_000
"""Most pixels of all references that a forest learns from."""
FOLDS = 4
CUTS = np.linspace(0.1, 0.9, 33)
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""What may be chosen: where the answer is cut, and the forest's share in it beside the coarse ones."""
EPS = 1e-3  # a forest says 0 and 1; its logit must be finite


class PixelClassifier(PersonalisedSegmenter):
    """An in-context segmenter (`sqp.core.types.InContextSegmenter`) that is trained on the references.

    In the reverse direction, where every judged mask is the only example, it does as `personalised` does.
    """

    def __init__(self, base: Segmenter) -> None:
        super().__init__(base)
        self.name = "pixel_classifier"

    def features(self, image: np.ndarray, embedding: Embedding | None = None) -> Pixels:  # type: ignore[override]
        """What the forest reads of an image.

        Args:
            image: uint8 `[h, w, 3]`.
            embedding: the promptable segmenter's, of this image; None: it is made.

        Returns:
            On the CPU.
        """
        embedding = self.base.encode(image) if embedding is None else embedding
        return Pixels(filters(image), on_own_grid(embedding), patches(embedding))

    def summary(self, features: Pixels) -> Tensor:  # type: ignore[override]
        """The mean `[c]` of an image's patches.

        Args:
            features: of an image.

        Returns:
            float32.
        """
        return super().summary(features.patches)

    def transfer(  # type: ignore[override]
        self, query: Pixels, supports: Sequence[Pixels]
    ) -> Callable[[Sequence[np.ndarray]], Tensor]:
        """As `personalised`: for masks that come one by one a forest each would take too long.

        Args:
            query: of an image.
            supports: k of them.

        Returns:
            masks bool `[h, w]` -> float32 `[h', w']` in 0..1.
        """
        return super().transfer(query.patches, [support.patches for support in supports])

    def taught(  # type: ignore[override]
        self, supports: Sequence[Pixels], masks: Sequence[np.ndarray], groups: Sequence[str] | None = None
    ) -> TaughtForest:
        """The forest of k references.

        Args:
            supports: k of them.
            masks: bool `[h, w]`.
            groups: of each; None: every one is its own.

        Returns:
            What it draws.
        """
        return TaughtForest(self, supports, masks, grouped(groups, len(masks)))


class TaughtForest:
    """`taught(query)` -> what the references would have drawn, float32 `[h, w]` in 0..1, 0.5 at the border.

    `reached` is the Dice of each reference as those of other groups draw it, empty where there is a single group.
    """

    def __init__(
        self, segmenter: PixelClassifier, supports: Sequence[Pixels], masks: Sequence[np.ndarray], groups: Sequence[str]
    ) -> None:
        self.segmenter = segmenter
        self.supports, self.masks = list(supports), list(masks)
        self.ridges = Ridges([s.encoding for s in supports], masks)
        names = list(dict.fromkeys(groups))
        members = {name: [i for i, group in enumerate(groups) if group == name] for name in names}
        planes = [self._planes(pixels, members[group]) for pixels, group in zip(supports, groups, strict=True)]
        drawn = [halves_of(mask, plane.shape[1:]) for mask, plane in zip(masks, planes, strict=True)]
        picked = [_picked(plane, mask, len(masks)) for plane, mask in zip(planes, drawn, strict=True)]
        self.forest = _forest(picked)
        self.share, self.cut, self.reached, self.mixed = 0.5, 0.5, list[float](), list[Tensor]()
        if len(names) > 1:
            numbers = [names.index(group) for group in groups]
            self.share, self.cut, self.reached, self.mixed = _chosen(picked, planes, drawn, numbers)

    def __call__(self, query: Pixels) -> Tensor:
        """Of an image."""
        planes = self._planes(query)
        return self._cut(_mixed(_probability(self.forest, planes), planes, self.share))

    def of_reference(self, number: int) -> Tensor:
        """Of a reference, by a forest that was not trained on it."""
        return self._cut(self.mixed[number])

    def _cut(self, mixed: Tensor) -> Tensor:
        """A probability so that the border is at 0.5."""
        logits = torch.logit(mixed.double().clamp(EPS, 1 - EPS))
        return torch.sigmoid(logits - np.log(self.cut / (1 - self.cut))).float()

    def _planes(self, pixels: Pixels, left_out: Sequence[int] = ()) -> Tensor:
        """`[f, h, w]`: filters, components of the encoding and, last, both coarse answers, without references that are
        left out; these are 0.5 everywhere where there is no other."""
        encoding = pixels.encoding
        others = [i for i in range(len(self.masks)) if i not in left_out]
        ridge = nearest = torch.full(encoding.shape[1:], 0.5)
        if others:
            ridge = self.ridges.drawn(encoding, left_out)
            transfer = self.segmenter.transfer(pixels, [self.supports[i] for i in others])
            nearest = _resized(transfer([self.masks[i] for i in others]), ridge.shape)
        coarse = torch.cat([self.ridges.components(encoding), ridge[None], nearest[None]])
        return torch.cat([pixels.filters, F.interpolate(coarse[None], pixels.filters.shape[1:], mode="bilinear")[0]])


class Ridges:
    """Ridge regressions of masks on encodings: by all references, and by all but one, whose sums are taken away."""

    def __init__(self, encodings: Sequence[Tensor], masks: Sequence[np.ndarray]) -> None:
        self.squares, self.products = [], []
        for encoding, mask in zip(encodings, masks, strict=True):
            rows = _in_context_of(encoding).flatten(1).double()
            self.squares.append(rows @ rows.T)
            self.products.append(rows @ shares_of(mask, encoding.shape[1:]).flatten().double())
        self.square, self.product = torch.stack(self.squares).sum(0), torch.stack(self.products).sum(0)
        self.weights = _solved(self.square, self.product)
        channels = len(encodings[0])
        vectors = torch.linalg.eigh(self.square[:channels, :channels])[1]
        self.axes = vectors[:, -min(COMPONENTS, channels) :].T.float()

    def components(self, encoding: Tensor) -> Tensor:
        """`[COMPONENTS, h', w']` of an encoding, or as many as it has channels."""
        return torch.tensordot(self.axes, encoding, dims=1)

    def drawn(self, encoding: Tensor, left_out: Sequence[int] = ()) -> Tensor:
        """The share `[h', w']` that a mask is expected to have in each cell."""
        weights = self.weights
        if left_out:
            square, product = self.square.clone(), self.product.clone()
            for i in left_out:
                square -= self.squares[i]
                product -= self.products[i]
            weights = _solved(square, product)
        return torch.tensordot(weights, _in_context_of(encoding), dims=1)


def build_pixel_classifier(
    base: Segmenter, checkpoint: str | os.PathLike | None = None, device: str | torch.device = "cpu"
) -> PixelClassifier:
    """The builder that the table names.

    Args:
        base: whose encoding is read.
        checkpoint: not read, as it has no weights of its own.
        device: not read; it works on the CPU.

    Returns:
        The segmenter.
    """
    return PixelClassifier(base)


def _solved(square: Tensor, product: Tensor) -> Tensor:
    """The weights `[c']` of a ridge regression, float32."""
    return torch.linalg.solve(square + RIDGE * torch.eye(len(square), dtype=square.dtype), product).float()


def _in_context_of(encoding: Tensor) -> Tensor:
    """`[c', h', w']`: an encoding, its mean over 5 x 5 cells, the place, and 1; scaled so that `RIDGE` suits all."""
    around = F.avg_pool2d(encoding[None], 5, 1, 2, count_include_pad=False)[0]
    where = place(encoding.shape[1:])
    return torch.cat([4 * encoding, 4 * around, 2 * where, 2 * torch.ones_like(where[:1])])


def _picked(planes: Tensor, mask: np.ndarray, references: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels `[n, f]` of a reference to learn from, and whether they are drawn: both kinds, drawn ones in excess."""
    rng, rows, labels = numpy_generator(0, "pixels", mask.shape), planes.flatten(1).T.numpy(), mask.ravel()
    chosen = [
        rng.permutation(np.flatnonzero(labels == kind))[: most // references]
        for kind, most in ((True, FOREGROUND), (False, BACKGROUND))
    ]
    index = np.concatenate(chosen)
    return rows[index], labels[index]


def _forest(picked: Sequence[tuple[np.ndarray, np.ndarray]]) -> ExtraTreesClassifier:
    forest = ExtraTreesClassifier(60, min_samples_leaf=4, max_features=0.3, random_state=0)
    return forest.fit(*(np.concatenate(parts) for parts in zip(*picked, strict=True)))


def _probability(forest: ExtraTreesClassifier, planes: Tensor) -> Tensor:
    """float32 `[h, w]`; 1 or 0 everywhere where the references had pixels of one kind alone."""
    said = forest.predict_proba(planes.flatten(1).T.numpy())
    column = said[:, list(forest.classes_).index(True)] if True in forest.classes_ else np.zeros(len(said))
    return torch.from_numpy(column.astype(np.float32)).reshape(planes.shape[1:])


def _chosen(
    picked: Sequence[tuple[np.ndarray, np.ndarray]],
    planes: Sequence[Tensor],
    drawn: Sequence[np.ndarray],
    groups: Sequence[int],
) -> tuple[float, float, list[float], list[Tensor]]:
    """The forest's share and the cut with the best mean Dice over references that it has not seen; the Dice, and what
    was drawn, of each. `groups` are numbered from 0, and none is cut in two."""
    said = [torch.empty(0)] * len(picked)
    for number in range(min(FOLDS, max(groups) + 1)):
        forest = _forest([part for part, group in zip(picked, groups, strict=True) if group % FOLDS != number])
        for i in [i for i, group in enumerate(groups) if group % FOLDS == number]:
            said[i] = _probability(forest, planes[i])
    best, found = -1.0, (0.5, 0.5, list[float](), list[Tensor]())
    for share in SHARES:
        mixed = [_mixed(p, plane, share) for p, plane in zip(said, planes, strict=True)]
        for cut in CUTS:
            reached = [dice((p >= cut).numpy(), mask) for p, mask in zip(mixed, drawn, strict=True)]
            if np.mean(reached) > best:
                best, found = float(np.mean(reached)), (share, float(cut), reached, mixed)
    return found


def _mixed(probability: Tensor, planes: Tensor, share: float) -> Tensor:
    """A share of the forest's answer, and of the mean of both coarse ones."""
    return share * probability + (1 - share) * planes[-2:].mean(0).clamp(0, 1)


def _resized(plane: Tensor, shape: Sequence[int]) -> Tensor:
    """`[h, w]` at another size, bilinear."""
    return F.interpolate(plane[None, None], tuple(shape), mode="bilinear", align_corners=False)[0, 0]
