"""The Ray cluster: join or start it, count its room for engines, run plain functions on it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import psutil
import ray
from ray._common.network_utils import parse_address  # type: ignore[attr-defined]
from ray._private.services import canonicalize_bootstrap_address
from ray._raylet import AuthenticationTokenLoader, Config, GcsClient  # type: ignore[attr-defined]  # a module in Cython
from ray.exceptions import AuthenticationError, RayError, RayTaskError

from mmpr import termination
from mmpr._processes import held_signals
from mmpr.errors import MmprError
from mmpr.pool import ray_server
from mmpr.pool.pool_records import Placement
from mmpr.pool.ray_log import heard, kept

# A short path, because Ray puts Unix sockets there and their paths may have 107 characters. The driver's pid follows.
_SESSIONS, _SESSION = Path("/tmp"), "mmpr-ray-"
_SERVER_LOG = "server.log"
_ANSWER_S = 10.0  # for a TCP connection
_TASK_NICENESS = 15  # Ray would set this niceness for all its workers

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def connected(address: str | None, *, debug: bool = False) -> Iterator[None]:
    """Connect to the Ray cluster at `address`, or start one on this machine; a nested call uses the outer connection.

    A cluster that this function started leaves no process and no file; with `debug` it leaves its logs.

    Raises:
        MmprError: no cluster answers at the address.
    """
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_process_group_cleanup_enabled", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "180")  # a raylet starts slowly on a busy machine
    os.environ.setdefault("RAY_worker_niceness", "0")  # engines are workers too; tasks lower their own priority: `call`
    quiet: dict[str, Any] = {"log_to_driver": debug, "logging_level": "INFO" if debug else "ERROR"}
    with _own_cluster(quiet, debug) if address is None else _joined(address, quiet):
        yield


@contextmanager
def _joined(address: str, quiet: dict[str, Any]) -> Iterator[None]:
    with _sending_token(_takes_token(address)), _init(address, quiet):
        try:
            yield
        finally:
            with held_signals():
                _leave()


@contextmanager
def _init(address: str, quiet: dict[str, Any]) -> Iterator[None]:
    """Join the cluster.

    Signals are held until Ray has joined: an interrupted join would leave Ray half initialized, and Ray's own handler
    of SIGTERM exits with code 15. With `log_to_driver` off, Ray's messages inside the block go to a file.
    """
    ended, words = False, list[str]()
    try:
        with held_signals(), nullcontext(words) if quiet["log_to_driver"] else heard() as words:
            try:
                ray.init(address=address, **quiet)
            except SystemExit:
                ended = True
    except (ConnectionError, RuntimeError, RayError) as error:
        raise _no_cluster(address, error) from None
    if ended:
        signal.raise_signal(signal.SIGTERM)
    with nullcontext() if quiet["log_to_driver"] else kept(words):
        try:
            yield
        except KeyboardInterrupt as end:
            raise termination.cause_of(end) from None


def _leave() -> None:
    """Leave the cluster without losing a signal.

    While Ray's C++ core shuts down, it resets SIGTERM to the default a second before `ray.shutdown` returns; a signal
    in that second would kill this process. Therefore another thread shuts Ray down, and the main thread, which alone
    may set handlers, restores them until that is done.
    """
    if threading.current_thread() is not threading.main_thread():
        ray.shutdown()
        return
    leaving = threading.Thread(target=ray.shutdown, name="mmpr-leave")
    leaving.start()
    while leaving.is_alive():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.getsignal(number))
        leaving.join(0.002)
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))


@contextmanager
def _own_cluster(quiet: dict[str, Any], debug: bool) -> Iterator[None]:
    _sweep_sessions()
    server = None
    try:
        with _sending_token(os.environ.get("RAY_AUTH_MODE") != "disabled"):
            with held_signals():
                session = Path(tempfile.mkdtemp(prefix=f"{_SESSION}{os.getpid()}-", dir=_SESSIONS))
                server = _start_server(session, quiet["logging_level"], debug)
            with _init(_address_of(server, session), quiet):
                yield
    finally:
        with held_signals():
            _leave()
            if server is not None:
                server.communicate()  # closing its input tells the server to end all its processes
                if not debug:
                    shutil.rmtree(session, ignore_errors=True)


def _start_server(session: Path, logging_level: str, debug: bool) -> subprocess.Popen[str]:
    # At least 2 CPUs: one for the engine and one for judging and writing, even on a machine with a single core.
    room = {"num_cpus": max(2, os.cpu_count() or 1), "object_store_memory": 500_000_000}
    options = {**room, "_temp_dir": str(session), "logging_level": logging_level}
    asked = json.dumps({"driver": os.getpid(), "options": options, "keep_files": debug})
    with (session / _SERVER_LOG).open("w") as log:
        return subprocess.Popen(
            [sys.executable, "-P", ray_server.__file__, asked],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )


def _address_of(server: subprocess.Popen[str], session: Path) -> str:
    assert server.stdout is not None
    line = server.stdout.readline()
    reply: dict[str, str] = json.loads(line) if line.strip() else {}
    if "address" not in reply:
        log = session / _SERVER_LOG
        said = log.read_text(errors="replace").split("\n") if log.exists() else []
        cause = reply.get("error") or next((line for line in reversed(said) if line.strip()), "its process ended")
        raise MmprError(f"Ray did not start on this machine: {cause.splitlines()[0]}")
    return reply["address"]


def _takes_token(address: str) -> bool:
    """Whether the cluster requires a token, and takes this machine's; False if nothing answers there.

    Raises:
        MmprError: it requires another one, or there is none here; or `address` is no address.
    """
    try:
        found = canonicalize_bootstrap_address(address)
    except (ValueError, OSError) as error:
        raise _no_cluster(address, error) from None
    if not (found and _listens(found) and _refuses(found, sends=False)):
        return False
    has_token = _has_token()
    if has_token and not _refuses(found, sends=True):
        return True
    raise MmprError(
        f"the Ray cluster at {address!r} asks for a token, and {'another one' if has_token else 'none'} was given: "
        "put the cluster's token into RAY_AUTH_TOKEN or ~/.ray/auth_token"
    )


def _listens(address: str) -> bool:
    """Whether a server listens there. Ray's client would wait 40 s for one that does not."""
    try:
        socket.create_connection(parse_address(address), timeout=_ANSWER_S).close()
    except OSError:
        return False
    return True


def _refuses(address: str, *, sends: bool) -> bool:
    try:
        with _sending_token(sends), heard():
            GcsClient(address=address)
    except AuthenticationError:
        return True
    except RayError:
        return False  # joining reports it
    return False


def _has_token() -> bool:
    """Whether this machine has a cluster's token in a place where Ray looks for it."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return True
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser().is_file()


def _no_cluster(address: str, error: BaseException) -> MmprError:
    return MmprError(f"no Ray cluster at {address!r}: {first_line(error)}")


@contextmanager
def _sending_token(sends: bool) -> Iterator[None]:
    """Let Ray send this machine's token with its calls inside the block, or none, whatever the environment says.

    Both sides must agree. `ray start` of Ray 2.60 requires a token, but a driver sends none by default; and a driver
    that sends one refuses the calls of a cluster without authentication, whose actors then end before they start.
    """
    known = os.environ.get("RAY_AUTH_MODE")
    os.environ["RAY_AUTH_MODE"] = "token" if sends else "disabled"
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()
    try:
        yield
    finally:
        os.environ.pop("RAY_AUTH_MODE")
        if known is not None:
            os.environ["RAY_AUTH_MODE"] = known


def _sweep_sessions() -> None:
    """Remove session folders of drivers that were killed and could not clean up."""
    for folder in _SESSIONS.glob(f"{_SESSION}*"):
        pid = folder.name.removeprefix(_SESSION).partition("-")[0]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def n_engines(placement: Placement) -> int:
    """Return how many engines the cluster has room for now, or the number that the settings ask for."""
    if placement.engines is not None:
        return placement.engines
    nodes = _nodes_for(placement)
    if placement.gpus:
        # Count per node: one engine's GPUs are on one node, so a node with three GPUs holds one engine that takes two.
        return int(sum(node["Resources"].get("GPU", 0) // placement.gpus for node in nodes))
    return len(nodes)


def emptiest_node(placement: Placement, taken: Collection[str]) -> str | None:
    """Return the id of the node with the fewest engines without a GPU; None if no node is fit.

    Args:
        placement: what the engines need; without GPUs.
        taken: the node id of each placed engine.
    """
    count = Counter(taken)
    fit = [node["NodeID"] for node in _nodes_for(placement)]
    return min(fit, key=lambda node: count[node], default=None)


def _nodes_for(placement: Placement) -> list[dict[str, Any]]:
    """Return Ray's records of the live nodes of the wanted kind; without GPUs, a node needs a CPU."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    if placement.accelerator:
        nodes = [node for node in nodes if f"accelerator_type:{placement.accelerator}" in node["Resources"]]
    return [node for node in nodes if placement.gpus or node["Resources"].get("CPU", 0)]


def map_tasks(function: Callable[[T], R], arguments: Iterable[T], *, in_flight: int = 16) -> Iterator[R]:
    """Run `function(argument)` as Ray tasks, at most `in_flight` at once; yield results in the order of the arguments.

    Raises:
        MmprError: the function raised it.
    """
    task = ray.remote(num_cpus=1)(call)
    pending: deque[Any] = deque()
    for argument in arguments:
        pending.append(task.remote(function, argument))
        if len(pending) >= in_flight:
            yield _result(pending.popleft())
    while pending:
        yield _result(pending.popleft())


def call(function: Callable[..., R], *arguments: object) -> R:
    """Run the function at low priority, so that engines go first.

    Ray decorates functions but no `functools.partial`.
    """
    os.setpriority(os.PRIO_PROCESS, 0, max(_TASK_NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))
    return function(*arguments)


def _result(reference: Any) -> Any:
    try:
        return ray.get(reference)
    except RayTaskError as error:
        if isinstance(error.cause, MmprError):
            raise error.cause from None
        raise
    except RayError as error:  # Ray lost the task's process several times: killed, or out of memory
        raise MmprError(f"the process of a task was lost: {first_line(error)}") from None


def last_line(error: BaseException) -> str:
    """Return the last line of an error. For an error in an actor's start, Ray puts the cause there."""
    return next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)


def first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
