"""Read a run folder from Python: its report, its pairs, its questions with all responses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from mmpr.extras import named_extras
from mmpr.reporting.evaluation_report import EvaluationReport, read_evaluation
from mmpr.reporting.pair_story import Story, questions_as_paired, read_story
from mmpr.reporting.report_record import Report, read_report
from mmpr.run import RunFolder, StoredQuestion, finished_pairs, finished_run
from mmpr.run.json_records import plain
from mmpr.run.parquet_reader import all_batches
from mmpr.types import Question, Response, TableRow, Verdict

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class RunTable(Generic[Item]):
    """A part of a run: iterate over its items, or get a table. Each use reads the folder again.

    Iteration holds one chunk or batch in memory, `to_arrow` and `to_pandas` hold everything.
    """

    _items: Callable[[], Iterator[Item]] = field(repr=False)
    _rows: Callable[[], Iterator[TableRow]] = field(repr=False)
    _table: Callable[[], pa.Table] | None = field(default=None, repr=False)

    def __iter__(self) -> Iterator[Item]:
        return self._items()

    def to_arrow(self) -> pa.Table:
        """Return all rows; images are `{bytes, path}`, as they are stored.

        Raises:
            RunFolderError: a file of the run is missing or damaged.
        """
        import pyarrow as pa

        return self._table() if self._table is not None else pa.Table.from_pylist(list(self._rows()))

    @named_extras()
    def to_pandas(self) -> pd.DataFrame:
        """Return the rows as a data frame; raises like `to_arrow`."""
        import pandas  # noqa: F401  its error names the extra; pyarrow would raise its own

        frame: pd.DataFrame = self.to_arrow().to_pandas()
        return frame


@dataclass(frozen=True, slots=True)
class JudgedResponse:
    """One response of a run with its question; a sample has its verdict."""

    question: Question
    response: Response
    verdict: Verdict | None


@dataclass(frozen=True, slots=True)
class Run:
    """A run folder. It is cheap to create, because data is read when it is requested.

    Args:
        url: local path or fsspec URL.
    """

    url: str

    @property
    def report(self) -> Report | EvaluationReport:
        """The content of `report.json`, or of `eval.json` for an evaluation.

        Raises:
            RunFolderError: the run is not finished, or the file is missing or damaged.
        """
        run = finished_run(RunFolder(self.url))
        return read_evaluation(run.folder) if run.record.is_evaluation else read_report(run.folder)

    def pairs(self, *, split: str | None = None, images: bool = True) -> RunTable[TableRow]:
        """Return the dataset, one row per pair.

        Args:
            split: `train` or `validation`; None for both.
            images: whether to read the images' bytes.

        Raises:
            RunFolderError: the run is an evaluation, or not finished.
        """
        folder = RunFolder(self.url)
        paths = [file.path for file in finished_pairs(folder).shards(split)]

        def rows() -> Iterator[TableRow]:
            for path in paths:
                for batch in all_batches(folder, path, images=images):
                    yield from batch.to_pylist()

        def table() -> pa.Table:
            import pyarrow as pa

            found = [batch for path in paths for batch in all_batches(folder, path, images=images)]
            return pa.Table.from_batches(found) if found else pa.table({})

        return RunTable(rows, rows, table)

    def questions(self) -> RunTable[StoredQuestion]:
        """Return every committed question of any run, with responses, the verdicts used for pairing, and skip."""
        folder = RunFolder(self.url)
        folder.load_run()

        def items() -> Iterator[StoredQuestion]:
            return questions_as_paired(folder)

        return RunTable(items, lambda: map(_question_row, items()))

    def responses(self) -> RunTable[JudgedResponse]:
        """Return every response of any run, drafts and completions included."""
        folder = RunFolder(self.url)
        folder.load_run()

        def items() -> Iterator[JudgedResponse]:
            for one in questions_as_paired(folder):
                for stored in one.responses:
                    yield JudgedResponse(one.question, stored.response, stored.verdict)

        return RunTable(items, lambda: map(_response_row, items()))

    def explain(self, pair_id: str) -> Story:
        """Return everything about a pair: its row, the question's other pairs, all responses and verdicts.

        Args:
            pair_id: the whole id, or a beginning that no other id has.

        Raises:
            RunFolderError: the run is not finished, or has no such pair; the message has a suggestion.
        """
        return read_story(self.url, pair_id)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How often a model is right: the output of `mmpr eval --json`, and the figures as a table.

    Args:
        report: the content of `eval.json`.
    """

    report: EvaluationReport

    @named_extras()
    def to_pandas(self) -> pd.DataFrame:
        """Return one row for all questions, one per kind of answer and one per source; every figure is a column.

        Intervals of 95 % have the columns `right.value`, `right.low`, `right.high`, and so on.
        """
        import pandas as pd

        groups = [("all", "", self.report.all)]
        groups += [("kind", name, own) for name, own in self.report.by_kind.items()]
        groups += [("source", name, own) for name, own in self.report.by_source.items()]
        return pd.json_normalize([{"group": group, "name": name, **plain(own)} for group, name, own in groups])


def _place(question: Question) -> TableRow:
    return {"question_id": question.id, "source": question.source, "source_row": question.row}


def _question_row(one: StoredQuestion) -> TableRow:
    question = one.question
    return {
        **_place(question),
        "question": question.text,
        "choices": list(question.choices),
        "answer": None if question.answer is None else list(question.answer),
        "n_images": len(one.images),
        "n_responses": len(one.responses),
        "skip_reason": one.skip.reason.value if one.skip else None,
        "skip_detail": one.skip.detail if one.skip else None,
    }


def _response_row(one: JudgedResponse) -> TableRow:
    response, verdict = one.response, one.verdict
    return {
        **_place(one.question),
        "stage": response.stage.value,
        "index": response.index,
        "round": response.round,
        "text": response.text,
        "thoughts": response.thoughts,
        "n_tokens": response.n_tokens,
        "finish_reason": response.finish_reason.value if response.finish_reason else None,
        "model": response.model,
        "outcome": verdict.outcome.value if verdict else None,
        "certainty": verdict.certainty.value if verdict and verdict.certainty else None,
        "off_format": verdict.off_format if verdict else None,
        "answer": verdict.answer if verdict else None,
        "rule": str(verdict.rule) if verdict else None,
        "judged_by": verdict.judged_by.value if verdict else None,
        "verifier_margin": verdict.verifier_margin if verdict else None,
    }
