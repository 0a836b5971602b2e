"""`sqp recalibrate`: a bundle -> one with all that follows its training made anew: intervals, distances, no weight.

For bundles that are older than a part of it (the neighbours, the distances of the image's features), for another
level, quantile or kind of calibration record, and for more images of val and calibration than there were.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from sqp.bundles import bundle_folder
from sqp.config.recalibrate import RecalibrateConfig
from sqp.core.errors import ConfigError
from sqp.quality.bundle.calibration import recalibrate, training_config
from sqp.quality.bundle.expected_config import LOCALIZER, NETWORK
from sqp.quality.bundle.storage import Bundle
from sqp.records.run_info import MaySkip

CHANGED = ("alpha", "calibrate_on", "calibrate_over", "calibrate_splits", "ood_quantile")  # by default as in the bundle


@dataclass
class RecalibrateResult(MaySkip):
    """The bundle as it was and as it is, and by record why it was skipped."""

    before: Bundle
    after: Bundle
    folder: Path
    skipped: dict[str, str] = field(default_factory=dict)

    def summary(self) -> str:
        """For the terminal: what has changed."""
        before, after = self.before, self.after
        rows = {
            "half width of the interval, in scales": (before.conformal.quantile, after.conformal.quantile),
            "distances are of the features of": (", ".join(before.ood.spaces), ", ".join(after.ood.spaces)),
            "quantile of the distances": (before.ood.quantile, after.ood.quantile),
        }
        lines = [f"skipped {name}: {why}" for name, why in self.skipped.items()]
        lines += [f"{name}: {old} -> {new}" for name, (old, new) in rows.items()]
        return "\n".join([*lines, f"bundle: {self.folder}"])


def run(config: RecalibrateConfig) -> RecalibrateResult:
    """Read, recalibrate, write into OUT, with the fitted networks of its referees where there are some.

    ConfigError where OUT holds anything but a bundle that may be replaced, and for records that it was not trained on.
    """
    source = bundle_folder(config.model)
    check_out(config.out, config.overwrite)
    bundle = Bundle.load(source)
    changed = {name: value for name in CHANGED if (value := getattr(config, name)) is not None}
    changed |= {name: getattr(config, name) for name in ("workers", "progress", "strict")}
    with TemporaryDirectory() as folder:
        changed["cache"] = config.cache or Path(folder)
        made, skipped = recalibrate(bundle, training_config(bundle, config.records, config.out, **changed))
    made.save(config.out)
    for name in (LOCALIZER, NETWORK):
        if (source / name).is_file() and source.resolve() != config.out.resolve():
            shutil.copyfile(source / name, config.out / name)
    return RecalibrateResult(bundle, made, config.out, skipped)


def check_out(out: Path, overwrite: bool) -> None:
    """ConfigError for a file, and for a folder that holds anything but a bundle that is to be replaced."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file where the folder of the new bundle is needed: choose another name")
    if out.is_dir() and any(out.iterdir()):
        if not (out / "bundle.json").is_file():
            raise ConfigError(f"{out} holds other files and no bundle: choose another folder for the new one")
        if not overwrite:
            raise ConfigError(f"{out} is a bundle already; choose another folder, or --overwrite")
