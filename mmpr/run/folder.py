"""The run folder: what was asked for, who drives, and the commits. A file that no sidecar names does not exist."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq

from mmpr.errors import CommitRefused, LawBroken, ResumeError, RunFolderError
from mmpr.redact import redacted
from mmpr.run import chunk_tables
from mmpr.run.commit_records import ChunkAccount, ChunkCommit, FileRecord, RowSpan, StoredQuestion, kept_as
from mmpr.run.json_records import JsonObject, record_of, sealed, sealed_line, unsealed
from mmpr.run.run_record import RunLayout, RunRecord, Settings
from mmpr.run.store import TEMPORARY, Store

RUN, STARTS, DRIVER, MANIFEST = "run.json", "starts.jsonl", "driver.json", "manifest.json"
EVENTS = "events.jsonl"  # what befell the run: engines that died, nodes without work, how each start ended
MERGING = "merging.json"  # a merge that is not finished: the folder holds chunks, and no run yet
DAMAGE = "damage.json"  # from `verify` to the next build; {chunk: attempt}
EXCLUDE = "exclude.parquet"  # the hashes of a benchmark's images and questions, where a run excludes one
QUESTIONS, RESPONSES, CHUNKS, DATA = "questions", "responses", "chunks", "data"
# chunks/00012.json, questions/00012-1a2b3c4d.parquet
_SIDECAR = re.compile(rf"{CHUNKS}/(\d{{5,}})\.json")
_SIDECARS_A_READ = 1024
_LEFT = re.compile(rf"(?:^|[./])[0-9a-f]{{8}}{re.escape(TEMPORARY)}$")
_ATTEMPT = re.compile(rf"(?:{QUESTIONS}|{RESPONSES})/(\d{{5,}})-[0-9a-f]{{8}}\.parquet")


def new_attempt() -> str:
    """8 hex digits, new at every lease."""
    return secrets.token_hex(4)


class RunFolder:
    """One run's folder on any fsspec filesystem. Small and picklable: engines, tasks and the driver each hold one.

    Args:
        url: local path or fsspec URL.
        options: what fsspec's filesystem takes.
    """

    def __init__(self, url: str, options: Mapping[str, object] | None = None) -> None:
        self.store = Store(url, options)

    @property
    def url(self) -> str:
        return self.store.url

    # -- the run ----------------------------------------------------------------------------------------------------

    def has_run(self) -> bool:
        """Whether a run was ever started here."""
        return self.store.exists(RUN)

    def create_run(self, run: RunRecord) -> None:
        """Write `run.json`, before anything else.

        Raises:
            RunFolderError: there is a run already, or something else.
        """
        self.require_room()
        self.publish_run(run)

    def publish_run(self, run: RunRecord) -> None:
        """Write a whole `run.json`; of several writers one succeeds.

        Raises:
            RunFolderError: there is a run already.
        """
        try:
            self.store.write_exclusive(RUN, replace(run, nonce=secrets.token_hex(4)).to_json())
        except FileExistsError:
            raise RunFolderError(f"{self.url} holds a run already; continue it or choose another folder") from None

    def load_run(self) -> RunRecord:
        """What `run.json` says.

        Raises:
            RunFolderError: there is none, it is damaged, or a newer mmpr wrote it.
        """
        try:
            content = self.store.read_bytes(RUN)
        except FileNotFoundError:
            raise RunFolderError(f"{self.url} is no run folder: {self._runless()}") from None
        return RunRecord.from_json(content, self.url)

    def _runless(self) -> str:
        """Why there is no run: the chunks of one without its `run.json` are worth a word of their own."""
        if self.store.is_file():
            return "it is a file"
        if self.has_chunks():
            return f"it has the chunks of one, but no {RUN}; restore that from a copy"
        return f"it has no {RUN}"

    def has_chunks(self) -> bool:
        """Whether anything was ever committed here."""
        return any(_SIDECAR.fullmatch(name) for name in self.store.names(CHUNKS))

    def fingerprint(self) -> str | None:
        """`RunRecord.fingerprint`; None where there is no run yet, as while a merge is written."""
        return self.load_run().fingerprint if self.has_run() else None

    def require_room(self) -> None:
        """Refuse a place for a new run, unless nothing is there or a run is.

        Raises:
            RunFolderError: it is a file, or has files of somebody else; or its run.json is damaged.
        """
        if self.has_run():
            self.load_run()
            return
        if self.store.is_file():
            raise RunFolderError(f"{self.url} is a file; give a new or an empty folder")
        if self.store.exists(MERGING):
            raise RunFolderError(f"{self.url} holds a merge that was cut off; merge again or choose another folder")
        if self.has_chunks():
            raise RunFolderError(f"{self.url} is no run folder: {self._runless()}, or give another folder")
        if found := self.foreign():
            raise RunFolderError(f"{self.url} has files already ({found[0]}); give a new or an empty folder")

    def foreign(self) -> list[str]:
        """Names in the folder, less those that a start leaves which was killed before it wrote `run.json`."""
        names = [*self.store.names(""), *self.store.folders()]
        return sorted(name for name in names if name != DRIVER and not is_temporary(name))

    def require_identity(
        self,
        identity: Settings,
        *,
        defaults: Settings | None = None,
        remedy: str = "restore it or use another --out",
    ) -> None:
        """Refuse a start whose identity differs from the folder's.

        Args:
            identity: of this start.
            defaults: what a field was before it existed: an older mmpr may have written the folder.
            remedy: ends the error.

        Raises:
            ResumeError: names the first field that differs, with both values.
        """
        stored = {**_as_stored(defaults or {}), **self.load_run().identity}
        if difference := _first_difference(stored, _as_stored(identity)):
            name, before, now = difference
            raise ResumeError(f"{name} was {before!r} when {self.url} was started, now {now!r}; {remedy}")

    def change_selection(self, selection: Settings) -> None:
        """Remember the settings that pairs are made with from now on; a dataset made with others is none any more."""
        run = self.load_run()
        if run.selection != (now := _as_stored(selection)):
            self.store.delete(MANIFEST)
            self._rewrite(replace(run, selection=now))

    def change_layout(self, layout: RunLayout) -> None:
        """Remember how the source's new rows are cut into chunks; old ones keep their numbers."""
        run = self.load_run()
        if run.layout != layout:
            self._rewrite(replace(run, layout=layout))

    def change_reading(self, reading: Settings) -> None:
        """Note how a source's rows are read that earlier starts had nothing to decide of."""
        run = self.load_run()
        if run.reading != (now := _as_stored(reading)):
            self._rewrite(replace(run, reading=now))

    def _rewrite(self, run: RunRecord) -> None:
        self.store.write_bytes(RUN, run.to_json())

    def add_start(self, operation: Settings) -> None:
        """One more line of `starts.jsonl`: the operational settings of a start."""
        self.store.append_line(STARTS, sealed_line(operation))

    def starts(self) -> list[JsonObject]:
        """Every start so far, first to last; a line that a crash cut off is left out."""
        return self._lines(STARTS)[0]

    def add_event(self, event: Mapping[str, object]) -> None:
        """One more line of `events.jsonl`; texts in it are kept without secrets."""
        cleaned = {name: redacted(value) if isinstance(value, str) else value for name, value in event.items()}
        self.store.append_line(EVENTS, sealed_line(cleaned))

    def events(self) -> list[JsonObject]:
        """What befell the run so far, first to last; a line that a crash cut off is left out."""
        return self._lines(EVENTS)[0]

    def torn_lines(self, name: str) -> list[int]:
        """Which lines of a log, from 1, are no JSON object: damaged, or cut off by a crash."""
        return self._lines(name)[1]

    def _lines(self, name: str) -> tuple[list[JsonObject], list[int]]:
        """The lines of a log that are JSON objects, and the numbers of the others."""
        try:
            lines = self.store.read_bytes(name).split(b"\n")
        except FileNotFoundError:
            return [], []
        found: list[JsonObject] = []
        torn: list[int] = []
        for number, line in enumerate(lines, start=1):
            try:
                entry = unsealed(line) if line else {}
            except ValueError:
                entry = {}
            if entry:
                found.append(entry)
            elif line:
                torn.append(number)
        return found, torn

    # -- commits ----------------------------------------------------------------------------------------------------

    def commits(self) -> Iterator[ChunkCommit]:
        """The commits in source order, read as they are asked for: those of a large run together take many megabytes.

        Raises:
            RunFolderError: a sidecar cannot be read.
        """
        names = [name for name in self.store.names(CHUNKS) if _SIDECAR.fullmatch(name)]
        names.sort(key=lambda name: (len(name), name))  # by number: some may have six digits
        for first in range(0, len(names), _SIDECARS_A_READ):
            contents = self.store.read_many(names[first : first + _SIDECARS_A_READ])
            yield from (self._parse(name, content) for name, content in contents.items())

    def committed(self) -> dict[int, ChunkCommit]:
        """The commits by chunk, in source order.

        Raises:
            RunFolderError: a sidecar cannot be read.
        """
        return {commit.chunk: commit for commit in self.commits()}

    def committed_chunks(self) -> set[int]:
        """The numbers of the committed chunks, from file names alone."""
        return {int(match[1]) for name in self.store.names(CHUNKS) if (match := _SIDECAR.fullmatch(name))}

    def load_commit(self, chunk: int) -> ChunkCommit:
        """One sidecar.

        Raises:
            RunFolderError: the chunk is not committed, or its sidecar cannot be read.
        """
        name = sidecar_name(chunk)
        try:
            return self._parse(name, self.store.read_bytes(name))
        except FileNotFoundError:
            raise RunFolderError(f"{self.url}: chunk {chunk} is not committed; build it first") from None

    def commit_chunk(
        self,
        chunk: int,
        attempt: str,
        rows: Sequence[StoredQuestion],
        account: ChunkAccount,
    ) -> ChunkCommit:
        """Write a chunk's two files, then its sidecar: the commit.

        Args:
            chunk: number in source order, from 0.
            attempt: the lease's 8 hex digits.
            rows: every non-empty source row of the lease, in source order, skipped ones included.
            account: what the worker tells of it.

        Raises:
            CommitRefused: another attempt was first; this one's files are deleted.
            LawBroken: `questions = paired + skipped` does not hold.
            RunFolderError: something could not be written; nothing counts.
        """
        skipped = sum(account.skips_by_reason.values())
        if len(rows) != account.kept + skipped:
            kept = f"{account.kept} {kept_as(account.counts)}"
            raise LawBroken(f"chunk {chunk}: {len(rows)} questions are not {kept} + {skipped} skipped")
        questions, responses = (f"{folder}/{chunk:05d}-{attempt}.parquet" for folder in (QUESTIONS, RESPONSES))
        try:
            commit = ChunkCommit(
                chunk,
                attempt,
                account,
                _spans(rows),
                self.write_table(questions, chunk_tables.QUESTIONS, chunk_tables.question_groups(rows)),
                self.write_table(responses, chunk_tables.RESPONSES, [chunk_tables.response_table(rows)]),
            )
            self.publish(commit)
        except BaseException:
            self._forget(chunk, attempt, (questions, responses))
            raise
        return commit

    def drop_commit(self, chunk: int) -> None:
        """Take a damaged chunk's commit back, so that the next start builds it again."""
        self.store.delete(sidecar_name(chunk))

    def note_damage(self, attempts: Mapping[int, str]) -> None:
        """Leave word which commits' contents are damaged, for the next build to take back; none clears it.

        Args:
            attempts: by chunk, so that a commit made since is not meant.
        """
        if attempts:
            self.store.write_bytes(DAMAGE, sealed({f"{chunk:05d}": attempts[chunk] for chunk in sorted(attempts)}))
        elif self.store.exists(DAMAGE):
            self.store.delete(DAMAGE)

    def noted_damage(self) -> set[int]:
        """The chunks whose commits were found damaged and still stand."""
        try:
            noted = record_of(dict[int, str], self.store.read_bytes(DAMAGE))
        except (FileNotFoundError, ValueError):
            return set()
        standing = noted.keys() & self.committed_chunks()
        return {chunk for chunk in standing if self.load_commit(chunk).attempt == noted[chunk]}

    def copy(self, url: str) -> RunFolder:
        """A new folder with this run's settings and committed chunks, without its dataset; `run.json` comes last.

        Raises:
            RunFolderError: the new folder holds a run already, or cannot be written.
        """
        other = RunFolder(url, self.store.options)
        if other.has_run():
            raise RunFolderError(f"{other.url} holds a run already; choose another folder")
        other.require_room()
        for commit in self.commits():
            for name in (commit.questions.path, commit.responses.path, sidecar_name(commit.chunk)):
                other.store.copy_from(self.store, name)
        if self.store.exists(EXCLUDE):
            other.store.copy_from(self.store, EXCLUDE)
        other.store.copy_from(self.store, RUN)
        return other

    def sweep(self, *, abandoned: bool = False) -> list[str]:
        """Delete what no sidecar names, and return its names; for the driver alone, at a start and at the end.

        Files of a chunk that is not committed stay until it is: their writer may live and commit them yet. Once another
        attempt has committed, theirs cannot count any more.

        Args:
            abandoned: no writer of this run lives: files of uncommitted chunks go too.
        """
        found = [name for folder in (QUESTIONS, RESPONSES) for name in self.store.names(folder)]
        named: set[str] = set()
        chunks: set[int] = set()
        for commit in self.commits():  # after the listing: what was committed meanwhile is named here
            named |= {commit.questions.path, commit.responses.path}
            chunks.add(commit.chunk)
        doomed = [name for name in found if name not in named and (abandoned or _chunk_of(name) in chunks)]
        doomed += [n for f in ("", CHUNKS, QUESTIONS, RESPONSES, DATA) for n in self.store.names(f) if is_temporary(n)]
        for name in doomed:
            self.store.delete(name)
        return doomed

    def record(self, name: str, rows: int = 0) -> FileRecord:
        """A file as it lies there now."""
        n_bytes, sha256 = self.store.sha256(name)
        return FileRecord(name, n_bytes, sha256, rows)

    def _parse(self, name: str, content: bytes) -> ChunkCommit:
        try:
            commit = ChunkCommit.from_json(content)
        except ValueError as error:
            raise RunFolderError(f"{self.url}/{name} is damaged ({error}); delete it and build again") from error
        if sidecar_name(commit.chunk) != name:
            raise RunFolderError(f"{self.url}/{name} is the commit of chunk {commit.chunk}; delete it and build again")
        return commit

    def write_table(self, name: str, schema: pa.Schema, groups: Iterable[pa.Table]) -> FileRecord:
        """Write one file of a chunk, a row group a table."""
        n_rows = 0
        with self.store.writer(name) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for group in groups:
                writer.write_table(group, row_group_size=max(1, group.num_rows))
                n_rows += group.num_rows
        return FileRecord(name, file.n_bytes, file.sha256, n_rows)

    def publish(self, commit: ChunkCommit) -> None:
        """Write a sidecar: the commit of files that lie there.

        Raises:
            CommitRefused: another attempt was first.
        """
        name = sidecar_name(commit.chunk)
        try:
            self.store.write_exclusive(name, commit.to_json())
        except FileExistsError:
            raise CommitRefused(f"{self.url}/{name}: another attempt has committed chunk {commit.chunk}") from None

    def _forget(self, chunk: int, attempt: str, names: Sequence[str]) -> None:
        """Delete an attempt's files, unless its sidecar came through although its writer was told otherwise."""
        with suppress(RunFolderError):  # the error that led here says more than a second one would
            if chunk in self.committed_chunks() and self.load_commit(chunk).attempt == attempt:
                return
            for name in names:
                self.store.delete(name)


def sidecar_name(chunk: int) -> str:
    """`chunks/00012.json`."""
    return f"{CHUNKS}/{chunk:05d}.json"


def _chunk_of(name: str) -> int | None:
    match = _ATTEMPT.fullmatch(name)
    return int(match[1]) if match else None


def is_temporary(name: str) -> bool:
    """Whether a file is what a writer left that was killed; a person's own `notes.tmp` is not."""
    return _LEFT.search(name) is not None


def _as_stored(settings: Settings) -> JsonObject:
    """As JSON gives them back: a tuple and the list that it was stored as are equal."""
    found: JsonObject = json.loads(json.dumps(settings))
    return found


def _spans(rows: Sequence[StoredQuestion]) -> tuple[RowSpan, ...]:
    places: dict[str, list[int]] = {}
    for row in rows:
        places.setdefault(row.question.source, []).append(row.question.row)
    return tuple(RowSpan(source, min(found), max(found)) for source, found in places.items())


def _first_difference(before: object, now: object, name: str = "") -> tuple[str, object, object] | None:
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return None if before == now else (name, before, now)
    for key in sorted(before.keys() | now.keys()):
        inner = f"{name}.{key}" if name else str(key)
        if found := _first_difference(before.get(key), now.get(key), inner):
            return found
    return None
