"""`sqp fit segmenter|localizer|classifier`: train a network that the generator uses."""

from __future__ import annotations

from sqp.config.fit import FitConfig
from sqp.fit.run import FitResult, fit_network


def run(config: FitConfig) -> FitResult:
    """Fit the network: see `fit_network`."""
    return fit_network(config)
