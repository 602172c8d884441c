"""A Ray cluster of several nodes on this machine, started as a person starts one; ends with the block."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

RAY = Path(sys.executable).with_name("ray")
# Ray waits half a minute and more before it calls a node dead; here it is a few seconds, so that a test can wait too.
PATIENCE = {
    "RAY_raylet_start_wait_time_s": "180",
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "5000",
    "RAY_health_check_failure_threshold": "8",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "60",
}
TOKEN = secrets.token_hex(32)  # what Ray asks everybody for who wants to join or to submit


@dataclass(frozen=True)
class Nodes:
    """Where the cluster answers."""

    address: str
    dashboard: str
    folder: Path

    def metrics(self):
        """What all nodes export now, as Prometheus would find it."""
        groups = json.loads((self.folder / "prom_metrics_service_discovery.json").read_text())
        targets = [target for group in groups for target in group["targets"]]
        return "".join(_get(f"http://{target}/metrics").decode() for target in targets)


def environment(**more):
    """This process's, with the token, and without a cluster that it may know or a word on how to use the token."""
    known = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MMPR_"))}
    ours = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_TOKEN": TOKEN}
    return {**known, **ours, **more}


def _get(address):
    asked = urllib.request.Request(address, headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(asked) as answer:
        return answer.read()


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextmanager
def ray_cluster(*, workers):
    """A head node and this number of further nodes."""
    folder = Path(tempfile.mkdtemp(prefix="mmpr-test-", dir="/tmp"))  # short: sockets lie in it
    port, dashboard = free_port(), free_port()
    address = f"127.0.0.1:{port}"
    head = ["--head", f"--port={port}", f"--dashboard-port={dashboard}", f"--temp-dir={folder}", "--num-cpus=2"]
    started = [start_node(*head)]
    try:
        nodes = Nodes(address, f"http://127.0.0.1:{dashboard}", folder)
        wait_for(lambda: alive(nodes.dashboard) == 1, started[0])
        for _ in range(workers):  # one after another: two at once on one machine take each other's ports
            started.append(start_node(f"--address={address}", "--num-cpus=1"))
            wait_for(lambda: alive(nodes.dashboard) == len(started), started[-1])
        yield nodes
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def start_node(*words, **more):
    return subprocess.Popen(
        [RAY, "start", "--block", "--node-ip-address=127.0.0.1", "--dashboard-agent-listen-port=0", *words],
        env=environment(**{"RAY_AUTH_MODE": "token", "RAY_metrics_report_interval_ms": "1000", **more}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def alive(dashboard):
    """How many nodes the cluster says it has."""
    try:
        found = json.loads(_get(f"{dashboard}/api/v0/nodes"))
    except OSError:
        return 0
    return sum(node["state"] == "ALIVE" for node in found["data"]["result"]["result"])


def wait_for(ready, process):
    for _ in range(600):
        assert process.poll() is None, "ray start ended"
        if ready():
            return
        time.sleep(0.2)
    raise AssertionError("the cluster did not come up")
