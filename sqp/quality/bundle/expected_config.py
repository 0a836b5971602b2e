"""How records are made for a bundle to judge: as its training records were, in what it reads of them.

Who segments, and who is the referee, are those of its training records, if it reads what they tell. A model that reads
nothing of the segmenter judges given masks without one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqp.bundles import DEFAULT, bundle_folder
from sqp.config.generate import GenerateConfig, SamplerConfig, SegmenterConfig
from sqp.config.predict import PredictConfig
from sqp.config.referee import IN_CONTEXT, NONE, READ_ENCODING, RefereeConfig, SupervisedConfig
from sqp.core.errors import ConfigError
from sqp.core.files import sha256_of
from sqp.core.tables import table_of_masks
from sqp.quality.bundle.provenance import common_expectation
from sqp.quality.bundle.sources import REFEREE, REFERENCES, SELF, SUPERVISED

HASHES = ("weights_sha256", "localizer_sha256", "in_context_sha256", "more_sha256")
LOCALIZER, NETWORK = "localizer.safetensors", "supervised.safetensors"
"""The names of the referees' fitted networks where they lie in the folder of a bundle."""
NAMED = re.compile(r"supervised(_\d+)?\.safetensors")


def name_of(number: int) -> str:
    """The name there of the supervised referee's network of this number, from 0.

    Examples:
        >>> name_of(0), name_of(1)
        ('supervised.safetensors', 'supervised_2.safetensors')
    """
    return NETWORK if number == 0 else NETWORK.replace(".", f"_{number + 1}.")


def network_names(expects: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names there of all networks of the supervised referee of a bundle with these `generate` configs."""
    more = [len(one.get("supervised", {}).get("more_sha256", [])) for one in expects]
    return [name_of(number) for number in range(1 + max(more, default=0))]


def networks_in(folder: Path) -> list[Path]:
    """The fitted networks of referees that lie in the folder of a bundle."""
    return sorted(file for file in folder.glob("*.safetensors") if file.name == LOCALIZER or NAMED.fullmatch(file.name))


def generate_config(
    config: PredictConfig, expects: list[dict[str, Any]], sources: Sequence[str] = (SELF,)
) -> GenerateConfig:
    """How records must be made so that a bundle can read what it reads of them (`sources`): as for its training."""
    assert config.images is not None
    needed = needed_sources(config, sources)
    like: Mapping[str, Any] = common_expectation(expects, str(config.model or DEFAULT), needed)
    prompter, options = prompter_like(config, like)
    cascade, cascade_options = cascade_like(config, like)
    return GenerateConfig(
        images=config.images,
        out=config.out / "records",
        truth=config.truth,
        masks=config.masks,
        probs=config.probs,
        mask_pattern=config.mask_pattern,
        resize_masks=config.resize_masks,
        references=references_for(config, like, needed),
        label=list(config.label),
        layout=config.layout,
        segmenter=segmenter_like(config, like, needed),
        prompter=prompter,
        prompter_options=options,
        cascade=cascade,
        cascade_options=cascade_options,
        sampler=SamplerConfig(**like["sampler"]) if SELF in needed else SamplerConfig(),
        referee=referee_like(config, like, needed),
        supervised=supervised_like(config, like, needed),
        measures=list(like["measures"]),
        seed=int(like.get("seed", 0)) if config.seed is None else config.seed,
        shard=config.shard,
        workers=config.workers,
        engine=config.engine,
        address=config.address,
        gpu_share=config.gpu_share,
        runtime=config.runtime,
        encodings=config.encodings,
        device=config.device,
        strict=config.strict,
        overwrite=config.overwrite,
    )


def needed_sources(config: PredictConfig, sources: Sequence[str]) -> tuple[str, ...]:
    """What must be made as it was for training: what the bundle reads and, where no masks are given, the masks."""
    return tuple(dict.fromkeys([*([] if _given(config) else [SELF]), *sources]))


def prompter_like(config: PredictConfig, like: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """(name, options) of the training records' prompter, or of the one that was asked for; given masks are boxed."""
    if _given(config):
        return "mask_box", {}
    prompter = config.prompter or like["prompter"]
    options = dict(like.get("prompter_options", {})) if prompter == like["prompter"] else {}
    return prompter, options | config.prompter_options


def cascade_like(config: PredictConfig, like: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """(first segmenter, options) of the training records' cascade, for masks that their prompter prompts.

    ConfigError for a `cascade_checkpoint` where there is no cascade.
    """
    own = not _given(config) and config.prompter in (None, like["prompter"])
    cascade = like.get("cascade") if own else None
    if config.cascade_checkpoint and not cascade:
        raise ConfigError("--cascade_checkpoint is given, but these masks are not prompted by a cascade: leave it out")
    first = {"checkpoint": str(config.cascade_checkpoint)} if config.cascade_checkpoint else {}
    return cascade, dict(like.get("cascade_options", {})) | first if cascade else {}


def segmenter_like(config: PredictConfig, like: Mapping[str, Any], sources: Sequence[str]) -> SegmenterConfig:
    """The training records' segmenter; none where it is not among the needed `sources`.

    Where these were encoded in bfloat16 a CPU that only emulates it encodes in float32. ConfigError where they had no
    segmenter, and no masks are given.
    """
    options = {key: value for key, value in like["segmenter"].items() if key not in HASHES}
    on_cpu = options.get("precision") == "bfloat16" and config.device.startswith("cpu")
    if precision := config.precision or ("auto" if on_cpu else None):
        options["precision"] = precision
    if SELF not in sources:
        if config.checkpoint or config.checkpoints:
            given = "checkpoint" if config.checkpoint else "checkpoints"
            raise ConfigError(f"--{given} is given, but {_name(config)} reads nothing of a segmenter: leave it out")
        return SegmenterConfig(**{**options, "name": NONE})
    if options["name"] == NONE:
        raise ConfigError(f"{_name(config)} was trained on given masks and brings no segmenter: give --masks DIR")
    return SegmenterConfig(**{**options, "checkpoint": config.checkpoint, "checkpoints": config.checkpoints})


def referee_like(config: PredictConfig, like: Mapping[str, Any], sources: Sequence[str]) -> RefereeConfig:
    """The training records' referee; none where it is not among the needed `sources`.

    ConfigError where its localizer is not to be found, or is another one.
    """
    name = like.get("referee", {}).get("name", NONE)
    if REFERENCES in sources and name in IN_CONTEXT and name not in READ_ENCODING:  # it reads what references say
        sources = (*sources, REFEREE)
    if REFEREE not in sources or name == NONE:
        given = [name for name in ("referee_weights", "localizer") if getattr(config, name)]
        if given:
            raise ConfigError(f"--{given[0]} is given, but {_name(config)} reads nothing of a referee: leave it out")
    if REFEREE not in sources:
        return RefereeConfig(NONE)
    options = {key: value for key, value in like["referee"].items() if key not in HASHES}
    wanted, localizer = like["referee"].get("localizer_sha256"), None
    if wanted is not None:
        what = f"the referee of {_name(config)} is prompted by a localizer"
        localizer = _network(config, "localizer", LOCALIZER, wanted, what)
    return RefereeConfig(**options, weights=config.referee_weights, localizer=localizer)


def references_for(config: PredictConfig, like: Mapping[str, Any], sources: Sequence[str]) -> Path | None:
    """Those that were given; ConfigError where the bundle reads what references say, there are none, and it has not
    learned to judge without."""
    shown = REFERENCES in sources or (REFEREE in sources and like["referee"]["name"] in IN_CONTEXT)
    needed = like.get("referee", {}).get("needs_references", True)
    if shown and needed and config.references is None:
        raise ConfigError(
            f"{_name(config)} compares masks with examples of the task: give --references DIR, 1 to 32 images with "
            "masks (in Python: references=DIR)"
        )
    return config.references


def supervised_like(config: PredictConfig, like: Mapping[str, Any], sources: Sequence[str]) -> SupervisedConfig:
    """The training records' supervised referee; none where it is not among the needed `sources`.

    ConfigError where its network is not to be found, or is another one.
    """
    if SUPERVISED not in sources:
        if config.supervised:
            raise ConfigError(f"--supervised is given, but {_name(config)} reads nothing of one: leave it out")
        return SupervisedConfig()
    options = {key: value for key, value in like["supervised"].items() if key not in HASHES}
    what = f"{_name(config)} compares with a fitted network"
    file = _network(config, "supervised", NETWORK, like["supervised"]["weights_sha256"], what)
    more = [
        _beside(config, name_of(number), wanted, what)
        for number, wanted in enumerate(like["supervised"].get("more_sha256", []), 1)
    ]
    return SupervisedConfig(**options, network=file, more=more)


def _beside(config: PredictConfig, name: str, wanted: str, what: str) -> Path:
    """A further network of the supervised referee; ConfigError where it is not beside the bundle, or is another."""
    file = bundle_folder(config.model) / name
    if not file.is_file():
        raise ConfigError(f"{what} of several: {file} is not there; put it beside the bundle (sha256 {wanted[:12]}…)")
    return _as_trained(config, file, wanted, str(file))


def _network(config: PredictConfig, option: str, name: str, wanted: str, what: str) -> Path:
    """The file of a fitted network: the option's, else that of this `name` in the bundle's folder.

    ConfigError, beginning with `what`, where there is none; and where its sha256 is another one.
    """
    beside = bundle_folder(config.model) / name
    file: Path | None = getattr(config, option) or (beside if beside.is_file() else None)
    if file is None:
        raise ConfigError(f"{what}: give its file, --{option} FILE (in Python: {option}=FILE)")
    return _as_trained(config, file, wanted, f"--{option} {file}")


def _as_trained(config: PredictConfig, file: Path, wanted: str, told: str) -> Path:
    """The file; ConfigError, beginning with what is `told` of it, where its sha256 is another one."""
    if not file.is_file() or sha256_of(file) != wanted:
        raise ConfigError(f"{told} is not the file that {_name(config)} was trained with (sha256 {wanted[:12]}…)")
    return file


def _given(config: PredictConfig) -> bool:
    """Whether masks made elsewhere are judged."""
    return config.masks is not None or config.probs is not None or table_of_masks(config.images)


def _name(config: PredictConfig) -> str:
    """The bundle as it was asked for."""
    return str(config.model or DEFAULT)
