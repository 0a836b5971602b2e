"""How many processes segment: what was asked for, or as many as pay off and fit into the machine."""

from __future__ import annotations

from collections.abc import Sequence

from joblib import cpu_count

from sqp.config.generate import GenerateConfig
from sqp.config.referee import NONE
from sqp.data.volumes import is_volume
from sqp.memory import available_memory
from sqp.types import Case

PAYS_AFTER = {True: 32, False: 500}
"""Images a process, with and without a network to run on them: below, its start (some seconds) costs more."""
CORES = {True: 2, False: 1}
"""Cores a process: on two of them one process with two threads encodes as fast as two processes, in half the memory."""
GIGABYTE = 1e9
NEEDS = 2 * GIGABYTE  # LiteMedSAM takes 1.3, and the rest is for large images
LARGE = {"sam_vit_b": 6 * GIGABYTE, "medsam": 6 * GIGABYTE, "sam_vit_l": 9 * GIGABYTE, "sam_vit_h": 12 * GIGABYTE}


def workers_for(config: GenerateConfig, pending: Sequence[Case]) -> int:
    """Processes for the cases that are left, 0 to segment in this one.

    Where none were asked for (`workers` None): so many that all cores work, but no more than pay off and the free
    memory holds; none beside this one for volumes, each of which takes gigabytes, and on a GPU, which one keeps busy.
    """
    if config.workers is not None:
        return config.workers
    if config.device != "cpu" or any(is_volume(case.image_path) for case in pending):
        return 0
    networks = {config.segmenter.name, config.referee.name} - {NONE}
    free, needs = available_memory(), sum(LARGE.get(name, NEEDS) for name in networks) or NEEDS
    found = min(cpu_count() // CORES[bool(networks)], len(pending) // PAYS_AFTER[bool(networks)])
    found = found if free is None else min(found, int(free // needs))
    return found if found > 1 else 0
