"""Where masks live in other people's tools: predictions written for them, and judging from within them.

`writers` names the files of `sqp predict --write`; `fiftyone`, `lightning`, `monai` and `torchmetrics` are imported by
whoever uses these libraries. Nothing here is imported by the other rooms, but by the commands.
"""
