"""Builds over two hosts with networks of their own: links that break, hosts that die, a head that is started again."""

import json
import re
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from mmpr.verification import verify
from tests.faults.harness import DRIVE, questions
from tests.ray_cluster import environment
from tests.two_hosts import refusal, two_hosts

N = 240
ROOT = Path(__file__).parents[1]
POCKET = ROOT / "configs" / "pocket.yaml"
SETTINGS = ("n=4", "max_tokens=256", "chunk_questions=4", "chunks_in_flight=1", "engines=2", "engine_restarts=100")
NODE_LINE = re.compile(
    r"node h2 \(10\.213\.7\.2\) is lost, last heard of at \d\d:\d\d:\d\d: engines \d+; chunks leased again: \d+; "
    r"Ray's messages: (\S+)"
)

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(refusal()), reason=str(refusal()))]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    lines = []
    for i in range(N):
        Image.new("RGB", (20, 20), (i, 80, 160)).save(folder / f"{i}.png")
        lines.append(json.dumps({"id": f"q{i}", "image": f"{i}.png", "question": "How many?", "answer": 2}))
    (folder / "vqa.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "vqa.jsonl"


@pytest.fixture(scope="module")
def both():
    with two_hosts() as started:
        yield started


@pytest.fixture
def hosts(both):
    """Both hosts, whole again whatever the test before did to them."""
    for host in ("h1", "h2"):
        both.link(host, "up")
        # Ray may have given one up that was too busy to answer: its node ends itself
        if host not in both.nodes or both.nodes[host].poll() is not None:
            both.start(host)
    yield both


def start(hosts, source, out, *, pace_s=0.1, **environs):
    words = [*DRIVE, "--source", source, "--out", out, "--config", POCKET, f"ray_address={hosts.address}", *SETTINGS]
    gate = out.with_name("gate")
    gate.mkdir(exist_ok=True)
    env = environment(MMPR_TEST_PACE_S=str(pace_s), MMPR_TEST_GATE=str(gate), PYTHONPATH=str(ROOT), **environs)
    return hosts.run(*words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def commits(out):
    return {path.name: json.loads(path.read_text()) for path in (out / "chunks").glob("*.json")}


def at_work(out):
    """The hosts whose engines have committed something."""
    return {commit["account"]["host"] for commit in commits(out).values()}


def wait_until(build, happened):
    while not happened():
        assert build.poll() is None, build.communicate()
        time.sleep(0.1)


def finished(build, out):
    """What a build printed that completed: nothing of Ray's; and nothing is lost or doubled."""
    printed, said = build.communicate()
    assert build.returncode == 0, said
    assert_ours(printed + said)
    assert verify(str(out)) == []
    assert questions(out).total() == N == len(questions(out))
    return said


def assert_ours(text):
    for words in ("raylet)", "state-dump", ".cc:", "Traceback", "GCS", "INFO", "ERROR"):
        assert words not in text, text


def test_engines_are_spread_over_both_hosts(hosts, source, tmp_path):
    finished(start(hosts, source, tmp_path / "run", pace_s=0.05), tmp_path / "run")
    assert at_work(tmp_path / "run") == {"h1", "h2"}
    shares = Counter(commit["account"]["host"] for commit in commits(tmp_path / "run").values())
    assert min(shares.values()) > N / 4 / 10, shares  # one may start some seconds later


@pytest.mark.parametrize(
    ("environs", "given"),
    [
        ({"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": ""}, "none"),
        ({"RAY_AUTH_TOKEN": "0" * 64}, "another one"),
        ({"RAY_AUTH_TOKEN": ""}, "none"),
    ],
)
def test_a_cluster_that_asks_for_a_token_says_so_and_how_to_give_it(hosts, source, tmp_path, environs, given):
    build = start(hosts, source, tmp_path / "run", HOME=str(tmp_path), **environs)
    printed, said = build.communicate()
    last = said.splitlines()[-1]
    assert (build.returncode, printed, len(said.splitlines())) == (1, "", 2), said
    assert last.startswith(f"mmpr: the Ray cluster at '{hosts.address}' asks for a token, and {given} was given: ")
    assert "RAY_AUTH_TOKEN" in last


def test_a_host_that_dies_is_one_line_and_costs_only_what_its_engines_held(hosts, source, tmp_path):
    build = start(hosts, source, tmp_path / "run")
    wait_until(build, lambda: at_work(tmp_path / "run") == {"h1", "h2"})
    hosts.kill("h2")
    said = finished(build, tmp_path / "run")
    (line,) = (line for line in said.splitlines() if "h2" in line)
    (log,) = NODE_LINE.fullmatch(line).groups()
    assert Path(log).stat().st_size
    assert sum("leased again" in line for line in said.splitlines()) == 1


def test_a_link_that_is_down_for_less_than_rays_patience_costs_nothing(hosts, source, tmp_path):
    build = start(hosts, source, tmp_path / "run")
    wait_until(build, lambda: at_work(tmp_path / "run") == {"h1", "h2"})
    hosts.link("h2", "down")
    time.sleep(4)
    hosts.link("h2", "up")
    assert "is lost" not in finished(build, tmp_path / "run")


def test_a_link_that_stays_down_until_ray_gives_the_host_up_loses_nothing(hosts, source, tmp_path):
    build = start(hosts, source, tmp_path / "run")
    wait_until(build, lambda: at_work(tmp_path / "run") == {"h1", "h2"})
    hosts.link("h2", "down")
    events = tmp_path / "run" / "events.jsonl"
    wait_until(build, lambda: events.exists() and '"node_lost"' in events.read_text())
    hosts.link("h2", "up")
    said = finished(build, tmp_path / "run")
    assert sum(bool(NODE_LINE.fullmatch(line)) for line in said.splitlines()) == 1, said
    hosts.kill("h2")  # its raylet has ended itself, or will


def test_the_same_command_goes_on_after_the_head_was_lost(hosts, source, tmp_path):
    build = start(hosts, source, tmp_path / "run")
    wait_until(build, lambda: at_work(tmp_path / "run") == {"h1", "h2"})
    kept = commits(tmp_path / "run")
    hosts.kill("h1")  # Ray's own core ends a driver whose node is gone, in words of its own
    build.communicate()
    assert build.returncode != 0
    hosts.kill("h2")
    hosts.start("h1")
    hosts.start("h2")
    finished(start(hosts, source, tmp_path / "run", pace_s=0.0005), tmp_path / "run")
    assert kept.items() <= commits(tmp_path / "run").items()


def test_a_slow_and_lossy_link_costs_nothing(hosts, source, tmp_path):
    if not hosts.slow("h2", "delay", "200ms", "50ms", "loss", "1%"):
        pytest.skip("this kernel has no netem")
    try:
        finished(start(hosts, source, tmp_path / "run"), tmp_path / "run")
    finally:
        hosts.quick("h2")
    assert at_work(tmp_path / "run") == {"h1", "h2"}
