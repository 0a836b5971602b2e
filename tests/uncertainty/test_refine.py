"""The contract of the table of refinements, on one scene at the image's size."""

import numpy as np
import pytest
import torch

from sqp.core.errors import CaseError, ConfigError
from sqp.core.types import Prompt
from sqp.uncertainty.measures import entropy
from sqp.uncertainty.rectify import luminance, ur_sam
from sqp.uncertainty.refine import REFINEMENTS, Ensemble, check_refinement, refine

NEEDED = {
    "crf": {},
    "ur_sam_midpoint": {},
    "ur_sam_printed": {"alpha_h": 1.3},
    "unc_fpc": {"threshold": 0.8},
    "unc_fnc": {"threshold": 0.8},
    "unc_fpnc": {"threshold": 0.8},
}


@pytest.fixture
def ensemble(image, truth):
    """The lesion of the image, seen two pixels too far right and blurred."""
    yy, xx = np.mgrid[:48, :64] + 0.5
    logit = 6 * (1 - np.hypot((yy - 20) / 9, (xx - 28) / 14))
    return Ensemble(image, torch.sigmoid(torch.from_numpy(logit).float()), Prompt(box=(12, 11, 42, 29)))


@pytest.mark.parametrize("name", REFINEMENTS)
def test_each_gives_a_mask_of_the_images_size_that_differs(name, ensemble):
    if name == "crf":
        pytest.importorskip("pydensecrf.densecrf")
    found = refine(ensemble, name, **NEEDED[name])
    assert found.mask.dtype == bool and found.mask.shape == (48, 64) and found.unchanged == ""
    assert 0 < (found.mask != ensemble.mask.numpy()).mean() < 0.3
    if found.probability is not None:
        assert found.probability.shape == (48, 64) and ((found.probability >= 0.5).numpy() == found.mask).all()


def test_ur_sam_gets_the_lesion_right(ensemble, truth):
    before = (ensemble.mask.numpy() != truth).mean()
    for name in ("ur_sam_midpoint", "ur_sam_printed"):
        assert (refine(ensemble, name, **NEEDED[name]).mask != truth).mean() < 0.5 * before


def test_the_parts_are_entropy_luminance_and_the_box(ensemble):
    p = ensemble.probability
    torch.testing.assert_close(ensemble.entropy, entropy(torch.logit(p)[None]), rtol=1e-4, atol=1e-4)
    x = luminance(ensemble.image)
    expected = ur_sam(ensemble.mask, ensemble.entropy, x, 30 * 18.0, threshold=0.7)
    assert (refine(ensemble, "ur_sam_midpoint", threshold=0.7).mask == expected.mask.numpy()).all()


def test_an_empty_mask_and_a_box_without_area_stay_and_say_so(ensemble):
    empty = Ensemble(ensemble.image, 0.4 * ensemble.probability, ensemble.prompt)
    found = refine(empty, "ur_sam_midpoint")
    assert not found.mask.any() and found.unchanged == "empty mask"
    flat = Ensemble(ensemble.image, ensemble.probability, Prompt(box=(12, 11, 12, 29)))
    found = refine(flat, "ur_sam_midpoint")
    assert (found.mask == ensemble.mask.numpy()).all() and found.unchanged == "box without area"


def test_points_have_no_box(ensemble):
    points = Ensemble(ensemble.image, ensemble.probability, Prompt(points=((20, 20),), labels=(1,)))
    with pytest.raises(CaseError, match="a prompter that gives a box"):
        refine(points, "ur_sam_midpoint")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("urs_am_midpoint", {}, "did you mean 'ur_sam_midpoint'"),
        ("ur_sam_midpoint", {"treshold": 1}, "did you mean 'threshold'"),
        ("ur_sam_printed", {}, "needs the option alpha_h, which has no default: choose it on val"),
        ("unc_fpc", {}, "needs the option threshold"),
        ("ur_sam_printed", {"alpha_h": "much"}, "cannot use the options"),
    ],
)
def test_wrong_names_and_options_are_told(name, options, message):
    with pytest.raises(ConfigError, match=message):
        check_refinement(name, options)


def test_all_of_them_pass_the_check_with_what_they_need():
    pytest.importorskip("pydensecrf.densecrf")
    with pytest.raises(ConfigError, match="iterations is 0"):
        check_refinement("crf", {"iterations": 0})
    for name, options in NEEDED.items():
        check_refinement(name, options)
    assert set(NEEDED) == set(REFINEMENTS)
