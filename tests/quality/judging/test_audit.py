"""The audit's sample is fair and stays the same; what it says of a promise that is kept, and of one that is broken."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from sqp.metrics.stats import exact_interval
from sqp.quality.judging.audit import Audit, audit_sample
from sqp.quality.judging.risk import RiskRule

RULE = RiskRule(0.1, 0.7, 0.9)


def table(n: int = 200, groups: int = 100) -> pd.DataFrame:
    rows = pd.DataFrame({"record_id": [f"r{i}" for i in range(n)], "group": [f"g{i % groups}" for i in range(n)]})
    return rows.assign(verdict=np.where(np.arange(n) % 4 == 0, "review", "accept"))


def test_accepted_masks_alone_each_of_another_group():
    rows = table()
    drawn = rows[audit_sample(rows, 30)]
    assert len(drawn) == 30 and drawn["group"].is_unique and set(drawn["verdict"]) == {"accept"}
    assert audit_sample(rows, 1000).sum() == rows.loc[rows["verdict"] == "accept", "group"].nunique()
    assert not audit_sample(rows.assign(verdict="review"), 30).any()


def test_the_same_sample_in_whatever_order_and_a_larger_one_holds_the_smaller():
    rows = table()
    first = set(rows[audit_sample(rows, 20)]["record_id"])
    shuffled = rows.sample(frac=1, random_state=1)
    assert set(shuffled[audit_sample(shuffled, 20)]["record_id"]) == first
    assert first < set(rows[audit_sample(rows, 40)]["record_id"])
    assert set(rows[audit_sample(rows, 20, seed=1)]["record_id"]) != first


def test_groups_are_drawn_alike_however_many_masks_they_have():
    rows = pd.DataFrame(
        {"record_id": [f"r{i}" for i in range(100)], "group": ["many"] * 90 + [f"g{i}" for i in range(10)]}
    )
    rows["verdict"] = "accept"
    seen = sum("many" in set(rows[audit_sample(rows, 2, seed)]["group"]) for seed in range(600))
    assert binomtest(seen, 600, 2 / 11).pvalue > 0.001


@pytest.mark.parametrize(("true", "most_broken", "least_broken"), [(0.1, 0.1, 0.0), (0.05, 0.05, 0.0), (0.3, 1.0, 0.7)])
def test_a_kept_promise_is_seldom_called_broken_and_a_broken_one_often(true, most_broken, least_broken):
    rng = np.random.default_rng(0)
    broken = kept = 0
    for _ in range(400):
        decision = pd.Series(np.where(rng.random(50) < true, "reject", "accept"))
        holds = Audit.of(RULE, 50, decision).holds
        broken, kept = broken + (holds is False), kept + (holds is True)
    assert least_broken <= broken / 400 <= most_broken
    if true >= RULE.risk:
        assert kept / 400 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400) + (true == RULE.risk) * 0.01


def test_what_is_said():
    assert "decide on each of them" in Audit(RULE, 50).sentence() and "So few" not in Audit(RULE, 50).sentence()
    assert "So few cannot show a risk of 0.1, even where none fails: that needs 29." in Audit(RULE, 20).sentence()
    assert "no mask is accepted" in Audit(RULE, 0).sentence()
    assert Audit(RULE, 50, 50, 0).sentence().startswith("the promise holds: 0 of 50 audited masks failed")
    assert "BROKEN" in Audit(RULE, 50, 50, 20).sentence()
    assert Audit(RULE, 50, 50, 6).sentence().startswith("these masks cannot tell")
    assert Audit(RULE, 50, 20, 0).sentence().startswith("20 of the 50 drawn masks are decided, too early")
    assert Audit(RULE, 50, 20, 20).holds is None


def test_the_interval_is_exact():
    assert exact_interval(3, 40, 0.9) == pytest.approx(tuple(binomtest(3, 40).proportion_ci(0.9, "exact")))
    assert np.isnan(exact_interval(0, 0)).all()
    assert Audit(RULE, 29, 29, 0).holds is True and Audit(RULE, 28, 28, 0).holds is None
