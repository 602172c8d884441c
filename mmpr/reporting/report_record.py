"""`report.json` as a record: the results of a finished run, and how it was made."""

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
    """Counts of one source's questions."""

    questions: int
    paired: int
    skipped: int
    pairs: int


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Generated tokens, None if unknown; a ratio is None if its denominator is zero."""

    generated: int | None
    generated_per_question: float | None
    generated_per_pair: float | None
    prompt: int | None = None


@dataclass(frozen=True, slots=True)
class ImportedFigures:
    """Facts about imported responses.

    Args:
        rows, responses: of the file; `bad_rows` of the rows contain no response.
        left_out: list entries that are no responses.
        known: number of responses with `n_tokens`, `finish_reason` and `seed`; the others have null there.
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
    """The files of the dataset. `splits` is empty with one split; `columns` is empty if an older mmpr counted."""

    shards: int
    bytes: int
    uncompressed_bytes: int
    columns: tuple[str, ...] = ()
    splits: dict[str, SplitFigures] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReportedMember:
    """One member of a merged run; paths are left out, because they belong to one machine."""

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
    """The content of `report.json`.

    Args:
        questions: number of questions; each one is either `paired` or `skipped`.
        pairs: number of dataset rows.
        skips_by_reason: questions without a pair, most frequent reason first.
        pocket_model: whether the embedded model wrote any answer, which is only for trying mmpr out.
        repeated_question_ids: questions with the id of an earlier question.
        by_source: the same counts for the largest sources, and for all others together.
        languages: questions by language.
        judge_version: version of the judge that gave the verdicts.
        accuracy: how often first responses are right.
        abstaining: what the judge decided and left undecided; None if an older mmpr counted.
        verifier: what a verifier was asked and decided; None if none was asked.
        lengths: tokens of both sides, by kind of pair.
        responses: number by stage, and how many are `unfinished`.
        outcomes, outcomes_by_rule: verdicts by outcome, and by deciding rule.
        pairs_by_rule: pairs by the rule that decided the chosen side.
        endings_continued: Dropout-NTP pairs by how the engine continued the prefix.
        throughput: tokens per second over the run; None if no chunk has a time.
        source: name of the file, or names of several.
        members: the members of a merged run.
        imported: facts about imported responses; None for a built run.
        identity, selection, layout, format, versions: as in `run.json`, without paths of this machine.
        starts: operational settings of each start.
        engine_usage: of the last start's engines: seconds (`.._s`), tokens and fractions.
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
    """Read `report.json`, also one of an older mmpr.

    Raises:
        RunFolderError: the file is missing or damaged.
    """
    return read_named(folder, REPORT, Report)


def read_named(folder: RunFolder, name: str, kind: type[Record]) -> Record:
    """Read a report; fields of a newer mmpr are ignored.

    Raises:
        RunFolderError: the file is missing or damaged; names the field.
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
    """The result of a pairing preview: the counts of a report, and the judge's decisions."""

    questions: int
    paired: int
    skipped: int
    pairs: int
    skips_by_reason: dict[str, int]
    pairs_by_kind: dict[str, int]
    abstaining: AbstainingFigures
    verifier: VerifierFigures | None = None


class RunMaking(TypedDict):
    """How a run was made, as fields of a report: everything that is needed to make it again."""

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
    """Return how a run was made, without paths: a report is copied to other machines."""
    # `exclude` is a path: only its file name is reported
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
