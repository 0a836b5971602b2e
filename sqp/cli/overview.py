"""The commands: where the config and the run of each live, what `sqp --help` says of them."""

from __future__ import annotations

from dataclasses import dataclass

SHORT_FORMS = (
    "Names may have dashes or underscores. A nested option may be given by its last part where no other one ends so:\n"
    "--checkpoint FILE is --segmenter.checkpoint FILE, and --sampler tta is --sampler.name tta."
)


@dataclass(frozen=True)
class Command:
    """A verb: where its config and its run live, and what it says of itself."""

    config: str
    module: str
    summary: str
    listed: str = ""  # the option that names right after the command belong to


COMMANDS = {
    "generate": Command(
        "sqp.config.generate:GenerateConfig",
        "sqp.commands.generate",
        "segment images, sample the uncertainty, write a record set",
    ),
    "train": Command(
        "sqp.config.train:TrainConfig",
        "sqp.commands.train",
        "train the quality model: record set -> predicted Dice",
    ),
    "predict": Command(
        "sqp.config.predict:PredictConfig",
        "sqp.commands.predict",
        "predict the Dice of masks, whoever made them",
    ),
    "evaluate": Command(
        "sqp.config.evaluate:EvaluateConfig",
        "sqp.commands.evaluate",
        "judge the quality model beside every analytic score on the same rows",
    ),
    "explain": Command(
        "sqp.config.explain:ExplainConfig",
        "sqp.commands.explain",
        "show what the quality model looks at, and whether that is where the errors are",
    ),
    "compare": Command(
        "sqp.config.compare:CompareConfig",
        "sqp.commands.compare",
        "set finished runs side by side: configs, val metrics, test tables",
        listed="runs",
    ),
    "fit segmenter": Command(
        "sqp.config.fit:FitSegmenterConfig",
        "sqp.commands.fit",
        "train a plain network that segments, for generate",
    ),
    "fit localizer": Command(
        "sqp.config.fit:FitLocalizerConfig",
        "sqp.commands.fit",
        "train a small network that finds the lesion, for the prompter localizer",
    ),
    "fit classifier": Command(
        "sqp.config.fit:FitClassifierConfig",
        "sqp.commands.fit",
        "train a classifier on diagnoses, for the prompter cam",
    ),
    "export": Command(
        "sqp.config.export:ExportConfig",
        "sqp.commands.export",
        "write a quality model as one ONNX file, and its model card",
    ),
    "recalibrate": Command(
        "sqp.config.recalibrate:RecalibrateConfig",
        "sqp.commands.recalibrate",
        "make a bundle's interval and distances anew, without training",
    ),
    "splits": Command(
        "sqp.config.splits:SplitsConfig",
        "sqp.commands.splits",
        "make a split file by group (lesion, patient)",
    ),
    "freeze": Command(
        "sqp.config.freeze:FreezeConfig",
        "sqp.commands.freeze",
        "freeze the spread test masks of a record set, before any training",
    ),
    "demo": Command("sqp.config.demo:DemoConfig", "sqp.commands.demo", "run all of it on synthetic lesions, on a CPU"),
}


def overview() -> str:
    """What `sqp --help` prints."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "sqp: how good is this segmentation, when nobody has drawn the ground truth?",
            "",
            "usage: sqp COMMAND [--config FILE.yaml] [--option VALUE ...]",
            "",
            *lines,
            "",
            "sqp COMMAND --help lists the options; sqp COMMAND --print_config prints them as YAML.",
            SHORT_FORMS,
        ]
    )
