"""An export from its start to its end: the folder is claimed, every row group checked and written, the counts told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from mmpr.errors import ConfigError, RunFolderError
from mmpr.exporting.export_folder import claim, finish, request_of
from mmpr.exporting.export_records import EXPLAINED, Batch, Counts, FitPair, Format, LeftOut, Unfit
from mmpr.exporting.fitness import text_fault, turns_of
from mmpr.exporting.formats import Writer, writer_for
from mmpr.exporting.image_files import ImageFiles
from mmpr.exporting.shard_rows import filtered, row_groups, rows_of, shards_by_split, with_images
from mmpr.run import RunFolder
from mmpr.run.commit_records import FileRecord
from mmpr.run.merge_members import by_source
from mmpr.verification import file_fault


def export_run(
    folder: str,
    format: Format | str,
    to: str | Path,
    *,
    strict: bool = False,
    max_chars: int | None = None,
    options: dict[str, Any] | None = None,
) -> Counts:
    """Write a finished run's pairs in a trainer's own format; memory is bounded by one row group.

    Pairs that the trainer would not survive are left out and counted. Running it again completes an export that was
    interrupted and changes nothing in one that is complete.

    Args:
        folder: local path or fsspec URL of the run folder.
        format: a `Format` or its value.
        to: a new or empty folder on this machine.
        strict: the first pair that is unfit ends the export.
        max_chars: most characters of prompt and answer that the trainer keeps; pairs that differ only behind them are
            left out.
        options: what fsspec's filesystem takes.

    Raises:
        ConfigError: no such format; `to` has other files or cannot be written.
        RunFolderError: the run is not finished or damaged; with `strict`, a pair is unfit.
    """
    format, root = _format(format), Path(to)
    run = RunFolder(folder, options)
    identity = run.load_run()["identity"]
    shards = shards_by_split(run)
    request = request_of(format, [file for files in shards.values() for file in files], max_chars=max_chars)
    try:
        writer = writer_for(format, root, max_tiles=_tiles(identity))
        counts = claim(root, request, writer.load)
        if counts is None:
            _refuse_damaged(run, shards)
            counts = _Export(run, writer, root, strict=strict, max_chars=max_chars).write(shards)
            finish(root, request, counts)
    except OSError as error:
        raise ConfigError(f"cannot write {root}: {error.strerror or error}; free space or rights there") from error
    if strict and counts.left_out:
        raise _refused(counts.left_out[0].reason, counts.left_out[0].first)
    return counts


def _refuse_damaged(run: RunFolder, shards: Mapping[str, list[FileRecord]]) -> None:
    """Every byte is read before anything is written: a flipped bit need not break a file's compression."""
    for file in (file for files in shards.values() for file in files):
        if fault := file_fault(run, file):
            raise RunFolderError(f"{run.url}: {fault}; `mmpr verify {run.url}` says what to do")


def _tiles(identity: Mapping[str, Any]) -> int | None:
    """Tiles an image; None where the run's sources were not all cut alike."""
    each = {asked.get("max_tiles") for _, asked in by_source(identity)}
    return each.pop() if len(each) == 1 else None


class _Export:
    """One export while it is written."""

    def __init__(self, run: RunFolder, writer: Writer, root: Path, *, strict: bool, max_chars: int | None) -> None:
        self._run = run
        self._writer = writer
        self._images = ImageFiles(None if writer.embeds else root)
        self._strict = strict
        self._max_chars = max_chars
        self._n_pairs = 0
        self._left_out: Counter[Unfit] = Counter()
        self._first: dict[Unfit, str] = {}

    def write(self, shards: dict[str, list[FileRecord]]) -> Counts:
        try:
            for split, files in shards.items():
                self._write_split(split, [file.path for file in files])
            self._writer.end()
        finally:
            self._writer.close()
        left_out = tuple(LeftOut(why, self._left_out[why], self._first[why]) for why in Unfit if why in self._first)
        return Counts(self._n_pairs, self._images.count(), left_out, self._writer.load)

    def _write_split(self, split: str, paths: list[str]) -> None:
        """Pairs with images first, then those without, from the row groups that were seen to have some.

        Whoever loads JSON, or maps a dataset, guesses the type of `images` from its first rows. Embedded images have
        theirs in the file and keep their order.
        """
        rest: dict[str, list[int]] = {}
        for path in paths:
            for group in row_groups(self._run, path):
                if self._writer.embeds:
                    self._add(split, path, group.read())
                elif self._add_some(split, path, group.read(), image_files=True):
                    rest.setdefault(path, []).append(group.index)
        for path, indices in rest.items():
            for group in row_groups(self._run, path, only=indices):
                self._add_some(split, path, group.read(), image_files=False)

    def _add_some(self, split: str, path: str, rows: pa.Table, *, image_files: bool) -> int:
        """Write the rows with images, or those without; how many are left for the other time."""
        chosen = with_images(rows, wanted=image_files)
        self._add(split, path, chosen)
        return int(rows.num_rows - chosen.num_rows)

    def _add(self, split: str, path: str, rows: pa.Table) -> None:
        fit = list(self._check(path, rows))
        kept = filtered(rows, pa.array([pair is not None for pair in fit], pa.bool_()))
        pairs = [pair for pair in fit if pair is not None]
        self._writer.add(Batch(split, path, pairs, kept))
        self._n_pairs += len(pairs)

    def _check(self, path: str, rows: pa.Table) -> Iterator[FitPair | None]:
        """Every row's pair, or None and a count."""
        for row in rows_of(rows):
            checked = self._fit(row)
            if isinstance(checked, Unfit):
                place = f"pair {row['pair_id']} of {path}"
                if self._strict:
                    raise _refused(checked, place)
                self._left_out[checked] += 1
                self._first.setdefault(checked, place)
            yield None if isinstance(checked, Unfit) else checked

    def _fit(self, row: dict[str, Any]) -> FitPair | Unfit:
        turns = turns_of(row)
        if fault := text_fault(row, turns, max_chars=self._max_chars):
            return fault
        images = self._images.place(row["images"] or ())
        if images is None:
            return Unfit.IMAGE_UNREADABLE
        return FitPair({**row, "images": list(images)}, turns, images)


def _format(format: Format | str) -> Format:
    try:
        return Format(format)
    except ValueError:
        known = ", ".join(one.value for one in Format)
        raise ConfigError(f"there is no format {str(format)!r}; it may be {known}") from None


def _refused(why: Unfit, place: str) -> RunFolderError:
    return RunFolderError(f"{place} is unfit: {why.value} ({EXPLAINED[why]}); without --strict it is left out")
