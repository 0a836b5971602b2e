"""Reads what an offline run of W&B holds: its `.wandb` file is a log in LevelDB's format of protobuf records."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK, HEADER = 32768, struct.Struct("<IHB")  # checksum, length, kind: 1 whole, 2 first, 3 middle, 4 last


def payloads(path: Path) -> Iterator[bytes]:
    """Each record's bytes, put together from its pieces, as far as the file is written."""
    data, at, whole = path.read_bytes(), 7, b""
    assert data[:4] == b":W&B"[: len(data)]
    while at + HEADER.size <= len(data):
        if BLOCK - at % BLOCK < HEADER.size:  # the rest of a block is padding
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = HEADER.unpack_from(data, at)
        if kind == 0 or at + HEADER.size + length > len(data):
            return
        whole += data[at + HEADER.size : at + HEADER.size + length]
        at += HEADER.size + length
        if kind in (1, 4):
            yield whole
            whole = b""


def read_offline_run(folder: Path, seconds: float = 20) -> dict[str, Any]:
    """The one offline run under `folder/wandb`: config, history (a mapping a step), summary, exit code, its files.

    W&B's own process writes the end of the file after `finish` has returned, so it is waited for.
    """
    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    for _ in range(int(seconds * 10)):
        found = _read(path)
        if found["exit"] is not None:
            break
        time.sleep(0.1)
    return found


def _read(path: Path) -> dict[str, Any]:
    from wandb.proto import wandb_internal_pb2

    found: dict[str, Any] = {"config": {}, "history": [], "summary": {}, "exit": None, "files": path.parent / "files"}

    def items(entries: Any) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        for entry in entries:
            *parents, last = entry.nested_key or [entry.key]
            place = tree
            for name in parents:
                place = place.setdefault(name, {})
            place[last] = json.loads(entry.value_json)
        return tree

    for payload in payloads(path):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(payload)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found["config"] |= items(record.run.config.update)
            found["project"], found["job_type"] = record.run.project, record.run.job_type
        elif kind == "history":
            found["history"].append(items(record.history.item))
        elif kind == "summary":
            found["summary"] |= items(record.summary.update)
        elif kind == "exit":
            found["exit"] = record.exit.exit_code
    return found
