"""What a process does for its neighbours."""

import subprocess
import sys

CODE = """
import os, threading
from pathlib import Path
from mmpr._processes import give_way
before, ends = os.getpriority(os.PRIO_PROCESS, 0), threading.Event()
threading.Thread(target=ends.wait).start()
give_way(before + 3)
give_way(before + 1)
print([os.getpriority(os.PRIO_PROCESS, int(thread.name)) - before for thread in Path("/proc/self/task").iterdir()])
ends.set()
"""


def test_every_thread_gives_way_and_none_comes_forward_again():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout == "[3, 3]\n"
