"""The metrics of torchmetrics: as the functions, over batches, after a reset, and merged as over processes."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from torchmetrics import MetricCollection

from sqp.integrations.torchmetrics import AURC, IntervalCoverage, RiskAtCoverage
from sqp.metrics.intervals import coverage
from sqp.metrics.selective import aurc, risk_at_coverage

RNG = np.random.default_rng(0)
DICE = RNG.uniform(0.2, 1, 60)
PREDICTED = np.round(np.clip(DICE + RNG.normal(0, 0.1, 60), 0, 1), 2)  # with ties
LOW, HIGH = PREDICTED - 0.12, PREDICTED + 0.08
CASES = {
    "aurc": (AURC, (PREDICTED, DICE), aurc(PREDICTED, 1 - DICE)),
    "risk": (RiskAtCoverage, (PREDICTED, DICE), risk_at_coverage(PREDICTED, 1 - DICE)),
    "risk at half": (
        lambda **options: RiskAtCoverage(0.5, **options),
        (PREDICTED, DICE),
        risk_at_coverage(PREDICTED, 1 - DICE, 0.5),
    ),
    "coverage": (IntervalCoverage, (LOW, HIGH, DICE), coverage(LOW, HIGH, DICE)),
}


def batches(columns: tuple[np.ndarray, ...], size: int) -> list[tuple[torch.Tensor, ...]]:
    return [tuple(torch.from_numpy(c[i : i + size]) for c in columns) for i in range(0, len(columns[0]), size)]


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


def test_batches_give_what_the_function_gives_of_all_rows(case):
    make, columns, expected = case
    metric = make()
    for batch in batches(columns, 7):
        metric.update(*batch)
    assert metric.compute().item() == pytest.approx(expected, abs=1e-6)
    metric.reset()
    metric.update(*batches(columns, 60)[0])
    assert metric.compute().item() == pytest.approx(expected, abs=1e-6)


def test_forward_gives_the_batch_and_keeps_all(case):
    make, columns, expected = case
    metric, alone = make(), make()
    for batch in batches(columns, 20):
        value = metric(*batch)
        alone.reset()
        alone.update(*batch)
        assert value.item() == alone.compute().item()
    assert metric.compute().item() == pytest.approx(expected, abs=1e-6)


def test_two_processes_are_one(case):
    """What torchmetrics does over processes: every state is gathered, then joined as the metric says."""
    make, columns, expected = case
    first, second = batches(columns, 30)
    gathered = iter([[a, b] for a, b in zip(first, second, strict=True)])
    one = make(dist_sync_fn=lambda state, group: next(gathered), distributed_available_fn=lambda: True)
    one.update(*first)
    assert one.compute().item() == pytest.approx(expected, abs=1e-6)


def test_merged_states_are_those_of_all_rows(case):
    make, columns, expected = case
    one, other = make(), make()
    first, *rest = batches(columns, 25)
    one.update(*first)
    for batch in rest:
        other.update(*batch)
    one.merge_state(other)
    assert one.compute().item() == pytest.approx(expected, abs=1e-6)


def test_a_metric_survives_a_pickle_and_a_collection(case):
    make, columns, expected = case
    metric = pickle.loads(pickle.dumps(make()))
    collected = MetricCollection({"a": metric, "b": make()})
    collected.update(*batches(columns, 60)[0])
    assert all(value.item() == pytest.approx(expected, abs=1e-6) for value in collected.compute().values())


def test_masks_that_were_abstained_from_are_left_out():
    metric = AURC()
    metric.update(torch.tensor([0.9, float("nan"), 0.5]), torch.tensor([1.0, 0.1, 0.6]))
    assert metric.compute().item() == pytest.approx(0.1)


def test_without_rows_there_is_no_number():
    metric = IntervalCoverage()
    metric.update(*[torch.zeros(0)] * 3)
    assert torch.isnan(metric.compute())


def test_wrong_rows_and_a_wrong_share_are_told():
    with pytest.raises(ValueError, match="predicted, dice have 2, 3 rows"):
        AURC().update(torch.zeros(2), torch.zeros(3))
    with pytest.raises(ValueError, match=r"coverage is 1\.5; it must be above 0 and at most 1"):
        RiskAtCoverage(1.5)
