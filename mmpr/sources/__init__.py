"""Where questions come from: files of many kinds, read by row range.

A build opens a source once, counts it in one pass, cuts it into ranges, and hands each range to whoever reads it:

    source = open_source("vqa.jsonl")
    for lease in ranges(index(source), chunk_questions=128):
        rows, sha256 = read_hashed(source, lease)

What a range costs: JSONL, JSON arrays, CSV and Arrow are entered at any row; Parquet at a row group. A .gz or .zst file
is entered at its beginning only; cursors that are kept between leases make that about once a process (see `cursors`).

Conventions:

- A *row's number* is where an editor or a reader shows it: the 1-based line of a JSONL or CSV file, the 0-based row of
  a JSON array, Parquet or Arrow file. It is `Question.row`, it stands in every detail, and in the id that a row without
  one gets: `<Source.name>:<row>`. In a source of several files it is the number in the file + the file's place x 1e9,
  and ids are `<Source.name>/<file>:<number in the file>`; those of a `meta.json` are `<entry>:<number in the file>`.
- A row's *ordinal* is its 0-based place among the rows that are not blank; blank lines are no rows. Ranges, samples and
  `Index.n_rows` count ordinals.
- `Question.source` is the row's own `source` where it has one, else `Source.name`, or its entry's in a `meta.json`.
  Unique is the pair (`Source.name`, row): two sources of one build need two names, and a row's own `source` stands
  behind them there (`charts/vqa`).
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
