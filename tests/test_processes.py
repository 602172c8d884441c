"""What a process does for its neighbours, and what `import torch` does to a process."""

import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmpr._processes import sweep_shared_memory

CODE = """
import os, threading
from pathlib import Path
from mmpr._processes import give_way
lower, ends = min(os.getpriority(os.PRIO_PROCESS, 0) + 3, 19), threading.Event()
threading.Thread(target=ends.wait).start()
give_way(lower)
give_way(lower - 2)
print([os.getpriority(os.PRIO_PROCESS, int(thread.name)) - lower for thread in Path("/proc/self/task").iterdir()])
ends.set()
"""


def test_every_thread_gives_way_and_none_comes_forward_again():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout == "[0, 0]\n"


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="this machine has no /dev/shm")
def test_what_tensor_parallel_engines_left_is_swept_and_what_lives_or_is_young_stays():
    names = [f"vllm_dist_test-{os.getpid()}-cpushm_{kind}" for kind in ("dead", "mapped", "young")]
    dead, mapped, young = (Path("/dev/shm") / name for name in names)
    try:
        for path in (dead, mapped, young):
            path.write_bytes(bytes(4096))
        with mapped.open("r+b") as file, mmap.mmap(file.fileno(), 4096):
            for path in (dead, mapped):
                os.utime(path, (0, 0))
            sweep_shared_memory()
            assert [path.exists() for path in (dead, mapped, young)] == [False, True, True]
    finally:
        for path in (dead, mapped, young):
            path.unlink(missing_ok=True)


# Companions of torch are CUDA builds beside a CPU torch, as PyPI gives them: every order of imports must work.
@pytest.mark.parametrize(
    "first",
    [
        "from transformers import AutoProcessor",
        "import torch; import torchvision; from transformers import AutoProcessor, InternVLProcessor",
    ],
)
def test_transformers_may_be_imported_before_torch_and_after(first):
    done = subprocess.run([sys.executable, "-c", first], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-1000:]


def test_trl_on_the_command_line_starts():
    code = "from trl import DPOConfig, DPOTrainer"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-1000:]


PLAIN = """
import sys
from importlib.machinery import PathFinder
import torch
assert PathFinder in sys.meta_path and not hasattr(torch.ops.torchvision, "nms")
assert "transformers" not in sys.modules and "torchvision" not in sys.modules
"""


def test_an_import_of_torch_alone_changes_nothing_in_it_and_hides_no_package():
    done = subprocess.run([sys.executable, "-c", PLAIN], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-1000:]


def test_all_descendants_end_and_those_that_end_meanwhile_disturb_nothing():
    code = """if True:
        import subprocess
        import psutil
        from mmpr._processes import kill_descendants
        for i in range(150):
            subprocess.Popen(["sleep", f"{i / 1000}"])
        subprocess.Popen(["sh", "-c", "sleep 60 & sleep 61"])
        below = psutil.Process().children(recursive=True)
        kill_descendants()
        psutil.wait_procs(below, timeout=10)
        print(len(below) > 2, [p.pid for p in below if p.is_running() and p.status() != psutil.STATUS_ZOMBIE])
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("True []\n", "")
