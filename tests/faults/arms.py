"""Builds and other commands under random faults; each must give the same result as the undisturbed command.

An arm is one kind of set-up. `benchmarks/bench_faults.py` runs many faults, the tests run a sample of the same kinds.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from mmpr.reporting.report_record import Report, read_report
from mmpr.run import RunFolder
from mmpr.verification import verify
from tests.endpoint_standin import serving
from tests.exporting import hub_writes
from tests.faults.harness import INJECTED, Fault, FaultyBuild, FaultyCommand, Ledger, dataset, questions, strays
from tests.faults.servers import OrderedStandin, Orders, image_host
from tests.faults.shared_ray import SharedRay, shared_ray

T = TypeVar("T")
N = 96  # questions, in twelve chunks
MMPR = (sys.executable, "-m", "mmpr")
POCKET = Path(__file__).parents[2] / "configs" / "pocket.yaml"
SETTINGS = ("n=4", "max_tokens=256", "chunk_questions=8", "chunks_in_flight=2", "engine_restarts=100")
COMMIT = [("open", "/questions/"), ("os.rename", "/questions/"), ("open", "/responses/"), ("os.rename", "/responses/")]
COMMIT += [("os.link", "/chunks/"), ("os.remove", "/chunks/")]
FINISH = [("os.rename", "/data/"), ("os.rename", "/skips.parquet"), ("os.rename", "/report.json")]
FINISH += [("os.rename", "/manifest.json"), ("os.remove", "/manifest.json")]
TERMS = ("SIGTERM", "SIGTERM-group", "storm")


@dataclass
class Tally:
    """The counts of one arm: runs, starts, faults by kind, exit codes; questions, and those that are lost or double."""

    runs: int = 0
    starts: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    exits: Counter[int] = field(default_factory=Counter)
    questions: int = 0
    lost: int = 0
    doubled: int = 0

    @classmethod
    def of(cls, row: dict[str, Any]) -> "Tally":
        """Read the counts from a row of the benchmark's file."""
        counts = {name: row[name] for name in ("runs", "starts", "questions", "lost", "doubled")}
        exits = Counter({int(code): n for code, n in row["exits"].items()})
        return cls(**counts, kinds=Counter(row["kinds"]), exits=exits)

    def add(self, ledger: Ledger, asked: Counter[Any] | None = None) -> None:
        self.runs += 1
        self.starts += ledger.starts
        self.kinds += ledger.kinds
        self.exits.update(ledger.exits)
        if asked is not None:
            self.questions += N
            self.lost += N - len(asked)
            self.doubled += asked.total() - len(asked)

    @property
    def faults(self) -> int:
        return self.kinds.total()


# -- faults are drawn -----------------------------------------------------------------------------------------------


def pick(rng: np.random.Generator, among: Sequence[T]) -> T:
    return among[int(rng.integers(len(among)))]


def upto(rng: np.random.Generator, most: int) -> int:
    return int(rng.integers(1, most + 1))


def survived(rng: np.random.Generator) -> Fault:
    """Draw a fault that does not end a build with scripted engines."""
    kind = rng.random()
    if kind < 0.2:
        return Fault("engine", "q", upto(rng, 80), pick(rng, ("kill", "dead", "kill-actors")))
    if kind < 0.3:
        return Fault("engine", "q", upto(rng, 60), pick(rng, ("kill-node", "kill-nodes")))
    if kind < 0.45:
        return Fault("open", ".parquet.", upto(rng, 6), pick(rng, ("full", "read-only", "stale")), times=upto(rng, 3))
    if kind < 0.6:
        event, match = pick(rng, [place for place in COMMIT if place[0] in ("os.rename", "os.link")])
        lost = ("done-unheard", "stale") if event == "os.rename" else ("done-unheard", "stale", "no-links")
        return Fault(event, match, upto(rng, 5), pick(rng, lost))
    if kind < 0.7:
        return Fault("os.link", "/chunks/", upto(rng, 6), pick(rng, ("clock-forward", "clock-back")))
    if kind < 0.85:
        return Fault("image", "", upto(rng, 20), pick(rng, ("silent", "drip", "drop", "short", "503")))
    event, match = pick(rng, COMMIT)
    return Fault(event, match, upto(rng, 5), "kill")


def ending(rng: np.random.Generator) -> Fault:
    """Draw a fault that ends a start."""
    finishing = rng.random() < 0.3
    event, match = pick(rng, FINISH if finishing else COMMIT)
    action = pick(rng, ("kill-driver", "SIGINT", "full", *TERMS))
    return Fault(event, match, 1 if finishing else upto(rng, 5), action, times=1 if action != "full" else 99)


def signalled(rng: np.random.Generator, usual_ms: int) -> Fault:
    """Draw a signal at any moment of a build that starts its own Ray; half of the signals come while Ray starts."""
    action = pick(rng, ("SIGTERM", "SIGTERM-group", "SIGTERM-all", "storm"))
    if rng.random() < 0.5:
        return Fault("ray", "", upto(rng, usual_ms // 2), action)
    return Fault("milliseconds", "", upto(rng, usual_ms), action)


def real_survived(rng: np.random.Generator) -> Fault:
    """Draw a fault that does not end a build with real vLLM; few of them kill engines, which start slowly."""
    if rng.random() < 0.25:
        event, match = pick(rng, COMMIT)
        return Fault(event, match, upto(rng, 4), "kill-engines")
    if rng.random() < 0.4:
        return Fault("open", ".parquet.", upto(rng, 6), pick(rng, ("full", "stale")), times=upto(rng, 2))
    event, match = pick(rng, COMMIT)
    return Fault(event, match, upto(rng, 6), pick(rng, ("kill", "kill", "done-unheard")) if event != "open" else "kill")


# -- arms -----------------------------------------------------------------------------------------------------------


class Bed:
    """A source, the results of undisturbed commands, and what the arms need.

    Args:
        folder: for all files.
        ray: the Ray that builds with scripted engines share.
        host: address and orders of the image server, which has a third of the images.
    """

    def __init__(self, folder: Path, ray: SharedRay, host: tuple[str, Orders]) -> None:
        self.folder, self.ray, (self.url, self.orders) = folder, ray, host
        self.tallies: dict[str, Tally] = {}
        self.source = self._source("vqa", first=0)
        self._number = 0
        self._usual_ms = 0
        self._clean: dict[str, Path] = {}

    def _source(self, name: str, *, first: int) -> Path:
        lines = []
        for i in range(first, first + N):
            Image.new("RGB", (20, 20), (i % 256, 80, 160)).save(self.folder / f"{i}.png")
            image = f"{self.url}/{i}.png" if i % 3 == 1 else f"{i}.png"
            row = {"id": f"q{i}", "image": image, "question": "How many?" if i % 3 else "Describe the image."}
            lines.append(json.dumps({**row, "answer": 2} if i % 3 else row))
        path = self.folder / f"{name}.jsonl"
        path.write_text("\n".join(lines) + "\n")
        return path

    def tally(self, arm: str) -> Tally:
        return self.tallies.setdefault(arm, Tally())

    def build(self, name: str, *, shared: bool, source: Path | None = None, engines: int | None = None) -> FaultyBuild:
        """Return a build with scripted engines into a new folder; None: one for each node of the shared Ray, or two."""
        fetched = (f"allowed_hosts=[{self.url},127.0.0.0/8]", "fetch_timeout_s=4", "fetch_retries=6")
        config = ("--config", str(POCKET), f"engines={engines or (3 if shared else 2)}", *SETTINGS, *fetched)
        plans = self.folder / f"{name}-plans"
        ray = self.ray if shared else None
        return FaultyBuild(
            source or self.source, self.folder / name, plans, settings=config, shared=ray, servers=[self.orders]
        )

    def clean(self) -> Path:
        """Return the folder of the undisturbed build, which runs at the first call."""
        if "shared" not in self._clean:
            build = self.build("clean", shared=True, engines=1)
            build.run([])
            self._clean["shared"] = build.out
        return self._clean["shared"]

    def _name(self, arm: str) -> str:
        self._number += 1
        return f"{arm}-{self._number}"

    def shared_build(self, rng: np.random.Generator, *, starts: int, faults: int) -> None:
        """Run a build on the shared Ray: each start but the last gets `faults` faults that it survives and one that
        ends it.
        """
        build = self.build(self._name("shared"), shared=True)
        episodes = [[*(survived(rng) for _ in range(faults)), ending(rng)] for _ in range(starts)]
        self._finish("shared Ray", build, [*episodes, [survived(rng) for _ in range(faults)]])

    def own_build(self, rng: np.random.Generator, *, starts: int) -> None:
        """Run a build with its own Ray, with signals at any moment."""
        build = self.build(self._name("own"), shared=False)
        episodes = [[signalled(rng, self.usual_ms())] for _ in range(starts)]
        self._finish("own Ray", build, episodes)

    def usual_ms(self) -> int:
        """Return the duration of an undisturbed build with its own Ray on this machine, in milliseconds."""
        if not self._usual_ms:
            build = self.build("clean-own", shared=False)
            build.run([])
            assert dataset(build.out) == dataset(self.clean())
            self._usual_ms = build.last_ms
        return self._usual_ms

    def _finish(self, arm: str, build: FaultyBuild, episodes: list[list[Fault]]) -> None:
        ledger = build.run(episodes, most_starts=3 * len(episodes) + 5)
        look(build.out)
        assert dataset(build.out) == dataset(self.clean())
        self.tally(arm).add(ledger, questions(build.out))

    # -- a model's server -------------------------------------------------------------------------------------------

    def served_build(self, rng: np.random.Generator, *, faults: int, lies: int) -> None:
        """Run a build on a server with slow, broken and false replies; a false reply may cost its question only.

        That question is then skipped with a reason.
        """
        orders = Orders("server")
        with serving(OrderedStandin(orders)) as server:
            if "served" not in self._clean:
                clean = self._served(server.url, orders)
                clean.run([])
                self._clean["served"] = clean.out
            passing = [Fault("server", "", upto(rng, N), pick(rng, _PASSING)) for _ in range(faults)]
            lying = [Fault("server", "", upto(rng, N), pick(rng, _LIES)) for _ in range(lies)]
            build = self._served(server.url, orders)
            ledger = build.run([[*passing, *lying]])
        report = look(build.out)
        lied = sum(n for kind, n in ledger.kinds.items() if kind.partition(" ")[2] in _LIES)
        assert report.skipped <= lied and set(report.skips_by_reason) <= {"engine_refused"}
        before, after = _pairs(self._clean["served"]), _pairs(build.out)
        assert after.items() <= before.items()
        assert len(before) - len(after) == report.skipped
        self.tally("server").add(ledger, questions(build.out))

    def _served(self, url: str, orders: Orders) -> FaultyBuild:
        name = self._name("served")
        engine = ("engine=endpoint", f"endpoint_url={url}", "model=m", "endpoint_timeout_s=3", "engines=1")
        fetched = (f"allowed_hosts=[{self.url},127.0.0.0/8]", "fetch_timeout_s=4", "fetch_retries=6")
        settings = (*engine, *SETTINGS, *fetched)
        plans = self.folder / f"{name}-plans"
        command = (*MMPR, "build")
        return FaultyBuild(
            self.source,
            self.folder / name,
            plans,
            command=command,
            settings=settings,
            shared=self.ray,
            servers=[orders, self.orders],
        )

    # -- other verbs ------------------------------------------------------------------------------------------------

    def exported(self, rng: np.random.Generator, *, kills: int) -> None:
        """Run an export in a random format that is killed and started again."""
        format = pick(rng, ("internvl", "llamafactory", "swift", "trl", "jsonl"))
        places = [("open", "/images/"), ("open", "export"), ("os.rename", "export"), ("os.rename", "unfinished")]
        places = [*places, ("open", ".parquet"), ("open", ".jsonl")]

        def words(to: Path) -> list[object]:
            return [*MMPR, "export", self.clean(), "--format", format, "--to", to]

        self._killed("export", rng, kills, places, words)

    def merged(self, rng: np.random.Generator, *, kills: int) -> None:
        """Run a merge that is killed and started again; it starts its own Ray."""
        places = [*FINISH, ("open", "/run.json"), ("os.rename", "/run.json"), ("os.link", "/chunks/")]
        places += [("os.link", "/questions/"), ("os.link", "/responses/"), ("open", "/data/")]
        if "other" not in self._clean:
            other = self.build("other", shared=True, engines=1, source=self._source("other", first=N))
            other.run([])
            self._clean["other"] = other.out

        def words(to: Path) -> list[object]:
            return [*MMPR, "merge", self.clean(), self._clean["other"], "--out", to]

        self._killed("merge", rng, kills, places, words)

    def _killed(self, verb: str, rng: np.random.Generator, kills: int, places: Any, words: Any) -> None:
        whole, to = self.folder / self._name(f"{verb}-clean"), self.folder / self._name(verb)
        FaultyCommand(words(whole), whole, self.folder / f"{whole.name}-plans").run([])
        command = FaultyCommand(words(to), to, self.folder / f"{to.name}-plans", begins_anew=True)
        action = ("kill-driver", "kill-driver", "SIGTERM")
        # most names are renamed once; a fault that does not come to pass would end the arm without any
        drawn = [pick(rng, places) for _ in range(kills)]
        episodes = [[Fault(*at, upto(rng, 4) if at[0] == "os.link" else 1, pick(rng, action))] for at in drawn]
        ledger = command.run(episodes, once=True)
        assert _files(to) == _files(whole)
        self.tally(verb).add(ledger)

    def pushed(self, rng: np.random.Generator, *, kills: int) -> None:
        """Run a push that is killed at one of its requests or while it reads, and is started again."""
        with hub_writes.serving() as (hub, address):
            environs = {"HF_ENDPOINT": address, "HF_TOKEN": hub_writes.WRITER, "HF_HUB_DISABLE_XET": "1"}
            for repo, episodes in (("owner/whole", []), ("owner/killed", self._push_kills(rng, kills))):
                words = [*MMPR, "push", self.clean(), repo, "--allow-pocket"]
                plans = self.folder / self._name("push-plans")
                command = FaultyCommand(words, self.folder / "none", plans, environs=environs)
                ledger = command.run(episodes)
            whole, killed = (hub.repositories[repo].files for repo in ("owner/whole", "owner/killed"))
            assert whole == killed
        self.tally("push").add(ledger)

    def _push_kills(self, rng: np.random.Generator, kills: int) -> list[list[Fault]]:
        places = [("socket.connect", ""), ("open", ".parquet"), ("open", "manifest.json")]
        return [[Fault(*pick(rng, places), upto(rng, 3), "kill-driver")] for _ in range(kills)]


_PASSING = ("silent", "drip", "drop", "short", "503", "429")
_LIES = ("garbage", "empty", "surrogate", "negative")


def look(out: Path) -> Report:
    """Check what must be true at the end of every build, and return the report."""
    assert verify(str(out)) == []
    assert strays(out) == set()
    report = read_report(RunFolder(str(out)))
    assert report.questions == N == report.paired + report.skipped
    return report


def _pairs(out: Path) -> dict[str, list[Any]]:
    """Return the rows of pairs of each question."""
    rows = [row for path in sorted((out / "data").iterdir()) for row in pq.read_table(path).to_pylist()]
    found: dict[str, list[Any]] = {}
    for row in rows:
        found.setdefault(row["question_id"], []).append(row)
    return found


def _files(folder: Path) -> dict[str, bytes]:
    """Return all files but those that record a command's events and times.

    The folder's path is replaced, because InternVL's `meta.json` contains it.
    """
    own = {"events.jsonl", "starts.jsonl", "run.json", "manifest.json", "README.md", "report.html", "report.json"}
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in own)
    return {str(path.relative_to(folder)): path.read_bytes().replace(bytes(folder), b"FOLDER") for path in files}


@contextmanager
def bed(folder: Path, *, workers: int = 3) -> Iterator[Bed]:
    """Start the servers and the shared Ray for the block."""
    with ExitStack() as stack:
        host = stack.enter_context(image_host(folder))
        ray = stack.enter_context(shared_ray(INJECTED, workers=workers))
        yield Bed(folder, ray, host)
