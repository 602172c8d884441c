"""A merged run: the runs it was made of, as its `run.json` names them. A run that was built has none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from mmpr.errors import RunFolderError
from mmpr.pocket import POCKET
from mmpr.run.commit_records import ChunkCommit

# What one member's row is (model, prompts, sampling) an mmpr that knows of no members would take from the first.
MERGED_FORMAT = 2


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
    chunks: int
    renamed: Mapping[str, str]
    source: str
    identity: Mapping[str, Any]
    versions: Mapping[str, str]


def members_of(run: Mapping[str, Any]) -> tuple[Member, ...]:
    """The members of a run, in the order of their chunks; none where it was built.

    Args:
        run: as `RunFolder.load_run` gives it.

    Raises:
        RunFolderError: what it says of them cannot be read.
    """
    try:
        return tuple(Member(**member) for member in run.get("members", ()))
    except TypeError as error:
        raise RunFolderError(f"run.json is damaged (members: {error}); restore it from a copy") from error


def by_member(
    members: Sequence[Member], commits: Sequence[ChunkCommit]
) -> Iterator[tuple[Member, int, tuple[ChunkCommit, ...]]]:
    """Each member with its first chunk's number and, of a merged run's commits, its own."""
    first = 0
    for member in members:
        yield member, first, tuple(c for c in commits if first <= c.chunk < first + member.chunks)
        first += member.chunks


def models_of(run: Mapping[str, Any]) -> list[str]:
    """Who answered, each once, in the order of the members."""
    identities = [member.identity for member in members_of(run)] or [run["identity"]]
    return list(dict.fromkeys(str(identity.get("model")) for identity in identities))


def is_pocket(run: Mapping[str, Any]) -> bool:
    """Whether any answer is the embedded model's, which is for trying out and not for training."""
    return POCKET in models_of(run)


def by_source(identity: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Each source's name with the settings that hold for it; without a name where there is one alone."""
    sources: Mapping[str, Mapping[str, Any]] = identity.get("sources") or {"": {}}
    return [(name, {**identity, **own}) for name, own in sources.items()]


def is_evaluation(run: Mapping[str, Any]) -> bool:
    """Whether the run's questions are there to measure by, and not to train on."""
    return bool(run["identity"].get("evaluate"))


def refuse_evaluation(run: Mapping[str, Any], url: str) -> None:
    """Raises `RunFolderError` for a run that has no pairs."""
    if is_evaluation(run):
        raise RunFolderError(f"{url} holds an evaluation, no pairs: `mmpr eval {url}` shows it")


def without_places(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without what is of one machine; of several sources each with its file's name alone."""
    shown = {name: value for name, value in identity.items() if name not in ("source", "image_root")}
    if sources := identity.get("sources"):
        named = {name: PurePosixPath(str(own.get("source"))).name for name, own in sources.items()}
        shown["sources"] = {name: {"source": named[name], **without_places(own)} for name, own in sources.items()}
    return shown


def shown_members(run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The members as a report tells of them: places are of one machine, and left out."""
    return [
        {
            "name": member.name,
            "model": member.identity.get("model"),
            "model_revision": member.identity.get("revision"),
            "prompt_version": member.identity.get("prompt_version"),
            "source": PurePosixPath(member.source).name,
            "chunks": member.chunks,
            "renamed": dict(member.renamed),
            "identity": without_places(member.identity),
            "versions": dict(member.versions),
        }
        for member in members_of(run)
    ]
