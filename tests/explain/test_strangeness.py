from __future__ import annotations

import nibabel
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from sqp.core.errors import ConfigError
from sqp.data.synthetic import synthetic_lesion
from sqp.explain import strangeness
from sqp.explain.strangeness import DISTANCES, MADE, foreign_images, natural_photos, ood_table

SIZE = (48, 64)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return synthetic_lesion(np.random.default_rng(0), SIZE).image


def test_what_is_made_of_an_image(image):
    made = {name: make(image) for name, make in MADE.items()}
    assert all(m.shape == image.shape and m.dtype == np.uint8 for m in made.values())
    assert (made["flipped polarity"].astype(int) + image == 255).all()
    assert len(np.unique(made["blank image"].reshape(-1, 3), axis=0)) == 1
    steps = [np.abs(np.diff(m.astype(int), axis=1)).mean() for m in (made["strong blur"], image)]
    assert steps[0] < 0.5 * steps[1]


def test_photographs_are_seeded_and_of_the_size_asked_for():
    one, again = (natural_photos(4, SIZE, np.random.default_rng(1)) for _ in range(2))
    assert len(one) == 4 and all(m.shape == (*SIZE, 3) for m in one)
    assert all((a == b).all() for a, b in zip(one, again, strict=True))


def test_without_photographs(monkeypatch):
    monkeypatch.setattr(strangeness, "PHOTOS", ("nothing.png",))
    with pytest.raises(ConfigError, match=r"no photograph in .* --ood_images 0"):
        natural_photos(1, SIZE, np.random.default_rng(0))


def test_a_folder_of_images_and_one_of_volumes(tmp_path, image):
    (tmp_path / "other").mkdir()
    Image.fromarray(image).save(tmp_path / "other" / "a.png")
    assert foreign_images(tmp_path / "other", 5, (20, 30))[0].shape == (20, 30, 3)
    (tmp_path / "mr").mkdir()
    volume = np.zeros((10, 12, 5), np.float32)
    volume[2:8, 3:9, 2] = 700  # the middle slice alone has something in it
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "mr" / "v.nii.gz")
    (found,) = foreign_images(tmp_path / "mr", 5, (12, 10))
    assert found.shape == (12, 10, 3) and found.dtype == np.uint8
    assert (found[3:9, 2:8] == 255).all() and found[0, 0].tolist() == [0, 0, 0]


def test_a_folder_without_images(tmp_path):
    with pytest.raises(ConfigError, match="holds no images and no NIfTI volumes"):
        foreign_images(tmp_path, 1, SIZE)


def test_auroc_is_scikit_learns():
    rng = np.random.default_rng(0)
    inside = pd.DataFrame({"group": [f"g{i // 2}" for i in range(40)], "ood_distance": rng.normal(0, 1, 40)})
    far = pd.DataFrame({"group": [f"g{i}" for i in range(20)], "ood_distance": rng.normal(1, 1, 20)})
    unknown = dict.fromkeys(set(DISTANCES) - {"ood_distance"}, np.nan)
    inside, far = (t.assign(**unknown, verdict="accept") for t in (inside, far))
    far.loc[:4, "verdict"] = "abstain"
    table = ood_table(inside, {"blank image": far}, 200, 0)
    assert table["distance"].tolist() == ["model, Mahalanobis"]  # the bundle has nothing else
    row = table.iloc[0]
    expected = roc_auc_score([0] * 40 + [1] * 20, [*inside["ood_distance"], *far["ood_distance"]])
    assert row["auroc"] == pytest.approx(expected) and row["auroc_low"] < expected < row["auroc_high"]
    assert (row["n"], row["n_inside"], row["abstained"], row["abstained_inside"]) == (20, 40, 0.25, 0)
