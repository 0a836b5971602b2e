"""Record sets on disk: what `generate` writes and everything else reads (schema, writer, reader)."""

from sqp.records.reader import RecordSet, read_record_sets
from sqp.records.schema import Record
from sqp.records.writer import RecordWriter

__all__ = ["Record", "RecordSet", "RecordWriter", "read_record_sets"]
