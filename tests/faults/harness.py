"""Run commands with planned faults until they complete, and check what each fault leaves behind."""

import functools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from mmpr.run import RunFolder, read_chunk
from tests.faults.inject import fault_actions
from tests.faults.servers import Orders
from tests.faults.shared_ray import SharedRay

HERE = Path(__file__).parent
DRIVE = (sys.executable, str(HERE / "drive.py"))
EXITS = {0, 1, 75, 130, -9}  # success, known errors, stopped, interrupted, killed
INJECTED = f"{HERE / 'inject'}:{HERE.parents[1]}"  # PYTHONPATH of every process in which a fault may happen


@dataclass(frozen=True)
class Fault:
    """A planned fault: `action` happens at the `nth` event of a kind, whose arguments contain `match`.

    Args:
        event: `open`, `os.link`, `os.rename`, `os.remove`, `socket.connect`, or `engine` (arguments: question id and
            stage); a request to a server (`image`, `server`); or a time: `nth` `milliseconds` after the start of the
            command, or after the command began to start its own Ray (`ray`).
        match: a part of the arguments, such as of a path.
        nth: number of the event over all processes, from 1; 0: every event.
        action: `kill` the process of the event, `kill-driver`, `kill-engines` (vLLM's processes), `kill-actors` (all
            at once), `kill-node` or `kill-nodes` of a shared Ray; send `SIGTERM` or `SIGINT` to the driver, to its
            process group (`SIGTERM-group`; thirty times: `storm`) or to the driver and all its descendants
            (`SIGTERM-all`); the engine is `dead`; the wall clock jumps (`clock-forward`, `clock-back`); or the call
            fails: the disk is `full` or `read-only`, a file handle of a network disk is `stale`, the disk has
            `no-links`, or the call succeeds and its reply is lost (`done-unheard`).
        times: number of events in a row at which it happens.
    """

    event: str
    match: str
    nth: int
    action: str
    times: int = 1


@dataclass
class Ledger:
    """The history of a command: faults that happened, by action; starts, exit codes, last lines, lost commits."""

    kinds: Counter[str]
    starts: int = 0
    exits: tuple[int, ...] = ()
    words: tuple[str, ...] = ()
    lost: int = 0

    @property
    def fired(self) -> int:
        return self.kinds.total()


class FaultyCommand:
    """A command that is started again until it completes.

    Args:
        words: the command.
        out: the folder that it writes; in a run folder, no commit may be lost.
        plans: folder for the plan, its counters and the driver's pid.
        shared: the Ray that it joins; None: it starts its own, or needs none.
        environs: additional environment variables.
        servers: servers whose requests have faults (`servers.Orders`).
        begins_anew: each start deletes what an unfinished one left, as a merge does; so commits may go.
    """

    def __init__(
        self,
        words: Sequence[object],
        out: Path,
        plans: Path,
        *,
        shared: SharedRay | None = None,
        environs: dict[str, str] | None = None,
        servers: Sequence[Orders] = (),
        begins_anew: bool = False,
    ) -> None:
        self.begins_anew = begins_anew
        self.words, self.out, self.shared = [str(word) for word in words], out, shared
        self.plan = shared.plan if shared else plans / "plan.json"
        self.environs, self.servers = environs or {}, servers
        self.last_ms = 0
        self.ledger = Ledger(Counter())

    def run(self, episodes: Iterable[Sequence[Fault]], *, most_starts: int | None = None, once: bool = False) -> Ledger:
        """Start the command until it exits with 0 and no episode is left, and return the ledger.

        Args:
            episodes: the faults of each start; later starts have none.
            most_starts: more starts are a failure; None: twice as many as episodes, and 3.
            once: end at the first success, even if faults are left: after a success, the command refuses to run again,
                as a merge does.
        """
        left = list(episodes)
        most_starts = most_starts or 2 * len(left) + 3
        while True:
            code = self.start(left.pop(0) if left else [])
            if code == 0 and (once or not left):
                return self.ledger
            assert self.ledger.starts < most_starts, f"no end after {self.ledger}"

    def start(self, faults: Sequence[Fault]) -> int:
        """Start the command once with some faults, and return its exit code.

        Asserts that no commit is lost or changed and that no process is left behind.
        """
        if self.shared:
            self.shared.restore()
        start = time.monotonic_ns()  # the counters of each start have its number in their names
        write_plan(self.plan, start, faults)
        for server in self.servers:
            server.expect([fault for fault in faults if fault.event == server.event])
        before, forgotten = self.commits(), abandoned_memory()
        driver = self._launch()
        timers = self._timers(faults, driver)
        _, printed = driver.communicate(timeout=900)
        self.last_ms = (time.monotonic_ns() - start) // 1_000_000
        for timer in timers:
            timer.join()
        Path(f"{self.plan}.clock").unlink(missing_ok=True)
        fired = [timer.fired for timer in timers if timer.fired]
        self._note(driver.returncode, printed, start, faults, fired)
        after = self.commits()
        if not self.begins_anew:
            self.ledger.lost += sum(after.get(name) != content for name, content in before.items())
        assert self.ledger.lost == 0, "a commit was lost or changed"
        self._assert_nothing_left(driver, forgotten)
        return driver.returncode

    def _launch(self) -> subprocess.Popen[str]:
        known = self.shared.environs if self.shared else {}
        environment = {**os.environ, **known, **self.environs}
        environment |= {"MMPR_TEST_PLAN": str(self.plan), "PYTHONPATH": INJECTED}
        # If a shell runs the tests in the background, they ignore SIGINT, and the driver would inherit that.
        heeds = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        driver = subprocess.Popen(
            self.words,
            env=environment,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            preexec_fn=heeds,
            start_new_session=True,
        )
        Path(f"{self.plan}.driver").write_text(str(driver.pid))
        return driver

    def _timers(self, faults: Sequence[Fault], driver: subprocess.Popen[str]) -> list["_Timer"]:
        timers = [_Timer(fault, self.plan, driver) for fault in faults if fault.event in ("milliseconds", "ray")]
        for timer in timers:
            timer.start()
        return timers

    def commits(self) -> dict[str, bytes]:
        """Return the bytes of every sidecar by its name."""
        return {path.name: path.read_bytes() for path in (self.out / "chunks").glob("*.json")}

    def _note(self, code: int, printed: str, start: int, faults: Sequence[Fault], fired: Sequence[str]) -> None:
        ledger = self.ledger
        ledger.starts += 1
        ledger.kinds.update(fired)
        for server in self.servers:
            ledger.kinds.update(server.fired)
        for number, fault in enumerate(faults):
            if Path(f"{self.plan}.{start}.{number}.fired").exists():
                ledger.kinds[f"{fault.event} {fault.action}"] += 1
        ledger.exits += (code,)
        ledger.words += tuple(printed.splitlines()[-1:])
        assert code in EXITS, (code, printed, faults)
        assert not re.search(r"Traceback|ignored in|\[state-dump\]|\.cc:\d", printed), (printed, faults)

    def _assert_nothing_left(self, driver: subprocess.Popen[str], forgotten: set[str]) -> None:
        wait_until_gone(self.plan, spared=self.shared.processes() if self.shared else set())
        if driver.returncode >= 0:  # after SIGKILL (-9), the next start cleans up
            assert self.shared or not abandoned_memory() - forgotten
            assert not list(Path("/tmp").glob(f"mmpr-ray-{driver.pid}-*"))
            assert not (self.out / "driver.json").exists()


class FaultyBuild(FaultyCommand):
    """A build of `source` into `out`.

    Args:
        command: the program of the driver; `--source`, `--out` and the settings are appended.
    """

    def __init__(
        self,
        source: Path,
        out: Path,
        plans: Path,
        *,
        command: Sequence[str] = DRIVE,
        settings: Sequence[str] = (),
        shared: SharedRay | None = None,
        servers: Sequence[Orders] = (),
    ) -> None:
        joined = [f"ray_address={shared.address}"] if shared else []
        words = [*command, "--source", source, "--out", out, *settings, *joined]
        super().__init__(words, out, plans, shared=shared, servers=servers)


class _Timer(threading.Thread):
    """Inject a fault into a running driver after a number of milliseconds."""

    def __init__(self, fault: Fault, plan: Path, driver: subprocess.Popen[str]) -> None:
        super().__init__(daemon=True)
        self._fault, self._plan, self._driver = fault, plan, driver
        self.fired: str | None = None

    def run(self) -> None:
        while self._fault.event == "ray" and self._driver.poll() is None:
            if list(Path("/tmp").glob(f"mmpr-ray-{self._driver.pid}-*/server.log")):
                break
            time.sleep(0.005)
        end = time.monotonic() + self._fault.nth / 1000
        while time.monotonic() < end and self._driver.poll() is None:
            time.sleep(0.005)
        if self._driver.poll() is None:
            self.fired = f"{self._fault.event} {self._fault.action}"
            with suppress(ProcessLookupError, psutil.NoSuchProcess):  # the driver has just ended
                fault_actions.act(self._fault.action, str(self._plan), "", ())


def write_plan(plan: Path, start: int, faults: Sequence[Fault]) -> None:
    """Write the plan atomically: processes read it while it is replaced."""
    plan.parent.mkdir(parents=True, exist_ok=True)
    new = plan.with_suffix(".new")
    planned = [{**asdict(fault), "id": i} for i, fault in enumerate(faults)]
    new.write_text(json.dumps({"start": start, "faults": planned}))
    new.replace(plan)


def abandoned_memory() -> set[str]:
    """Return the shared-memory segments and semaphores of dead engines."""
    named = ((path.name, re.search(r"mmpr-\w+-(\d+)-", path.name)) for path in Path("/dev/shm").iterdir())
    return {name for name, found in named if found and not psutil.pid_exists(int(found[1]))}


def wait_until_gone(plan: Path, *, spared: set[int] = frozenset(), timeout_s: float = 180.0) -> None:
    """Wait until all processes of a start have ended, except those in `spared`, which serve other starts too."""
    end = time.monotonic() + timeout_s
    while left := [one for one in psutil.process_iter() if one.pid not in spared and _belongs(one, plan)]:
        assert time.monotonic() < end, f"left behind: {left}"
        time.sleep(0.2)


def _belongs(process: psutil.Process, plan: Path) -> bool:
    try:
        mine: bool = process.environ().get("MMPR_TEST_PLAN") == str(plan)
        return mine and process.status() != psutil.STATUS_ZOMBIE and process.name() != "ray::IDLE"
    except psutil.Error:
        return False


def dataset(out: Path) -> dict[str, bytes]:
    """Return the bytes of every file that trainers read, by name."""
    files = [*sorted((out / "data").iterdir()), out / "skips.parquet"]
    return {path.name: path.read_bytes() for path in files}


def questions(out: Path) -> Counter[tuple[str, int]]:
    """Count how often each (source, row) is committed; each must be there exactly once."""
    folder = RunFolder(str(out))
    commits = folder.committed().values()
    found = (one.question for commit in commits for one in read_chunk(folder, commit, images=False))
    return Counter((question.source, question.row) for question in found)


def strays(out: Path) -> set[str]:
    """Return the files of a finished run that neither a sidecar nor the manifest names."""
    sidecars = [json.loads(path.read_text()) for path in (out / "chunks").glob("*.json")]
    named = {file["path"] for sidecar in sidecars for file in (sidecar["questions"], sidecar["responses"])}
    named |= {f"chunks/{path.name}" for path in (out / "chunks").glob("*.json")}
    named |= {file["path"] for file in json.loads((out / "manifest.json").read_text())["files"]}
    named |= {"manifest.json", "run.json", "starts.jsonl", "events.jsonl"}
    return {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()} - named
