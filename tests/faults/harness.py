"""Runs builds into planned faults until they complete, and looks at what each fault left behind."""

import functools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from mmpr.run import RunFolder, read_chunk

HERE = Path(__file__).parent
DRIVE = (sys.executable, str(HERE / "drive.py"))
EXITS = {0, 1, 75, 130, -9}  # known errors, stopped, interrupted, killed


@dataclass(frozen=True)
class Fault:
    """Do `action` at the `nth` moment (0: at every one) when `event` touches something whose name has `match` in it.

    Args:
        event: `open`, `os.link`, `os.rename`, `os.remove`, or `engine` (question id and stage).
        action: `kill` the process at hand, `kill-driver`, `kill-engines`, `SIGTERM` or `SIGINT` to the driver, to its
            process group (`SIGTERM-group`; thirty of them: `storm`) or to every process below it (`SIGTERM-all`), the
            engine `dead`, or the call fails: disk `full`, `read-only`.
    """

    event: str
    match: str
    nth: int
    action: str


@dataclass
class Ledger:
    """What a build went through: faults that happened, starts, exit codes, last lines, orphans that stayed."""

    fired: int = 0
    starts: int = 0
    exits: tuple[int, ...] = ()
    words: tuple[str, ...] = ()
    lost: int = 0


class FaultyBuild:
    """One build of `source` into `out`, started again until it completes.

    Args:
        command: what starts the driver; `--source`, `--out` and the settings follow.
        plans: where the plans and counters of each start lie.
    """

    def __init__(
        self,
        source: Path,
        out: Path,
        plans: Path,
        *,
        command: Sequence[str] = DRIVE,
        settings: Sequence[str] = (),
    ) -> None:
        self.source, self.out, self.plans = source, out, plans
        self.command, self.settings = command, settings
        self.ledger = Ledger()

    def run(self, episodes: Iterable[Sequence[Fault]], *, most_starts: int | None = None) -> Ledger:
        """Each start gets the next episode's faults, later ones none; returns the ledger once a start exits with 0."""
        left = list(episodes)
        most_starts = most_starts or 2 * len(left) + 3
        while True:
            code = self.start(left.pop(0) if left else [])
            if code == 0 and not left:
                return self.ledger
            assert self.ledger.starts < most_starts, f"no end after {self.ledger}"

    def start(self, faults: Sequence[Fault]) -> int:
        """One start under some faults; asserts that no commit is lost or changed and that no process stays."""
        plan = self.plans / f"{self.ledger.starts}.json"
        plan.parent.mkdir(parents=True, exist_ok=True)
        plan.write_text(json.dumps([{**asdict(fault), "id": i} for i, fault in enumerate(faults)]))
        before = self.commits()
        environment = {**os.environ, "MMPR_TEST_PLAN": str(plan), "PYTHONPATH": f"{HERE / 'inject'}:{HERE.parents[1]}"}
        words = [*self.command, "--source", str(self.source), "--out", str(self.out), *self.settings]
        heeds = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # tests in the background ignore it
        driver = subprocess.Popen(
            words,
            env=environment,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            preexec_fn=heeds,
            start_new_session=True,
        )
        Path(f"{plan}.driver").write_text(str(driver.pid))
        _, told = driver.communicate(timeout=600)
        self._note(driver.returncode, told, plan)
        after = self.commits()
        self.ledger.lost += sum(after.get(name) != content for name, content in before.items())
        assert self.ledger.lost == 0, "a commit was lost or changed"
        wait_until_gone(plan)
        if driver.returncode >= 0:  # whoever was killed for good is cleaned up after by the next start
            assert abandoned_memory() == set()
            assert not list(Path("/tmp").glob(f"mmpr-ray-{driver.pid}-*"))
            assert not (self.out / "driver.json").exists()
        return driver.returncode

    def commits(self) -> dict[str, bytes]:
        """Every sidecar's bytes."""
        return {path.name: path.read_bytes() for path in (self.out / "chunks").glob("*.json")}

    def _note(self, code: int, told: str, plan: Path) -> None:
        ledger = self.ledger
        ledger.starts += 1
        ledger.fired += len(list(plan.parent.glob(f"{plan.name}.*.fired")))
        ledger.exits += (code,)
        ledger.words += tuple(told.splitlines()[-1:])
        assert code in EXITS, told
        assert "Traceback" not in told and "ignored in" not in told, told


def abandoned_memory() -> set[str]:
    """Shared-memory segments and semaphores of engines that are dead."""
    named = ((path.name, re.search(r"mmpr-\w+-(\d+)-", path.name)) for path in Path("/dev/shm").iterdir())
    return {name for name, found in named if found and not psutil.pid_exists(int(found[1]))}


def wait_until_gone(plan: Path, timeout_s: float = 180.0) -> None:
    """Wait until no process of a start is left; Ray's own agents may look for their dead raylet for over a minute."""
    end = time.monotonic() + timeout_s
    while left := [process for process in psutil.process_iter() if _belongs(process, plan)]:
        assert time.monotonic() < end, f"left behind: {left}"
        time.sleep(0.2)


def _belongs(process: psutil.Process, plan: Path) -> bool:
    try:
        mine: bool = process.environ().get("MMPR_TEST_PLAN") == str(plan)
        return mine and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def dataset(out: Path) -> dict[str, bytes]:
    """The bytes of every file that trainers read."""
    files = [*sorted((out / "data").iterdir()), out / "skips.parquet"]
    return {path.name: path.read_bytes() for path in files}


def questions(out: Path) -> Counter[tuple[str, int]]:
    """How often each source row is among the committed questions."""
    folder = RunFolder(str(out))
    commits = folder.committed().values()
    found = (one.question for commit in commits for one in read_chunk(folder, commit, images=False))
    return Counter((question.source, question.row) for question in found)


def strays(out: Path) -> set[str]:
    """Files of a finished run that nothing names."""
    sidecars = [json.loads(path.read_text()) for path in (out / "chunks").glob("*.json")]
    named = {file["path"] for sidecar in sidecars for file in (sidecar["questions"], sidecar["responses"])}
    named |= {f"chunks/{path.name}" for path in (out / "chunks").glob("*.json")}
    named |= {file["path"] for file in json.loads((out / "manifest.json").read_text())["files"]}
    named |= {"manifest.json", "run.json", "starts.jsonl", "events.jsonl"}
    return {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()} - named
