"""Options that cannot be: unknown names, numbers out of range, files and folders that are not what they should be."""

from __future__ import annotations

import typing

from bad_inputs import damage as d
from bad_inputs.world import Case, nothing

from sqp.cli.options import flat_hints
from sqp.cli.parser import config_class

LINES = {
    "generate": "generate --images {images} --masks {masks} --segmenter none --referee none --out {out}",
    "train": "train --records {records} --out {out} --progress false",
    "predict": "predict --model {bundle} --records {records} --out {out}",
    "evaluate": "evaluate --model {bundle} --records {records} --out {out}",
    "explain": "explain --model {bundle} --records {records} --out {out}",
    "compare": "compare {records} {bundle} --out {out}",
    "export": "export --model {bundle} --card {out}/card.md",
    "fit segmenter": "fit segmenter --images {data} --out {out} --progress false",
    "fit localizer": "fit localizer --images {data} --out {out} --progress false",
    "fit classifier": "fit classifier --images {data} --out {out} --progress false",
    "demo": "demo --out {out}",
    "splits": "splits --images {data} --out {out}/splits.json",
    "freeze": "freeze --records {records} --out {out}/frozen.json",
    "status": "status {out}",
    "merge": "merge {out} --out {out}/joined",
    "recalibrate": "recalibrate --model {bundle} --records {records} --out {out}",
}
DECIDED = "recalibrate --model {bundle} --predictions {predictions} --out {out}"
WRONG: dict[type, tuple[float, ...]] = {int: (-7, 2**70), float: (float("nan"), float("inf"), -7.0)}
SEEDED = [verb for verb in LINES if verb not in ("export", "recalibrate", "status", "merge")]


def numbers(verb: str) -> list[tuple[str, float]]:
    """Every number that is an option of a command, with values that it cannot have."""
    found = []
    for option, hint in flat_hints(config_class(verb)).items():
        inner = () if typing.get_origin(hint) in (list, tuple, dict) else typing.get_args(hint)
        kinds = [kind for kind in (hint, *inner) if kind in WRONG]
        found += [(option, value) for kind in kinds[:1] for value in WRONG[kind]]
    return found


CASES = [
    *[Case(f"seed-minus-1-{v.replace(' ', '-')}", nothing, f"{LINES[v]} --seed=-1", 2, "seed is -1") for v in SEEDED],
    *[Case(f"seed-2-to-70-{v.replace(' ', '-')}", nothing, f"{LINES[v]} --seed {2**70}", 2, "seed is") for v in SEEDED],
    Case("number-nan", nothing, LINES["train"] + " --learning_rate nan", 2, "learning_rate"),
    Case("number-inf", nothing, LINES["train"] + " --learning_rate inf", 2, "learning_rate"),
    Case("number-words", nothing, LINES["train"] + " --epochs many", 2, "epochs"),
    Case("no-such-command", nothing, "generat --images {images}", 2, "did you mean 'generate'"),
    Case("fit-what", nothing, "fit", 2, "needs to know what"),
    *[
        Case(f"unknown-option-{v.replace(' ', '-')}", nothing, f"{line} --overwrit", 2, "overwrit")
        for v, line in LINES.items()
    ],
    *[Case(f"no-options-{v.replace(' ', '-')}", nothing, v, 2, v.split()[0]) for v in LINES if v not in ("demo",)],
    *[
        Case(f"decisions-{name}", d.write("d.json", text), f"{DECIDED} --decisions {{bad}}/d.json", 2, words)
        for name, text, words in (
            ("empty", "", "is no JSON"),
            ("list", "[]", "has the schema None"),
            ("schema", '{"schema": "sqp-decisions/9"}', "has the schema 'sqp-decisions/9'"),
            ("few", '{"schema": "sqp-decisions/1", "threshold": 0.8, "decisions": []}', "decide on at least 50"),
            (
                "other",
                '{"schema": "sqp-decisions/1", "threshold": 0.8, "decisions": [{"record_id": "elsewhere", '
                '"mask_hash": "0", "decision": "fix", "note": "", "time": ""}]}',
                "1 of 1 decisions are of other masks",
            ),
        )
    ],
    Case("decisions-missing", nothing, f"{DECIDED} --decisions {{bad}}/none.json", 2, "does not exist: save it on"),
    Case("audit-without-risk", nothing, LINES["predict"] + " --audit 50", 2, "give --risk, too"),
    Case("shard-17-of-16", nothing, LINES["generate"] + " --shard 17/16", 2, "shard is '17/16'; it must be i/n"),
    Case("shard-17-of-16-predict", nothing, LINES["predict"] + " --shard 17/16", 2, "shard is '17/16'; it must be i/n"),
    Case("shard-no-number", nothing, LINES["generate"] + " --shard all", 2, "shard is 'all'"),
    Case("status-nothing", nothing, LINES["status"], 2, "no folder that `sqp generate` or `sqp predict` wrote"),
    Case("status-of-a-user", nothing, "status {images}", 2, "no folder that `sqp generate` or `sqp predict` wrote"),
    Case("status-of-a-model", nothing, "status {bundle}", 2, "no folder that `sqp generate` or `sqp predict` wrote"),
    Case("merge-nothing", nothing, LINES["merge"], 2, "is no folder: name the --out of the runs"),
    Case("merge-no-parts", nothing, "merge --out {images}", 2, "holds no parts"),
    Case("merge-of-a-user", nothing, "merge {images} --out {out}", 2, "no folder that `sqp generate`"),
    Case("merge-two-kinds", nothing, "merge {records} {predictions} --out {out}", 2, ""),
    Case("references-nowhere", nothing, LINES["generate"] + " --references {bad}/no", 2, "--references"),
    Case("references-without-masks", nothing, LINES["generate"] + " --references {images}", 2, "image with a mask"),
    Case(
        "references-no-columns",
        d.write("r.csv", "a,b\n1,2\n"),
        LINES["generate"] + " --references {bad}/r.csv",
        2,
        "no column 'image'",
    ),
    Case(
        "referee-without-references", nothing, LINES["generate"] + " --referee personalised", 2, "give --references DIR"
    ),
    Case("out-a-file-generate", d.write("f", ""), LINES["generate"].replace("{out}", "{bad}/f"), 2, "/f"),
    Case("out-a-file-train", d.write("f", ""), LINES["train"].replace("{out}", "{bad}/f"), 2, "/f"),
    Case("out-a-file-predict", d.write("f", ""), LINES["predict"].replace("{out}", "{bad}/f"), 2, "/f"),
    Case("out-a-file-fit", d.write("f", ""), LINES["fit segmenter"].replace("{out}", "{bad}/f"), 2, "/f"),
    Case("out-a-file-demo", d.write("f", ""), LINES["demo"].replace("{out}", "{bad}/f"), 2, "/f"),
    Case("out-under-a-file", d.write("f", ""), LINES["generate"].replace("{out}", "{bad}/f/g"), 2, "/f"),
    Case("out-dangling", d.link("l"), LINES["generate"].replace("{out}", "{bad}/l"), 2, "/l"),
    Case("card-under-a-file", d.write("f", ""), LINES["export"].replace("{out}", "{bad}/f"), 2, "/f"),
    Case("card-a-folder", d.folder("c.md"), "export --model {bundle} --card {bad}/c.md", 2, "c.md"),
    Case("onnx-a-folder", d.folder("c.onnx"), "export --model {bundle} --onnx {bad}/c.onnx --overwrite", 2, "c.onnx"),
    Case("name-not-utf8", nothing, f"generate --images {{bad}}/{d.NOT_UTF8} --out {{out}}", 2, "UTF-8"),
    Case("name-null", nothing, 'generate --images "{bad}/a\0b" --out {out}', 2, ""),
    Case("name-long", nothing, f"generate --images {{bad}}/{'x' * 5000} --out {{out}}", 2, "name"),
    Case("model-null", nothing, 'predict --model "a\0b" --records {records} --out {out}', 2, ""),
    Case("records-null", nothing, 'train --records "a\0b" --out {out}', 2, ""),
    Case("model-long", nothing, f"predict --model {'x' * 5000} --records {{records}} --out {{out}}", 2, ""),
    Case("devices-99", nothing, LINES["train"] + " --size 32 --accelerator cpu --devices 99", 2, "devices"),
    Case("devices-words", nothing, LINES["train"] + " --size 32 --accelerator cpu --devices many", 2, "devices"),
    Case("devices-0", nothing, LINES["train"] + " --size 32 --accelerator cpu --devices 0", 2, "devices"),
    Case("devices-list", nothing, LINES["train"] + " --size 32 --accelerator cpu --devices 0,1,2,99", 2, "devices"),
    Case("devices-minus-5", nothing, LINES["train"] + " --size 32 --accelerator cpu --devices=-5", 2, "devices"),
    Case("accelerator", nothing, LINES["train"] + " --size 32 --accelerator abacus", 2, "accelerator"),
    Case("accelerator-gpu", nothing, LINES["train"] + " --size 32 --accelerator gpu --devices 77", 2, ""),
    Case("strategy", nothing, LINES["train"] + " --size 32 --accelerator cpu --strategy luck", 2, "strategy"),
    Case("precision", nothing, LINES["train"] + " --size 32 --accelerator cpu --precision 7-bit", 2, "precision"),
    Case(
        "precision-fit",
        nothing,
        LINES["fit segmenter"] + " --size 32 --accelerator cpu --precision 7-bit",
        2,
        "precision",
    ),
    Case("accelerator-fit", nothing, LINES["fit segmenter"] + " --size 32 --accelerator abacus", 2, "accelerator"),
    Case("device", nothing, LINES["predict"] + " --device abacus", 2, "abacus"),
    Case("device-cuda-99", nothing, LINES["predict"] + " --device cuda:99", 2, "cuda"),
    Case("backbone", nothing, LINES["train"] + " --backbone timm:abacus", 2, "abacus"),
    Case("backbone-empty", nothing, LINES["train"] + " --backbone timm:", 2, "timm"),
    Case("optimizer", nothing, LINES["train"] + " --optimizer luck --size 32", 2, "optimizer"),
    Case("schedule", nothing, LINES["train"] + " --schedule luck --size 32", 2, "schedule"),
    Case("loss", nothing, LINES["train"] + " --loss luck --size 32", 2, "loss"),
    Case("inputs", nothing, LINES["train"] + " --inputs image+planets", 2, "planets"),
    Case("inputs-empty", nothing, LINES["train"] + " --inputs=", 2, "input"),
    Case("logger", nothing, LINES["train"] + " --logger paper", 2, "logger"),
    Case("wandb-mode", nothing, LINES["train"] + " --logger wandb --wandb_mode luck", 2, "wandb"),
    Case("demo-few", nothing, LINES["demo"] + " --images 2", 2, "too few"),
    Case("demo-size-0", nothing, LINES["demo"] + " --size 0 0", 2, "size"),
    Case("demo-size-negative", nothing, LINES["demo"] + " --size=[-5,9]", 2, "size"),
    Case("demo-size-one", nothing, LINES["demo"] + " --size 9", 2, "size"),
    Case("demo-size-absurd", nothing, LINES["demo"] + " --size 1000000 1000000", 2, "size"),
    Case("tiers", nothing, LINES["evaluate"] + " --tiers nan 0.8", 2, "tiers"),
    Case("window", nothing, LINES["generate"] + " --segmenter.window nan 3", 2, "window"),
    Case("spacing", nothing, LINES["fit segmenter"] + " --network unet3d --spacing nan 1 1", 2, "spacing"),
    Case("label-words", nothing, LINES["generate"] + " --label liver", 2, "label"),
    Case(
        "label-huge",
        nothing,
        LINES["generate"].replace("{images} --masks {masks}", "{volumes} --masks {labels}") + f" --label {10**23}",
        2,
        "label",
    ),
    Case(
        "prompter-options",
        nothing,
        "generate --images {images} --segmenter fake --prompter_options.margin nan --out {out}",
        2,
        "margin",
    ),
    Case(
        "prompter-options-words",
        nothing,
        "generate --images {images} --segmenter fake --prompter_options.margin wide --out {out}",
        2,
        "margin",
    ),
    Case(
        "prompter-options-unknown",
        nothing,
        "generate --images {images} --segmenter fake --prompter_options.luck 3 --out {out}",
        2,
        "luck",
    ),
    Case("variants-a-number", nothing, LINES["generate"] + " --variants 3", 2, "variants"),
    Case("variants-unknown-key", nothing, LINES["generate"] + " --variants {{train:{{luck:3}}}}", 2, "luck"),
    Case("refine-options", nothing, LINES["generate"] + " --refine crf --refine_options {{crf:{{luck:3}}}}", 2, "luck"),
    Case(
        "fusion-options",
        nothing,
        "generate --images {images} --segmenter fake --fusion power_law --fusion_options {{alpha:x}} --out {out}",
        2,
        "alpha",
    ),
    Case(
        "sampler-yaml",
        d.write("s.yaml", "[1, 2"),
        "generate --images {images} --sampler {bad}/s.yaml --out {out}",
        2,
        "s.yaml",
    ),
    Case(
        "sampler-yaml-list",
        d.write("s.yaml", "- 1"),
        "generate --images {images} --sampler {bad}/s.yaml --out {out}",
        2,
        "sampler",
    ),
]
