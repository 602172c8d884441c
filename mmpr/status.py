"""A run as any machine sees it that can read its folder: how far, how fast, by whom, and what went wrong.

Needs no cluster, no engine and no source, writes nothing, and reads one small file a chunk.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from mmpr.errors import RunFolderError
from mmpr.log import stamp
from mmpr.reporting.safe_text import visible_line
from mmpr.reporting.throughput import Spell, throughput
from mmpr.run import ChunkCommit, RunFolder, read_manifest
from mmpr.run.commit_records import kept_as
from mmpr.run.driver_claim import driver_lives, read_driver
from mmpr.run.merge_members import is_evaluation
from mmpr.types import PairKind

_WINDOW_S = 600.0  # a rate is over the last so many seconds of work
_EVENTS = 5
_TRIES = 3
ENDS = ("complete", "stopped", "failing", "failed", "interrupted")  # the events that end a start


def read_status(url: str, options: dict[str, Any] | None = None) -> dict[str, Any]:
    """One run's status, as `mmpr status --json` prints it.

    Args:
        url: local path or fsspec URL of the run folder.
        options: what fsspec's filesystem takes.

    Returns:
        `run`, `state` (running, silent, stopped or complete), `questions` (done, total, paired, skipped; of
        an evaluation evaluated, responses and right in place of paired), `chunks`,
        `pairs_by_kind`, `skips_by_reason`, `tokens`, `rate` (questions_per_s, tokens_per_s, eta_s), `driver` (host,
        pid, silent_s) and its last `live` figures, `hosts`, `model`, `starts`, `last_start`, `last_commit`, `events`
        (the last five, those that end a start aside) and `ended` (how the last start that is over ended). Times are
        UTC, rates None where nothing tells them.

    Raises:
        RunFolderError: the folder holds no run, or a commit in it is damaged.
    """
    folder = RunFolder(url, options)
    run = folder.load_run()
    commits = list(_committed(folder).values())
    driver, events, starts = read_driver(folder), folder.events(), folder.starts()
    lives = driver is not None and driver_lives(driver)
    questions = _questions(run, commits)
    return {
        "run": url,
        "state": _state(folder, questions, len(commits), driver, lives),
        "questions": questions,
        "chunks": len(commits),
        "pairs_by_kind": _pairs(commits),
        "skips_by_reason": _ranked(_sum(commit.account.skips_by_reason for commit in commits)),
        "tokens": dict(_sum(commit.account.tokens for commit in commits)),
        "rate": _rate(commits, starts, questions, lives),
        "driver": _driver(driver),
        "live": dict(driver["state"]) if driver is not None and lives else None,
        "hosts": _hosts(commits),
        "model": run["identity"].get("model"),
        "starts": len(starts),
        "last_start": starts[-1].get("at") if starts else None,
        "last_commit": _utc(max((end for end, _, _ in _ends(commits)), default=None)),
        "events": [event for event in events if event.get("event") not in (*ENDS, "built")][-_EVENTS:],
        "ended": next((event for event in reversed(events) if event.get("event") in ENDS), None),
    }


def runs_below(url: str, options: dict[str, Any] | None = None) -> list[str]:
    """The run folders right inside a folder, as a job leaves them; just `url` where it is a run itself.

    Raises:
        RunFolderError: there is none.
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
    """The commits; a start that takes damaged ones back meanwhile may delete one between listing and reading."""
    for _ in range(_TRIES):
        try:
            return folder.committed()
        except FileNotFoundError:
            continue
    raise RunFolderError(f"{folder.url}: commits vanish while they are read; try again")


def _questions(run: Mapping[str, Any], commits: Sequence[ChunkCommit]) -> dict[str, int]:
    done = sum(commit.questions.rows for commit in commits)
    skipped = sum(sum(commit.account.skips_by_reason.values()) for commit in commits)
    return {
        "done": done,
        "total": max(done, _total(run)),
        **{name: sum(c.account.counts.get(name, 0) for c in commits) for name in _left_as(run)},
        "skipped": skipped,
    }


def _total(run: Mapping[str, Any]) -> int:
    """How many questions the run asks: with several sources it says so."""
    layout, limit = run["layout"], run["identity"].get("limit")
    if "questions" in layout:
        return int(layout["questions"])
    rows = int(layout["stops"][-1])
    return rows if limit is None else min(rows, limit)


def _left_as(run: Mapping[str, Any]) -> tuple[str, ...]:
    """What is counted of questions that are not skipped."""
    return ("evaluated", "responses", "right") if is_evaluation(run) else ("paired",)


def _state(
    folder: RunFolder, questions: Mapping[str, int], n_chunks: int, driver: Mapping[str, Any] | None, lives: bool
) -> str:
    if lives:
        return "running"
    if driver is not None:
        return "silent"
    manifest = read_manifest(folder)
    whole = manifest is not None and manifest.n_chunks == n_chunks and questions["done"] == questions["total"]
    return "complete" if whole else "stopped"


def _pairs(commits: Sequence[ChunkCommit]) -> dict[str, int]:
    counts = _sum(commit.account.counts for commit in commits)
    return _ranked(Counter({kind.value: counts[kind.value] for kind in PairKind}))


def _rate(
    commits: Sequence[ChunkCommit], starts: Sequence[Mapping[str, Any]], questions: Mapping[str, int], lives: bool
) -> dict[str, float | None]:
    """Of the last minutes of a run that goes on, else over all its time at work."""
    recent = _recent(commits, starts) if lives else _overall(commits, questions["done"])
    if recent is None:
        return {"questions_per_s": None, "tokens_per_s": None, "eta_s": None}
    n_questions, n_tokens, seconds = recent
    left = questions["total"] - questions["done"]
    eta_s = left / n_questions * seconds if lives and n_questions else None
    rates = {"questions_per_s": n_questions / seconds, "tokens_per_s": n_tokens / seconds, "eta_s": eta_s}
    return {name: None if rate is None else round(rate, 3) for name, rate in rates.items()}


def _recent(commits: Sequence[ChunkCommit], starts: Sequence[Mapping[str, Any]]) -> tuple[int, int, float] | None:
    """Questions and tokens committed in the last minutes of this start, and how long these were."""
    began = _unix(starts[-1].get("at")) if starts else None
    mine = [one for one in _ends(commits) if began is None or one[0] >= began]
    if not mine:
        return None
    last = max(end for end, _, _ in mine)
    first = min(commit.account.began or last for commit in commits if began is None or _end(commit) >= began)
    first = max(first, last - _WINDOW_S)
    within = [(questions, tokens) for end, questions, tokens in mine if end > first]
    return sum(q for q, _ in within), sum(t for _, t in within), max(last - first, 1e-3)


def _overall(commits: Sequence[ChunkCommit], done: int) -> tuple[int, int, float] | None:
    rate = throughput([Spell(c.account.began, c.account.seconds, _tokens(c)) for c in commits])
    if rate is None or rate["by"] != "clock":
        return None
    return done, sum(map(_tokens, commits)), max(rate["work_s"], 1e-3)


def _ends(commits: Sequence[ChunkCommit]) -> list[tuple[float, int, int]]:
    """When each chunk was done (Unix s), its questions, its tokens; those of an older mmpr do not say when."""
    known = [commit for commit in commits if commit.account.began is not None]
    return [(_end(commit), commit.questions.rows, _tokens(commit)) for commit in known]


def _end(commit: ChunkCommit) -> float:
    return (commit.account.began or 0.0) + commit.account.seconds


def _tokens(commit: ChunkCommit) -> int:
    return commit.account.tokens.get("generated", 0)


def _driver(driver: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if driver is None:
        return None
    silent_s = max(0.0, time.time() - driver["beat_at"])
    return {"host": driver["host"], "pid": driver["pid"], "silent_s": round(silent_s, 1)}


def _hosts(commits: Sequence[ChunkCommit]) -> dict[str, dict[str, Any]]:
    """What each host has committed, and when last."""
    found: dict[str, dict[str, Any]] = {}
    for commit in commits:
        host = found.setdefault(commit.account.host, {"chunks": 0, "questions": 0, "tokens": 0, "last": 0.0})
        host["chunks"] += 1
        host["questions"] += commit.questions.rows
        host["tokens"] += _tokens(commit)
        host["last"] = max(host["last"], _end(commit) if commit.account.began is not None else 0.0)
    return {name: {**of, "last": _utc(of["last"] or None)} for name, of in sorted(found.items())}


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


def status_lines(status: Mapping[str, Any]) -> list[str]:
    """One run's status as lines; nothing in them steers a terminal."""
    questions, rate = status["questions"], status["rate"]
    share = questions["done"] / questions["total"] if questions["total"] else 1.0
    lines = [
        f"{status['run']}: {_state_words(status)}",
        f"questions   {questions['done']:,} of {questions['total']:,} ({share:.1%}): {_law(questions)}",
        _made(status),
        f"skipped     {_counted(status['skips_by_reason']) or 'none'}",
        f"rate        {_rate_words(rate)}",
        *([f"engines     {_live_words(status['live'])}"] if status["live"] else []),
        *(f"host        {name}: {of['questions']:,} questions, last {of['last']}" for name, of in _busiest(status)),
        f"model       {status['model']}",
        *(f"event       {_event_words(event)}" for event in status["events"]),
        *([f"last end    {_event_words(status['ended'])}"] if status["ended"] else []),
    ]
    return [visible_line(line) if i == 0 else _kept_columns(line) for i, line in enumerate(lines)]


def _law(questions: Mapping[str, int]) -> str:
    kept = kept_as(questions)
    return f"{questions[kept]:,} {kept} + {questions['skipped']:,} skipped"


def _made(status: Mapping[str, Any]) -> str:
    if (n := status["questions"].get("responses")) is None:
        return f"pairs       {_counted(status['pairs_by_kind']) or 'none yet'}"
    return "right       " + (f"{status['questions']['right'] / n:.1%} of {n:,} responses" if n else "none yet")


def table_lines(statuses: Sequence[Mapping[str, Any]]) -> list[str]:
    """Several runs, a line each."""
    rows = [("run", "state", "done", "total", "pairs", "left", "last end")]
    for status in statuses:
        pairs, ended = sum(status["pairs_by_kind"].values()), status["ended"]
        eta_s = status["rate"]["eta_s"]
        rows.append(
            (
                visible_line(status["run"]),
                status["state"],
                f"{status['questions']['done']:,}",
                f"{status['questions']['total']:,}",
                f"{pairs:,}",
                duration(eta_s) if eta_s is not None else "",
                visible_line(_event_words(ended)) if ended else "",
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def duration(seconds: float) -> str:
    """A length of time as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _kept_columns(line: str) -> str:
    label, text = line[:12], line[12:]
    return label + visible_line(text)


def _state_words(status: Mapping[str, Any]) -> str:
    driver, state = status["driver"], status["state"]
    if driver is None:
        return {"complete": "complete", "stopped": "not finished; run its command again to go on"}[state]
    who = f"pid {driver['pid']} on {driver['host']}"
    if state == "running":
        return f"running, driven by {who}, seen {duration(driver['silent_s'])} ago"
    return f"silent: {who} was last seen {duration(driver['silent_s'])} ago; run its command again to go on"


def _rate_words(rate: Mapping[str, float | None]) -> str:
    questions_per_s, tokens_per_s, eta_s = rate["questions_per_s"], rate["tokens_per_s"], rate["eta_s"]
    if questions_per_s is None or tokens_per_s is None:
        return "not known yet"
    text = f"{questions_per_s:,.2f} questions/s, {tokens_per_s:,.0f} tokens/s"
    return text + (f"; about {duration(eta_s)} left" if eta_s is not None else "")


def _live_words(live: Mapping[str, Any]) -> str:
    parts = [str(live.get("phase", ""))]
    parts += [f"{live[name]:,} {words}" for name, words in _LIVE if isinstance(live.get(name), int)]
    if isinstance(live.get("busy_share"), float):
        parts.append(f"busy {live['busy_share']:.0%}")
    return ", ".join(filter(None, parts))


_LIVE = (
    ("engines", "up"),
    ("starting", "starting"),
    ("chunks_in_flight", "chunks in flight"),
    ("running", "requests running"),
    ("waiting", "waiting"),
)


def _busiest(status: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return sorted(status["hosts"].items(), key=lambda pair: -pair[1]["questions"])[:8]


def _event_words(event: Mapping[str, Any]) -> str:
    chunks = event.get("chunks") or []
    again = f"; chunks leased again: {', '.join(map(str, chunks))}" if chunks else ""
    place = " ".join(str(event[name]) for name in ("at", "host", "event") if event.get(name))
    return f"{place}: {event['words']}{again}" if event.get("words") else f"{place}{again}"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {name}" for name, n in counts.items())
