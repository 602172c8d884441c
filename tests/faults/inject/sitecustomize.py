"""Loaded by every Python process whose PYTHONPATH has this folder: does what a plan says at the moments it names.

Moments are Python's audit events (PEP 578): `open`, `os.link`, `os.rename`, `os.remove` with a path, and `engine` from
`drive.py`. They come before the call itself. Counters lie beside the plan, so that a moment is the n-th over all
processes, and each fault happens once.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

PLAN = os.environ.get("MMPR_TEST_PLAN")
RAISES = {"full": (28, "No space left on device"), "read-only": (30, "Read-only file system")}


def _nth(fault):
    """This moment's number among those of its fault."""
    with Path(f"{PLAN}.{fault['id']}.count").open("ab", buffering=0) as count:
        count.write(b".")
        return count.tell()


def _is_due(fault):
    """At its n-th moment; at every one where n is 0."""
    return fault["nth"] == 0 or _nth(fault) == fault["nth"]


def _driver():
    return int(Path(f"{PLAN}.driver").read_text())


def _kill_engines():
    import psutil

    for process in psutil.Process(_driver()).children(recursive=True):
        if "EngineCore" in " ".join(process.cmdline()):
            process.kill()


def _end_all():
    """What systemd and scancel do: the driver, Ray's servers, workers and engines alike."""
    import psutil

    driver = psutil.Process(_driver())
    for process in [driver, *driver.children(recursive=True)]:
        process.terminate()


def _act(action):
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "kill-driver":
        os.kill(_driver(), signal.SIGKILL)
    elif action == "kill-engines":
        _kill_engines()
    elif action in ("SIGTERM", "SIGINT"):
        os.kill(_driver(), signal.Signals[action])
    elif action == "SIGTERM-group":
        os.killpg(_driver(), signal.SIGTERM)
    elif action == "SIGTERM-all":
        _end_all()
    elif action == "storm":
        for _ in range(30):
            os.killpg(_driver(), signal.SIGTERM)
            time.sleep(0.02)
    elif action == "dead":
        from mmpr.errors import EngineDead

        raise EngineDead("as the plan has it")
    else:
        number, words = RAISES[action]
        raise OSError(number, words)


def _install():
    faults = json.loads(Path(PLAN).read_text())
    watched = {fault["event"] for fault in faults}
    inside = False

    def hook(event, arguments):
        nonlocal inside
        if event not in watched or inside:
            return
        inside = True
        try:
            for fault in faults:
                words = " ".join(str(argument) for argument in arguments)
                if fault["event"] == event and fault["match"] in words and _is_due(fault):
                    Path(f"{PLAN}.{fault['id']}.fired").touch(exist_ok=fault["nth"] == 0)
                    _act(fault["action"])
        finally:
            inside = False

    sys.addaudithook(hook)


if PLAN:
    _install()
