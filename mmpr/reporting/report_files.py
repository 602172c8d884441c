"""Count a finished run, check the sums, and write `report.json`, `README.md` and `report.html`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence

from mmpr.errors import LawBroken, RunFolderError
from mmpr.reporting.abstaining import abstaining_figures
from mmpr.reporting.card import card
from mmpr.reporting.page import page
from mmpr.reporting.report_record import (
    CARD,
    PAGE,
    REPORT,
    DatasetFigures,
    ImportedFigures,
    Report,
    SourceCounts,
    SplitFigures,
    TokenCounts,
    making,
    read_report,
)
from mmpr.reporting.safe_text import visible_json
from mmpr.reporting.sample import Pick, Sampler
from mmpr.reporting.tally import (
    ChunkTally,
    PairTally,
    ranked,
    stages,
    tally_chunks,
    tally_pairs,
    tally_skips,
)
from mmpr.reporting.throughput import throughput
from mmpr.reporting.verdict_figures import accuracy_figures, outcomes_by_rule
from mmpr.reporting.verifier_figures import verifier_figures
from mmpr.run import (
    FileRecord,
    FinishedRun,
    RunFolder,
    RunRecord,
    Totals,
    finished_pairs,
    read_verdicts,
    write_manifest,
)
from mmpr.run.dataset import SKIPS
from mmpr.run.folder import MANIFEST
from mmpr.run.heartbeat import claimed
from mmpr.run.json_records import record_of
from mmpr.run.run_reader import shards_of
from mmpr.run.run_record import rollouts_of

SAMPLED_PAIRS = 300
_MOST_NAMES = 200  # sources and rules come from rows, so a report limits their number


def write_reports(
    folder: RunFolder,
    totals: Totals,
    files: Sequence[FileRecord],
    *,
    usage: Mapping[str, int | float] | None = None,
    run: RunRecord | None = None,
) -> Report:
    """Write the three reports of a finished dataset. Memory is bounded; works on any filesystem.

    Args:
        folder: the run folder after `cut_dataset`.
        totals: the sums that `cut_dataset` returned.
        files: the files that it wrote.
        usage: of this start's engines: `busy_s`, `preparing_s` (`mmpr.engines.protocol.Clock`), `alive_s`,
            `prompt_tokens`, `generated_tokens`, `cached_tokens`, `wall_s`; each may be missing.
        run: the future content of `run.json`, if it is not written yet.

    Raises:
        LawBroken: `questions = paired + skipped` does not hold, or a file disagrees with the sums.
        RunFolderError: a file of the run is missing or damaged.
    """
    report, picks = make_report(folder, files, totals=totals, usage=usage, run=run)
    for name, content in render(folder, report, picks).items():
        folder.store.write_bytes(name, content)
    return report


def make_report(
    folder: RunFolder,
    files: Sequence[FileRecord],
    *,
    totals: Totals | None = None,
    usage: Mapping[str, int | float] | None = None,
    run: RunRecord | None = None,
) -> tuple[Report, list[Pick]]:
    """Compute the report and the pairs that its page shows; write nothing.

    Args:
        totals: the sums that the files must agree with; None: use those of the files.

    Raises:
        LawBroken, RunFolderError: as for `write_reports`.
    """
    sampler = Sampler(SAMPLED_PAIRS)
    pairs, chunks = tally_pairs(folder, files, sampler), tally_chunks(folder)
    skipped_by_source, skipped_by_reason = tally_skips(folder, SKIPS)
    totals = totals or _counted(pairs, chunks, skipped_by_reason)
    _hold_law(totals, pairs, chunks, skipped_by_reason)
    run, verdicts = run or folder.load_run(), read_verdicts(folder)
    rules = outcomes_by_rule(verdicts)
    # An imported file may not say how many tokens were generated: unknown, not 0.
    generated = chunks.tokens.get("generated", None if run.identity.get("imported") else 0)
    report = Report(
        questions=totals.questions,
        paired=totals.paired,
        skipped=totals.skipped,
        pairs=totals.pairs,
        skips_by_reason=ranked(totals.skips_by_reason),
        pocket_model=run.is_pocket,
        pairs_by_kind=ranked(totals.pairs_by_kind),
        repeated_question_ids=chunks.repeated_ids,
        by_source=_by_source(chunks, pairs, skipped_by_source),
        languages=ranked(chunks.languages),
        judge_version=verdicts.judge_version,
        accuracy=accuracy_figures(verdicts),
        abstaining=abstaining_figures(verdicts),
        verifier=verifier_figures(folder, verdicts, run.selection),
        lengths={kind: pairs.lengths[kind].figures() for kind in sorted(pairs.lengths)},
        responses={**stages(chunks), "unfinished": chunks.unfinished},
        outcomes=ranked(sum(rules.values(), Counter())),
        outcomes_by_rule={rule: ranked(outcomes) for rule, outcomes in list(rules.items())[:_MOST_NAMES]},
        pairs_by_rule=ranked(pairs.by_rule),
        endings_continued=ranked(pairs.by_continued),
        tokens=TokenCounts(
            generated=generated,
            generated_per_question=_share(generated, totals.questions),
            generated_per_pair=_share(generated, totals.pairs),
            prompt=chunks.tokens.get("prompt"),
        ),
        throughput=throughput(chunks.spells),
        **making(run),
        imported=_imported(run),
        files=_files(files, pairs),
        starts=tuple(folder.starts()),
        engine_usage=_usage(usage, chunks),
    )
    return report, sampler.picks()


def _share(n: int | None, of: int) -> float | None:
    return round(n / of, 1) if of and n is not None else None


def _imported(run: RunRecord) -> ImportedFigures | None:
    """Return what is known about the imported file of responses; None for a built run."""
    found = rollouts_of(run)
    if not found:
        return None
    return record_of(ImportedFigures, json.dumps(dict(found[0])).encode(), unknown="ignore")


def render(folder: RunFolder, report: Report, picks: list[Pick]) -> dict[str, bytes]:
    """Render the three files, by name."""
    return {
        REPORT: report.to_json(),
        CARD: card(report).encode(),
        PAGE: page(folder, report, picks).encode(),
    }


def report_again(url: str, options: Mapping[str, object] | None = None) -> Report:
    """Write `report.json`, `README.md` and `report.html` again, and the manifest that names them.

    Everything is read and rendered before the first file changes, so that a damaged folder is not changed.

    Args:
        url: local path or fsspec URL of the run folder.
        options: arguments of fsspec's filesystem.

    Raises:
        RunFolderError: the folder holds no finished run, is damaged, in use, or cannot be written.
        LawBroken: `questions = paired + skipped` does not hold.
    """
    folder = RunFolder(url, options)
    run = finished_pairs(folder)
    with claimed(folder):
        report, picks = _made_again(run)
        made = render(folder, report, picks)
        # without a manifest the run counts as unfinished, and the next start writes the reports again
        folder.store.delete(MANIFEST)
        for name, content in made.items():
            folder.store.write_bytes(name, content)
        kept = [file for file in run.manifest.files if file.path not in made]
        write_manifest(folder, kept, sorted(made), own_judges=run.manifest.own_judges, answers=run.manifest.answers)
    return report


def report_json(url: str, options: Mapping[str, object] | None = None) -> str:
    """Return the content that `report.json` would have now, safe for a terminal; write nothing.

    Raises:
        RunFolderError, LawBroken: as for `report_again`.
    """
    report, _ = _made_again(finished_pairs(RunFolder(url, options)))
    return visible_json(report.to_json().decode().removesuffix("\n"))


def _made_again(run: FinishedRun) -> tuple[Report, list[Pick]]:
    """Make the report again. Only the last report knows what the engines did; use that part if it can be read."""
    try:
        usage = read_report(run.folder).engine_usage
    except RunFolderError:
        usage = None
    return make_report(run.folder, run.manifest.files, usage=usage, run=run.record)


def _counted(pairs: PairTally, chunks: ChunkTally, skips: Mapping[str, int]) -> Totals:
    skipped = sum(skips.values())
    return Totals(chunks.questions, pairs.paired, skipped, pairs.pairs, Counter(pairs.by_kind), Counter(skips))


def _hold_law(totals: Totals, pairs: PairTally, chunks: ChunkTally, skips: Mapping[str, int]) -> None:
    """Compare the sums of the censuses with the files that were committed and written."""
    claims = [
        ("questions", totals.questions, "paired + skipped", totals.paired + totals.skipped),
        ("questions", totals.questions, "committed questions", chunks.questions),
        ("skipped", totals.skipped, "sum of skips_by_reason", sum(totals.skips_by_reason.values())),
        ("skipped", totals.skipped, f"rows of {SKIPS}", sum(skips.values())),
        ("paired", totals.paired, "questions of data/", pairs.paired),
        ("pairs", totals.pairs, "rows of data/", pairs.pairs),
    ]
    for name, stated, other, found in claims:
        # A wrong sum would be believed: the report is what papers quote.
        if stated != found:
            raise LawBroken(
                f"{name} = {stated}, but {other} = {found}: `mmpr verify` says whether the folder is damaged; "
                "if it is sound, this is a bug in mmpr, please report it"
            )


def _by_source(chunks: ChunkTally, pairs: PairTally, skipped: Mapping[str, int]) -> dict[str, SourceCounts]:
    """Return the counts of the largest sources, and of all others as one entry."""
    names = list(ranked(chunks.by_source))
    groups = {name: [name] for name in names[:_MOST_NAMES]}
    if rest := names[_MOST_NAMES:]:
        groups[f"({len(rest)} more sources)"] = rest
    found = {}
    for shown, group in groups.items():
        questions, left = sum(chunks.by_source[name] for name in group), sum(skipped.get(name, 0) for name in group)
        found[shown] = SourceCounts(questions, questions - left, left, sum(pairs.by_source[name] for name in group))
    return found


def _files(files: Sequence[FileRecord], pairs: PairTally) -> DatasetFigures:
    shards = shards_of(files)
    splits = {name: SplitFigures(n, pairs.bytes_by_split[name]) for name, n in pairs.by_split.items()}
    return DatasetFigures(
        shards=len(shards),
        bytes=sum(file.n_bytes for file in shards),
        uncompressed_bytes=pairs.n_bytes,
        columns=tuple(pairs.columns),
        splits=splits if len(splits) > 1 else {},
    )


def _usage(usage: Mapping[str, int | float] | None, chunks: ChunkTally) -> dict[str, int | float]:
    """Return the engines' figures with derived fractions."""
    given = dict(usage or {})
    if alive := given.get("alive_s"):
        given["busy_share"] = busy = round(given.get("busy_s", 0.0) / alive, 4)
        if "preparing_s" in given:  # reports of an older mmpr do not have it
            given["waiting_for_pictures_share"] = images = round(given["preparing_s"] / alive, 4)
            given["waiting_for_work_share"] = round(max(0.0, 1 - busy - images), 4)
    if wall := given.get("wall_s"):
        given["generated_tokens_per_s"] = round(given.get("generated_tokens", 0.0) / wall, 1)
    if prompt := given.get("prompt_tokens"):
        given["cached_share"] = round(given.get("cached_tokens", 0.0) / prompt, 4)
    return {**given, "chunk_seconds": round(chunks.seconds, 3)}
