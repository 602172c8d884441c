"""Show a running build on stderr: a live line, plain lines, or JSON."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from mmpr.builder import progress
from mmpr.builder.progress import Watcher
from mmpr.log import log
from mmpr.pool import Beat, Died, Done, Event, Failed, NodeLost, UnfitNode
from mmpr.redact import redacted
from mmpr.reporting.safe_text import visible_line

_EVERY_S = 60.0


@contextmanager
def shown(figures: progress.Progress, *, run: str, as_json: bool) -> Iterator[Watcher]:
    """Choose the view: JSON lines if requested, a live line on a terminal, otherwise one plain line per minute."""
    if as_json:
        yield JsonView(figures, run)
    elif sys.stderr.isatty():
        with _LiveLine(figures) as view:
            yield view
    else:
        yield _PlainLines(figures)


@contextmanager
def waiting(words: str, *, as_json: bool = False, every_s: float = _EVERY_S) -> Iterator[None]:
    """Show inside the block what the build is waiting for: on a terminal live, in a file every `every_s` seconds.

    A JSON log gets one line.
    """
    if as_json:
        log("phase", words=words)
        yield
    elif sys.stderr.isatty():
        with Progress(
            SpinnerColumn(), TextColumn(words), TimeElapsedColumn(), console=Console(stderr=True), transient=True
        ) as bar:
            bar.add_task("", total=None)
            yield
    else:
        ended = threading.Event()
        # a thread prints, because the block itself waits
        threading.Thread(target=_print_waiting, args=(words, every_s, ended), name="mmpr-waiting", daemon=True).start()
        try:
            yield
        finally:
            ended.set()


def _print_waiting(words: str, every_s: float, ended: threading.Event) -> None:
    began = time.monotonic()
    while not ended.wait(every_s):
        print(f"{words}: {time.monotonic() - began:.0f} s so far", file=sys.stderr, flush=True)


def report_notes(notes: Iterable[str], *, run: str, as_json: bool) -> None:
    """Print what is known about the source before the work begins, one line each."""
    for note in notes:
        if as_json:
            log("source", run=run, words=note)
        else:
            print(visible_line(redacted(note)), file=sys.stderr, flush=True)


def words_of(event: Event) -> str | None:
    """Return a line for an event that is a fault; None for other events."""
    if isinstance(event, NodeLost):
        heard = time.strftime("%H:%M:%S", time.localtime(event.heard_at))
        engines, chunks = (", ".join(map(str, numbers)) or "none" for numbers in (event.engines, event.chunks))
        lost = f"node {event.host} is lost, last heard of at {heard}: engines {engines}; chunks leased again: {chunks}"
        return visible_line(redacted(lost + event.log))
    if isinstance(event, Died) and not event.from_outside:  # the line of the lost node reports it otherwise
        chunks = ", ".join(str(lease.chunk) for lease in event.leases) or "none"
        return visible_line(redacted(f"engine {event.engine} died ({event.words}); chunks leased again: {chunks}"))
    if isinstance(event, Failed):
        return visible_line(redacted(f"chunk {event.lease.chunk} failed and is leased again: {event.words}"))
    if isinstance(event, UnfitNode):
        return visible_line(redacted(f"node {event.node} gets no work: {event.words}"))
    return None


def log_fault(event: Event, run: str) -> bool:
    """Print an event as JSON if it is the loss of an engine or a node; return whether it is."""
    if isinstance(event, Died):
        for lease in event.leases:
            log("lease_lost", run=run, chunk=lease.chunk, attempt=lease.attempt, engine=event.engine)
        log("engine_died", "error", run=run, engine=event.engine, host=event.host, words=event.words)
    elif isinstance(event, NodeLost):
        log("node_lost", "error", run=run, words=words_of(event), **asdict(event))
    elif isinstance(event, UnfitNode):
        log("node_unfit", "error", run=run, host=event.node, words=event.words)
    else:
        return False
    return True


class JsonView:
    """Prints one JSON object per line: each chunk and fault with run, chunk and attempt, and the sums once a minute."""

    def __init__(self, figures: progress.Progress, run: str) -> None:
        self._figures, self._run = figures, run
        self._printed_at = time.monotonic()
        self._phase = ""

    def see(self, event: Event) -> None:
        if isinstance(event, Beat):
            self._new_phase()
            for words in self._figures.new_warnings():
                log("assumed", "warning", run=self._run, words=words)
        if isinstance(event, Done):
            self._chunk(event)
        elif log_fault(event, self._run):
            pass
        elif time.monotonic() - self._printed_at > _EVERY_S:
            self._printed_at = time.monotonic()
            log("progress", "info", run=self._run, **self._figures.figures())

    def _new_phase(self) -> None:
        """Print what the engines do before the first token, whenever that changes."""
        of = self._figures
        # without details such as "0.1 GB so far"
        phase = "answering" if of.totals["generated_tokens"] else of.phases.partition(", ")[0]
        if phase and phase != self._phase and self._phase != "answering":
            self._phase = phase
            log("phase", run=self._run, words=phase)

    def _chunk(self, done: Done) -> None:
        report = done.report
        log(
            "chunk_committed",
            run=self._run,
            chunk=report.chunk,
            attempt=done.lease.attempt,
            host=report.host,
            questions=report.questions,
            counts=report.counts,
            skips_by_reason=report.skips_by_reason,
            tokens=report.tokens,
            seconds=report.seconds,
        )


class _Lines:
    """Formats the figures as text."""

    def __init__(self, figures: progress.Progress) -> None:
        self._figures = figures

    def warnings(self) -> list[str]:
        return [visible_line(redacted(f"warning: {words}")) for words in self._figures.new_warnings()]

    def eta(self) -> str:
        left_s = self._figures.eta_s
        if left_s is None:
            return ""
        return f"about {left_s / 60:.0f} min left" if left_s >= 90 else f"about {left_s:.0f} s left"

    def engines(self) -> str:
        of, starting = self._figures, self._figures.beat.starting
        if not of.engines:
            return f"engines     {starting} starting: {of.phases or 'placing'}"
        rate, busy = of.rates
        line = f"engines     {of.engines} up, {rate:,.0f} tokens/s, busy {busy:.0%}, {of.running} running"
        return line + (f", {starting} starting" if starting else "")

    def made(self) -> str:
        if self._figures.evaluates:
            right, n = (self._figures.judged[name] for name in ("right", "responses"))
            return "right       " + (f"{right / n:.1%} of {n:,} responses" if n else "none yet")
        return "pairs       " + (", ".join(f"{n} {kind}" for kind, n in self._figures.kinds.items() if n) or "none yet")

    def skipped(self) -> str:
        skips = self._figures.skips
        common = ", ".join(f"{n} {reason}" for reason, n in skips.most_common(3))
        return f"skipped     {skips.total()}" + (f" ({common})" if common else "")


class _PlainLines:
    """Prints a line per minute, and every fault and warning."""

    def __init__(self, figures: progress.Progress) -> None:
        self._figures, self._lines = figures, _Lines(figures)
        self._printed_at = time.monotonic()

    def see(self, event: Event) -> None:
        for warning in self._lines.warnings():
            print(warning, file=sys.stderr, flush=True)
        if words := words_of(event):
            print(words, file=sys.stderr, flush=True)
        elif time.monotonic() - self._printed_at > _EVERY_S:
            self._printed_at = time.monotonic()
            lines = (self._lines.made(), self._lines.skipped(), self._lines.engines(), self._lines.eta())
            text = "; ".join(" ".join(line.split()) for line in lines if line)
            print(f"{self._figures.done}/{self._figures.total} questions; {text}", file=sys.stderr, flush=True)


class _LiveLine:
    """Draws a progress bar with the figures under it, twice a second."""

    def __init__(self, figures: progress.Progress) -> None:
        self._figures, self._lines = figures, _Lines(figures)
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("[bold]questions"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[eta]}"),
            console=self._console,
        )
        self._task = self._bar.add_task("", total=figures.total, completed=figures.done, eta="")
        self._screen = Live(console=self._console, refresh_per_second=2, transient=True)

    def __enter__(self) -> _LiveLine:
        self._screen.start()
        self._draw()
        return self

    def __exit__(self, *_: object) -> None:
        self._screen.stop()

    def see(self, event: Event) -> None:
        for warning in self._lines.warnings():
            self._console.print(warning, highlight=False, markup=False, soft_wrap=True)
        if words := words_of(event):
            self._console.print(words, highlight=False, markup=False, soft_wrap=True)
        elif isinstance(event, Beat | Done):
            self._draw()

    def _draw(self) -> None:
        self._bar.update(self._task, completed=self._figures.done, eta=self._lines.eta())
        table = Table.grid()
        for line in (self._bar, self._lines.made(), self._lines.skipped(), self._lines.engines()):
            table.add_row(line)
        self._screen.update(table)
