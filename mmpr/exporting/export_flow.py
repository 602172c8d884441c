"""An export from start to end: claim the folder, check and write everything, report the counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from mmpr.errors import ConfigError
from mmpr.exporting.export_folder import claim, finish, request_of
from mmpr.exporting.export_records import Batch, Counts, FitPair, Format, LeftOuts, Unfit
from mmpr.exporting.fitness import text_fault, turns_of
from mmpr.exporting.formats import writer_for
from mmpr.exporting.image_files import ImageFiles
from mmpr.exporting.start_files import training_start, write_start
from mmpr.exporting.training_flow import FAULTS, TrainingExport, refused
from mmpr.exporting.training_records import TrainingChoice
from mmpr.run import RunFolder, finished_pairs
from mmpr.run.commit_records import FileRecord
from mmpr.run.json_records import JsonObject
from mmpr.run.parquet_reader import row_groups
from mmpr.run.run_record import Settings, by_source
from mmpr.types import TableRow
from mmpr.verification import refuse_damaged

_SLICE_ROWS = 16  # rows that are Python objects at the same time; each holds a copy of its images' bytes


def export_run(
    folder: str,
    format: Format | str,
    to: str | Path,
    *,
    strict: bool = False,
    max_chars: int | None = None,
    accuracy: tuple[float, float] | None = None,
    per_question: int | None = None,
    options: Mapping[str, object] | None = None,
) -> Counts:
    """Write a finished run in a trainer's own format: its pairs, or a training set of its questions and responses.

    Rows that a trainer could not use are left out and counted. The same call completes an interrupted export and does
    not change a complete one.

    Args:
        folder: local path or fsspec URL of the run folder.
        format: a `Format` or its value.
        to: a new or empty folder on this machine.
        strict: stop at the first unfit pair or question.
        max_chars: most characters of prompt and answer that the trainer keeps. Pairs that differ only after these are
            left out; in training sets, longer rows are left out.
        accuracy: for training sets: smallest and largest fraction of right responses to a question, both included. The
            fraction must be inside whatever the undecided responses are.
        per_question: for sets of responses: most responses to a question with one label.
        options: arguments of fsspec's filesystem.

    Raises:
        ConfigError: the format is unknown or does not use an argument; `to` has other files or cannot be written.
        RunFolderError: the run is unfinished or damaged; with `strict`, a row is unfit.
    """
    if format not in set(Format):
        raise ConfigError(f"there is no format {str(format)!r}; it may be {', '.join(Format)}")
    format, root = Format(format), Path(to)
    run = RunFolder(folder, options)
    choice = TrainingChoice(accuracy, per_question, max_chars, strict)
    choice.require_fit(format)
    export = PairExport if format.unit == "pairs" else TrainingExport
    job: _ExportJob = export(run, format, root, choice)
    try:
        counts = claim(root, job.request, job.load)
        if counts is None:
            # before the first file is written: a trainer would not notice damage that is copied
            refuse_damaged(run, job.files)
            counts = job.write()
            finish(root, job.request, counts)
    except OSError as error:
        raise ConfigError(
            f"cannot write {root}: {error.strerror or error}; check its disk space and permissions"
        ) from error
    # A complete export from a call without `strict` may have left rows out.
    unfit = [one for one in counts.left_out if format.unit == "pairs" or one.reason in FAULTS]
    if strict and unfit:
        raise refused(unfit[0].reason, unfit[0].first)
    return counts


class _ExportJob(Protocol):
    """One export. `files` are the run's files that it reads; equal `request`s give equal exports."""

    load: str

    @property
    def files(self) -> Sequence[FileRecord]: ...

    @property
    def request(self) -> JsonObject: ...

    def write(self) -> Counts: ...


def _tiles(identity: Settings) -> int | None:
    """Return the tiles per image; None if the sources of the run have different limits."""
    # one number is all that a trainer's `max_dynamic_patch` takes
    each = {asked.get("max_tiles") for _, asked in by_source(identity)}
    tiles = each.pop() if len(each) == 1 else None
    return tiles if isinstance(tiles, int) else None


class PairExport:
    """Exports the run's pairs from the shards of its dataset; memory holds one row group."""

    def __init__(self, run: RunFolder, format: Format, root: Path, choice: TrainingChoice) -> None:
        self._run, self._format, self._root, self._choice = run, format, root, choice
        finished = finished_pairs(run)
        self._record, self._tiles = finished.record, _tiles(finished.record.identity)
        self._shards = finished.by_split()
        self.files = [file for files in self._shards.values() for file in files]
        self.request = request_of(format, self.files, max_chars=choice.max_chars)
        self._writer = writer_for(format, root, max_tiles=self._tiles)
        self.load = self._writer.load
        self._images = ImageFiles(None if self._writer.embeds else root)
        self._n_pairs: Counter[str] = Counter()  # by split
        self._left_out = LeftOuts()

    def write(self) -> Counts:
        """Write everything except the file that marks the export as complete.

        Raises:
            RunFolderError: a shard is damaged; with `strict`, a pair is unfit.
        """
        try:
            for split, files in self._shards.items():
                self._write_split(split, [file.path for file in files])
            self._writer.end()
            # a start file for a dataset without rows would fail in the trainer
            if self._n_pairs["train"]:
                write_start(
                    self._format, self._root, training_start(self._record, self._n_pairs, max_tiles=self._tiles)
                )
        finally:
            self._writer.close()
        load = self.load if self._n_pairs["train"] else ""
        return Counts(self._n_pairs.total(), self._images.count(), self._left_out.all(), load)

    def _write_split(self, split: str, paths: list[str]) -> None:
        """Write pairs with images first, then read again the row groups that have pairs without images.

        Readers of JSON, and of mapped datasets, guess the type of `images` from the first rows. Files with embedded
        images store the type and keep their order.
        """
        rest: dict[str, list[int]] = {}
        for path in paths:
            for index, rows in row_groups(self._run, path):
                if self._writer.embeds:
                    self._add(split, path, rows)
                elif self._add_some(split, path, rows, image_files=True):
                    rest.setdefault(path, []).append(index)
        for path, indices in rest.items():
            for _, rows in row_groups(self._run, path, only=indices):
                self._add_some(split, path, rows, image_files=False)

    def _add_some(self, split: str, path: str, rows: pa.Table, *, image_files: bool) -> int:
        """Write the rows with images, or those without; return the number of rows not written."""
        chosen = _with_images(rows, wanted=image_files)
        self._add(split, path, chosen)
        return int(rows.num_rows - chosen.num_rows)

    def _add(self, split: str, path: str, rows: pa.Table) -> None:
        # checked before anything is written, so that `strict` leaves no half batch
        fit = list(self._check(path, rows))
        kept = _filtered(rows, pa.array([pair is not None for pair in fit], pa.bool_()))
        pairs = [pair for pair in fit if pair is not None]
        self._writer.add(Batch(split, path, pairs, kept))
        self._n_pairs[split] += len(pairs)

    def _check(self, path: str, rows: pa.Table) -> Iterator[FitPair | None]:
        """Yield each row's pair; None, and a count, if it is unfit."""
        for row in _rows_of(rows):
            checked = self._fit(row)
            if isinstance(checked, Unfit):
                place = f"pair {row['pair_id']} of {path}"
                if self._choice.strict:
                    raise refused(checked, place)
                self._left_out.add(checked, place)
            yield None if isinstance(checked, Unfit) else checked

    def _fit(self, row: TableRow) -> FitPair | Unfit:
        turns = turns_of(row)
        if fault := text_fault(row, turns, max_chars=self._choice.max_chars):
            return fault
        images = self._images.place(row["images"] or ())
        if images is None:
            return Unfit.IMAGE_UNREADABLE
        return FitPair({**row, "images": list(images)}, turns, images)


def _rows_of(table: pa.Table) -> Iterator[TableRow]:
    """Yield rows as Python values, a few at a time."""
    for first in range(0, table.num_rows, _SLICE_ROWS):
        yield from table.slice(first, _SLICE_ROWS).to_pylist()


def _with_images(table: pa.Table, *, wanted: bool) -> pa.Table:
    """Return the rows with images, or those without."""
    n_images = pc.fill_null(pc.list_value_length(table.column("images")), 0)
    return _filtered(table, pc.equal(pc.greater(n_images, 0), wanted))


def _filtered(table: pa.Table, mask: pa.Array) -> pa.Table:
    """Return the rows that the mask selects; if it selects all, return the table itself without copying its images."""
    return table if pc.all(mask, min_count=0).as_py() else table.filter(mask)
