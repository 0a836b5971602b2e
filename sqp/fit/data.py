"""Which cases a network is fitted on, and which ones say when to stop."""

from __future__ import annotations

from sqp.config.fit import FitConfig
from sqp.core.errors import ConfigError
from sqp.core.types import Case
from sqp.data import find_cases
from sqp.data.licences import of_licences
from sqp.data.split_files import read_splits
from sqp.data.splits import apply_splits, subset_by_group, with_default_splits
from sqp.fit.task import FitTask


def fit_cases(config: FitConfig, task: FitTask) -> tuple[list[Case], list[Case]]:
    """(fitted on, held for early stopping): cases that the task can use, by their splits.

    ConfigError where one of the two parts is empty.
    """
    used = (*config.train_splits, config.val_split)
    cases = [case for case in split_cases(config) if case.split in used and task.usable(case)]
    cases = of_licences(cases, config.licence)
    if config.max_images:
        cases = subset_by_group(cases, config.max_images, config.seed)
    held = [case for case in cases if case.split == config.val_split]
    fitted = [case for case in cases if case.split != config.val_split]
    for part, names in ((fitted, config.train_splits), (held, [config.val_split])):
        if not part:
            raise ConfigError(
                f"no case {task.needs} is in split {', '.join(names)}: give --splits FILE with such a split "
                "(`sqp splits` makes one), or other names in --train_splits and --val_split"
            )
    return fitted, held


def split_cases(config: FitConfig) -> list[Case]:
    """All cases of the data with their splits."""
    cases = list(find_cases(config.images, truth=config.truth, layout=config.layout, labels=config.label).cases)
    if config.splits:
        return apply_splits(cases, read_splits(config.splits))
    return with_default_splits(cases, config.seed)[0]
