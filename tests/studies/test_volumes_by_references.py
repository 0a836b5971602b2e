"""Corrupted masks of tiny volumes, judged beside others: what is drawn, and that test and calibration stay apart."""

from __future__ import annotations

import pandas as pd
import pytest
import yaml
from beside_references import referenced_bundle
from fakes import Seeing
from few_lesions import copy_lesions, names_of
from tiny_volumes import write_data

from sqp import segmenters
from sqp.data.split_files import write_splits
from sqp.data.splits import Splits
from sqp.data.volumes import read_structure
from sqp.metrics.overlap import dice
from studies import volumes_by_references

SPLITS = {"train": range(2), "calibration": range(2, 3), "test": range(3, 5)}


@pytest.fixture(scope="module")
def made(lesions, fake_for_module, tmp_path_factory):
    """The folder of a whole run."""
    home = tmp_path_factory.mktemp("volumes")
    write_data(home / "data", 5)
    names = {split: [f"v{number:02d}" for number in numbers] for split, numbers in SPLITS.items()}
    write_splits(home / "splits.json", Splits({s: {name: (name,) for name in some} for s, some in names.items()}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(segmenters.SEGMENTERS, "fake", lambda checkpoint=None, **options: Seeing(size=64, stride=4))
        copy_lesions(lesions, home / "refs", names_of(lesions)[-3:])
        settings = {
            "images": str(home / "data"),
            "splits": str(home / "splits.json"),
            "label": [1, 2],
            "model": str(referenced_bundle(lesions, home / "refs", home)),
            "references": 2,
            "most": {"test": 2, "calibration": 1},
            "families": ["erosion", "shift"],
            "targets": [0.9, 0.6],
            "n_resamples": 20,
        }
        (home / "c.yaml").write_text(yaml.safe_dump(settings))
        volumes_by_references.main([str(home / "c.yaml"), str(home / "out")])
    return home / "out"


def test_the_masks_are_as_good_as_they_are_to_be(made):
    table = pd.read_csv(made / "data" / "judged.csv").set_index("image_id")
    assert len(table) == 6 and set(table["split"]) == {"test", "calibration"}
    assert not set(pd.read_csv(made / "data" / "references.csv")["image_id"]) & set(table["group"])
    for name, row in table.iterrows():
        mask, truth = (read_structure(row[kind])[0] for kind in ("mask", "truth"))
        assert dice(mask, truth) == pytest.approx(0.6 if str(name).endswith("1") else 0.9, abs=0.1)


def test_the_tables_are_of_test(made):
    rows = pd.read_csv(made / "volumes.csv")
    assert len(rows) == 6 and set(rows["variant"]) == {"erosion", "shift"} and rows["predicted_dice"].notna().all()
    table = pd.read_csv(made / "agreement.csv").set_index("method")
    assert table.loc["quality_model", "n"] == 4 and table.loc["quality_model", "n_groups"] == 2
    assert {"rca_mean", "area", "predict_the_median"} <= set(table.index)
    assert "4 masks of 2 patients" in (made / "volumes.md").read_text()
