"""Show on stderr how far the asking of a verifier is: a live line, plain lines, or JSON."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from mmpr.builder.progress import Watcher
from mmpr.builder.progress_views import log_fault, words_of
from mmpr.builder.verifier_work import AskedChunk
from mmpr.log import log
from mmpr.pool import Beat, Done, Event
from mmpr.reporting.safe_text import visible_line

_EVERY_S = 60.0


class AskingCounts:
    """What a verifier was asked in this start: chunks, responses, and requests that failed.

    Args:
        model: the verifier's name.
        chunks: number of chunks to ask about.
    """

    def __init__(self, model: str, chunks: int) -> None:
        self._model, self._chunks = model, chunks
        self._done = self._asked = self._failed = 0
        self._beat = Beat((), 0)

    def see(self, event: Event) -> None:
        """Add an event of the pool."""
        if isinstance(event, Done):
            report: AskedChunk = event.report
            self._done += 1
            self._asked += report.asked
            self._failed += report.faults.total()
        elif isinstance(event, Beat):
            self._beat = event

    def line(self) -> str:
        """Return the state as one line."""
        state = f"asking {self._model}: {self._done:,} of {self._chunks:,} chunks, {self._asked:,} responses"
        failed = f", {self._failed:,} not answered" if self._failed else ""
        phases = ", ".join(dict.fromkeys(self._beat.phases)) or "placing"
        starting = "" if self._beat.pulses else f"; starting the engine: {phases}"
        return visible_line(state + failed + starting)


@contextmanager
def asking(model: str, chunks: int, *, run: str, as_json: bool) -> Iterator[Watcher]:
    """Choose the view: JSON lines if requested, a live line on a terminal, otherwise a line at once and every minute.

    Faults of engines are printed when they happen.
    """
    counts = AskingCounts(model, chunks)
    if as_json:
        log("phase", run=run, words=f"asking {model} about {chunks:,} chunks")
        yield _AskingJson(counts, run)
    elif sys.stderr.isatty():
        columns = (SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            bar.add_task(counts.line(), total=None)
            yield _AskingLive(counts, bar)
    else:
        ended = threading.Event()
        print(counts.line(), file=sys.stderr, flush=True)
        threading.Thread(target=_print_every_minute, args=(counts, ended), name="mmpr-asking", daemon=True).start()
        try:
            yield _AskingPlain(counts)
        finally:
            ended.set()


def _print_every_minute(counts: AskingCounts, ended: threading.Event) -> None:
    began = time.monotonic()
    while not ended.wait(_EVERY_S):
        print(f"{counts.line()}; {time.monotonic() - began:.0f} s so far", file=sys.stderr, flush=True)


class _AskingPlain:
    """Prints the faults of engines; the lines come from a thread, because no event may come for minutes."""

    def __init__(self, counts: AskingCounts) -> None:
        self._counts = counts

    def see(self, event: Event) -> None:
        self._counts.see(event)
        if words := words_of(event):
            print(words, file=sys.stderr, flush=True)


class _AskingLive:
    """Draws one live line; faults of engines are printed above it."""

    def __init__(self, counts: AskingCounts, bar: Progress) -> None:
        self._counts, self._bar = counts, bar

    def see(self, event: Event) -> None:
        self._counts.see(event)
        if words := words_of(event):
            self._bar.console.print(words, highlight=False, markup=False, soft_wrap=True)
        self._bar.update(self._bar.task_ids[0], description=self._counts.line())


class _AskingJson:
    """Prints one JSON object for each chunk and each fault."""

    def __init__(self, counts: AskingCounts, run: str) -> None:
        self._counts, self._run = counts, run

    def see(self, event: Event) -> None:
        self._counts.see(event)
        if isinstance(event, Done):
            report: AskedChunk = event.report
            log(
                "chunk_asked",
                run=self._run,
                chunk=report.chunk,
                attempt=event.lease.attempt,
                host=report.host,
                responses=report.asked,
                faults=dict(report.faults),
            )
        else:
            log_fault(event, self._run)
