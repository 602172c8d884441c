"""Run all tests but the slow ones: `python -m tests.side_by_side`.

Tests with engines or Ray run one after another: two Rays that start at once may take each other's ports. They wait for
much of their time, so the other tests run beside them at a lower priority. The output of those follows at the end,
and then a line for each group. It fails if one of the groups fails.
"""

import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack

NICENESS = "16"  # behind the tasks of a build too, which have 15 (`mmpr.pool.cluster`)
PYTEST = (sys.executable, "-X", "faulthandler", "-m", "tests")
WITH_ENGINES_OR_RAY = ("-m", "not slow and not trains and (engine or ray)")
BESIDE = {
    "what trains": ("-m", "not slow and trains"),
    # A file stays in one process, so that its fixtures are made once.
    "the others": (
        *("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"),
        *("-m", "not slow and not engine and not ray"),
    ),
}


def run_groups() -> int:
    """Return 0, or the exit code of the first group that failed."""
    with ExitStack() as stack:
        outputs = {name: stack.enter_context(tempfile.TemporaryFile("w+")) for name in BESIDE}
        groups = {
            name: subprocess.Popen(
                ["nice", "-n", NICENESS, *PYTEST, *words], stdout=outputs[name], stderr=subprocess.STDOUT
            )
            for name, words in BESIDE.items()
        }
        groups["engines and Ray"] = subprocess.Popen([*PYTEST, *WITH_ENGINES_OR_RAY])
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all groups, and each ends what it started
        codes = {name: group.wait() for name, group in groups.items()}
        for name, output in outputs.items():
            output.seek(0)
            print(f"\n{name}:\n{output.read()}", end="")
    print()
    for name, code in codes.items():
        print(f"{name}: {'passed' if code == 0 else f'FAILED, exit code {code}'}")
    return next((code for code in codes.values() if code), 0)


if __name__ == "__main__":
    sys.exit(run_groups())
