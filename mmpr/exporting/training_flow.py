"""Write a training set chunk by chunk from the committed questions and responses; no engine is used.

It is not made from `data/`, which repeats a question with every pair and has neither its options nor its other accepted
answers.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa

from mmpr.builder.run_recipes import judge_options, run_parts, run_recipe
from mmpr.builder.stored_settings import stored_settings
from mmpr.errors import RunFolderError
from mmpr.exporting.export_records import Counts, Format, LeftOuts, Unfit, explained
from mmpr.exporting.files import LineFiles, ParquetFiles
from mmpr.exporting.image_files import ImageFiles
from mmpr.exporting.training_formats import REWARD_FILE, SETTINGS_FILE, SHAPES, Row, TrainingShape
from mmpr.exporting.training_records import TrainingChoice, TrainingExample
from mmpr.exporting.training_rows import Omission, PartRules, example_of
from mmpr.judging import VERSION
from mmpr.run import ChunkCommit, RunFolder, finished_pairs, read_chunk
from mmpr.run.chunk_reader import read_encoded
from mmpr.run.dataset import GROUP_BYTES, GROUP_ROWS, select_run
from mmpr.run.json_records import JsonObject
from mmpr.types import Reason

# Faults of the question itself, whatever was answered: `--strict` stops at the first one.
FAULTS: frozenset[Unfit | Reason] = frozenset(
    (Unfit.EMPTY_TEXT, Unfit.MEDIA_TAG, Unfit.IMAGE_TAGS, Unfit.IMAGE_UNREADABLE, Unfit.REFERENCE_UNFIT)
)
_TEXTS = "texts-"  # prefix of the file with rows without an image, until the end


class TrainingExport:
    """One training set.

    Args:
        run: a finished run.
        format: one of `SHAPES`.
        root: the folder of the export.
        choice: which rows of the run to export.

    Raises:
        ConfigError: the format does not use an option, or this mmpr cannot read the run's settings.
        RunFolderError: the run is unfinished or an evaluation.
    """

    def __init__(self, run: RunFolder, format: Format, root: Path, choice: TrainingChoice) -> None:
        choice.require_fit(format)
        self._run, self._format, self._root, self._choice = run, format, root, choice
        self._shape = SHAPES[format]
        self._stored = finished_pairs(run).record
        self.files = [file for commit in run.commits() for file in (commit.questions, commit.responses)]
        self.load = self._shape.loading(root)
        self._left_out = LeftOuts()
        self._own_judges: set[str] = set()
        self._writer = _TrainingWriter(root, self._shape)

    @property
    def request(self) -> JsonObject:
        """What identifies a training set; includes the judge's version and the run's settings."""
        made_of = [[file.path, file.sha256] for file in self.files]
        content = json.dumps([made_of, self._stored.selection, VERSION], sort_keys=True)
        # `strict` does not change what is written
        wanted = {name: value for name, value in asdict(self._choice).items() if name != "strict"}
        return {
            "written_as": 1,
            "format": self._format.value,
            **json.loads(json.dumps(wanted)),  # a tuple equals the list that it is stored as
            "responses_sha256": hashlib.sha256(content.encode()).hexdigest(),
        }

    def write(self) -> Counts:
        """Write everything except the file that marks the export as complete.

        Memory holds the texts of one chunk and the images of one row group.

        Raises:
            RunFolderError: a committed file is missing or damaged; with `strict`, a question is unfit.
        """
        try:
            for commit, part in self._parts():
                self._add_chunk(commit, part)
            self._writer.end(self._own_judges)
            if self._format is Format.ROLLOUTS:
                self._write_settings()
        finally:
            self._writer.close()
        n_rows = self._writer.n_rows
        loads = self.load if n_rows["train"] else ""
        return Counts(n_rows.total(), self._writer.images.count(), self._left_out.all(), loads)

    def _write_settings(self) -> None:
        """Write the settings of pairing, so that an import of the responses gives the same pairs."""
        import yaml

        # an import has one source, and `per_source` needs several
        kept = {name: value for name, value in self._stored.selection.items() if name != "per_source"}
        # settings such as strategy=grounded are refused without it
        kept["grounding"] = bool(self._stored.identity.get("grounding"))
        (self._root / SETTINGS_FILE).write_text(yaml.safe_dump(kept, allow_unicode=True), encoding="utf-8")

    def _parts(self) -> Iterator[tuple[ChunkCommit, PartRules]]:
        """Yield every commit with its rules, in source order.

        Excluded questions stay out, and splits are those of the pairs; limits on the number of pairs do not apply.
        """
        config, members = stored_settings(self._stored, []), self._stored.members
        asked = replace(config.dataset, max_pairs_per_source=None, max_format_fraction=None)
        chunks = sorted(self._run.committed_chunks())
        recipe = select_run(self._run, run_recipe(config, members, self._run.commits()), chunks, asked, map)
        parts = list(run_parts(config, members, self._run.commits()))
        firsts = [part.first for part in parts]
        for commit in self._run.commits():
            own = parts[bisect_right(firsts, commit.chunk) - 1].config
            options = judge_options(own)
            self._own_judges |= {options.judge} if options.judge else set()
            yield commit, PartRules(recipe.of_chunk(commit.chunk), own.pairs, options)

    def _add_chunk(self, commit: ChunkCommit, part: PartRules) -> None:
        """Write a chunk's examples in batches that the size of their images limits."""
        batch: list[TrainingExample] = []
        sizes: dict[str, int] = {}
        for committed in map(part.recipe.view, read_chunk(self._run, commit, images=False)):
            example, omitted = example_of(committed, part, self._format, self._choice)
            self._leave_out(omitted)
            if example is None:
                continue
            sizes |= {image.sha256: image.n_bytes for image in example.images}
            batch.append(example)
            # images that several questions show are counted, and read, once
            if sum(sizes.values()) > GROUP_BYTES:
                self._add_batch(commit, batch)
                batch, sizes = [], {}
        self._add_batch(commit, batch)

    def _add_batch(self, commit: ChunkCommit, batch: Sequence[TrainingExample]) -> None:
        encoded = read_encoded(self._run, commit, {image.sha256 for one in batch for image in one.images})
        for example in batch:
            if not self._writer.add(example, [encoded[image.sha256] for image in example.images]):
                question = example.question
                place = f"question {question.id} ({question.source}:{question.row})"
                self._leave_out([(Unfit.IMAGE_UNREADABLE, place)])

    def _leave_out(self, omitted: Sequence[Omission]) -> None:
        for reason, place in omitted:
            if self._choice.strict and reason in FAULTS:
                raise refused(reason, place)
            self._left_out.add(reason, place)


def refused(reason: Unfit | Reason, place: str) -> RunFolderError:
    """Return the error that ends a strict export."""
    return RunFolderError(f"{place} is unfit: {reason.value} ({explained(reason)}); without --strict it is left out")


class _TrainingWriter:
    """Writes the files of one training set, one per split.

    Rows without an image come last, because readers guess the types of JSON lines from the first rows.
    """

    def __init__(self, root: Path, shape: TrainingShape) -> None:
        self._root, self._shape = root, shape
        self._embeds = shape.schema is not None
        self.images = ImageFiles(None if self._embeds else root)
        self._lines = LineFiles(root)
        self._groups: dict[str, _RowGroup] = {}
        self.n_rows: Counter[str] = Counter()

    def add(self, example: TrainingExample, encoded: Sequence[bytes]) -> bool:
        """Write an example's rows; return False if one of its images cannot be decoded."""
        stored = [{"bytes": content, "path": None} for content in encoded]
        names = self.images.place(stored)
        if names is None:
            return False
        shown: Sequence[object] = stored if self._embeds else names
        if self._shape.absolute:
            shown = [str(self._root.resolve() / name) for name in names]
        rows = self._shape.rows(example, shown, self.n_rows[example.split])
        self._write(example.split, rows, n_bytes=sum(map(len, encoded)), has_image=bool(encoded))
        self.n_rows[example.split] += len(rows)
        return True

    def _write(self, split: str, rows: Sequence[Row], *, n_bytes: int, has_image: bool) -> None:
        if self._shape.schema is None:
            # rows without an image wait in a file of their own
            self._lines.add(f"{'' if has_image else _TEXTS}{split}.jsonl", rows)
            return
        group = self._groups.setdefault(split, _RowGroup(self._root, f"{split}.parquet", self._shape.schema))
        for row in rows:
            group.add(row, n_bytes)

    def end(self, own_judges: Set[str]) -> None:
        """Complete the files, and write the trainer's further files; its rewards may use these custom judges."""
        for group in self._groups.values():
            group.end()
        for name in list(self._lines.n_rows):
            if name.startswith(_TEXTS):
                self._append(self._root / name, self._root / name.removeprefix(_TEXTS))
        allowed = "".join(f"allow_judge({place!r})\n" for place in sorted(own_judges))
        for name, content in self._shape.files.items():
            if name == REWARD_FILE and allowed:
                content += f"\nfrom mmpr.rewards import allow_judge\n\n{allowed}"
            (self._root / name).write_text(content, encoding="utf-8")

    def _append(self, texts: Path, lines: Path) -> None:
        """Append the lines without an image to those with one."""
        with lines.open("ab" if self._lines.n_rows[lines.name] else "wb") as file, texts.open("rb") as rest:
            while block := rest.read(2**20):
                file.write(block)
        texts.unlink()

    def close(self) -> None:
        """Close open files, also after an error."""
        for group in self._groups.values():
            group.close()


class _RowGroup:
    """Collects rows of one Parquet file into groups with limits for rows and uncompressed bytes."""

    def __init__(self, root: Path, name: str, schema: pa.Schema) -> None:
        self._files = ParquetFiles(root)
        self._name, self._schema = name, schema
        self._rows: list[Row] = []
        self._n_bytes = 0

    def add(self, row: Row, n_bytes: int) -> None:
        if self._rows and (len(self._rows) >= GROUP_ROWS or self._n_bytes + n_bytes > GROUP_BYTES):
            self._flush()
        self._rows.append(row)
        self._n_bytes += n_bytes

    def end(self) -> None:
        self._flush()
        self._files.close()

    def close(self) -> None:
        self._files.close()

    def _flush(self) -> None:
        self._files.add(self._name, pa.Table.from_pylist(self._rows, schema=self._schema))
        self._rows, self._n_bytes = [], 0
