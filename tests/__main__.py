"""Run the tests as `python -m tests [arguments of pytest]`, and end without the destructors of C++ libraries.

A process that joins a Ray cluster, leaves it and joins another keeps threads of the former (ray 2.60: the exporter of
metrics, pollers of gRPC), a test process those of a dozen. Twice it ended by a segmentation fault after its last test
and after Python's own end, when statics are destroyed. A user's process joins one cluster and keeps none.
"""

import atexit
import os
import sys

import pytest

status = 1  # as Python's own where something raises


def end() -> None:
    """Registered before all others, so that it is called after them."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    # Where no process may keep its bytecode, each rewrites all tests' assertions and compiles the package once more.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    atexit.register(end)
    status = int(pytest.main())
