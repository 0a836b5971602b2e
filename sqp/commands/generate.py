"""`sqp generate`: cases -> record set."""

from __future__ import annotations

from sqp.config.generate import GenerateConfig
from sqp.records.make import GenerateResult, make_record_set


def run(config: GenerateConfig) -> GenerateResult:
    """Write the record set of `config`; broken cases are skipped and reported unless `config.strict`."""
    return make_record_set(config)
