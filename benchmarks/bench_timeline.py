"""Print the timeline of a build in seconds: its start, the engine's phases, first and last answer, the summary.

    python -m benchmarks.bench_timeline
    python -m benchmarks.bench_timeline --questions 50 --out runs/timed n=4

The program runs `mmpr build --log-format json` on questions of the pocket world and records when each line arrives. The
last answer is the commit of the last chunk; the summary is the first line on stdout; the end is that of the process.
"""

from __future__ import annotations

import argparse
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from mmpr.demo.demo_questions import write_questions

FIRST, LAST, SUMMARY = "first answer", "last answer", "summary"
_SILENT = frozenset({"source", "progress"})


def timeline(source: Path, out: Path, settings: list[str]) -> Iterator[tuple[float, str]]:
    """Run a build and yield (seconds since the start of its process, what happened), in order.

    Raises:
        RuntimeError: the build failed; the message has its last lines.
    """
    command = [sys.executable, "-m", "mmpr", "build", "--source", str(source), "--out", str(out), *settings]
    began = time.monotonic()
    build = subprocess.Popen(
        [*command, "--log-format", "json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert build.stdout is not None and build.stderr is not None
    lines: queue.Queue[tuple[float, bool, str]] = queue.Queue()
    readers = [
        threading.Thread(target=_read, args=(stream, is_result, lines))
        for stream, is_result in ((build.stderr, False), (build.stdout, True))
    ]
    for reader in readers:
        reader.start()
    code = build.wait()
    ended = time.monotonic()
    for reader in readers:
        reader.join()
    found = sorted(lines.queue)
    if code:
        raise RuntimeError("\n".join(line for _, _, line in found[-5:]))
    yield 0.0, "start"
    for at, what in _named(found):
        yield at - began, what
    yield ended - began, "end"


def _read(stream: IO[str], is_result: bool, lines: queue.Queue[tuple[float, bool, str]]) -> None:
    for line in stream:
        lines.put((time.monotonic(), is_result, line.rstrip("\n")))


def _named(lines: list[tuple[float, bool, str]]) -> Iterator[tuple[float, str]]:
    """Yield (time, name) for the lines at which a step begins or ends."""
    commits = [at for at, is_result, line in lines if not is_result and _event(line).get("event") == "chunk_committed"]
    summary = next((at for at, is_result, _ in lines if is_result), None)
    for at, is_result, line in lines:
        event = {} if is_result else _event(line)
        name = event.get("event")
        if at == summary:
            yield at, SUMMARY
        elif name == "phase":
            yield at, FIRST if event["words"] == "answering" else str(event["words"])
        elif commits and at == commits[-1] and name == "chunk_committed":
            yield at, LAST
        elif name and name not in _SILENT and name != "chunk_committed":
            yield at, f"{name}: {event.get('words', '')}"


def _event(line: str) -> dict[str, object]:
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--out", type=Path, help="a folder that stays; else a temporary one")
    parser.add_argument("settings", nargs="*", help="KEY=VALUE of mmpr build")
    arguments = parser.parse_args()
    with TemporaryDirectory(prefix="mmpr-timeline-") as room:
        write_questions(Path(room), n=arguments.questions, open_fraction=0.35, seed=1)
        happened = list(timeline(Path(room, "vqa.jsonl"), arguments.out or Path(room, "run"), arguments.settings))
    before = 0.0
    for at, what in happened:
        print(f"{at:8.1f} s  +{at - before:5.1f}  {what}")
        before = at
    times = {what: at for at, what in happened}
    print(f"from the last answer to the summary: {times[SUMMARY] - times[LAST]:.1f} s")


if __name__ == "__main__":
    main()
