"""ISIC 2016, 2017 and 2018 Task 1 (lesion boundaries), in the folders they are downloaded as."""

from __future__ import annotations

from pathlib import Path

from sqp.core.errors import ConfigError
from sqp.core.types import Case
from sqp.data.layouts.folders import by_stem, child, match_stems

# (dataset, split, folder of images, folder of masks)
RELEASES = (
    ("isic2016", "train", "ISBI2016_ISIC_Part1_Training_Data", "ISBI2016_ISIC_Part1_Training_GroundTruth"),
    ("isic2016", "test", "ISBI2016_ISIC_Part1_Test_Data", "ISBI2016_ISIC_Part1_Test_GroundTruth"),
    ("isic2017", "train", "ISIC-2017_Training_Data", "ISIC-2017_Training_Part1_GroundTruth"),
    ("isic2017", "val", "ISIC-2017_Validation_Data", "ISIC-2017_Validation_Part1_GroundTruth"),
    ("isic2017", "test", "ISIC-2017_Test_v2_Data", "ISIC-2017_Test_v2_Part1_GroundTruth"),
    ("isic2018", "train", "ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth"),
    ("isic2018", "val", "ISIC2018_Task1-2_Validation_Input", "ISIC2018_Task1_Validation_GroundTruth"),
    ("isic2018", "test", "ISIC2018_Task1-2_Test_Input", "ISIC2018_Task1_Test_GroundTruth"),
)


def recognise(path: Path) -> bool:
    """A folder that holds at least one of the image folders of `RELEASES`."""
    return path.is_dir() and any((path / images).is_dir() for _, _, images, _ in RELEASES)


def load(path: Path) -> list[Case]:
    """The cases of the release that lies in `path`, `split` as its organisers made it.

    A part without its folder of masks has no truth. Raises `ConfigError` where two releases lie side by side:
    they share images under the same ids. `licence` stays "": the downloads list none; the ISIC archive names it
    image by image (a column `licence` in a CSV or labels.csv keeps it).
    """
    present = [part for part in RELEASES if (path / part[2]).is_dir()]
    if len({part[0] for part in present}) > 1:
        raise ConfigError(
            f"{path} holds {' and '.join(part[2] for part in present)}, of releases that share images: "
            "give each release its own folder"
        )
    cases = []
    for dataset, split, images, masks in present:
        images_folder, truth_folder = child(path, [images]), child(path, [masks])
        files = by_stem(images_folder or path / images)
        truth = match_stems(truth_folder, files) if truth_folder else {}
        for stem, file in files.items():
            truth_paths = (truth[stem],) if stem in truth else ()
            cases.append(Case(stem, file, truth_paths, split=split, dataset=dataset))
    return cases
