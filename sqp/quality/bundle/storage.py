"""The bundle: a trained quality model as two files, `model.safetensors` and `bundle.json`. No pickle."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as safetensors_bytes

from sqp.config.generate import SamplerConfig
from sqp.core.errors import ConfigError
from sqp.core.files import write_atomic, write_text
from sqp.core.untrusted import read_json, typed
from sqp.networks.checkpoint import packed
from sqp.networks.weight_files import read_tensors
from sqp.quality.bundle.provenance import check_expected, hashes_of
from sqp.quality.bundle.sources import REMEDIES, source_of, sources_of
from sqp.quality.judging.columns import with_former_scores
from sqp.quality.judging.conformal import Conformal
from sqp.quality.judging.risk import Choice, RiskEvidence, RiskRule
from sqp.quality.judging.strangeness import IMAGE, OodStatistics
from sqp.quality.model.backbones import check_dims
from sqp.quality.model.channels import check_channels
from sqp.quality.model.ensemble import Ensemble, one_model
from sqp.quality.model.inference import ByOpenVino
from sqp.quality.model.module import QualityModel, spec_dict
from sqp.quality.model.tabular import Standardizer, check_features, features_of
from sqp.records import RecordSet
from sqp.records.schema import FEATURE_PREFIX

FORMAT = 1
MOST = 1e30  # no number of a bundle is greater, but for what is infinite by right
RISK = "risk."
VIEWS = "views"
MOST_MEMBERS, MOST_SIDE, FLIPS = 1000, 4096, (1, 2, 4, 8)
PARTS = ("format", "target", "model", "planes", "scores", "calibration", "ood", "expects")
"""Keys of `bundle.json` that every bundle has; the rest, but `members` and `views`, is `Bundle.info`."""


INFO: dict[str, type] = {"data": dict, "training": dict, "val": dict, "versions": dict, "behind": list}
SKIPPED = "skipped_sha256"
"""Of `Bundle.info`: hashes of the ids of records that could not be read, where there were any."""
OWN_DATA = "own_data"
"""Of `Bundle.info`: the decisions of which interval and risk rule were made, where it was made anew of such."""
CORRECTION = "correction"
"""Of `Bundle.info`: the interval of predictions that references corrected, where a bundle may be corrected so."""
INFO |= {"groups_sha256": list, SKIPPED: list, OWN_DATA: dict, CORRECTION: dict}
EXPECTED: dict[str, type] = {"segmenter": dict, "sampler": dict, "measures": list, "seed": int, "prompter": str}


def _check_types(stored: dict[str, Any]) -> None:
    """TypeError naming a part of `bundle.json` that is of another type than sqp writes."""
    if not isinstance(stored["expects"], list) or not isinstance(stored["planes"], dict):
        raise TypeError("'expects' is no list, or 'planes' no mapping")
    if not 1 <= stored.get("members", 1) <= MOST_MEMBERS:
        raise ValueError(f"'members' is {stored['members']}")
    if stored.get(VIEWS) is not None and not all(isinstance(view, list) for view in stored[VIEWS]):
        raise TypeError(f"'{VIEWS}' is {stored[VIEWS]!r}")
    for values, types in ((stored, INFO), *((expected, EXPECTED) for expected in stored["expects"])):
        for name, kind in types.items():
            if not isinstance(values.get(name, kind()), kind):
                raise TypeError(f"'{name}' is {values[name]!r}")
    if [expected for expected in stored["expects"] if "segmenter" not in expected]:
        raise KeyError("expects: segmenter")
    for expected in stored["expects"]:
        typed(SamplerConfig, expected.get("sampler", {}))
    if not isinstance(stored["model"]["size"], int):
        raise TypeError(f"'size' is {stored['model']['size']!r}")
    if stored["model"].get("flips", 1) not in FLIPS:
        raise ValueError(f"'flips' is {stored['model']['flips']!r}")


@dataclass
class Bundle:
    """A quality model with all that a prediction needs.

    expects: the `generate` configs that it was trained on (`provenance.expectation`), any of which a record
    set must match; info: data fingerprint, hashes of the groups, training config, versions, metrics; risk: what
    thresholds are tested on, None in bundles that are older than that; run: what predicts in place of PyTorch.
    """

    model: QualityModel | Ensemble
    standardizer: Standardizer
    conformal: Conformal
    ood: OodStatistics
    expects: list[dict[str, Any]]
    info: dict[str, Any] = field(default_factory=dict)
    name: str = "the bundle"
    risk: RiskEvidence | None = None
    run: ByOpenVino | None = None

    @property
    def channels(self) -> tuple[str, ...]:
        """Input channels in order."""
        return self.model.spec.channels

    @property
    def features(self) -> tuple[str, ...]:
        """The segmenter's vectors that it reads beside the scores."""
        return features_of(self.standardizer.names)

    @property
    def sources(self) -> tuple[str, ...]:
        """Where what it reads of a record comes from; nowhere for image and mask."""
        return sources_of((*self.channels, *self.standardizer.names))

    @property
    def size(self) -> int:
        """Side of the planes in pixels."""
        return self.model.spec.size

    def check_records(self, records: RecordSet) -> None:
        """ConfigError naming the `generate` key that differs, or the channel or score that is lacking.

        Args:
            records: the record set.

        Raises:
            ConfigError: they differ; the sentence names the key, channel or score.
        """
        check_dims(records, self.model.spec.backbone, self.name)
        check_channels(records, self.channels)
        check_expected(records, self.expects, self.name, self.sources)
        check_features(records, self.features)
        scores = [name for name in self.standardizer.names if not name.startswith(FEATURE_PREFIX)]
        missing = [name for name in scores if name not in with_former_scores(records.table, scores)]
        if missing:
            raise ConfigError(
                f"{records.folder} has no score '{missing[0]}', which {self.name} needs: "
                f"{REMEDIES[source_of(missing[0])]}"
            )

    def note_skipped(self, records: Iterable[str], earlier: Iterable[str] = ()) -> None:
        """Keep which records were skipped, beside `earlier` ones, so that it can be calibrated on the same again."""
        skipped = sorted({*hashes_of(records), *earlier})
        self.info |= {SKIPPED: skipped} if skipped else {}

    def anywhere(self) -> Bundle:
        """This bundle for records made in any way: foreign ones to it, which whoever shows the result must say."""
        return replace(self, expects=[])

    def choose(self, rule: RiskRule, reject: float = 0.0) -> Choice:
        """The threshold that is safe at this risk for masks whose high end reaches `reject`. ConfigError for a bundle
        that has nothing to test it on."""
        if self.risk is None:
            raise ConfigError(
                f"{self.name} keeps no calibration records, so no threshold can be tested at a risk: train it again "
                "with this sqp, or leave out --risk"
            )
        return self.risk.choose(rule, reject)

    def save(self, folder: str | Path) -> Path:
        """Write both files, `bundle.json` last, so that a folder that has it is whole; returns the folder.

        Args:
            folder: where the bundle goes; made if missing.

        Returns:
            The folder.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "bundle.json").unlink(missing_ok=True)
        weights = packed({k: v.detach().cpu() for k, v in self.model.state_dict().items()})
        tensors = {f"model.{k}": v.contiguous().clone() for k, v in weights.items()}
        if self.risk is not None:
            kept = {name: value for name, value in vars(self.risk).items() if value is not None}
            tensors |= {RISK + name: torch.from_numpy(value) for name, value in kept.items()}
        content = safetensors_bytes(tensors | self.ood.tensors())
        write_atomic(folder / "model.safetensors", lambda file: file.write(content))  # the library's own is 0600
        write_text(folder / "bundle.json", json.dumps(self.description(), indent=2) + "\n")
        return folder

    def description(self) -> dict[str, Any]:
        """What `bundle.json` holds."""
        mean, std = (getattr(self.model, name).tolist() for name in ("mean", "std"))
        planes = self.model.spec.planes
        return {
            "format": FORMAT,
            "target": "dice",
            "model": spec_dict(self.model.spec),
            **self._members(),
            "planes": {name: {"mean": m, "std": s} for name, m, s in zip(planes, mean, std, strict=True)},
            "scores": asdict(self.standardizer),
            "calibration": asdict(self.conformal),
            "ood": self.ood.description(),
            "expects": self.expects,
            **self.info,
        }

    def _members(self) -> dict[str, Any]:
        """How many models there are, and what each reads where that differs."""
        if not isinstance(self.model, Ensemble):
            return {"members": 1}
        channels = [list(member.spec.channels) for member in self.model.members]  # type: ignore[union-attr, arg-type]
        return {"members": len(channels)} | ({VIEWS: channels} if channels != [channels[0]] * len(channels) else {})

    @classmethod
    def load(cls, folder: str | Path) -> Bundle:
        """Read a bundle. ConfigError where the folder is none, or was written in another format.

        Args:
            folder: a bundle's folder.

        Returns:
            The bundle.

        Raises:
            ConfigError: the folder is no bundle, is damaged, or was written in another format.
        """
        folder = Path(folder)
        text = folder / "bundle.json"
        if not text.is_file() or not (folder / "model.safetensors").is_file():
            raise ConfigError(
                f"{folder} is no bundle: no bundle.json with model.safetensors; make one with `sqp train`"
            )
        try:
            stored = read_json(text)
            tensors = read_tensors(folder / "model.safetensors", "its weights")
        except (ConfigError, OSError) as error:
            raise ConfigError(f"{folder} is damaged ({error}): copy it again or train anew") from error
        if not isinstance(stored, dict):
            raise ConfigError(f"{text} is damaged (it is no JSON object): copy it again or train anew")
        if stored.get("format") != FORMAT:
            raise ConfigError(f"{folder} has bundle format {stored.get('format')}, this sqp reads {FORMAT}: train anew")
        lost = [name for name in PARTS if name not in stored]
        lost += [name for name in ("ood.mean", "ood.precision") if name not in tensors]
        if lost:
            raise ConfigError(f"{folder} is damaged (it lacks '{lost[0]}'): copy it again or train anew")
        try:
            _check_types(stored)
            return cls._built(folder, stored, tensors)
        except (TypeError, KeyError, AttributeError, ValueError) as error:  # a part of another shape
            raise ConfigError(f"{text} is damaged ({error}): copy it again or train anew") from error

    @classmethod
    def _built(cls, folder: Path, stored: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Bundle:
        check_numbers(stored, tensors)
        own = stored["model"]["channels"]
        views = stored.get(VIEWS) or [own] * stored.get("members", 1)
        specs = [stored["model"] | ({} if view == own else {"channels": view, "scores": []}) for view in views]
        model = one_model([QualityModel(spec) for spec in specs])
        state = {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
        try:
            model.load_state_dict(state)
        except RuntimeError as error:
            raise ConfigError(
                f"{folder}: its weights do not fit its bundle.json: copy it again or train anew"
            ) from error
        risk = {key.removeprefix(RISK): value.numpy() for key, value in tensors.items() if key.startswith(RISK)}
        return cls(
            model.eval(),
            typed(Standardizer, stored["scores"]),
            typed(Conformal, stored["calibration"]),
            OodStatistics.read(stored["ood"], tensors),
            [dict(expected) for expected in stored["expects"]],
            {key: value for key, value in stored.items() if key not in (*PARTS, "members", VIEWS)},
            str(folder),
            RiskEvidence(**risk) if risk else None,
        )


def check_numbers(stored: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    """ValueError naming the first number of a bundle that cannot be: NaN, or out of its range."""
    inf = math.inf
    tiny = 1e-300  # above 0
    calibration, ood, scores = stored["calibration"], stored["ood"], stored["scores"]
    ranges = [
        ("calibration.quantile", calibration["quantile"], 0, inf),
        ("calibration.alpha", calibration["alpha"], tiny, 1 - 1e-9),
        ("calibration.groups", calibration["groups"], 1, inf),
        ("calibration.records", calibration["records"], 1, inf),
        ("ood.quantile", ood["quantile"], tiny, 1),
        ("model.size", stored["model"]["size"], 1, MOST_SIDE),
    ]
    of_the_image = {IMAGE: ood[IMAGE]} if IMAGE in ood else {}
    for name, space in {"ood": ood, **of_the_image}.items():
        near = space.get("neighbours") or {"threshold": 0, "k": 1}
        ranges += [(f"{name} threshold", limits["threshold"], 0, inf) for limits in (space, near)]
        ranges += [(f"{name} k", near["k"], 1, inf)]
    for name, plane in stored["planes"].items():
        ranges += [(f"mean of {name}", plane["mean"], -MOST, MOST), (f"std of {name}", plane["std"], tiny, MOST)]
    for name, median, iqr in zip(scores["names"], scores["median"], scores["iqr"], strict=True):
        ranges += [(f"median of {name}", median, -MOST, MOST), (f"iqr of {name}", iqr, tiny, MOST)]
    for key, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.numel():
            low, high = (0, 1) if key.startswith(RISK) else (-MOST, MOST)
            least = tiny if key.startswith("model.") and key.endswith(".std") else low
            ranges += [(key, float(tensor.min()), least, high), (key, float(tensor.max()), least, high)]
    for name, value, low, high in ranges:
        if not low <= value <= high:
            raise ValueError(f"{name} is {value}, which cannot be")
