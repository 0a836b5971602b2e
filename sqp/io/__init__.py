"""Record sets on disk: what `generate` writes and everything else reads (schema, writer, reader)."""

from sqp.io.reader import RecordSet, read_record_sets
from sqp.io.schema import Record
from sqp.io.writer import RecordWriter

__all__ = ["Record", "RecordSet", "RecordWriter", "read_record_sets"]
