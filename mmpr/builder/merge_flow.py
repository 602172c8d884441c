"""Merge finished runs into one run folder that all commands accept like a built one.

The chunks are taken unchanged and get new numbers. Then the dataset is cut from all of them: caps, splits and
exclusions count over the whole. `run.json` is written last; until then the folder is no run, and the same command
starts the merge again.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from mmpr import pool
from mmpr.builder.exclude import keep_list
from mmpr.builder.finish import REPORTS, finish, refuse_lost_answers
from mmpr.builder.layout import versions
from mmpr.builder.merge_across import across_notes, across_overrides, join_parts, joined_chunks, take_joined
from mmpr.builder.merge_parts import Given, MergePart, open_given, parts_of, refuse_places
from mmpr.builder.stopping import stop_signal
from mmpr.builder.stored_settings import refuse_unknown_models, stored_settings
from mmpr.errors import ConfigError, RunFolderError
from mmpr.log import stamp
from mmpr.pairing import needs_scores
from mmpr.reporting.report_record import Report, read_report
from mmpr.run import ChunkCommit, RunFolder, RunLayout, RunRecord
from mmpr.run.dataset import SKIPS
from mmpr.run.exclusion import list_name
from mmpr.run.folder import (
    CHUNKS,
    DATA,
    EXCLUDE,
    MANIFEST,
    MERGING,
    QUESTIONS,
    RESPONSES,
    STARTS,
    sidecar_name,
)
from mmpr.run.heartbeat import Heartbeat, claimed
from mmpr.run.joined_questions import JoinedQuestions
from mmpr.run.json_records import JsonObject, to_json
from mmpr.run.merged_chunks import take_chunk
from mmpr.run.run_record import MERGED_FORMAT, Settings, own_settings
from mmpr.run.verdict_counts import VERDICTS
from mmpr.run.verifier_files import VERIFIER, take_answers
from mmpr.settings.config import BuildConfig, Mark, part
from mmpr.verification import answers_faults, check_chunk

_JOINED_AT_ONCE = 4  # memory holds the images and responses of this many chunks


@dataclass(frozen=True, slots=True)
class Merged:
    """A merged run: its report, and notes for the user."""

    report: Report
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Merge:
    """A merge: which runs, into which folder, under which settings; `run` is the future content of `run.json`.

    `joined` has the questions that several runs answered, with `--pair-across`; `whole` has the runs with all their
    chunks.
    """

    folder: RunFolder
    given: Sequence[Given]
    parts: Sequence[MergePart]
    config: BuildConfig
    run: RunRecord
    whole: Sequence[MergePart]
    joined: JoinedQuestions | None = None


@dataclass(frozen=True, slots=True)
class _Taking:
    """One chunk to be written into the merged folder, under another number."""

    folder: RunFolder
    commit: ChunkCommit
    chunk: int
    renamed: Mapping[str, str]


def merge_runs(urls: Sequence[str], out: str, overrides: list[str], *, pair_across: bool = False) -> Merged:
    """Merge finished runs into the new run folder `out`; the runs are not changed.

    Args:
        urls: the run folders, in the order in which their rows should follow.
        out: a new or empty folder, or one with an unfinished merge.
        pair_across: join the responses of several runs to the same question; the first run's model is the policy,
            unless the overrides name another.
        overrides: `key=value` selection settings that replace those of the first run.

    Raises:
        ConfigError: fewer than two runs, a run twice, an override that is no selection setting, or `out` is one of the
            runs or inside one.
        RunFolderError: a run is unfinished, damaged, in use or of a newer mmpr; two runs hold the same rows, made in
            the same way; `out` holds something else or cannot be written.
    """
    folder = RunFolder(out)
    refuse_places(folder, [RunFolder(url) for url in urls])
    given = [open_given(url) for url in urls]
    whole = parts_of(given)
    parts, joined = join_parts(whole) if pair_across else (whole, None)
    if joined is not None:
        overrides = across_overrides(parts, overrides)
    config, notes = _settings(given, parts, overrides)
    notes += () if joined is None else across_notes(parts, joined)
    merge = _Merge(folder, given, parts, config, _run(parts, config, joined), whole, joined)
    refuse_unknown_models(merge.run, config.pairs)
    with stop_signal():
        if report := _whole_already(merge):
            return Merged(report, notes)
        _refuse_foreign(folder)
        with claimed(folder) as heartbeat, _undone(folder), pool.task_room():
            _refuse_damaged(whole)
            _refuse_damaged_answers(merge)
            return Merged(_write(merge, heartbeat), notes)


# -- settings ---------------------------------------------------------------------------------------------------------


def _settings(
    given: Sequence[Given], parts: Sequence[MergePart], overrides: list[str]
) -> tuple[BuildConfig, tuple[str, ...]]:
    """Return the first run's selection settings with the overrides, and a note if other runs had different ones."""
    chosen, *others = [part(stored_settings(one.run, []), Mark.SELECTION) for one in given]
    chosen["per_source"] = _per_source([chosen, *others])
    # `grounding` is checked per run below, with the name of the run without it
    run = replace(given[0].run, identity={**_agreed(parts), "grounding": True}, selection=chosen)
    config = stored_settings(run, overrides)
    before, now = (part(c, Mark.IDENTITY) for c in (stored_settings(run, []), config))
    if changed := sorted(name for name in now if now[name] != before[name]):
        raise ConfigError(f"{changed[0]}: is fixed by the runs; a merge accepts only settings of selection")
    if name := needs_scores(config.pairs.strategy, config.pairs.min_grounding_margin):
        _refuse_ungrounded(parts, name)
    differing = sorted(name for name in chosen if any(_differs(name, other, chosen) for other in others))
    words = f"{', '.join(differing)}: not the same in all runs; taken from {given[0].folder.url}, unless given here"
    return config, (words,) if differing else ()


def _per_source(selections: Sequence[Settings]) -> JsonObject:
    """Return the own settings of all runs' sources; for two sources with one name, those of the first."""
    return {name: own for one in reversed(selections) for name, own in own_settings(one).items()}


def _differs(name: str, other: Settings, chosen: Settings) -> bool:
    if name == "per_source":
        return any(own != own_settings(chosen)[source] for source, own in own_settings(other).items())
    return other[name] != chosen[name]


_UNGROUNDED = {"min_grounding_margin": "min_grounding_margin=null", "strategy=grounded": "strategy=random"}


def _refuse_ungrounded(parts: Sequence[MergePart], name: str) -> None:
    for one in parts:
        if not one.member.identity.get("grounding"):
            raise ConfigError(f"{name}: {one.folder.url} was built without grounding; give {_UNGROUNDED[name]}")


def _agreed(parts: Sequence[MergePart]) -> JsonObject:
    """Return the common identity settings of all runs, the names of all models, and whether all have scores."""
    defaults = part(BuildConfig(), Mark.IDENTITY)
    first, *others = [{**defaults, **one.member.identity} for one in parts]
    common = {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}
    models = dict.fromkeys(str(one.member.identity.get("model")) for one in parts)
    return {**common, "model": " + ".join(models), "grounding": all(one.get("grounding") for one in (first, *others))}


def _run(parts: Sequence[MergePart], config: BuildConfig, joined: JoinedQuestions | None) -> RunRecord:
    """Return the future content of `run.json`."""
    names = dict.fromkeys(PurePosixPath(one.member.source).name for one in parts)
    commits = [commit for one in parts for commit in one.commits]
    rows = [commit.questions.rows for commit in commits]
    places = ((place, commit.chunk) for place, one in enumerate(parts) for commit in one.commits)
    moved = sum(len(joined.moved(*place)) for place in places) if joined is not None else 0
    return RunRecord(
        format=MERGED_FORMAT,
        source=" + ".join(names),
        layout=RunLayout(chunk_questions=max(rows, default=0), stops=(sum(rows) - moved,)),
        identity=_agreed(parts),
        selection=part(config, Mark.SELECTION),
        versions=versions(),
        members=tuple(one.member for one in parts),
    )


# -- the folder -------------------------------------------------------------------------------------------------------


def _whole_already(merge: _Merge) -> Report | None:
    """Return the report if this same merge was interrupted before its last step, and do that step."""
    folder, run = merge.folder, merge.run
    if not (folder.store.exists(MERGING) and folder.has_run()):
        return None
    # These two differ whenever the record is made again.
    stored = replace(folder.load_run(), versions=run.versions, nonce=run.nonce)
    if stored.to_json() != run.to_json():
        return None
    report = read_report(folder)
    folder.store.delete(MERGING)
    return report


def _refuse_foreign(folder: RunFolder) -> None:
    if folder.has_run():
        raise RunFolderError(f"--out {folder.url} holds a run already; choose another folder")
    if folder.store.is_file():
        raise RunFolderError(f"--out {folder.url} is a file; give a folder")
    found = folder.foreign()
    if found and MERGING not in found:
        raise RunFolderError(f"--out {folder.url} has files already ({found[0]}); give a new or an empty folder")


def _refuse_damaged(parts: Sequence[MergePart]) -> None:
    """Read every byte of the runs before anything is written."""
    chunks = [(one.folder, commit) for one in parts for commit in one.commits]
    for (folder, _), faults in zip(chunks, pool.map_tasks(_faults, chunks), strict=True):
        if faults:
            raise RunFolderError(f"{folder.url}: {faults[0]}")


def _refuse_damaged_answers(merge: _Merge) -> None:
    """Read the answers of verifiers too: they decide who is in a pair, and the merged run takes them over."""
    for one in merge.given:
        refuse_lost_answers(one.folder, merge.config)
        for fault in answers_faults(one.folder):
            raise RunFolderError(f"{one.folder.url}: {fault}")


def _faults(chunk: tuple[RunFolder, ChunkCommit]) -> list[str]:
    return check_chunk(*chunk)


def _write(merge: _Merge, heartbeat: Heartbeat) -> Report:
    """Write the whole folder. `merging.json` is written first and deleted last, after `run.json`."""
    folder = merge.folder
    folder.store.write_bytes(MERGING, to_json({"runs": [one.folder.url for one in merge.given]}))
    _clear(folder)
    _keep_exclude(merge)
    for _ in _taken(merge):
        heartbeat.check()
    _add_start(merge)
    report = finish(folder, merge.config, run=merge.run)
    heartbeat.check()
    folder.publish_run(merge.run)
    folder.store.delete(MERGING)
    return report


@contextmanager
def _undone(folder: RunFolder) -> Iterator[None]:
    """Delete everything of a merge that failed, after its tasks have ended. After a kill, the next merge does that."""
    try:
        yield
    # Ctrl-C too, which is no `Exception`
    except BaseException:
        with suppress(RunFolderError):  # an error here must not hide the first one
            if folder.store.exists(MERGING) and not folder.has_run():
                _clear(folder)
                folder.store.delete(MERGING)
        raise


def _taken(merge: _Merge) -> Iterator[None]:
    """Take every chunk: unchanged, or joined with the responses of other runs."""
    if merge.joined is None:
        return pool.map_tasks(functools.partial(_take, merge.folder), _takings(merge.parts))
    limit_s = merge.config.cluster.judge_time_limit_s
    work = functools.partial(take_joined, merge.folder, merge.config.pairs, limit_s)
    return pool.map_tasks(work, joined_chunks(merge.parts, merge.joined, merge.config), in_flight=_JOINED_AT_ONCE)


def _takings(parts: Sequence[MergePart]) -> list[_Taking]:
    chunks = [(one, commit) for one in parts for commit in one.commits]
    return [_Taking(one.folder, commit, number, one.renamed) for number, (one, commit) in enumerate(chunks)]


def _take(folder: RunFolder, taking: _Taking) -> None:
    taken = take_chunk(folder, taking.folder, taking.commit, chunk=taking.chunk, renamed=taking.renamed)
    take_answers(folder, taking.folder, taking.commit, chunk=taking.chunk, responses=taken.responses.sha256)


def _keep_exclude(merge: _Merge) -> None:
    """Store the benchmark's list: from its file, or from a run that has it."""
    name = merge.config.dataset.exclude
    kept = next((one.folder for one in merge.given if name and list_name(one.folder) == name), None)
    if kept is not None:
        merge.folder.store.copy_from(kept.store, EXCLUDE)
    # if the file still exists here, it is read again and replaces the copy
    keep_list(merge.folder, name)


def _add_start(merge: _Merge) -> None:
    names = [one.member.name for one in merge.parts]
    merge.folder.add_start({"at": stamp(), "host": platform.node(), "merged": names})


def _clear(folder: RunFolder) -> None:
    """Delete everything that an unfinished merge left."""
    for chunk in folder.committed_chunks():
        folder.store.delete(sidecar_name(chunk))
    folder.sweep(abandoned=True)
    for name in (
        MANIFEST,
        *folder.store.names(VERIFIER),
        *folder.store.names(DATA),
        *REPORTS,
        SKIPS,
        VERDICTS,
        EXCLUDE,
        STARTS,
    ):
        folder.store.delete(name)
    for inner in (QUESTIONS, RESPONSES, CHUNKS, VERIFIER, DATA) if folder.store.is_local else ():
        # a folder with other files is not empty and stays
        with suppress(OSError):
            Path(folder.store.path(inner)).rmdir()
