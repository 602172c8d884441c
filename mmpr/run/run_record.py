"""`run.json`: what a run was asked for, and of a merged one its runs. Read and written here alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from mmpr.errors import RunFolderError
from mmpr.pocket import POCKET
from mmpr.run.commit_records import ChunkCommit
from mmpr.run.json_records import Count, JsonObject, plain, record_of, sealed, to_json

FORMAT = 1
# What one member's row is (model, prompts, sampling) an mmpr that knows of no members would take from the first.
MERGED_FORMAT = 2

_ROLLOUTS = "rollouts"

Settings = Mapping[str, object]  # by their names, as JSON has them: only `mmpr.settings` knows what each means


@dataclass(frozen=True, slots=True)
class RunLayout:
    """How rows became chunks.

    Args:
        chunk_questions: most questions of a chunk.
        stops: the sources' lengths at the starts that found one of them longer; of the only source a number.
        questions: how many are asked, where several sources make that more than their lengths say.
        chunks: how many the run has when it is finished; None where an older mmpr began it.
    """

    chunk_questions: Count | None = None
    stops: tuple[Count | tuple[Count, ...], ...] = ()
    questions: Count | None = None
    chunks: Count | None = None

    @property
    def lengths(self) -> tuple[tuple[int, ...], ...]:
        """The stops, each as the lengths of all sources."""
        return tuple(stop if isinstance(stop, tuple) else (stop,) for stop in self.stops)


@dataclass(frozen=True, slots=True)
class Member:
    """One run of a merged one; the members' chunks follow one another.

    Args:
        name: its folder's, unlike the other members'.
        chunks: how many of the merged run's chunks are its own.
        renamed: its source names that another member has too, with their names in the merged run.
        source: address of its questions.
        identity: its settings that may never change.
        versions: of mmpr and what it ran on.
    """

    name: str
    chunks: Count
    renamed: Mapping[str, str]
    source: str
    identity: Settings
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """What `run.json` says.

    Args:
        format: of the folder.
        source: address of the questions.
        layout: what the first start fixes of its chunks.
        identity: settings that may never change again; of a merged run those that all members share.
        selection: settings that pairing again may change.
        versions: of mmpr and what it runs on.
        members: the runs of a merged one, in the order of their chunks; none where it was built.
        reading: by source, how its rows are read; None where an older mmpr, which knew no such thing, began it.
        nonce: distinguishes two first starts where a store's reply was lost.
    """

    format: int
    source: str
    layout: RunLayout
    identity: Settings
    selection: Settings
    versions: Mapping[str, str]
    members: tuple[Member, ...] = ()
    reading: Settings | None = None
    nonce: str = ""

    @classmethod
    def from_json(cls, content: bytes, place: str) -> RunRecord:
        """Read `run.json`.

        Raises:
            RunFolderError: it is damaged, names the field; or a newer mmpr wrote it. `place` names the folder.
        """
        try:
            # first, for a newer format may have fields that this mmpr would call damage
            written_as = record_of(_FormatAlone, content, unknown="ignore").format
            if written_as <= MERGED_FORMAT:
                return record_of(cls, content)
        except ValueError as error:
            raise RunFolderError(f"{place}/run.json is damaged ({error}); restore it from a copy") from error
        raise RunFolderError(f"{place} has format {written_as}, this mmpr reads up to {MERGED_FORMAT}; update mmpr")

    def to_json(self) -> bytes:
        return sealed(plain(self))

    @property
    def fingerprint(self) -> str:
        """A hash of what no start may change, so that another run's `run.json` is noticed."""
        changing = ("layout", "selection", "reading")
        kept = {name: value for name, value in plain(self).items() if name not in changing}
        return hashlib.sha256(to_json(kept)).hexdigest()

    @property
    def settings(self) -> JsonObject:
        """All of them but those of operation."""
        return {**self.identity, **self.selection}

    @property
    def is_evaluation(self) -> bool:
        """Whether the run's questions are there to measure by, and not to train on."""
        return bool(self.identity.get("evaluate"))

    @property
    def is_pocket(self) -> bool:
        """Whether any answer is the embedded model's, which is for trying out and not for training."""
        identities = [member.identity for member in self.members] or [self.identity]
        return any(identity.get("model") == POCKET for identity in identities)

    @property
    def n_chunks(self) -> int | None:
        """How many chunks it has when it is finished; None where an older mmpr began it."""
        return sum(member.chunks for member in self.members) if self.members else self.layout.chunks

    def refuse_evaluation(self, url: str) -> None:
        """Raises `RunFolderError` for a run that has no pairs."""
        if self.is_evaluation:
            raise RunFolderError(f"{url} holds an evaluation, no pairs: `mmpr eval {url}` shows it")


@dataclass(frozen=True, slots=True)
class _FormatAlone:
    format: int


def by_member(
    members: Sequence[Member], commits: Sequence[ChunkCommit]
) -> Iterator[tuple[Member, int, tuple[ChunkCommit, ...]]]:
    """Each member with its first chunk's number and, of a merged run's commits, its own."""
    first = 0
    for member in members:
        yield member, first, tuple(c for c in commits if first <= c.chunk < first + member.chunks)
        first += member.chunks


def sources_named(identity: Settings) -> Mapping[str, Settings]:
    """The sources of a run with several, each with the settings of its own; none where it has one alone."""
    sources = identity.get("sources")
    return sources if isinstance(sources, dict) else {}


def own_settings(selection: Settings) -> Mapping[str, Settings]:
    """The settings of selection that single sources have for themselves, by the sources' names."""
    own = selection.get("per_source")
    return own if isinstance(own, dict) else {}


def by_source(identity: Settings) -> list[tuple[str, Settings]]:
    """Each source's name with the settings that hold for it; without a name where there is one alone."""
    return [(name, {**identity, **own}) for name, own in (sources_named(identity) or {"": {}}).items()]


def without_places(identity: Settings) -> JsonObject:
    """Settings without what is of one machine; of several sources each with its file's name alone."""
    shown = {name: value for name, value in identity.items() if name not in ("source", "image_root")}
    if sources := sources_named(identity):
        shown["sources"] = {
            name: {"source": PurePosixPath(str(own.get("source"))).name, **without_places(own)}
            for name, own in sources.items()
        }
    return shown


def with_rollouts(reading: JsonObject, facts: JsonObject) -> JsonObject:
    """How sources are read, with what is known of a file of responses."""
    return {name: {**how, _ROLLOUTS: facts} if isinstance(how, Mapping) else how for name, how in reading.items()}


def rollouts_of(run: RunRecord) -> list[Settings]:
    """What is known of the files of responses that a run was imported from; none where it was built."""
    found = [how.get(_ROLLOUTS) for how in (run.reading or {}).values() if isinstance(how, Mapping)]
    return [facts for facts in found if isinstance(facts, Mapping)]
