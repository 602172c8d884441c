"""Two hosts in network namespaces of this machine: a bridge, a Ray node in each, addresses that no file names.

Each host has its own network, its own name and its own Ray node; they share the disk, as hosts with a network disk do.
It takes root and the kernel's permission for namespaces.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from ray._common.utils import get_ray_address_file

from tests.ray_cluster import PATIENCE, RAY, environment

ROOT = Path(__file__).parents[1]
BRIDGE, PORT = "mmprbr", 6399
HOSTS, OUT = {"h1": "10.213.7.1", "h2": "10.213.7.2"}, "10.213.7.254"


def refusal() -> str | None:
    """Why this machine cannot have them; None where it can."""
    if os.geteuid() != 0 or shutil.which("ip") is None or shutil.which("unshare") is None:
        return "needs root, `ip` (iproute2) and `unshare`"
    tried = subprocess.run(["unshare", "--net", "--uts", "true"], capture_output=True, text=True)
    if tried.returncode:
        return f"namespaces are not permitted: {tried.stderr.strip()}"
    try:
        _ip("link", "add", BRIDGE, "type", "bridge")
    except subprocess.CalledProcessError as error:
        return f"no bridge: {error.stderr.strip()}"
    _ip("link", "del", BRIDGE)
    return None


@dataclass
class TwoHosts:
    """Both hosts, `h1` with Ray's head and the driver."""

    folder: Path
    nodes: dict[str, subprocess.Popen] = field(default_factory=dict)
    commands: list[subprocess.Popen] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"{HOSTS['h1']}:{PORT}"

    def words(self, host: str, *command: object) -> list[str]:
        """A command as `host` runs it."""
        inner = f'hostname {host}; exec "$@"'
        return ["ip", "netns", "exec", _space(host), "unshare", "--uts", "sh", "-c", inner, "sh", *map(str, command)]

    def start(self, host: str, **more: str) -> None:
        """Start the host's Ray node and wait until it has joined."""
        ip = HOSTS[host]
        head = ["--head", f"--port={PORT}", f"--temp-dir={self.folder}", "--include-dashboard=false"]
        role = head if host == "h1" else [f"--address={self.address}"]
        options = ["--num-cpus=2", f"--node-ip-address={ip}"]
        command = self.words(host, RAY, "start", "--block", *role, *options)
        with (self.folder / f"{host}.log").open("w") as log:
            self.nodes[host] = subprocess.Popen(
                command,
                env=environment(RAY_AUTH_MODE="token", PYTHONPATH=str(ROOT), **PATIENCE, **more),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait(host)

    def kill(self, host: str) -> None:
        """What a power cut does: every process of the host's Ray at once."""
        _end(self.nodes.pop(host))

    def link(self, host: str, state: str) -> None:
        """Set the host's link to the bridge `up` or `down`."""
        _ip("link", "set", f"mmpr-{host}", state)

    def slow(self, host: str, *netem: str) -> bool:
        """Give the host's link a delay or a loss (`tc netem`); False where the kernel has no such queue."""
        words = ["tc", "qdisc", "replace", "dev", f"mmpr-{host}", "root", "netem", *netem]
        return subprocess.run(words, capture_output=True).returncode == 0

    def quick(self, host: str) -> None:
        """Take that off again."""
        subprocess.run(["tc", "qdisc", "del", "dev", f"mmpr-{host}", "root"], check=True)

    def run(self, *command: object, host: str = "h1", **more: object) -> subprocess.Popen:
        """Start a command on a host."""
        self.commands.append(subprocess.Popen(self.words(host, *command), start_new_session=True, **more))
        return self.commands[-1]

    def _wait(self, host: str) -> None:
        for _ in range(1500):
            assert self.nodes[host].poll() is None, (self.folder / f"{host}.log").read_text()
            if "Ray runtime started" in (self.folder / f"{host}.log").read_text():
                return
            time.sleep(0.2)
        raise AssertionError(f"{host}'s node did not come up")


@contextmanager
def two_hosts():
    """Within, both hosts are up and know each other; Ray's nodes are started in them."""
    folder = Path(tempfile.mkdtemp(prefix="mmpr-test-", dir="/tmp"))
    hosts = TwoHosts(folder)
    try:
        _ip("link", "add", BRIDGE, "type", "bridge")
        _ip("link", "set", BRIDGE, "up")
        for host, ip in HOSTS.items():
            _ip("netns", "add", _space(host))
            _ip("link", "add", f"mmpr-{host}", "type", "veth", "peer", "name", "eth0", "netns", _space(host))
            _ip("link", "set", f"mmpr-{host}", "master", BRIDGE, "up")
            _ip("-n", _space(host), "addr", "add", f"{ip}/24", "dev", "eth0")
            _ip("-n", _space(host), "link", "set", "eth0", "up")
            _ip("-n", _space(host), "link", "set", "lo", "up")
            # it leads nowhere; but Ray finds a host's own address by asking which way leads out
            _ip("-n", _space(host), "route", "add", "default", "via", OUT)
        for host in HOSTS:
            hosts.start(host)
        yield hosts
    finally:
        for process in (*hosts.commands, *hosts.nodes.values()):
            _end(process)
        for host in HOSTS:
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "del", _space(host))
            with suppress(subprocess.CalledProcessError):
                _ip("link", "del", f"mmpr-{host}")
        with suppress(subprocess.CalledProcessError):
            _ip("link", "del", BRIDGE)
        shutil.rmtree(folder, ignore_errors=True)
        known = Path(get_ray_address_file(None))  # where `ray.init` of others would look for a head that is gone
        if known.exists() and known.read_text() == hosts.address:
            known.unlink()


def _space(host: str) -> str:
    return f"mmpr-{host}"


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def _end(process: subprocess.Popen) -> None:
    """Kill it and all below it at once."""
    try:
        top = psutil.Process(process.pid)
        below = top.children(recursive=True)
    except psutil.NoSuchProcess:
        return
    for one in (top, *below):
        with suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait()
