"""The page of the risk rule, against the binomial test in closed form and by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from sqp.evaluation.evidence import known
from sqp.evaluation.pages.risk import RISKS, by_risk, risk_page
from sqp.metrics.stats import bootstrap
from sqp.quality.judging.risk import SPARE, RiskEvidence


@pytest.fixture
def made(evidence):
    """500 calibration groups, bad below a low end of 0.4 and one in 25 above; low ends of the test rows are spread."""
    one = evidence(lambda t: t.assign(low=np.linspace(0, 1, len(t)), high=1.0))
    low = (np.arange(500) + 0.5) / 500
    dice = np.where((low < 0.4) | (np.arange(500) % 25 == 0), 0.2, 0.9)
    return replace(one, risk=RiskEvidence.fit(low, dice, np.arange(500), low))


def closed_form(risk: RiskEvidence, asked: float) -> float:
    """The threshold by scipy's binomial distribution: the last that passes before the first that fails."""
    needed = next(n for n in range(SPARE + 1, 10_000) if binom.cdf(SPARE, n, asked) <= 0.1)
    start, threshold = int(np.ceil(needed / len(risk.dice) * len(risk.thresholds))) - 1, np.nan
    for candidate in risk.thresholds[start:]:
        accepted = risk.low >= candidate
        if binom.cdf((risk.dice[accepted] < 0.7).sum(), accepted.sum(), asked) > 0.1:
            break
        threshold = candidate
    return float(threshold)


def test_thresholds_and_shares_in_closed_form(made):
    part = made.parts[-1]
    rows = known(part.test)
    table = by_risk(made, rows).set_index("asked")
    assert tuple(table.index) == RISKS
    for asked, row in table.iterrows():
        threshold = closed_form(made.risk, asked)
        assert row.threshold == pytest.approx(threshold, abs=1e-7, nan_ok=True)
        accepted = (rows["low"] >= threshold) & (rows["verdict"] != "abstain")
        assert row.n_accepted == accepted.sum() and row.n_bad == (rows["dice"][accepted] < 0.7).sum()
        assert row.share == pytest.approx(accepted.mean())
        if accepted.any():
            assert row.bad == pytest.approx((rows["dice"][accepted] < 0.7).mean()) and row.note == ""
    assert table.threshold.isna().any() and table.threshold.notna().sum() >= 4  # at 2 % one in twenty-five is too many
    known_thresholds = table.threshold.dropna()
    assert known_thresholds.is_monotonic_decreasing
    assert 0.4 > known_thresholds.iloc[-1] > 0.2  # 20 % risk: some of the bad ones may come with it


def test_intervals_are_the_bootstrap_of_groups(made):
    rows = known(made.parts[-1].test)
    row = by_risk(made, rows).set_index("asked").loc[0.2]
    accepted = (rows["low"] >= row.threshold).to_numpy()
    failed = (rows["dice"] < 0.7).to_numpy()
    options = {"group": rows["group"].to_numpy(), "n_resamples": made.config.n_resamples, "seed": made.config.seed}
    assert (row.share_low, row.share_high) == pytest.approx(bootstrap(lambda a: a.mean(), accepted, **options))
    share = bootstrap(lambda a, f: f[a].mean() if a.any() else np.nan, accepted, failed, **options)
    assert (row.bad_low, row.bad_high) == pytest.approx(share)


def test_abstentions_are_not_accepted(made, evidence):
    rows = known(made.parts[-1].test)
    all_out = rows.assign(verdict="abstain")
    table = by_risk(made, all_out)
    assert (table["n_accepted"] == 0).all() and (table["share"] == 0).all() and table["bad"].isna().all()
    assert set(table["note"][table["threshold"].notna()]) == {"no test mask reaches the threshold"}


def test_few_groups_and_no_bundle_have_their_reasons(made):
    few = RiskEvidence.fit(np.full(9, 0.9), np.ones(9), np.arange(9), [0.9])
    table = by_risk(replace(made, risk=few), known(made.parts[0].test)).set_index("asked")
    assert np.isnan(table.loc[0.05, "threshold"]) and table.loc[0.05, "share"] == 0
    assert table.loc[0.05, "note"] == "no threshold passes on 9 calibration groups: nothing is accepted"
    page = risk_page(replace(made, risk=None))
    assert all((table["note"] == "no bundle that keeps its calibration records: no threshold").all()
               for table in page.tables["risk"])  # fmt: skip


def test_the_page(made, tmp_path):
    page = risk_page(made)
    files = page.write(tmp_path)
    assert files["risk_csv"].exists() and files["risk_png"].stat().st_size > 10_000
    text = files["risk"].read_text()
    assert "# Accepting at a chosen risk" in text and "90% confidence" in text
    assert "low end from" in text and "masks are bad" in text
