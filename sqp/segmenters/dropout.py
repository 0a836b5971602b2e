"""Dropout for inference only, at sites chosen by name, in a network that may have none (Ledda et al. 2023).

Ledda, Fumera, Roli: Dropout injection at test time for post hoc uncertainty quantification in neural networks,
Information Sciences 645. Official SAM has no dropout layer and TinyViT's are built with rate 0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.dropout import _DropoutNd

from sqp.core.errors import ConfigError
from sqp.core.types import Segmenter

AUTO = "auto"
PREFERRED = ("own", "decoder", "convolutions")  # what `auto` is: the first of these that a network has
ENCODER = "image_encoder."  # what lies below runs when an image is encoded, all else when a prompt is decoded
CHANNELWISE = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


def _own(network: nn.Module) -> list[str]:
    """The network's own dropout layers of a rate above 0."""
    kinds = (nn.Dropout, *CHANNELWISE)
    return [name for name, module in network.named_modules() if isinstance(module, kinds) and module.p > 0]


def _named(pattern: str) -> Callable[[nn.Module], list[str]]:
    compiled = re.compile(pattern)
    return lambda network: [name for name, _ in network.named_modules() if compiled.fullmatch(name)]


def _convolutions(network: nn.Module) -> list[str]:
    """Every convolution of a plain network but the last one, whose output are the logits."""
    if hasattr(network, "image_encoder"):
        return []
    return [name for name, module in network.named_modules() if isinstance(module, _ConvNd)][:-1]


_LAYER = r"mask_decoder\.transformer\.layers\.\d+\."
SITES: dict[str, Callable[[nn.Module], list[str]]] = {
    "own": _own,
    "decoder": _named(
        rf"{_LAYER}(mlp\.(act|lin2)|(self_attn|cross_attn_token_to_image)\.out_proj)"
        r"|mask_decoder\.transformer\.final_attn_token_to_image\.out_proj"
        r"|mask_decoder\.output_hypernetworks_mlps\.\d+\.layers\.[01]"
    ),
    "decoder_image": _named(rf"{_LAYER}cross_attn_image_to_token\.out_proj"),
    "neck": _named(r"image_encoder\.neck\.[13]"),
    "encoder": _named(r"image_encoder\..*\bmlp\.(act|fc2|lin2)"),
    "convolutions": _convolutions,
}
"""name -> network -> the modules whose output is dropped from.

`own`: the dropout layers that a network was trained with, at their own rates. Of the SAM family: `decoder` what the
mask decoder's transformer adds to its tokens (attention, hidden and outer layer of the MLPs) and the hidden layers of
the hypernetworks; `decoder_image` what it adds to the image's features; `neck` the two norms of the encoder's neck;
`encoder` the MLPs of the encoder's blocks. Of plain networks: `convolutions` all but the last one.
"""


def network_of(segmenter: Segmenter) -> nn.Module:
    """The module behind a segmenter; ConfigError where there is none.

    Args:
        segmenter: a segmenter, or an ensemble's member.

    Returns:
        Its module.

    Raises:
        ConfigError: it is no torch network.
    """
    for name in ("sam", "network"):
        if isinstance(found := getattr(segmenter, name, None), nn.Module):
            return found
    raise ConfigError(f"'{segmenter.name}' is no torch network: dropout cannot be injected, use another sampler")


def find_sites(network: nn.Module) -> dict[str, list[str]]:
    """The sites that a network has, each with the names of its modules.

    Args:
        network: the module.

    Returns:
        Site -> names of modules, empty sites left out.

    Examples:
        >>> find_sites(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Dropout(0.1), nn.Conv2d(8, 1, 1)))
        {'own': ['1'], 'convolutions': ['0']}
    """
    found = {site: find(network) for site, find in SITES.items()}
    return {site: names for site, names in found.items() if names}


def _chosen(network: nn.Module, sites: Sequence[str]) -> list[str]:
    """The names of the modules of `sites`, each once; ConfigError names the sites that exist."""
    found = find_sites(network)
    known = ", ".join(found) or "none"
    if not sites:
        raise ConfigError(f"mc_dropout: no site is given; this network has: {known}")
    names: list[str] = []
    for site in sites:
        if site == AUTO:
            site = next((name for name in PREFERRED if name in found), AUTO)
        if site not in found:
            raise ConfigError(f"mc_dropout: this network has no site '{site}'; it has: {known}")
        names += [name for name in found[site] if name not in names]
    return names


class Dropout:
    """What the hooks of `injected_dropout` draw from. Nothing is dropped outside of `drawing`."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self._generators: Sequence[torch.Generator] = ()

    @property
    def in_encoder(self) -> bool:
        """Whether a site lies in the image encoder, so that every sample needs its own encoding."""
        return any(name.startswith(ENCODER) for name in self.names)

    @contextmanager
    def drawing(self, generators: Sequence[torch.Generator]) -> Iterator[None]:
        """Inside the `with`, row i of every batch is dropped from by `generators[i]`: rows do not touch each other.

        Args:
            generators: one a row of the batch.

        Returns:
            a context.
        """
        self._generators = generators
        try:
            yield
        finally:
            self._generators = ()

    def hook(self, rate: float, channelwise: bool) -> Callable[[nn.Module, Any, Tensor], Tensor | None]:
        """A forward hook: elements (or channels) of the output become 0 at `rate`, the others grow by 1/(1 - rate).

        Args:
            rate: dropout rate in (0, 1).
            channelwise: True drops whole channels.

        Returns:
            The hook.
        """

        def drop(_module: nn.Module, _args: Any, output: Tensor) -> Tensor | None:
            if not self._generators:
                return None
            rows = output.unflatten(0, (len(self._generators), -1))
            shape = rows.shape[1:3] + (1,) * (rows.ndim - 3) if channelwise else rows.shape[1:]
            kept = torch.stack([torch.rand(shape, generator=generator) >= rate for generator in self._generators])
            return (rows * kept.to(output).div_(1 - rate)).flatten(0, 1)

        return drop


@contextmanager
def injected_dropout(network: nn.Module, sites: Sequence[str] = (AUTO,), p: float = 0.01) -> Iterator[Dropout]:
    """Inside the `with`, `network` has dropout of rate `p` at `sites` (`own`: at the layers' own rates).

    All modules are in eval mode inside (BatchNorm too) and in their own mode again after, also after an exception; the
    hooks are gone then.

    Args:
        network: the module.
        sites: names of `SITES`, or auto.
        p: dropout rate in (0, 1).

    Returns:
        a context, whose value says what draws.

    Raises:
        ConfigError: the network has no such site (those that it has are named), or `p` is out of range.

    Examples:
        >>> network = nn.Sequential(nn.Conv2d(1, 8, 1), nn.Conv2d(8, 1, 1))
        >>> with injected_dropout(network, ["convolutions"], 0.5) as dropout, dropout.drawing([torch.Generator()]):
        ...     network(torch.ones(1, 1, 4, 4)).shape
        torch.Size([1, 1, 4, 4])
    """
    if not 0 < p < 1:
        raise ConfigError(f"mc_dropout: p is {p}; it must lie between 0 and 1, e.g. 0.01")
    modules = dict(network.named_modules())
    dropout = Dropout(_chosen(network, sites))
    modes = {module: module.training for module in modules.values()}
    handles = []
    try:
        network.eval()
        for name in dropout.names:
            module = modules[name]
            rate = float(module.p) if isinstance(module, _DropoutNd) else p
            handles.append(module.register_forward_hook(dropout.hook(rate, isinstance(module, CHANNELWISE))))
        yield dropout
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes.items():
            module.training = mode
