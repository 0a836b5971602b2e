"""What a run keeps of its config: plain values, no way of going, and of files of weights the name alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqp.config.train import EXECUTION_KEYS, TrainConfig
from sqp.records.run_info import described, stored_config


@pytest.mark.parametrize("file", [None, Path("/home/me/weights/resnet.pth")])
def test_a_training_is_described_without_the_paths_of_this_machine(file):
    config = TrainConfig([Path("r")], Path("o"), pretrained_file=file, batch_size=3)
    told = described(config, [*EXECUTION_KEYS, "records"])
    assert told == {**stored_config(config, [*EXECUTION_KEYS, "records"]), "pretrained_file": file and "resnet.pth"}
    assert told["batch_size"] == 3 and not {"records", *EXECUTION_KEYS} & set(told) and "/home/me" not in str(told)
