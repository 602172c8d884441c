"""Carry out the faults of a plan. Every Python process whose PYTHONPATH has this folder loads this module.

The moments are Python's audit events (PEP 578): `open`, `os.link`, `os.rename`, `os.remove`, `socket.connect`, and
`engine` from `drive.py`. They come before the call itself. Files next to the plan count them, so that "the n-th event"
is counted over all processes. A changed plan is read again: a Ray that several builds share gets each build's faults.
"""

import json
import os
import sys
import time

PLAN = os.environ.get("MMPR_TEST_PLAN")
WATCHED = frozenset(("open", "os.link", "os.rename", "os.remove", "socket.connect", "engine"))


def _is_due(fault, start):
    """Count an event and return whether the fault is due: at `times` events from the `nth` on; with 0, at every one."""
    if fault["nth"] == 0:
        return True
    # `open` and not `pathlib`: every Python process loads this module, so it imports very little.
    with open(f"{PLAN}.{start}.{fault['id']}.count", "ab", buffering=0) as count:  # noqa: PTH123
        count.write(b".")
        return fault["nth"] <= count.tell() < fault["nth"] + fault["times"]


def _install():
    inside, known, plan = False, None, {"start": 0, "faults": []}

    def due(event, arguments):
        nonlocal known, plan
        found = os.stat(PLAN)  # noqa: PTH116
        if known != (found.st_mtime_ns, found.st_ino):
            known = found.st_mtime_ns, found.st_ino
            with open(PLAN) as file:  # noqa: PTH123
                plan = json.load(file)
        words = " ".join(map(str, arguments))
        faults = (one for one in plan["faults"] if one["event"] == event and one["match"] in words)
        return [one for one in faults if _is_due(one, plan["start"])]

    def hook(event, arguments):
        nonlocal inside
        if event not in WATCHED or inside:
            return
        inside = True
        try:
            for fault in due(event, arguments):
                with open(f"{PLAN}.{plan['start']}.{fault['id']}.fired", "ab") as fired:  # noqa: PTH123
                    fired.write(b".")
                from fault_actions import act

                act(fault["action"], PLAN, event, arguments)
        finally:
            inside = False

    sys.addaudithook(hook)


def _follow_clock():
    """Replace `time.time` by a clock that a plan can change; clocks raise no audit events."""
    real, stepped = time.time, f"{PLAN}.clock"

    def now():
        if not os.access(stepped, os.F_OK):
            return real()
        with open(stepped) as file:  # noqa: PTH123
            return real() + float(file.read() or 0)

    time.time = now


if PLAN:
    _install()
    _follow_clock()
