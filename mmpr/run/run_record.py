"""`run.json`: the settings that a run was started with, and the members of a merged run. Only this module reads it."""

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
# A merged run has its own format: rows of its members differ in model, prompts and sampling, and an older mmpr, which
# does not know members, would use the first member's values for all rows.
MERGED_FORMAT = 2

_ROLLOUTS = "rollouts"

Settings = Mapping[str, object]  # by name, as in JSON; only `mmpr.settings` knows what each setting means


@dataclass(frozen=True, slots=True)
class RunLayout:
    """How the source's rows were cut into chunks.

    Args:
        chunk_questions: most questions of a chunk.
        stops: lengths of the sources at each start that found one of them longer; a number for a run with one source.
        questions: number of questions to ask, if several sources together ask other numbers than their lengths.
        chunks: number of chunks of the finished run; None if an older mmpr started it.
    """

    chunk_questions: Count | None = None
    stops: tuple[Count | tuple[Count, ...], ...] = ()
    questions: Count | None = None
    chunks: Count | None = None

    @property
    def lengths(self) -> tuple[tuple[int, ...], ...]:
        """`stops` as tuples with the lengths of all sources."""
        return tuple(stop if isinstance(stop, tuple) else (stop,) for stop in self.stops)


@dataclass(frozen=True, slots=True)
class Member:
    """One run of a merged run. The chunks of the members follow one another.

    Args:
        name: name of the member's folder, made unique among the members.
        chunks: how many chunks of the merged run are the member's.
        renamed: source names that another member has too, with their names in the merged run.
        source: address of its questions.
        identity: settings that may never change.
        versions: versions of mmpr and its dependencies.
    """

    name: str
    chunks: Count
    renamed: Mapping[str, str]
    source: str
    identity: Settings
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """The content of `run.json`.

    Args:
        format: version of the folder's format.
        source: address of the questions.
        layout: how rows are cut into chunks; the first start decides.
        identity: settings that may never change; for a merged run, those that all members share.
        selection: settings that may change when the run is paired again.
        versions: versions of mmpr and its dependencies.
        members: the runs of a merged run, in the order of their chunks; empty for a built run.
        reading: how the rows of each source are read; None if an older mmpr started the run.
        nonce: random; shows which of two first starts won if the store's reply was lost.
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
            RunFolderError: the file is damaged (names the field), or a newer mmpr wrote it. `place` names the folder.
        """
        try:
            # The format comes first: a newer format may have fields that would be reported as damage.
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
        """Hash of everything that no start may change; it shows if `run.json` was replaced by another run's."""
        changing = ("layout", "selection", "reading")
        kept = {name: value for name, value in plain(self).items() if name not in changing}
        return hashlib.sha256(to_json(kept)).hexdigest()

    @property
    def settings(self) -> JsonObject:
        """All settings but the operational ones."""
        return {**self.identity, **self.selection}

    @property
    def is_evaluation(self) -> bool:
        """Whether the run measures a model. Its questions must not be trained on."""
        return bool(self.identity.get("evaluate"))

    @property
    def is_pocket(self) -> bool:
        """Whether the embedded pocket model wrote any answer; it is for trying mmpr out, not for training data."""
        identities = [member.identity for member in self.members] or [self.identity]
        return any(identity.get("model") == POCKET for identity in identities)

    @property
    def n_chunks(self) -> int | None:
        """The number of chunks of the finished run; None if an older mmpr started it."""
        return sum(member.chunks for member in self.members) if self.members else self.layout.chunks

    def refuse_evaluation(self, url: str) -> None:
        """Raise `RunFolderError` if the run is an evaluation, which has no pairs."""
        if self.is_evaluation:
            raise RunFolderError(f"{url} holds an evaluation, no pairs: `mmpr eval {url}` shows it")


@dataclass(frozen=True, slots=True)
class _FormatAlone:
    format: int


def by_member(
    members: Sequence[Member], commits: Sequence[ChunkCommit]
) -> Iterator[tuple[Member, int, tuple[ChunkCommit, ...]]]:
    """Yield each member of a merged run with the number of its first chunk and its commits."""
    first = 0
    for member in members:
        yield member, first, tuple(c for c in commits if first <= c.chunk < first + member.chunks)
        first += member.chunks


def sources_named(identity: Settings) -> Mapping[str, Settings]:
    """Return each source of a run with several, with its own settings; empty for a run with one source."""
    sources = identity.get("sources")
    return sources if isinstance(sources, dict) else {}


def own_settings(selection: Settings) -> Mapping[str, Settings]:
    """Return the selection settings that single sources override, by source name."""
    own = selection.get("per_source")
    return own if isinstance(own, dict) else {}


def by_source(identity: Settings) -> list[tuple[str, Settings]]:
    """Return each source's name with the settings that apply to it; the name is empty if there is only one source."""
    return [(name, {**identity, **own}) for name, own in (sources_named(identity) or {"": {}}).items()]


def without_places(identity: Settings) -> JsonObject:
    """Return the settings without paths of this machine; each of several sources keeps its file name only."""
    shown = {name: value for name, value in identity.items() if name not in ("source", "image_root")}
    if sources := sources_named(identity):
        shown["sources"] = {
            name: {"source": PurePosixPath(str(own.get("source"))).name, **without_places(own)}
            for name, own in sources.items()
        }
    return shown


def with_rollouts(reading: JsonObject, facts: JsonObject) -> JsonObject:
    """Return how sources are read, with the facts about an imported file of responses added."""
    return {name: {**how, _ROLLOUTS: facts} if isinstance(how, Mapping) else how for name, how in reading.items()}


def rollouts_of(run: RunRecord) -> list[Settings]:
    """Return the facts about the files that a run was imported from; empty for a built run."""
    found = [how.get(_ROLLOUTS) for how in (run.reading or {}).values() if isinstance(how, Mapping)]
    return [facts for facts in found if isinstance(facts, Mapping)]
