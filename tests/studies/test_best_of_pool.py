"""Best-of over a pool: choices by hand, shares by hand, record sets that do not fit together."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recordsets import CONFIG, make_record_set

from sqp.core.errors import ConfigError
from studies import best_of as stage
from studies.best_of import Pool, best_of, choose, read_pool, recovered

SPLITS = {"val": 4, "test": 6}


@pytest.fixture
def sets(tmp_path):
    """Two methods of the same images: seeds set their masks apart."""
    return {
        name: make_record_set(tmp_path / name, SPLITS, ("natural", "erosion"), seed=seed)
        for name, seed in (("otsu", 0), ("localizer", 1))
    }


def pool(dice, predicted, val=((0.7, 0.5),) * 2):
    """Methods a and b: rows of (a, b) for the images of test; on val a is better unless told."""
    rows = []
    for split, table in (("test", zip(dice, predicted, strict=True)), ("val", zip(val, val, strict=True))):
        for k, (d, p) in enumerate(table):
            for name, one, value in zip("ab", d, p, strict=True):
                rows.append({"image_id": f"{split}{k}", "group": f"{split}{k // 2}", "split": split, "method": name}
                            | {"dice": one, "iou": one / (2 - one), "predicted_dice": value})  # fmt: skip
    return Pool(pd.DataFrame(rows), ["a", "b"], {})


def test_the_table_by_hand():
    dice = ((0.9, 0.5), (0.2, 0.8), (0.6, 0.7), (0.0, 0.4))
    found = best_of(pool(dice, ((0.9, 0.1), (0.1, 0.9), (0.9, 0.1), (np.nan, np.nan))), "test", n_resamples=200)
    table = found.set_index("method")
    assert table.dice.to_dict() == pytest.approx({
        "a": 0.425, "b": 0.6, "best-of by predicted_dice": (0.9 + 0.8 + 0.6 + 0.0) / 4,
        "best-of by the truth (oracle)": 0.7,
    })  # fmt: skip
    assert table.best_on_val.to_dict()["a"] and not table.best_on_val["b"]  # although b is better on test
    row = table.loc["best-of by predicted_dice"]
    assert row.recovered == pytest.approx((0.575 - 0.425) / (0.7 - 0.425))
    assert row.recovered_low <= row.recovered <= row.recovered_high
    assert table.failures["a"] == 0.25 and table.failures["b"] == 0
    assert set(table.n) == {4} and set(table.groups) == {2}


def test_a_perfect_quality_model_recovers_all():
    rng = np.random.default_rng(0)
    dice = rng.uniform(0, 1, (30, 2))
    row = best_of(pool(dice, dice), "test", n_resamples=100).set_index("method").loc["best-of by predicted_dice"]
    assert (row.recovered, row.recovered_low, row.recovered_high) == pytest.approx((1, 1, 1))
    blind = best_of(pool(dice, np.full((30, 2), np.nan)), "test", n_resamples=100).set_index("method")
    assert blind.recovered["best-of by predicted_dice"] == 0  # nothing to choose by: the best single method


@given(st.lists(st.tuples(*[st.floats(0, 1)] * 3), min_size=1, max_size=8), st.integers(0, 2))
def test_a_choice_lies_between_the_worst_and_the_oracle(values, fallback):
    table = np.array(values)
    index = np.arange(len(table))
    assert (table[index, choose(table, fallback)] == table.max(axis=1)).all()
    assert np.isnan(recovered(table.max(1), table.max(1), table.max(1)))


def test_a_pool_holds_natural_masks_of_images_that_all_methods_have(sets, tmp_path, monkeypatch):
    wider = make_record_set(tmp_path / "wider", {"val": 4, "test": 9}, ("natural",), seed=2)
    found = read_pool(sets | {"centre": wider}, None, ("val", "test"))
    assert found.left_out == {"test": 3} and found.methods == ["otsu", "localizer", "centre"]
    assert len(found.rows) == 3 * (4 + 6) and "predicted_dice" not in found.rows
    table = best_of(found, "test", n_resamples=50)
    assert {"best-of by c_lesion", "best-of by soft_dice_confidence"} <= set(table.method)
    assert "spearman" not in table and table.dice.iloc[-1] == table.dice.max()  # the oracle is last
    calls = []

    def predict(bundle, folders, record_ids, progress):
        calls.append((bundle, len(record_ids)))
        rows = pd.concat([stage.RecordSet(folder).table for folder in folders])
        rows = rows[rows.record_id.isin(record_ids)]
        return rows.assign(predicted_dice=rows.dice)

    monkeypatch.setattr(stage, "predict_records", predict)
    seen = best_of(read_pool(sets, "bundle", ("val", "test")), "test", n_resamples=50).set_index("method")
    assert calls == [("bundle", 10)] * 2 and seen.recovered["best-of by predicted_dice"] == pytest.approx(1)
    assert seen.spearman["otsu"] == pytest.approx(1)


def test_what_is_no_pool(sets, tmp_path):
    with pytest.raises(ConfigError, match="at least two methods; given: a"):
        read_pool({"a": sets["otsu"]}, None, ("test",))
    none = make_record_set(tmp_path / "none", SPLITS, ("natural",), truth=False)
    with pytest.raises(ConfigError, match=r"records of .*none have no Dice"):
        read_pool({"a": sets["otsu"], "b": none}, None, ("test",))
    with pytest.raises(ConfigError, match=r"b: .* no natural record of its prompter in splits raters"):
        read_pool({"b": sets["otsu"], "a": sets["localizer"]}, None, ("raters",))
    with pytest.raises(ConfigError, match=r"b: .*:centre holds no natural record"):
        read_pool({"a": sets["otsu"], "b": f"{sets['otsu']}:centre"}, None, ("test",))
    other = make_record_set(tmp_path / "o", {"val": 4}, ("natural",), config=CONFIG)
    with pytest.raises(ConfigError, match=r"b: .* no natural record"):
        read_pool({"a": sets["otsu"], "b": other}, None, ("test",))
