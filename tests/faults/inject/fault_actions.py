"""Carry out a fault, in the process in which it is due. Imported only then, so it may import large packages."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil

RAISES = {
    "full": (28, "No space left on device"),
    "read-only": (30, "Read-only file system"),
    "stale": (116, "Stale file handle"),
}
CLOCK_STEP_S = {"clock-forward": 7200.0, "clock-back": -86_400.0}


def act(action, plan, event, arguments):
    """End something, change the clock, or let the next call fail.

    Args:
        action: as in `harness.Fault`.
        plan: path of the plan; `PLAN.driver` has the driver's pid, `PLAN.nodes` those of a shared Ray's nodes.
        event, arguments: of the audit event, which comes before its call.
    """
    driver = int(Path(f"{plan}.driver").read_text())
    if action in SIGNALS:
        SIGNALS[action](driver)
    elif action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "kill-engines":
        _kill(p for p in psutil.Process(driver).children(recursive=True) if "EngineCore" in " ".join(p.cmdline()))
    elif action == "kill-actors":
        _kill(p for p in psutil.process_iter() if _is_engine_of(p, plan))
    elif action.startswith("kill-node"):
        _kill_nodes(plan, 2 if action.endswith("s") else 1)
    elif action == "dead":
        from mmpr.errors import EngineDead

        raise EngineDead("as the plan has it")
    elif action in CLOCK_STEP_S:
        _step_clock(plan, CLOCK_STEP_S[action])
    else:
        _fail(action, event, arguments)


def _fail(action, event, arguments):
    """Raise the error that a full, read-only or network disk would raise.

    `done-unheard` is a case of NFS: the server does the call, its reply is lost, and the client's second request fails
    because the work is already done.
    """
    if action == "done-unheard":
        source, target = arguments[:2]
        (os.link if event == "os.link" else os.replace)(source, target)
        raise (
            FileExistsError(17, "File exists")
            if event == "os.link"
            else FileNotFoundError(2, "No such file or directory")
        )
    if action == "no-links":
        raise PermissionError(1, "Operation not permitted")
    raise OSError(*RAISES[action])


def _storm(driver):
    for _ in range(30):
        os.killpg(driver, signal.SIGTERM)
        time.sleep(0.02)


def _end_all(driver):
    """Send SIGTERM to the driver, Ray's servers, workers and engines, as systemd and scancel do."""
    top = psutil.Process(driver)
    for process in [top, *top.children(recursive=True)]:
        process.terminate()


SIGNALS = {
    "kill-driver": lambda driver: os.kill(driver, signal.SIGKILL),
    "SIGTERM": lambda driver: os.kill(driver, signal.SIGTERM),
    "SIGINT": lambda driver: os.kill(driver, signal.SIGINT),
    "SIGTERM-group": lambda driver: os.killpg(driver, signal.SIGTERM),
    "SIGTERM-all": _end_all,
    "storm": _storm,
}


def _kill_nodes(plan, n):
    """Kill the n Ray nodes that were started last, each with all its processes."""
    pids = [int(pid) for pid in Path(f"{plan}.nodes").read_text().split()]
    processes = []
    for pid in [pid for pid in pids if psutil.pid_exists(pid)][-n:]:
        top = psutil.Process(pid)
        processes += [*top.children(recursive=True), top]
    _kill(processes)


def _kill(processes):
    """Kill the processes at once; if this process is one of them, it is the last."""
    own = os.getpid()
    for process in sorted(processes, key=lambda one: one.pid == own):
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _is_engine_of(process, plan):
    try:
        return "ray::EngineActor" in process.cmdline()[0] and process.environ().get("MMPR_TEST_PLAN") == plan
    except (psutil.Error, IndexError):
        return False


def _step_clock(plan, step_s):
    """Change the wall clock of all processes of the plan from now on, by a file that `sitecustomize` looks for."""
    Path(f"{plan}.clock").write_text(str(step_s))
