"""The help of a command of many options: those that most people need come first, the others by what they are about."""

from __future__ import annotations

import typing
from typing import Any

BASIC = "basic options"
RUNS = "how it runs"
REST = "more options"
GENERAL = "help and config"

GROUPS: dict[str, dict[str, tuple[str, ...]]] = {
    "predict": {
        BASIC: ("images", "masks", "out", "model", "truth", "accept", "reject", "workers", "overwrite"),
        "what is judged": (
            *("mask_pattern", "resize_masks", "references", "probs", "label", "layout", "records", "split"),
        ),
        "when a mask is accepted": ("risk", "failure", "confidence", "audit", "audit_decisions", "fail_under"),
        "the report": ("worst", "gallery", "write"),
        RUNS: (
            "engine",
            "address",
            "gpu_share",
            "seed",
            "shard",
            "precision",
            "runtime",
            "batch_size",
            "device",
            "encodings",
            "strict",
        ),
        "the segmenter's own masks": ("prompter", "prompter_options", "cascade_checkpoint"),
        "files of networks": ("checkpoint", "checkpoints", "referee_weights", "localizer", "supervised"),
    },
    "generate": {
        BASIC: ("images", "out", "truth", "masks", "segmenter.name", "prompter", "workers", "overwrite"),
        "which images and masks": (
            *("mask_pattern", "resize_masks", "references", "probs", "label", "layout", "splits", "only"),
            *("licence", "masks_licence", "max_images"),
        ),
        "what is kept of a mask": ("measures", "fusion", "fusion_options", "refine", "refine_options", "variants"),
        "prompts": ("prompter_options", "prompters", "cascade", "cascade_options"),
        RUNS: ("engine", "address", "gpu_share", "seed", "shard", "device", "runtime", "encodings", "strict"),
    },
    "train": {
        BASIC: ("records", "out", "inputs", "scores", "backbone", "epochs", "seed", "workers", "overwrite"),
        "what the model reads": ("features", "size", "views", "compare"),
        "the network": (
            *("pretrained", "pretrained_file", "dropout", "error_map", "error_weight", "error_skip", "flips"),
            *("members", "half"),
        ),
        "training": (
            *("loss", "beta", "patience", "batch_size", "learning_rate", "weight_decay", "optimizer", "schedule"),
            *("augment", "cameras", "balance", "train_on"),
        ),
        "intervals and strange images": (
            *("alpha", "calibrate_on", "calibrate_over", "calibrate_splits", "ood_quantile", "ood_images"),
        ),
        RUNS: (
            *("resume", "progress", "strict", "cache", "cache_inputs", "accelerator", "devices", "strategy"),
            *("num_nodes", "precision"),
        ),
    },
}
"""Command -> title of a group -> its options; what is in none comes after them."""


def arrange(parser: Any, command: str, required: typing.Sequence[str]) -> None:
    """Put the options of a parser of jsonargparse's into their groups; how it reads them stays as it is."""
    parser.usage = " ".join(
        [f"sqp {command}", "[--config FILE.yaml]", *(f"--{name} {name.upper()}" for name in required), "[options]"]
    )
    actions = {action.dest: action for action in parser._actions}
    before = list(parser._action_groups)
    first = []
    for title, names in GROUPS.get(command, {}).items():
        group = parser.add_argument_group(title)
        first.append(group)
        for action in (actions[name] for name in names if name in actions):
            for other in before:
                if action in other._group_actions:
                    other._group_actions.remove(action)
            group._group_actions.append(action)
    general, others = before[:2], before[2:]  # argparse's own two, positionals and what has no group, come first
    for group in general:
        group.title = GENERAL
    if first and others:
        others[0].title = REST
    parser._action_groups[:] = [*first, *others, *general]
