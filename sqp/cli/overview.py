"""The commands: where the config and the run of each live, what `sqp --help` says of them."""

from __future__ import annotations

from dataclasses import dataclass

SHORT_FORMS = (
    "Names may have dashes or underscores. A nested option may be given by its last part where no other one ends so:\n"
    "--checkpoint FILE is --segmenter.checkpoint FILE, and --sampler tta is --sampler.name tta."
)


@dataclass(frozen=True)
class Command:
    """A verb and what it says of itself; its config is `sqp.config.VERB:VerbConfig`, its run `sqp.commands.VERB`."""

    name: str
    summary: str
    listed: str = ""  # the option that names right after the command belong to
    printing: tuple[str, str, str] = ("", "", "")  # an option that prints a text and ends: name, help, MODULE:FUNCTION

    @property
    def config(self) -> str:
        """Module and class of its config; of `fit segmenter` sqp.config.fit and FitSegmenterConfig."""
        return f"sqp.config.{self.name.split()[0]}:{self.name.title().replace(' ', '')}Config"

    @property
    def module(self) -> str:
        """The module whose `run` takes the config."""
        return f"sqp.commands.{self.name.split()[0]}"


COLUMNS = (
    "--columns",
    "Print what each column of predictions.csv and predictions.parquet says, and end.",
    "sqp.quality.judging.columns:dictionary_text",
)

COMMANDS = {
    command.name: command
    for command in (
        Command("generate", "segment images, sample the uncertainty, write a record set"),
        Command("train", "train the quality model: record set -> predicted Dice"),
        Command("predict", "predict the Dice of masks, whoever made them", printing=COLUMNS),
        Command("evaluate", "judge the quality model beside every analytic score on the same rows"),
        Command("explain", "show what the quality model looks at, and whether that is where the errors are"),
        Command("compare", "set finished runs side by side: configs, val metrics, test tables", listed="runs"),
        Command("fit segmenter", "train a plain network that segments, for generate"),
        Command("fit localizer", "train a small network that finds the lesion, for the prompter localizer"),
        Command("fit classifier", "train a classifier on diagnoses, for the prompter cam"),
        Command("export", "write a quality model as one ONNX file, and its model card"),
        Command("recalibrate", "make a bundle's interval and risk rule anew, of records or of your decisions"),
        Command("status", "tell what of a run is done, skipped, missing and stale", listed="out"),
        Command("merge", "join the parts of a run with --shard", listed="folders"),
        Command("splits", "make a split file by group (lesion, patient)"),
        Command("freeze", "freeze the spread test masks of a record set, before any training"),
        Command("demo", "run all of it on synthetic lesions, on a CPU"),
    )
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
