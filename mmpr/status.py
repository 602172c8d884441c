"""Read a run's status from its folder: progress, speed, driver, hosts and events.

Works on any machine that can read the folder. It needs no cluster, engine or source, writes nothing, and reads one
small file per chunk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from mmpr.errors import RunFolderError
from mmpr.log import stamp
from mmpr.reporting.safe_text import visible_line
from mmpr.reporting.throughput import ClockThroughput, Spell, throughput
from mmpr.run import ChunkCommit, RunFolder, RunRecord, read_manifest
from mmpr.run.driver_claim import Driver, read_driver
from mmpr.run.json_records import JsonObject
from mmpr.text_table import aligned
from mmpr.types import PairKind

_WINDOW_S = 600.0  # rates are computed over the last 600 s of work
_EVENTS = 5
# A starting build may drop a damaged commit between the listing and the reading of commits.
_TRIES = 3
ENDS = ("complete", "stopped", "failing", "failed", "interrupted")  # the events that end a start


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionCounts:
    """Number of questions by state; an evaluation has `evaluated`, `responses` and `right` responses."""

    done: int
    total: int
    paired: int | None = None
    evaluated: int | None = None
    responses: int | None = None
    right: int | None = None
    skipped: int


@dataclass(frozen=True, slots=True)
class WorkRate:
    """Speed over the last minutes of a live run, otherwise over all its working time; None if unknown."""

    questions_per_s: float | None
    tokens_per_s: float | None
    eta_s: float | None


@dataclass(frozen=True, slots=True)
class DriverStatus:
    """The process that drives the run, and the seconds since its last heartbeat."""

    host: str
    pid: int
    silent_s: float


@dataclass(frozen=True, slots=True)
class HostStatus:
    """Committed work of one host, and the time of its last commit (UTC)."""

    chunks: int
    questions: int
    tokens: int
    last: str | None


@dataclass(frozen=True, slots=True)
class RunStatus:
    """One run's status. Times are UTC.

    Args:
        run: address of the run.
        state: running, silent, stopped or complete.
        questions: number of questions by state.
        chunks: number of committed chunks.
        pairs_by_kind, skips_by_reason, tokens: sums over the committed chunks.
        rate: speed.
        driver: the process that drives the run; None if there is none.
        live: the latest figures of the driver.
        hosts: committed work by host.
        model: the model that answers.
        starts: number of starts.
        last_start, last_commit: times.
        events: the last five events, without those that end a start.
        ended: the event that ended the last finished start.
    """

    run: str
    state: str
    questions: QuestionCounts
    chunks: int
    pairs_by_kind: dict[str, int]
    skips_by_reason: dict[str, int]
    tokens: dict[str, int]
    rate: WorkRate
    driver: DriverStatus | None
    live: JsonObject | None
    hosts: dict[str, HostStatus]
    model: object
    starts: int
    last_start: object
    last_commit: str | None
    events: list[JsonObject]
    ended: JsonObject | None


def read_status(url: str, options: Mapping[str, object] | None = None) -> RunStatus:
    """Return the status that `mmpr status --json` prints.

    Args:
        url: local path or fsspec URL of the run folder.
        options: arguments of fsspec's filesystem.

    Raises:
        RunFolderError: the folder holds no run, or one of its commits is damaged.
    """
    folder = RunFolder(url, options)
    run = folder.load_run()
    commits = list(_committed(folder).values())
    driver, events, starts = read_driver(folder), folder.events(), folder.starts()
    lives = driver is not None and driver.lives
    questions = _questions(run, commits)
    counts = _sum(commit.account.counts for commit in commits)
    return RunStatus(
        run=url,
        state=_state(folder, questions, len(commits), driver, lives),
        questions=questions,
        chunks=len(commits),
        pairs_by_kind=_ranked(Counter({kind.value: counts[kind.value] for kind in PairKind})),
        skips_by_reason=_ranked(_sum(commit.account.skips_by_reason for commit in commits)),
        tokens=dict(_sum(commit.account.tokens for commit in commits)),
        rate=_rate(commits, starts, questions, lives),
        driver=None if driver is None else DriverStatus(driver.host, driver.pid, round(driver.silent_s, 1)),
        live=driver.state if driver is not None and lives else None,
        hosts=_hosts(commits),
        model=run.identity.get("model"),
        starts=len(starts),
        last_start=starts[-1].get("at") if starts else None,
        last_commit=_utc(max((_end(commit) for commit in _timed(commits)), default=None)),
        events=[event for event in events if event.get("event") not in (*ENDS, "built")][-_EVENTS:],
        ended=next((event for event in reversed(events) if event.get("event") in ENDS), None),
    )


def runs_below(url: str, options: Mapping[str, object] | None = None) -> list[str]:
    """Return the run folders directly in a folder, as a job writes them; `[url]` if it is a run itself.

    Raises:
        RunFolderError: there is no run.
    """
    folder = RunFolder(url, options)
    if folder.has_run():
        return [url]
    below = [f"{url.rstrip('/')}/{name}" for name in folder.store.folders()]
    found = [one for one in below if RunFolder(one, options).has_run()]
    if not found:
        raise RunFolderError(f"{url} is no run folder and holds none: it has no run.json")
    return found


def _committed(folder: RunFolder) -> dict[int, ChunkCommit]:
    """Return the commits; try again if a starting build drops a damaged one between listing and reading."""
    for _ in range(_TRIES):
        try:
            return folder.committed()
        except FileNotFoundError:
            continue
    raise RunFolderError(f"{folder.url}: commits disappear while they are read; try again")


def _questions(run: RunRecord, commits: Sequence[ChunkCommit]) -> QuestionCounts:
    counts = _sum(commit.account.counts for commit in commits)
    done = sum(commit.questions.rows for commit in commits)
    found = QuestionCounts(
        done=done,
        total=max(done, _total(run)),
        skipped=sum(sum(commit.account.skips_by_reason.values()) for commit in commits),
    )
    if not run.is_evaluation:
        return replace(found, paired=counts["paired"])
    return replace(found, evaluated=counts["evaluated"], responses=counts["responses"], right=counts["right"])


def _total(run: RunRecord) -> int:
    """Return how many questions the run asks; a run with several sources stores the number."""
    if run.layout.questions is not None:
        return run.layout.questions
    rows = sum(run.layout.lengths[-1]) if run.layout.stops else 0
    limit = run.identity.get("limit")
    return min(rows, limit) if isinstance(limit, int) else rows


def _state(folder: RunFolder, questions: QuestionCounts, n_chunks: int, driver: Driver | None, lives: bool) -> str:
    if driver is not None:
        return "running" if lives else "silent"
    manifest = read_manifest(folder)
    whole = manifest is not None and manifest.n_chunks == n_chunks and questions.done == questions.total
    return "complete" if whole else "stopped"


def _rate(
    commits: Sequence[ChunkCommit], starts: Sequence[JsonObject], questions: QuestionCounts, lives: bool
) -> WorkRate:
    recent = _recent(commits, starts) if lives else _overall(commits, questions.done)
    if recent is None:
        return WorkRate(None, None, None)
    n_questions, n_tokens, seconds = recent
    left = questions.total - questions.done
    # without a driver there is no end to estimate
    eta_s = round(left / n_questions * seconds, 3) if lives and n_questions else None
    return WorkRate(round(n_questions / seconds, 3), round(n_tokens / seconds, 3), eta_s)


def _recent(commits: Sequence[ChunkCommit], starts: Sequence[JsonObject]) -> tuple[int, int, float] | None:
    """Return questions and tokens committed in the last minutes of this start, and how many seconds that is."""
    began = _unix(starts[-1].get("at")) if starts else None
    # commits of earlier starts, perhaps on other hardware, do not predict this one
    mine = [commit for commit in _timed(commits) if began is None or _end(commit) >= began]
    if not mine:
        return None
    last = max(map(_end, mine))
    first = max(min(commit.account.began or last for commit in mine), last - _WINDOW_S)
    within = [commit for commit in mine if _end(commit) > first]
    return sum(commit.questions.rows for commit in within), sum(map(_tokens, within)), max(last - first, 1e-3)


def _overall(commits: Sequence[ChunkCommit], done: int) -> tuple[int, int, float] | None:
    rate = throughput([Spell(c.account.began, c.account.seconds, _tokens(c)) for c in commits])
    if not isinstance(rate, ClockThroughput):
        return None
    return done, sum(map(_tokens, commits)), max(rate.work_s, 1e-3)


def _timed(commits: Sequence[ChunkCommit]) -> list[ChunkCommit]:
    """Return the commits with a start time; an older mmpr stored none."""
    return [commit for commit in commits if commit.account.began is not None]


def _end(commit: ChunkCommit) -> float:
    """Return the commit's time in Unix seconds."""
    return (commit.account.began or 0.0) + commit.account.seconds


def _tokens(commit: ChunkCommit) -> int:
    return commit.account.tokens.get("generated", 0)


def _hosts(commits: Sequence[ChunkCommit]) -> dict[str, HostStatus]:
    by_host: dict[str, list[ChunkCommit]] = {}
    for commit in commits:
        by_host.setdefault(commit.account.host, []).append(commit)
    return {
        host: HostStatus(
            chunks=len(own),
            questions=sum(commit.questions.rows for commit in own),
            tokens=sum(map(_tokens, own)),
            last=_utc(max(map(_end, _timed(own)), default=None)),
        )
        for host, own in sorted(by_host.items())
    }


def _sum(counts: Iterator[Mapping[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return total


def _ranked(counts: Counter[str]) -> dict[str, int]:
    return {name: n for name, n in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])) if n}


def _utc(moment: float | None) -> str | None:
    return None if moment is None else stamp(moment)


def _unix(moment: object) -> float | None:
    try:
        return datetime.fromisoformat(str(moment)).timestamp()
    except ValueError:
        return None


# -- lines for people -------------------------------------------------------------------------------------------------


def status_lines(status: RunStatus) -> list[str]:
    """Format a run's status as lines; control characters of its texts are made visible."""
    questions = status.questions
    share = questions.done / questions.total if questions.total else 1.0
    kept = f"{questions.paired:,} paired" if questions.paired is not None else f"{questions.evaluated:,} evaluated"
    busiest = sorted(status.hosts.items(), key=lambda entry: -entry[1].questions)[:8]
    lines = [
        f"{status.run}: {_state_words(status)}",
        f"questions   {questions.done:,} of {questions.total:,} ({share:.1%}): {kept} + {questions.skipped:,} skipped",
        _made(status),
        f"skipped     {_counted(status.skips_by_reason) or 'none'}",
        f"rate        {_rate_words(status.rate)}",
        *([f"engines     {_live_words(status.live)}"] if status.live else []),
        *(f"host        {name}: {of.questions:,} questions, last {of.last}" for name, of in busiest),
        f"model       {status.model}",
        *(f"event       {_event_words(event)}" for event in status.events),
        *([f"last end    {_event_words(status.ended)}"] if status.ended else []),
    ]
    return [visible_line(lines[0]), *(line[:12] + visible_line(line[12:]) for line in lines[1:])]


def _made(status: RunStatus) -> str:
    if (n := status.questions.responses) is None:
        return f"pairs       {_counted(status.pairs_by_kind) or 'none yet'}"
    return "right       " + (f"{(status.questions.right or 0) / n:.1%} of {n:,} responses" if n else "none yet")


def table_lines(statuses: Sequence[RunStatus], *, width: int | None = None) -> list[str]:
    """Format several runs as a table, one line each; with `width`, a row is wrapped to that many columns."""
    rows = [("run", "state", "done", "total", "pairs", "left", "last end")]
    for status in statuses:
        eta_s = status.rate.eta_s
        rows.append(
            (
                visible_line(status.run),
                status.state,
                f"{status.questions.done:,}",
                f"{status.questions.total:,}",
                f"{sum(status.pairs_by_kind.values()):,}",
                duration(eta_s) if eta_s is not None else "",
                visible_line(_event_words(status.ended)) if status.ended else "",
            )
        )
    return aligned(rows, width=width, left=range(len(rows[0])))


def duration(seconds: float) -> str:
    """Format seconds for people: 90 s, 12 min, 2.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _state_words(status: RunStatus) -> str:
    driver = status.driver
    if driver is None:
        return {"complete": "complete", "stopped": "not finished; run its command again to continue"}[status.state]
    who = f"pid {driver.pid} on {driver.host}"
    if status.state == "running":
        return f"running, driven by {who}, seen {duration(driver.silent_s)} ago"
    return f"silent: {who} was last seen {duration(driver.silent_s)} ago; run its command again to continue"


def _rate_words(rate: WorkRate) -> str:
    if rate.questions_per_s is None or rate.tokens_per_s is None:
        return "not known yet"
    text = f"{rate.questions_per_s:,.2f} questions/s, {rate.tokens_per_s:,.0f} tokens/s"
    return text + (f"; about {duration(rate.eta_s)} left" if rate.eta_s is not None else "")


_LIVE = (
    ("engines", "up"),
    ("starting", "starting"),
    ("chunks_in_flight", "chunks in flight"),
    ("running", "requests running"),
    ("waiting", "waiting"),
)


def _live_words(live: JsonObject) -> str:
    parts = [str(live.get("phase", ""))]
    parts += [f"{live[name]:,} {words}" for name, words in _LIVE if isinstance(live.get(name), int)]
    if isinstance(live.get("busy_share"), float):
        parts.append(f"busy {live['busy_share']:.0%}")
    return ", ".join(filter(None, parts))


def _event_words(event: JsonObject) -> str:
    chunks = event.get("chunks")
    listed = ", ".join(map(str, chunks)) if isinstance(chunks, list) else ""
    again = f"; chunks leased again: {listed}" if listed else ""
    place = " ".join(str(event[name]) for name in ("at", "host", "event") if event.get(name))
    return f"{place}: {event['words']}{again}" if event.get("words") else f"{place}{again}"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {name}" for name, n in counts.items())
