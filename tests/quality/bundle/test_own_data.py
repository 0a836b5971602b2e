"""A bundle made anew from decisions: within the bounds they set, a group once, promises kept in simulation."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from sqp.core.errors import ConfigError
from sqp.quality.bundle.own_data import own_quantile, recalibrate_on, residual_bounds
from sqp.quality.bundle.storage import Bundle
from sqp.quality.judging.conformal import Conformal, group_quantile
from sqp.quality.judging.decisions import dice_bounds
from sqp.quality.judging.risk import RiskRule

T = 0.8


def masks(rng: np.random.Generator, n: int, off: float = 1.0) -> pd.DataFrame:
    """Masks whose errors are `off` times as large as the scale says, a normal law's."""
    dice, scale = np.clip(1 - rng.gamma(2, 0.08, n), 0, 1), 0.02 + 0.08 * rng.random(n)
    table = pd.DataFrame({"record_id": [f"r{i}" for i in range(n)], "group": [f"g{i}" for i in range(n)], "dice": dice})
    predicted = np.clip(dice + off * scale * rng.standard_normal(n), 0, 1)
    return table.assign(
        predicted_dice=predicted, scale=scale, verdict="review", decision=np.where(dice >= T, "accept", "reject")
    )


def made(old: Conformal, table: pd.DataFrame, exact: bool = False, seed: int = 0):
    known = table["dice"] if exact else None
    nothing = SimpleNamespace()
    bundle = Bundle(nothing, nothing, old, nothing, [], {})
    return recalibrate_on(bundle, table, dice_bounds(table["decision"], T, known), table, T, seed)


OLD = Conformal(1.645, 0.1, 400, 400)


def test_the_true_quantile_lies_within_the_bounds():
    rng = np.random.default_rng(0)
    for off in (0.5, 1.0, 3.0):
        table = masks(rng, 120, off)
        least, most = dice_bounds(table["decision"], T)
        residuals = residual_bounds(table["predicted_dice"], table["scale"], least, most)
        true = (table["dice"] - table["predicted_dice"]).abs() / table["scale"]
        assert (residuals[0] <= true + 1e-9).all() and (true <= residuals[1] + 1e-9).all()
        _, bounds = own_quantile(1.645, residuals, list(table["group"]), 0.1)
        assert bounds[0] <= group_quantile(true, list(table["group"]), 0.1) <= bounds[1]


def test_the_old_width_moves_no_further_than_into_the_bounds():
    residuals = np.linspace(0, 1, 100), np.linspace(2, 4, 100)
    group = list(range(100))
    low, high = (group_quantile(part, group, 0.1) for part in residuals)
    assert [own_quantile(old, residuals, group, 0.1)[0] for old in (0.1, 1.5, 9.0)] == [low, 1.5, high]


def test_intervals_that_are_far_too_narrow_are_widened_until_they_agree_with_the_decisions():
    """The model is three times further off than it thinks: decisions of 90 masks widen it, to what was promised."""
    rng = np.random.default_rng(1)
    agreed = []
    for _ in range(60):
        found = made(OLD, masks(rng, 90, 4.0))
        assert found.after.conformal.quantile == max(OLD.quantile, found.bounds[0])
        new = masks(rng, 2000, 4.0)
        low, high = found.after.conformal.interval(new["predicted_dice"], new["scale"])
        agreed.append(np.where(new["decision"] == "accept", high >= T, low < T).mean())
    assert found.contradicted > 9 and found.after.conformal.quantile > OLD.quantile
    assert np.mean(agreed) >= 0.9 - 0.01


def test_redrawn_masks_give_plain_split_conformal():
    rng = np.random.default_rng(2)
    covered = []
    for _ in range(60):
        table, new = masks(rng, 60, 0.4), masks(rng, 2000, 0.4)
        found = made(OLD, table, exact=True)
        assert found.bounds[0] == found.bounds[1] == found.after.conformal.quantile < OLD.quantile
        low, high = found.after.conformal.interval(new["predicted_dice"], new["scale"])
        covered.append(((low <= new["dice"]) & (new["dice"] <= high)).mean())
    assert found.exact == 60 and found.covered >= 54 and "of 60 redrawn masks" in " ".join(found.lines())
    assert 0.9 - 0.01 <= np.mean(covered) <= 0.94


def test_the_risk_rule_of_decisions_keeps_its_promise():
    """Of 150 draws at most 10 % and chance choose a threshold above which more than a tenth is not good enough."""
    rng, rule = np.random.default_rng(3), RiskRule(0.1, T, 0.9)
    new = masks(rng, 50_000, 2.0)
    broken = accepted = 0
    for seed in range(150):
        found = made(OLD, masks(rng, 120, 2.0), seed=seed)
        choice = found.after.risk.choose(rule)
        low = found.after.conformal.interval(new["predicted_dice"], new["scale"])[0]
        taken = new.loc[low >= choice.threshold, "dice"]
        accepted += choice.some
        broken += choice.some and (taken < T).mean() > rule.risk
    assert broken / 150 <= 0.1 + 3 * np.sqrt(0.09 / 150) and accepted > 40


def test_a_decision_is_careful_at_every_other_failure():
    found = made(OLD, masks(np.random.default_rng(4), 80))
    evidence = found.after.risk
    for failure, accepted_fails in ((0.5, False), (T, False), (0.9, True)):
        failed = evidence.dice < failure
        assert (failed == ((evidence.dice == 0) | accepted_fails)).all()


def test_a_group_counts_once_and_nothing_else_of_the_bundle_changes():
    table = masks(np.random.default_rng(5), 200)
    table["group"] = [f"g{i // 4}" for i in range(200)]
    found = made(OLD, table)
    assert (found.groups, found.records, len(found.after.risk.low)) == (50, 200, 50) and found.contradicted <= 50
    before, after = found.before, found.after
    assert (after.model, after.standardizer, after.ood, after.expects) == (
        *(before.model, before.standardizer, before.ood, before.expects),
    )
    assert after.info["own_data"] == {"decisions": 200, "groups": 50, "threshold": T, "redrawn": 0}


def test_what_abstains_is_no_part_of_the_risk_rule():
    table = masks(np.random.default_rng(6), 80).assign(verdict=["abstain"] * 20 + ["review"] * 60)
    assert len(made(OLD, table).after.risk.low) == 60
    none = made(OLD, table.assign(verdict="abstain"))
    assert none.after.risk is None and "every decided mask abstains" in " ".join(none.lines())


def test_a_choice_of_masks_that_differs_from_the_run_is_said():
    table = masks(np.random.default_rng(7), 400)
    worst = table.sort_values("predicted_dice").head(60)
    bundle = made(OLD, table).before
    for decided, careful in ((worst, True), (table.sample(60, random_state=0), False)):
        found = recalibrate_on(bundle, decided, dice_bounds(decided["decision"], T), table, T)
        assert ("careful: the decided masks" in " ".join(found.lines())) == careful


def test_too_few():
    table = masks(np.random.default_rng(8), 60)
    with pytest.raises(ConfigError, match="49 decisions on masks with a prediction are too few"):
        made(OLD, table.head(49))
    table.loc[:20, "predicted_dice"] = np.nan
    with pytest.raises(ConfigError, match="39 decisions on masks with a prediction are too few"):
        made(OLD, table)
    with pytest.raises(ConfigError, match=r"are of 6 groups .* needs 9"):
        made(OLD, masks(np.random.default_rng(8), 60).assign(group=[f"g{i // 10}" for i in range(60)]))
    assert made(replace(OLD, alpha=0.2), masks(np.random.default_rng(8), 60)).groups == 60
