"""A Ray of several nodes that builds with faults share, because it starts slowly; its nodes may be lost one by one."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.ray_cluster import PATIENCE, TOKEN, alive, free_port, start_node, wait_for

_SERVERS = ("DashboardAgent", "RuntimeEnvAgent", "IDLE")


class SharedRay:
    """A head node, where the drivers run, and worker nodes. The file `plan` has the faults of the present start.

    Args:
        folder: for the plan and Ray's files; its path must be short, because Ray puts sockets in it.
        inject: PYTHONPATH of Ray's workers.
        workers: number of nodes besides the head.
    """

    def __init__(self, folder: Path, inject: str, *, workers: int) -> None:
        self.plan = folder / "plan.json"
        self._folder, self._workers = folder, workers
        port, dashboard = free_port(), free_port()
        self.address, self._dashboard = f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard}"
        self.environs = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "RAY_USAGE_STATS_ENABLED": "0"}
        self._environs = {**PATIENCE, "PYTHONPATH": inject, "MMPR_TEST_PLAN": str(self.plan)}
        self.plan.write_text('{"start": 0, "faults": []}')
        head = ["--head", f"--port={port}", f"--dashboard-port={dashboard}", f"--temp-dir={folder}", "--num-cpus=2"]
        self._nodes = [start_node(*head, **self._environs)]
        wait_for(lambda: alive(self._dashboard) == 1, self._nodes[0])
        self.restore()

    def restore(self) -> None:
        """Replace lost nodes, one after another: nodes that start together may choose the same ports."""
        for node in [node for node in self._nodes if node.poll() is not None]:
            self._nodes.remove(node)
        if alive(self._dashboard) != len(self._nodes):  # Ray counts a node as dead that was too busy to answer
            self._end(self._nodes[1:])
            del self._nodes[1:]
            wait_for(lambda: alive(self._dashboard) == 1, self._nodes[0])
        while len(self._nodes) < 1 + self._workers:
            self._nodes.append(start_node(f"--address={self.address}", "--num-cpus=1", **self._environs))
            wait_for(lambda: alive(self._dashboard) == len(self._nodes), self._nodes[-1])
        Path(f"{self.plan}.nodes").write_text(" ".join(str(node.pid) for node in self._nodes[1:]))

    def processes(self) -> set[int]:
        """Return the pids of Ray's own processes, which live longer than a build."""
        found = set()
        for node in self._nodes:
            if node.poll() is None:
                top = psutil.Process(node.pid)
                found |= {top.pid, *(one.pid for one in top.children(recursive=True) if _serves(one))}
        return found

    def close(self) -> None:
        self._end(reversed(self._nodes))

    def _end(self, nodes: Iterable[subprocess.Popen[bytes]]) -> None:
        for node in nodes:
            if node.poll() is None:
                top = psutil.Process(node.pid)
                for process in (*top.children(recursive=True), top):
                    with suppress(psutil.NoSuchProcess):
                        process.kill()
            node.wait()


def _serves(process: psutil.Process) -> bool:
    try:
        command = " ".join(process.cmdline()[:1])
    except psutil.Error:
        return False
    return not command.startswith("ray::") or command.removeprefix("ray::").startswith(_SERVERS)


@contextmanager
def shared_ray(inject: str, *, workers: int) -> Iterator[SharedRay]:
    """Start a shared Ray for the block."""
    folder = Path(tempfile.mkdtemp(prefix="mmpr-test-", dir="/tmp"))
    try:
        ray = SharedRay(folder, inject, workers=workers)
        try:
            yield ray
        finally:
            ray.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
