"""Volumes or images: a backbone reads one kind of record set."""

from __future__ import annotations

from sqp.core.errors import ConfigError
from sqp.quality.model.backbones import VOLUME_BACKBONES, dims_of
from sqp.records import RecordSet


def check_dims(records: RecordSet, backbone: str, what: str) -> None:
    """ConfigError where a record set is of volumes and the backbone of `what` is not, or the other way round."""
    if records.volumes and dims_of(backbone) == 2:
        raise ConfigError(
            f"{records.folder} holds volumes, and {what} has the backbone {backbone}, which reads images: "
            f"train one with --backbone {' or '.join(VOLUME_BACKBONES)}"
        )
    if not records.volumes and dims_of(backbone) == 3:
        raise ConfigError(f"{records.folder} holds images, and {what} has the backbone {backbone}, which reads volumes")
