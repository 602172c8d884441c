"""`report.json` as a record: what a finished run came to, and how it was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TypedDict

from mmpr.errors import RunFolderError
from mmpr.reporting.abstaining import AbstainingFigures
from mmpr.reporting.lengths import LengthFigures
from mmpr.reporting.throughput import Throughput
from mmpr.reporting.verdict_figures import AccuracyFigures
from mmpr.reporting.verifier_figures import VerifierFigures
from mmpr.run import RunFolder, RunLayout, RunRecord
from mmpr.run.json_records import JsonObject, Record, plain, record_of, to_json
from mmpr.run.run_record import Settings, without_places

REPORT, CARD, PAGE = "report.json", "README.md", "report.html"


@dataclass(frozen=True, slots=True)
class SourceCounts:
    """What one source's questions came to."""

    questions: int
    paired: int
    skipped: int
    pairs: int


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Tokens that were generated, None where unknown; shares are None where there is nothing to divide by."""

    generated: int | None
    generated_per_question: float | None
    generated_per_pair: float | None
    prompt: int | None = None


@dataclass(frozen=True, slots=True)
class ImportedFigures:
    """What is known of responses that were made elsewhere.

    Args:
        rows, responses: of the file; `bad_rows` of these are no responses.
        left_out: entries of lists that are none.
        known: how many responses say their `n_tokens`, `finish_reason` and `seed`; null of the others.
    """

    rows: int
    responses: int
    bad_rows: int
    left_out: int
    known: dict[str, int]


@dataclass(frozen=True, slots=True)
class SplitFigures:
    """One split of the dataset."""

    pairs: int
    uncompressed_bytes: int


@dataclass(frozen=True, slots=True)
class DatasetFigures:
    """The files of the dataset; `splits` where it has more than one, `columns` unless an older mmpr counted."""

    shards: int
    bytes: int
    uncompressed_bytes: int
    columns: tuple[str, ...] = ()
    splits: dict[str, SplitFigures] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReportedMember:
    """One run of a merged one; places are of one machine, and left out."""

    name: str
    model: str | None
    model_revision: str | None
    prompt_version: str | None
    source: str
    chunks: int
    renamed: Mapping[str, str]
    identity: Settings
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What `report.json` says of a finished run.

    Args:
        questions: that were asked; each is either `paired` or `skipped`.
        pairs: rows of the dataset.
        skips_by_reason: questions without a pair, most first.
        pocket_model: whether any answer is the embedded model's, which is for trying out.
        repeated_question_ids: questions whose id an earlier one has.
        by_source: the same counts of the largest sources, and of all others together.
        languages: questions by language.
        judge_version: of the judge whose verdicts the pairs were made from.
        accuracy: how often the first responses are right.
        abstaining: what the judge decided, and what it left undecided; None where an older mmpr counted.
        verifier: what a verifier was asked and decided; None where none was asked.
        lengths: of both sides in tokens, by kind of pair.
        responses: by stage, and how many are `unfinished`.
        outcomes, outcomes_by_rule: verdicts by outcome, and by the judge's rule that decided.
        pairs_by_rule: pairs by the rule that decided the chosen side.
        endings_continued: Dropout-NTP pairs by how the engine continued the prefix.
        throughput: tokens a second over the run; None where no chunk says how long it took.
        source: the file's name, or several.
        members: the runs of a merged one.
        imported: of responses that were made elsewhere; None where they were built.
        identity, selection, layout, format, versions: as in `run.json`, without places of one machine.
        starts: what each start was set to.
        engine_usage: of the last start's engines: seconds (`.._s`), tokens and shares.
    """

    questions: int
    paired: int
    skipped: int
    pairs: int
    skips_by_reason: dict[str, int]
    pocket_model: bool
    pairs_by_kind: dict[str, int]
    repeated_question_ids: int
    by_source: dict[str, SourceCounts]
    languages: dict[str, int]
    judge_version: int = 1
    accuracy: AccuracyFigures
    abstaining: AbstainingFigures | None = None
    verifier: VerifierFigures | None = None
    lengths: dict[str, LengthFigures]
    responses: dict[str, int]
    outcomes: dict[str, int]
    outcomes_by_rule: dict[str, dict[str, int]]
    pairs_by_rule: dict[str, int]
    endings_continued: dict[str, int]
    tokens: TokenCounts
    throughput: Throughput | None
    model: str | None
    model_revision: str | None
    prompt_version: str | None
    source: str
    members: tuple[ReportedMember, ...] = ()
    imported: ImportedFigures | None = None
    identity: Settings
    selection: Settings
    layout: RunLayout
    format: int
    versions: Mapping[str, str]
    files: DatasetFigures
    starts: tuple[JsonObject, ...]
    engine_usage: dict[str, int | float]

    def to_json(self) -> bytes:
        return to_json(plain(self))


def read_report(folder: RunFolder) -> Report:
    """What `report.json` says, of an older mmpr too.

    Raises:
        RunFolderError: it is missing or damaged.
    """
    return read_named(folder, REPORT, Report)


def read_named(folder: RunFolder, name: str, kind: type[Record]) -> Record:
    """A report of a kind, from its file; what a newer mmpr says beyond it is left out.

    Raises:
        RunFolderError: it is missing or damaged; names the field.
    """
    try:
        return record_of(kind, folder.store.read_bytes(name), unknown="ignore")
    except FileNotFoundError:
        fault = "missing"
    except ValueError as error:
        fault = f"damaged ({error})"
    raise RunFolderError(f"{folder.url}/{name} is {fault}; `mmpr report {folder.url}` writes it again")


@dataclass(frozen=True, slots=True)
class PairingPreview:
    """What pairing would give: the counts of a report, and what the judge decides."""

    questions: int
    paired: int
    skipped: int
    pairs: int
    skips_by_reason: dict[str, int]
    pairs_by_kind: dict[str, int]
    abstaining: AbstainingFigures
    verifier: VerifierFigures | None = None


class RunMaking(TypedDict):
    """How a run was made, as fields of a report: all that one needs to make it again."""

    model: str | None
    model_revision: str | None
    prompt_version: str | None
    source: str
    members: tuple[ReportedMember, ...]
    identity: Settings
    selection: Settings
    layout: RunLayout
    format: int
    versions: Mapping[str, str]


def making(run: RunRecord) -> RunMaking:
    """How a run was made; a path is of one machine, and the report travels."""
    listed = run.selection.get("exclude")
    return RunMaking(
        model=_text(run.identity, "model"),
        model_revision=_text(run.identity, "revision"),
        prompt_version=_text(run.identity, "prompt_version"),
        source=PurePosixPath(run.source).name,
        members=tuple(
            ReportedMember(
                name=member.name,
                model=_text(member.identity, "model"),
                model_revision=_text(member.identity, "revision"),
                prompt_version=_text(member.identity, "prompt_version"),
                source=PurePosixPath(member.source).name,
                chunks=member.chunks,
                renamed=member.renamed,
                identity=without_places(member.identity),
                versions=member.versions,
            )
            for member in run.members
        ),
        identity=without_places(run.identity),
        selection={**run.selection, **({"exclude": PurePosixPath(str(listed)).name} if listed else {})},
        layout=run.layout,
        format=run.format,
        versions=run.versions,
    )


def _text(settings: Settings, name: str) -> str | None:
    value = settings.get(name)
    return value if isinstance(value, str) else None
