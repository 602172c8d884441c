"""The inputs of a merge: the named folders, the built runs in them, and new names for sources that share rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path, PurePosixPath

from mmpr.errors import ConfigError, RunFolderError
from mmpr.run import ChunkCommit, Member, RunFolder, RunRecord, by_member, finished_pairs
from mmpr.run.driver_claim import refuse_in_use
from mmpr.run.json_records import JsonObject
from mmpr.run.merged_chunks import held_rows
from mmpr.settings.config import BuildConfig, Mark, part

# Settings that choose the rows. Two runs that differ only in these ask in the same way.
_PLACES = frozenset(("source", "image_root", "columns", "limit", "chunk_questions", "allowed_hosts"))
_MOST_STEPS = 100  # of a path


@dataclass(frozen=True, slots=True)
class Given:
    """A folder that the user named: a built or a merged run."""

    folder: RunFolder
    run: RunRecord
    commits: tuple[ChunkCommit, ...]


@dataclass(frozen=True, slots=True)
class MergePart:
    """A built run, alone in its folder or as a member of a merged run, with its chunks.

    Args:
        member: the record of it in the new folder.
        folder: where it is.
        commits: its chunks.
        renamed: its sources' names in `folder`, with the new names.
    """

    member: Member
    folder: RunFolder
    commits: tuple[ChunkCommit, ...]
    renamed: Mapping[str, str]


def open_given(url: str) -> Given:
    """Open a run to be merged.

    Raises:
        RunFolderError: it is no run, is unfinished, in use, or of a newer mmpr.
    """
    folder = RunFolder(url)
    run = finished_pairs(folder).record
    refuse_in_use(folder)
    return Given(folder, run, tuple(folder.commits()))


def refuse_places(out: RunFolder, folders: Sequence[RunFolder]) -> None:
    """Refuse a merge of fewer than two runs, of the same run twice, or into one of the runs.

    Raises:
        ConfigError: names the folder.
    """
    if len(folders) < 2:
        raise ConfigError("merge: name two or more run folders")
    roots = [_root(folder) for folder in folders]
    for root, folder in zip(roots, folders, strict=True):
        if roots.count(root) > 1:
            raise ConfigError(f"merge: {folder.url} is named twice")
        # cleaning up an interrupted merge deletes files in `out`, which must not be a run's
        if _root(out)[0] == root[0] and _root(out)[1].is_relative_to(root[1]):
            raise ConfigError(f"--out {out.url} is {folder.url} or inside it; a merge leaves its runs as they are")


def parts_of(given: Sequence[Given]) -> list[MergePart]:
    """Return the built runs of all folders. Each is named by its folder, with parent folders if names are equal.

    Raises:
        RunFolderError: two runs asked the same question of the same model in the same way.
    """
    steps = [_root(one.folder)[1].parts for one in given]
    depths = (n for n in range(1, _MOST_STEPS) if len({step[-n:] for step in steps}) == len(steps))
    # folders on two filesystems may have the same path: no depth makes their names differ
    depth = next(depths, _MOST_STEPS)
    # `a/charts` and `b/charts` become `a-charts` and `b-charts`
    names = ["-".join(step[-depth:]).strip("/") for step in steps]
    return _told_apart([part for one, name in zip(given, names, strict=True) for part in _parts(one, name)])


def _root(folder: RunFolder) -> tuple[str, PurePosixPath]:
    """Return the filesystem and the path of a folder; symbolic links are resolved."""
    path = folder.store.path("").rstrip("/")
    if folder.store.is_local:
        return "", PurePosixPath(Path(path).resolve())
    return folder.url.partition("://")[0], PurePosixPath(path)


def _parts(given: Given, name: str) -> list[MergePart]:
    run = given.run
    if not run.members:
        own = Member(name, len(given.commits), {}, run.source, run.identity, run.versions)
        return [MergePart(own, given.folder, given.commits, {})]
    return [
        MergePart(replace(member, name=f"{name}-{member.name}"), given.folder, commits, {})
        for member, _, commits in by_member(run.members, given.commits)
    ]


def _told_apart(parts: Sequence[MergePart]) -> list[MergePart]:
    """Give sources new names if two runs share rows, because a row is identified by its source name and number.

    Raises:
        RunFolderError: two runs asked the same question of the same model in the same way.
    """
    sources = [{span.source for commit in part.commits for span in commit.spans} for part in parts]
    several = {name for one, other in combinations(sources, 2) for name in one & other}
    held = [held_rows(p.folder, p.commits, several & own) for p, own in zip(parts, sources, strict=True)]
    renamed: defaultdict[int, dict[str, str]] = defaultdict(dict)
    taken = set().union(*sources)
    for source in sorted(several):
        holders = [index for index, own in enumerate(held) if source in own]
        shared = 0
        for one, other in combinations(holders, 2):
            n, row = held[one][source].shared(held[other][source])
            _refuse_same(parts[one], parts[other], source, row)
            shared += n
        for index in holders if shared else ():
            renamed[index][source] = _new_name(f"{source}@{parts[index].member.name}", taken)
    return [_renamed(part, renamed[index]) for index, part in enumerate(parts)]


def _refuse_same(one: MergePart, other: MergePart, source: str, row: int | None) -> None:
    if row is not None and _making(one.member) == _making(other.member):
        raise RunFolderError(
            f"{one.folder.url} and {other.folder.url} both hold {source}:{row}, asked of the same model in the same "
            "way; leave one of them out"
        )


def _making(member: Member) -> JsonObject:
    """Return the settings that influence an answer; the seed counts only if requests carry one."""
    settled = {**part(BuildConfig(), Mark.IDENTITY), **member.identity}
    places = _PLACES if settled["seeded"] else _PLACES | {"seed"}
    return {name: value for name, value in settled.items() if name not in places}


def _new_name(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "'"
    taken.add(name)
    return name


def _renamed(part: MergePart, here: Mapping[str, str]) -> MergePart:
    """Return the part with new source names; its member record maps the names of its own build to them."""
    before = part.member.renamed
    names = {built: here.get(name, name) for built, name in before.items()}
    names |= {name: new for name, new in here.items() if name not in before.values()}
    return replace(part, renamed=here, member=replace(part.member, renamed=names))
