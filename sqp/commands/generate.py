"""`sqp generate`: cases -> record set."""

from __future__ import annotations

from copy import copy

from sqp.config.generate import GenerateConfig
from sqp.records.make import GenerateResult, check_parts, make_record_set
from sqp.records.parts.claim import check_whole, claim


def run(config: GenerateConfig) -> GenerateResult:
    """Write the record set of `config`, or its part; broken cases are skipped and reported unless `config.strict`."""
    if config.part is None:
        check_whole(config.out)
        return make_record_set(config, to_train=True)
    check_parts(config)
    part = copy(config)
    part.out = claim(config.out, "generate", config.part)
    result = make_record_set(part, to_train=True)
    result.notes.append(f"part {config.part} of {config.out}: `sqp status {config.out}` tells what is missing")
    return result
