"""Record sets on disk: what `generate` writes and all else reads (schema, reader, writer), and how they are made.

`make` makes a set: `plan` says which records a case has, `workers` part the cases, `record_maker` takes one case
(`load` reads it, `referee` and `cascade` segment beside the segmenter, `draft` is a mask before it is written, `refine`
makes further ones), `resume` says what of an earlier run still stands.
"""

from sqp.records.reader import RecordSet, read_record_sets
from sqp.records.schema import Record
from sqp.records.writer import RecordWriter

__all__ = ["Record", "RecordSet", "RecordWriter", "read_record_sets"]
