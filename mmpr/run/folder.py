"""The run folder: the run's settings, its driver, and the commits. A file that no sidecar names does not count."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
EVENTS = "events.jsonl"  # events of the run: engines that died, nodes without work, how each start ended
MERGING = "merging.json"  # a merge that has not finished: the folder holds chunks, but no run yet
DAMAGE = "damage.json"  # written by `verify`, read by the next build; {chunk: attempt}
EXCLUDE = "exclude.parquet"  # hashes of the images and questions of a benchmark, if the run excludes one
QUESTIONS, RESPONSES, CHUNKS, DATA = "questions", "responses", "chunks", "data"
# chunks/00012.json, questions/00012-1a2b3c4d.parquet
_SIDECAR = re.compile(rf"{CHUNKS}/(\d{{5,}})\.json")
# Sidecars are read in groups, so that a run with 100,000 chunks is never in memory at once.
_SIDECARS_A_READ = 1024
# A temporary file of `Store`: data/train-00000-of-00001.parquet.1a2b3c4d.tmp
_LEFT = re.compile(rf"(?:^|[./])[0-9a-f]{{8}}{re.escape(TEMPORARY)}$")
_ATTEMPT = re.compile(rf"(?:{QUESTIONS}|{RESPONSES})/(\d{{5,}})-[0-9a-f]{{8}}\.parquet")


def new_attempt() -> str:
    """Return 8 random hex digits: the id of a lease's attempt."""
    return secrets.token_hex(4)


class RunFolder:
    """A run's folder on any fsspec filesystem. It is small and picklable: engines, tasks and the driver each have one.

    Args:
        url: local path or fsspec URL.
        options: arguments of fsspec's filesystem.
    """

    def __init__(self, url: str, options: Mapping[str, object] | None = None) -> None:
        self.store = Store(url, options)

    @property
    def url(self) -> str:
        return self.store.url

    # -- the run ----------------------------------------------------------------------------------------------------

    def has_run(self) -> bool:
        """Whether a run was started here."""
        return self.store.exists(RUN)

    def create_run(self, run: RunRecord) -> None:
        """Write `run.json`, before any other file.

        Raises:
            RunFolderError: the folder has a run or other files already.
        """
        self.require_room()
        self.publish_run(run)

    def publish_run(self, run: RunRecord) -> None:
        """Write the whole `run.json`; if several processes write, one succeeds.

        Raises:
            RunFolderError: there is a run already.
        """
        try:
            self.store.write_exclusive(RUN, replace(run, nonce=secrets.token_hex(4)).to_json())
        except FileExistsError:
            raise RunFolderError(f"{self.url} holds a run already; continue it or choose another folder") from None

    def load_run(self) -> RunRecord:
        """Read `run.json`.

        Raises:
            RunFolderError: the file is missing or damaged, or a newer mmpr wrote it.
        """
        try:
            content = self.store.read_bytes(RUN)
        except FileNotFoundError:
            raise RunFolderError(f"{self.url} is no run folder: {self._runless()}") from None
        return RunRecord.from_json(content, self.url)

    def _runless(self) -> str:
        """Explain why this is no run. Chunks without `run.json` get their own message: they can still be rescued."""
        if self.store.is_file():
            return "it is a file"
        if self.has_chunks():
            return f"it has the chunks of one, but no {RUN}; restore that from a copy"
        return f"it has no {RUN}"

    def has_chunks(self) -> bool:
        """Whether any chunk was committed here."""
        return any(_SIDECAR.fullmatch(name) for name in self.store.names(CHUNKS))

    def fingerprint(self) -> str | None:
        """Return `RunRecord.fingerprint`; None if there is no run yet, for example while a merge is written."""
        return self.load_run().fingerprint if self.has_run() else None

    def require_room(self) -> None:
        """Refuse the folder for a new run, unless it is empty or holds a run.

        Raises:
            RunFolderError: it is a file, has other files, or its run.json is damaged.
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
        """Return the names of files that mmpr did not write, or that a start before `run.json` did not leave."""
        # the driver claims the folder, which writes a file, before `run.json` exists
        names = [*self.store.names(""), *self.store.folders()]
        return sorted(name for name in names if name != DRIVER and not is_temporary(name))

    def require_identity(
        self,
        identity: Settings,
        *,
        defaults: Settings | None = None,
        remedy: str = "restore it or use another --out",
    ) -> None:
        """Refuse a start whose identity settings differ from the folder's.

        Args:
            identity: the settings of this start.
            defaults: values of settings that an older mmpr did not store.
            remedy: the end of the error message.

        Raises:
            ResumeError: names the first field that differs, with both values.
        """
        stored = {**_as_stored(defaults or {}), **self.load_run().identity}
        if difference := _first_difference(stored, _as_stored(identity)):
            name, before, now = difference
            raise ResumeError(f"{name} was {before!r} when {self.url} was started, now {now!r}; {remedy}")

    def change_selection(self, selection: Settings) -> None:
        """Store the settings of pairing.

        If they change, delete the manifest: the dataset was made with the old ones.
        """
        run = self.load_run()
        if run.selection != (now := _as_stored(selection)):
            self.store.delete(MANIFEST)
            self._rewrite(replace(run, selection=now))

    def change_layout(self, layout: RunLayout) -> None:
        """Store how the source's new rows are cut into chunks; existing chunks keep their numbers."""
        run = self.load_run()
        if run.layout != layout:
            self._rewrite(replace(run, layout=layout))

    def change_reading(self, reading: Settings) -> None:
        """Store how rows are read; a later start may add a source that earlier starts did not have to decide about."""
        run = self.load_run()
        if run.reading != (now := _as_stored(reading)):
            self._rewrite(replace(run, reading=now))

    def _rewrite(self, run: RunRecord) -> None:
        self.store.write_bytes(RUN, run.to_json())

    def add_start(self, operation: Settings) -> None:
        """Append the operational settings of a start to `starts.jsonl`."""
        self.store.append_line(STARTS, sealed_line(operation))

    def starts(self) -> list[JsonObject]:
        """Return every start so far, oldest first, without a line that a crash cut off."""
        return self._lines(STARTS)[0]

    def add_event(self, event: Mapping[str, object]) -> None:
        """Append an event to `events.jsonl`; secrets in its texts are replaced."""
        cleaned = {name: redacted(value) if isinstance(value, str) else value for name, value in event.items()}
        self.store.append_line(EVENTS, sealed_line(cleaned))

    def events(self) -> list[JsonObject]:
        """Return the events of the run, oldest first, without a line that a crash cut off."""
        return self._lines(EVENTS)[0]

    def torn_lines(self, name: str) -> list[int]:
        """Return the numbers (from 1) of lines of a log that are no JSON object: damaged, or cut off by a crash."""
        return self._lines(name)[1]

    def _lines(self, name: str) -> tuple[list[JsonObject], list[int]]:
        """Return the lines of a log that are JSON objects, and the numbers of the others."""
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
        """Yield the commits in source order.

        Consume them one by one: those of a large run together take many megabytes.

        Raises:
            RunFolderError: a sidecar cannot be read.
        """
        names = [name for name in self.store.names(CHUNKS) if _SIDECAR.fullmatch(name)]
        names.sort(key=lambda name: (len(name), name))  # by number: "100000.json" sorts before "99999.json" as text
        for first in range(0, len(names), _SIDECARS_A_READ):
            contents = self.store.read_many(names[first : first + _SIDECARS_A_READ])
            yield from (self._parse(name, content) for name, content in contents.items())

    def committed(self) -> dict[int, ChunkCommit]:
        """Return all commits by chunk number, in source order.

        Raises:
            RunFolderError: a sidecar cannot be read.
        """
        return {commit.chunk: commit for commit in self.commits()}

    def committed_chunks(self) -> set[int]:
        """Return the numbers of the committed chunks; reads file names only."""
        return {int(match[1]) for name in self.store.names(CHUNKS) if (match := _SIDECAR.fullmatch(name))}

    def load_commit(self, chunk: int) -> ChunkCommit:
        """Read one sidecar.

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
        """Write a chunk's two files, then the sidecar that commits it.

        Args:
            chunk: its number in source order, from 0.
            attempt: 8 hex digits of the lease.
            rows: every non-empty source row of the lease in source order, including the skipped ones.
            account: what the worker reports about the chunk.

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
        # also for KeyboardInterrupt: files without a sidecar would stay until the next `sweep`
        except BaseException:
            self._forget(chunk, attempt, (questions, responses))
            raise
        return commit

    def drop_commit(self, chunk: int) -> None:
        """Delete a damaged chunk's commit, so that the next start builds the chunk again."""
        self.store.delete(sidecar_name(chunk))

    def note_damage(self, attempts: Mapping[int, str]) -> None:
        """Store which commits are damaged, so that the next build drops them; an empty mapping deletes the note.

        Args:
            attempts: by chunk. A commit of a later attempt is not affected.
        """
        if attempts:
            self.store.write_bytes(DAMAGE, sealed({f"{chunk:05d}": attempts[chunk] for chunk in sorted(attempts)}))
        elif self.store.exists(DAMAGE):
            self.store.delete(DAMAGE)

    def noted_damage(self) -> set[int]:
        """Return the chunks whose damaged commits are still in the folder."""
        try:
            noted = record_of(dict[int, str], self.store.read_bytes(DAMAGE))
        except (FileNotFoundError, ValueError):
            return set()
        # a chunk that was built again since has another attempt, and its note is out of date
        standing = noted.keys() & self.committed_chunks()
        return {chunk for chunk in standing if self.load_commit(chunk).attempt == noted[chunk]}

    def copy(self, url: str, *, beside: Callable[[RunFolder], None] = lambda _: None) -> RunFolder:
        """Copy this run's settings and committed chunks, without the dataset; `run.json` is written last.

        Args:
            url: the new folder.
            beside: copies further files into the new folder, before it counts as a run.

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
        beside(other)
        # last: a copy that is cut off has no `run.json`, so nobody takes it for a run
        other.store.copy_from(self.store, RUN)
        return other

    def sweep(self, *, abandoned: bool = False) -> list[str]:
        """Delete the files that no sidecar names, and return their names. Only the driver calls this, at start and end.

        Files of an uncommitted chunk stay, because their writer may be alive and commit them. After another attempt has
        committed the chunk, they are deleted.

        Args:
            abandoned: no writer of this run is alive; files of uncommitted chunks are deleted too.
        """
        found = [name for folder in (QUESTIONS, RESPONSES) for name in self.store.names(folder)]
        named: set[str] = set()
        chunks: set[int] = set()
        for commit in self.commits():  # after the listing: a file committed in between is named here
            named |= {commit.questions.path, commit.responses.path}
            chunks.add(commit.chunk)
        doomed = [name for name in found if name not in named and (abandoned or _chunk_of(name) in chunks)]
        doomed += [n for f in ("", CHUNKS, QUESTIONS, RESPONSES, DATA) for n in self.store.names(f) if is_temporary(n)]
        for name in doomed:
            self.store.delete(name)
        return doomed

    def record(self, name: str, rows: int = 0) -> FileRecord:
        """Return size and hash of a file as it is now."""
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
        """Write one file of a chunk; each table becomes one row group."""
        n_rows = 0
        with self.store.writer(name) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for group in groups:
                writer.write_table(group, row_group_size=max(1, group.num_rows))
                n_rows += group.num_rows
        return FileRecord(name, file.n_bytes, file.sha256, n_rows)

    def publish(self, commit: ChunkCommit) -> None:
        """Write the sidecar that commits files written before.

        Raises:
            CommitRefused: another attempt was first.
        """
        name = sidecar_name(commit.chunk)
        try:
            self.store.write_exclusive(name, commit.to_json())
        except FileExistsError:
            raise CommitRefused(f"{self.url}/{name}: another attempt has committed chunk {commit.chunk}") from None

    def _forget(self, chunk: int, attempt: str, names: Sequence[str]) -> None:
        """Delete an attempt's files, unless its sidecar exists: a store may report an error after a completed write."""
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
    """Whether a killed writer left the file; a user's own `notes.tmp` is not one of these."""
    return _LEFT.search(name) is not None


def _as_stored(settings: Settings) -> JsonObject:
    """Return the settings as JSON reads them back, so that a tuple equals the list it was stored as."""
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
