"""What each kind of network brings to the run that all of `sqp fit` share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from sqp.core.types import Case
from sqp.fit.cache import CachedImages, build_cache, loader
from sqp.fit.module import FitModule, Recipe


class FitTask:
    """One kind of network: `watched` is the number on val that stops the training, higher is better."""

    watched: ClassVar[str]
    needs: ClassVar[str] = "with truth"

    def __init__(self, config: Any) -> None:
        self.config = config

    def usable(self, case: Case) -> bool:
        """Whether a case can be fitted on, or held for early stopping."""
        return bool(case.truth_paths)

    def spec(self, fitted: Sequence[Case]) -> Any:
        """What is to be built."""
        raise NotImplementedError

    def network(self, spec: Any, pretrained: bool, file: Path | None) -> nn.Module:
        """The network of a spec."""
        raise NotImplementedError

    def divisor(self, spec: Any) -> int:
        """What the sides of a batch are multiples of."""
        raise NotImplementedError

    def cache(self, cases: Sequence[Case]) -> Any:
        """What is read of the cases, once; `broken` says by row why a case cannot be used."""
        c = self.config
        return build_cache(cases, c.size, c.cache or Path(c.out) / "cache", c.workers, c.progress)

    def images(self, cache: Any, rows: np.ndarray, spec: Any, cases: Sequence[Case]) -> Any:
        """The rows of a split of it."""
        return CachedImages(cache, rows, self.divisor(spec), self.labels(spec, cases))

    def loader(self, data: Any, batch_size: int, seed: int | None = None) -> Any:
        """Its batches, shuffled by the seed; without one in order."""
        return loader(data, batch_size, seed)

    def module(self, spec: Any, network: nn.Module, recipe: Recipe, fitted: Any) -> FitModule:
        """The LightningModule; `fitted` are the images that it is fitted on."""
        raise NotImplementedError

    def kept(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """What the checkpoint holds, of the trained weights."""
        return weights

    def labels(self, spec: Any, cases: Sequence[Case]) -> np.ndarray | None:
        """A number for each case, where there are labels of images."""
        return None

    def cycles(self) -> int:
        """Cosine cycles of a snapshot ensemble; 0 for one cycle and the best epoch."""
        return 0

    def seeds(self) -> range:
        """The seed of each network."""
        return range(self.config.seed, self.config.seed + 1)

    def name(self) -> str:
        """The checkpoint's name, before its seed."""
        raise NotImplementedError

    def files(self, seed: int) -> dict[str, Path]:
        """What is kept of the network of a seed -> its file."""
        stem, out, cycles = f"{self.name()}-seed{seed}", Path(self.config.out), self.cycles()
        if not cycles:
            return {"best": out / f"{stem}.safetensors"}
        return {f"cycle{k}": out / f"{stem}-cycle{k}.safetensors" for k in range(1, cycles + 1)}

    def next(self, spec: Any, checkpoint: Path) -> str:
        """The options of `sqp generate` that use the checkpoint."""
        raise NotImplementedError

    def report(self, checkpoint: Path) -> str:
        """What else is told of a finished network."""
        return ""
