"""Run a Ray cluster for one driver in its own process and session; `pool.cluster` runs this file as a script.

A SIGTERM to the driver's process group (coreutils `timeout`) or to its control group (systemd, scancel) must stop the
driver, but not the cluster, which the driver still needs to finish. So this process blocks SIGTERM, and all processes
that Ray starts inherit that. When the driver closes its pipe or is killed, this process ends all processes that it
started.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import sys
import threading
from pathlib import Path
from typing import Any


def serve(driver: int, options: dict[str, Any], *, keep_files: bool) -> None:
    """Start Ray, write its address or its error as one line of JSON, and wait until the driver ends.

    The driver may end while Ray is starting, so a thread watches it. Ray starts in this thread, because Ray's servers
    end when the thread that started them ends.
    """
    replies = os.fdopen(os.dup(1), "w")  # stdout of Ray goes to the log
    os.dup2(2, 1)
    watcher = threading.Thread(target=_end_with, args=(driver, None if keep_files else Path(options["_temp_dir"])))
    watcher.start()
    replies.write(json.dumps(_start(options)) + "\n")
    replies.flush()
    watcher.join()


def _start(options: dict[str, Any]) -> dict[str, str]:
    import ray

    try:
        ray.init(address="local", include_dashboard=False, log_to_driver=False, **options)
    except Exception as error:  # noqa: BLE001  Ray raises many types of errors if a server does not start
        return {"error": str(error).strip() or type(error).__name__}
    return {"address": ray.get_runtime_context().gcs_address}


def _end_with(driver: int, session: Path | None) -> None:
    """When the driver ends, kill every child process and exit. Ray's own shutdown takes a second per process."""
    from mmpr._processes import kill_descendants, sweep_shared_memory

    while os.getppid() == driver and not select.select([sys.stdin], [], [], 1.0)[0]:
        pass
    kill_descendants()
    sweep_shared_memory()
    if session is not None:
        shutil.rmtree(session, ignore_errors=True)
    os._exit(0)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    sys.path.append(str(Path(__file__).parents[2]))
    asked = json.loads(sys.argv[1])
    serve(asked["driver"], asked["options"], keep_files=asked["keep_files"])
