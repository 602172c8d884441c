"""Read questions from files of many kinds, by ranges of rows.

A build opens a source once, counts its rows in one pass, cuts them into ranges, and leases each range to an engine:

    source = open_source("vqa.jsonl")
    for lease in ranges(index(source), chunk_questions=128):
        rows, sha256 = read_hashed(source, lease)

Cost of a range: in JSONL, JSON arrays, CSV and Arrow, reading can start at any row; in Parquet, at a row group. A .gz
or .zst file must be read from its beginning; cursors that are kept between leases do that about once per process (see
`cursors`).

Conventions:

- A *row's number* is the number that an editor or reader shows: the 1-based line of a JSONL or CSV file, the 0-based
  row of a JSON array, Parquet or Arrow file. It is `Question.row`, is part of every message, and of the id of a row
  without one: `<Source.name>:<row>`. In a source of several files it is the number in the file + the file's index
  x 1e9, and ids are `<Source.name>/<file>:<number in the file>`; for a `meta.json` they are
  `<entry>:<number in the file>`.
- A row's *ordinal* is its 0-based index among the rows that are not blank; blank lines are no rows. Ranges, samples and
  `Index.n_rows` count ordinals.
- `Question.source` is the row's own `source` if it has one, otherwise `Source.name`, or the name of its entry in a
  `meta.json`. The pair (`Source.name`, row) is unique: two sources of one build need two names, and there a row's own
  `source` is appended to the name (`charts/vqa`).
"""

from mmpr.sources.opening import default_name, open_source
from mmpr.sources.ranges import ranges, sample
from mmpr.sources.recognition import as_recorded, hashed_plainly, reading_of, settled
from mmpr.sources.row_reader import Row, index, read_hashed, read_range, rows_hash
from mmpr.sources.source_records import Index, LeaseRange, Source, SourceOptions, Span

__all__ = [
    "Index",
    "LeaseRange",
    "Row",
    "Source",
    "SourceOptions",
    "Span",
    "as_recorded",
    "default_name",
    "hashed_plainly",
    "index",
    "open_source",
    "ranges",
    "read_hashed",
    "read_range",
    "reading_of",
    "rows_hash",
    "sample",
    "settled",
]
