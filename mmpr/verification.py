"""Check a run folder and report all damage, one line per problem: the file, the fault and the remedy.

The check needs neither source nor engine and works on a copy. Memory: one row group of pairs and one chunk.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby, islice

from mmpr.errors import MmprError, RunFolderError
from mmpr.run.chunk_reader import read_chunk
from mmpr.run.columns import image_bytes, pair_id, sides_of
from mmpr.run.commit_records import ChunkCommit, FileRecord, RowSpan, StoredQuestion
from mmpr.run.dataset import SKIPS
from mmpr.run.folder import CHUNKS, DATA, EVENTS, MANIFEST, RUN, STARTS, RunFolder, sidecar_name
from mmpr.run.manifest import Manifest, read_manifest
from mmpr.run.parquet_reader import batches
from mmpr.run.split import TRAIN, VALIDATION, image_number
from mmpr.run.verifier_files import VERIFIER, asked_chunks, commit_name, load_answers_commit, read_table
from mmpr.types import JudgedBy, Pair, PairKind, TableRow

# More faults of one kind give no new information.
_MOST_LINES = 20
_BATCH_ROWS = 32  # their images are Python bytes at the same time
_REBUILD = "start the build again: it rebuilds this chunk"
_FINISH = "start the run again: only its end is missing"

Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class _Group:
    """The rows of one question in `data/`."""

    path: str
    place: Place
    rows: list[TableRow]


def verify(folder_url: str, options: Mapping[str, object] | None = None) -> list[str]:
    """Return every problem of a run folder, one line each; an undamaged run gives none, even if it is unfinished.

    Checks: the sidecars; size and hash of their files; that every question has responses or a skip; that no source row
    is there twice; the manifest's files; and for each pair its texts, images and id against the responses.

    Args:
        folder_url: local path or fsspec URL of the run folder.
        options: arguments of fsspec's filesystem.
    """
    folder = RunFolder(folder_url, options)
    problems: list[str] = []
    merged = False
    try:
        run = folder.load_run()
        merged = bool(run.members)
        damaged = damaged_chunks(folder)
        problems += [line for lines in damaged.values() for line in lines]
        chunks = sorted(folder.committed_chunks())
        commits = [folder.load_commit(chunk) for chunk in chunks if chunk not in damaged]
        # a merged run is not built again, so no start would read the note
        _note(folder, () if merged else damaged)
        problems += _doubled(folder, commits)
        problems += answers_faults(folder)
        problems += filter(None, [lost_answers(folder)])
        manifest = read_manifest(folder)
        problems += _check_logs(folder, manifest)
        problems += _check_manifest(folder, manifest, len(chunks))
        if manifest is not None and not problems:  # a damaged file would be reported again for each of its pairs
            problems += _limited(_compare(folder, manifest, commits, paired=not run.is_evaluation))
    except RunFolderError as error:
        problems.append(str(error))
    return [_of_merged(folder, line) for line in problems] if merged else problems


def unfinished(folder_url: str, options: Mapping[str, object] | None = None) -> str | None:
    """Return what an undamaged run still needs, in one line; None if it is finished.

    Raises:
        RunFolderError: the folder holds no run, or the run is damaged.
    """
    folder = RunFolder(folder_url, options)
    commits, chunks, manifest = list(folder.commits()), folder.load_run().n_chunks, read_manifest(folder)
    of_all = f" of {chunks}" if chunks is not None else ""
    done = f"{len(commits)}{of_all} chunks, {sum(commit.questions.rows for commit in commits):,} questions"
    if chunks is not None and len(commits) < chunks:
        return f"unfinished: {done}; run its command again to continue"
    if manifest is None or manifest.n_chunks != len(commits):
        return f"unfinished: {done}, and its dataset is not written; run its command again: only its end is missing"
    return None


def _of_merged(folder: RunFolder, line: str) -> str:
    """Replace the remedy of a line for a merged run, because no build can repair that."""
    if not line.endswith((_REBUILD, _FINISH, "build again")):
        return line
    remedy = (
        f"`mmpr pair {folder.url}` writes it again" if line.endswith(_FINISH) else "merge its runs into another folder"
    )
    return f"{line.rpartition('; ')[0]}; {remedy}"


def _note(folder: RunFolder, damaged: Iterable[int]) -> None:
    """Note the damaged chunks for the next build. A folder that cannot be written is checked nevertheless."""
    attempts = {}
    for chunk in damaged:
        with suppress(RunFolderError):  # every start finds an unreadable sidecar by itself
            attempts[chunk] = folder.load_commit(chunk).attempt
    with suppress(RunFolderError):
        folder.note_damage(attempts)


def damaged_chunks(folder: RunFolder, *, thorough: bool = True) -> dict[int, list[str]]:
    """Return the committed chunks that must be built again, each with its problems.

    Args:
        folder: the run.
        thorough: read every byte; otherwise check only that sidecars are readable and files have their full size.
    """
    found: dict[int, list[str]] = {}
    for chunk in sorted(folder.committed_chunks()):
        try:
            commit = folder.load_commit(chunk)
            if thorough:
                lines = check_chunk(folder, commit)
            else:
                faults = (_length_fault(folder, file) for file in (commit.questions, commit.responses))
                lines = [f"{fault}; {_REBUILD}" for fault in faults if fault]
        except RunFolderError as error:
            lines = [str(error)]
        if lines:
            found[chunk] = lines
    return found


def check_chunk(folder: RunFolder, commit: ChunkCommit) -> list[str]:
    """Return the problems of one committed chunk; empty if it is undamaged."""
    files = (commit.questions, commit.responses)
    problems = [f"{fault}; {_REBUILD}" for file in files if (fault := file_fault(folder, file))]
    if problems:
        return problems
    try:
        return [f"{fault}; {_REBUILD}" for fault in _limited(_chunk_faults(folder, commit))]
    except (MmprError, ValueError, KeyError, TypeError) as error:
        return [f"{commit.questions.path}: {error}; {_REBUILD}"]


def answers_faults(folder: RunFolder) -> Iterator[str]:
    """Yield a line for each damaged file of a verifier's answers, with its remedy; reads every byte of them."""
    for chunk in sorted(asked_chunks(folder)):
        remedy = f"delete {commit_name(chunk)} and ask again: mmpr ask-verifier {folder.url}"
        try:
            commit = load_answers_commit(folder, chunk)
        except RunFolderError as error:
            yield str(error)
            continue
        if commit is None:
            continue
        if fault := file_fault(folder, commit.file):
            yield f"{fault}; {remedy}"
            continue
        try:
            answers = read_table(folder, commit)
        except RunFolderError as error:
            # without the end, `mmpr verify` says what to do: this line is printed by it
            yield f"{str(error).rpartition(';')[0]}; {remedy}"
            continue
        if len(answers) != commit.file.rows:
            yield f"{commit.file.path} records {commit.file.rows} answers, {len(answers)} are there; {remedy}"


def lost_answers(folder: RunFolder, *, had_some: bool = False) -> str | None:
    """Return which answers of a verifier are gone that the dataset was cut with, and the remedy; None if none are.

    Args:
        had_some: there were answers, if the manifest of an older mmpr does not say how many.

    Raises:
        RunFolderError: the manifest or a commit of answers is damaged.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        return None
    cut_with = manifest.answers.chunks if manifest.answers else int(had_some)
    if (now := len(asked_chunks(folder))) >= cut_with:
        return None
    return (
        f"{folder.url}: {VERIFIER}/ has {now} commits of a verifier's answers, its dataset was cut with "
        f"{'' if manifest.answers else 'at least '}{cut_with}; {_ask_again(folder)}"
    )


def _ask_again(folder: RunFolder) -> str:
    return f"restore them from a copy, or ask again: mmpr ask-verifier {folder.url}"


def _length_fault(folder: RunFolder, file: FileRecord) -> str | None:
    try:
        n_bytes = folder.store.size(file.path)
    except FileNotFoundError:
        return f"{file.path} is missing"
    return None if n_bytes == file.n_bytes else f"{file.path} has {n_bytes} bytes, {file.n_bytes} were written"


def refuse_damaged(folder: RunFolder, files: Iterable[FileRecord]) -> None:
    """Check every byte of these files, before anything is written that depends on them.

    Raises:
        RunFolderError: a file is missing or has changed.
    """
    for file in files:
        if fault := file_fault(folder, file):
            raise RunFolderError(f"{folder.url}: {fault}; `mmpr verify {folder.url}` says what to do")


def file_fault(folder: RunFolder, file: FileRecord) -> str | None:
    """Return how a file differs from its record; None if it is equal byte for byte."""
    # first, because it reads no byte
    if fault := _length_fault(folder, file):
        return fault
    _, sha256 = folder.store.sha256(file.path)
    if sha256 != file.sha256:
        return f"{file.path} has changed since it was written (sha256 {sha256[:12]}, not {file.sha256[:12]})"
    return None


def _chunk_faults(folder: RunFolder, commit: ChunkCommit) -> Iterator[str]:
    n_questions = n_responses = 0
    places: set[Place] = set()
    for committed in read_chunk(folder, commit, answers=False):
        n_questions += 1
        n_responses += len(committed.responses)
        yield from _question_faults(commit.questions.path, committed)
        if (place := _place(committed)) in places:
            yield f"{commit.questions.path} has {place[0]}:{place[1]} twice"
        places.add(place)
    counted = commit.account.kept + sum(commit.account.skips_by_reason.values())
    for name, found, recorded in (
        (commit.questions.path, n_questions, commit.questions.rows),
        (commit.responses.path, n_responses, commit.responses.rows),
        (sidecar_name(commit.chunk), n_questions, counted),
    ):
        if found != recorded:
            yield f"{name} records {recorded} rows, {found} are there"


def _question_faults(path: str, committed: StoredQuestion) -> Iterator[str]:
    place = f"{path}: {committed.question.source}:{committed.question.row}"
    if committed.skip is None and not committed.responses:
        yield f"{place} has neither a response nor a skip"
    for stored in committed.images:
        if hashlib.sha256(stored.encoded or b"").hexdigest() != stored.sha256:
            yield f"{place}: the bytes of image {stored.sha256[:12]} have changed"


def _doubled(folder: RunFolder, commits: Iterable[ChunkCommit]) -> Iterator[str]:
    """Find source rows that are in two chunks; read only chunks whose row ranges overlap."""
    spans = [(span, commit) for commit in commits for span in commit.spans]
    spans.sort(key=lambda one: (one[0].source, one[0].first, one[1].chunk))
    open_spans: list[tuple[RowSpan, ChunkCommit]] = []
    for span, commit in spans:
        open_spans = [o for o in open_spans if o[0].source == span.source and o[0].last >= span.first]
        for _, other in open_spans:
            first, second = sorted((commit, other), key=lambda c: c.chunk)
            shared = _rows(folder, first, span.source) & _rows(folder, second, span.source)
            if shared:
                name, earlier = sidecar_name(second.chunk), sidecar_name(first.chunk)
                yield f"{name} repeats row {span.source}:{min(shared)} of {earlier}; delete {name} and build again"
        open_spans.append((span, commit))


def _rows(folder: RunFolder, commit: ChunkCommit, source: str) -> set[int]:
    try:
        found = [c.question for c in read_chunk(folder, commit, images=False, answers=False)]
    except RunFolderError:
        return set()  # check_chunk has reported it
    return {question.row for question in found if question.source == source}


def _check_logs(folder: RunFolder, manifest: Manifest | None) -> Iterator[str]:
    """Report damaged lines of logs and logs that differ from the manifest; a copy from the Hub has no logs."""
    logs = manifest.logs if manifest is not None else ()
    copied = not any(folder.store.exists(name) for name in (STARTS, EVENTS))
    for name in (STARTS, EVENTS):
        for line in folder.torn_lines(name):
            yield f"{name}: line {line} is damaged or was cut off; delete that line, nothing else depends on it"
    for log in logs if not copied else ():
        if fault := _prefix_fault(folder, log):
            yield f"{fault}; restore it from a copy, or `mmpr report {folder.url}` accepts its content"


def _prefix_fault(folder: RunFolder, log: FileRecord) -> str | None:
    try:
        # later starts append lines, so only the recorded beginning is compared
        content = folder.store.read_bytes(log.path)[: log.n_bytes]
    except FileNotFoundError:
        return f"{log.path} is missing"
    same = hashlib.sha256(content).hexdigest() == log.sha256
    return None if same else f"{log.path} has changed in its first {log.n_bytes} bytes"


def _check_manifest(folder: RunFolder, manifest: Manifest | None, n_commits: int) -> Iterator[str]:
    found = [name for name in folder.store.names(DATA) if name.endswith(".parquet")]
    if manifest is None:
        if found:
            yield f"{MANIFEST} is missing although {DATA}/ has files; {_FINISH}"
        return
    if manifest.run is not None and manifest.run != folder.fingerprint():
        yield f"{RUN} belongs to another run than {MANIFEST}; restore {RUN} from a copy"
    for file in manifest.files:
        if fault := file_fault(folder, file):
            yield f"{fault}; delete {MANIFEST} and {_FINISH}"
    for name in sorted(set(found) - {file.path for file in manifest.files}):
        yield f"{name} is not in {MANIFEST}; delete it"
    if n_commits < manifest.n_chunks:
        yield f"{CHUNKS}/ has {n_commits} commits, the dataset was cut from {manifest.n_chunks}; build again"


def _compare(folder: RunFolder, manifest: Manifest, commits: list[ChunkCommit], *, paired: bool) -> Iterator[str]:
    """Walk through questions, pairs of each split and skips in parallel; all three are in source order.

    So the comparison needs the current place in each, and no table of all questions.
    """
    sides = [_Side(folder, manifest, split) for split in (TRAIN, VALIDATION)]
    skipped = ((row["source"], row["row"]) for row in _table_rows(folder, SKIPS, ["source", "row"]))
    skip = next(skipped, None)
    # false if the source has grown and its new chunks are not in the dataset yet
    complete, unheld = len(commits) == manifest.n_chunks, []
    for commit in commits:
        for committed in read_chunk(folder, commit, images=False):
            place = _place(committed)
            found = next((side for side in sides if side.group is not None and side.group.place == place), None)
            if found is not None and found.group is not None:
                yield from _compare_group(found.group, committed)
                unheld += _unheld(found.group, committed)
                found.step(committed)
            elif skip == place:
                skip = next(skipped, None)
            elif complete and paired:  # an evaluation has no dataset
                yield f"{DATA}/ has no pair of {place[0]}:{place[1]}, and {SKIPS} has no skip of it; {_cut_again()}"
    for group in (side.group for side in sides if side.group is not None):
        yield f"{group.path} has {group.place[0]}:{group.place[1]} out of order, or not committed; {_cut_again()}"
    if skip is not None:
        yield f"{SKIPS} has {skip[0]}:{skip[1]} out of order, or not committed; {_cut_again()}"
    if unheld:
        yield (
            f"{DATA}/ has {len(unheld):,} sides by a verifier's decision, but {VERIFIER}/ lacks the answers, the "
            f"first in pair {unheld[0]}; {_ask_again(folder)}"
        )
    yield from _leaked(*sides)


class _Side:
    """The pairs of one split, question by question; `group` is the next question.

    Collects the numbers of its images.
    """

    def __init__(self, folder: RunFolder, manifest: Manifest, split: str) -> None:
        self.files = [file for file in manifest.files if file.path.startswith(f"{DATA}/{split}-")]
        self._groups = (group for file in self.files for group in _groups(folder, file))
        self.group = next(self._groups, None)
        self.images = array("Q")  # 8 bytes per image

    def step(self, committed: StoredQuestion) -> None:
        self.images.extend(image_number(stored.sha256) for stored in committed.images)
        self.group = next(self._groups, None)


# An image in both splits would let a trainer validate on what it has trained on.
def _leaked(train: _Side, validation: _Side) -> Iterator[str]:
    import numpy as np

    if validation.files:
        one, other = (np.frombuffer(side.images, dtype=np.uint64) for side in (train, validation))
        for number in np.intersect1d(one, other).tolist():
            yield f"{DATA}/ has image {number:016x} in {TRAIN} and in {VALIDATION}; {_cut_again()}"


def _cut_again() -> str:
    return f"delete {MANIFEST} and {_FINISH}"


def _compare_group(group: _Group, committed: StoredQuestion) -> Iterator[str]:
    seen: set[str] = set()
    for row in group.rows:
        fault = _row_fault(row, committed)
        if row["pair_id"] in seen:
            fault = "is there twice"
        seen.add(row["pair_id"])
        if fault:
            yield f"{group.path}: pair {row['pair_id']} {fault}; {_cut_again()}"


def _unheld(group: _Group, committed: StoredQuestion) -> list[str]:
    """Return the pair of each side that is there because of an answer which is gone."""
    held = {(one.response.stage, one.response.index) for one in committed.responses if one.answer is not None}
    found = []
    for row in group.rows:
        by = (row.get("chosen_by"), row.get("rejected_by"))
        found += [
            row["pair_id"]
            for side, judged_by in zip(sides_of(row), by, strict=True)
            if judged_by == JudgedBy.VERIFIER and side not in held
        ]
    return found


def _row_fault(row: TableRow, committed: StoredQuestion) -> str | None:
    """Return the first difference between a row and its committed responses."""
    pair = Pair(committed.question.id, *sides_of(row), PairKind(row["pair_kind"]), row["rank"])
    try:
        plain, whole = (
            (committed.text_of(pair.chosen, thoughts=kept), committed.text_of(pair.rejected, thoughts=kept))
            for kept in (False, True)
        )
    except KeyError:
        return "names a response that was not committed"
    found_texts = row["chosen_text"], row["rejected_text"]
    texts = whole if found_texts == whole else plain  # keep_thoughts may have been either
    expected = [stored.sha256 for stored in committed.images]
    found = [hashlib.sha256(image_bytes(image) or b"").hexdigest() for image in row["images"] or ()]
    checks = {
        "has another text than its responses": found_texts == texts,
        "has another text in its turns": (_spoken(row["chosen"]), _spoken(row["rejected"])) == texts,
        "has other images than its question": found == expected == row["image_sha256"],
        "is not what its id says": row["pair_id"] == pair_id(*_place(committed), pair),
        "belongs to another question": row["question_id"] == committed.question.id,
    }
    return next((fault for fault, sound in checks.items() if not sound), None)


def _spoken(turns: list[TableRow]) -> str:
    return "".join(part["text"] or "" for turn in turns for part in turn["content"])


def _groups(folder: RunFolder, file: FileRecord) -> Iterator[_Group]:
    rows = _table_rows(folder, file.path, None)
    for place, found in groupby(rows, key=lambda row: (row["source"], row["source_row"])):
        yield _Group(file.path, place, list(found))


def _table_rows(folder: RunFolder, name: str, columns: list[str] | None) -> Iterator[TableRow]:
    for batch in batches(folder, name, columns, n_rows=_BATCH_ROWS):
        yield from batch.to_pylist()


def _place(committed: StoredQuestion) -> Place:
    return committed.question.source, committed.question.row


def _limited(problems: Iterator[str]) -> list[str]:
    found = list(islice(problems, _MOST_LINES))
    more = sum(1 for _ in problems)
    return [*found, f"... and {more} more of the same kind"] if more else found
