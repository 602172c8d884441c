"""What processes of ours do at their start: a fix for CUDA builds beside a CPU torch, and to leave nothing behind.

`watch_imports` and `die_with_parent` are entry points (pyproject.toml), so that vLLM's own spawned processes run them
too; both do nothing elsewhere.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
import platform
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

ENGINE_PARENT = "MMPR_ENGINE_PARENT"  # the pid of the actor whose death ends its engine's processes
_NMS = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_PR_SET_PDEATHSIG = 1
_SHARED = Path("/dev/shm")
_CPU_TENSORS = re.compile(r"vllm_dist_.*-cpushm_")  # of vLLM's tensor parallel workers on a CPU
_YOUNG_S = 120.0
_COMPANIONS = ("torchvision", "torchaudio", "torchcodec")
_IMPORTERS = frozenset(("transformers", "torchvision"))
_kept: list[object] = []  # a torch Library's definitions live as long as the object


def watch_imports() -> None:
    """Entry point of `torch.backends`, called at the end of every `import torch`: which stays as it is.

    Only where torch is a CPU build and a companion of it a CUDA build (what PyPI gives), the
    first import of transformers or torchvision is preceded by `fix_torch`: they would fail. One that is under way, and
    has imported torch, is helped at once.
    """
    import torch

    if torch.version.cuda is not None or not any(map(_is_cuda_build, _COMPANIONS)):
        return
    if _IMPORTERS & sys.modules.keys():
        fix_torch()
    else:
        sys.meta_path.insert(0, _Waiting())


class _Waiting:
    """Finds nothing; fixes torch when a package is first looked for that would fail without it, and is gone."""

    def find_spec(self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        if fullname in _IMPORTERS and self in sys.meta_path:
            sys.meta_path.remove(self)
            fix_torch()


def fix_torch() -> None:
    """Let CUDA builds of torch's companions lie beside a CPU build of torch.

    torchvision's compiled operators do not load there, and `import torchvision` dies with "operator torchvision::nms
    does not exist"; InternVL needs only its pure-Python transforms. torchaudio and torchcodec do not load at all, and
    transformers and vLLM import them wherever they are found. With matching builds this does nothing, since the
    operators would be defined twice.
    """
    import torch

    if torch.version.cuda is not None or _kept:
        return
    if _is_cuda_build("torchvision"):
        library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for name in ("nms", "qnms"):
            library.define(f"{name}{_NMS}")  # type: ignore[no-untyped-call]
        _kept.append(library)
    _hide({package for package in ("torchaudio", "torchcodec") if _is_cuda_build(package)})
    known = sys.modules.get("transformers.utils.import_utils")
    for found in vars(known).values() if known else ():  # where it came first, it remembers what it found
        if callable(clear := getattr(found, "cache_clear", None)):
            clear()


def _hide(packages: set[str]) -> None:
    """Let packages look as if they were not installed, to `import` and to `find_spec`, and not be in `sys.modules`.

    (`sys.modules[name] = None` would do for both, but `datasets` takes "is in sys.modules" for "was imported".)
    """

    class Sparing(PathFinder):
        @classmethod
        def find_spec(
            cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
        ) -> ModuleSpec | None:
            return None if fullname.partition(".")[0] in packages else super().find_spec(fullname, path, target)

    if packages and PathFinder in sys.meta_path:
        sys.meta_path[sys.meta_path.index(PathFinder)] = Sparing


def _is_cuda_build(package: str) -> bool:
    spec = importlib.util.find_spec(package)  # finds the folder, imports nothing
    if spec is None or spec.origin is None:
        return False
    version = Path(spec.origin).with_name("version.py")
    return version.is_file() and re.search(r"__version__ = '[^']*\+cu", version.read_text()) is not None


def die_with_parent() -> None:
    """Entry point of `vllm.general_plugins`: an engine's process ends when the actor that started it does.

    A SIGKILLed actor otherwise leaves the engine's process alive with its memory (vllm#55510).
    """
    parent = os.environ.get(ENGINE_PARENT)
    if parent is None or sys.platform != "linux" or int(parent) == os.getpid():
        return
    name_shared_memory(int(parent))
    # vLLM ends its processes by SIGTERM, which they inherit blocked from our own Ray (`pool.ray_server`)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1:  # the parent died before the request was made
        os._exit(1)


def name_shared_memory(pid: int) -> None:
    """From now on this process's segments and semaphores carry the pid of the engine they belong to.

    vLLM's queues hold hundreds of megabytes in /dev/shm, under random names; a SIGKILL leaves them there for good.
    """
    if sys.platform != "linux":
        return
    from multiprocessing import process, shared_memory

    prefix = f"/{_shared_prefix()}{pid}-"
    shared_memory._SHM_NAME_PREFIX = prefix  # type: ignore[attr-defined]
    shared_memory._SHM_SAFE_NAME_LENGTH = len(prefix) + 8  # type: ignore[attr-defined]
    process.current_process()._config["semprefix"] = prefix.rstrip("-")  # type: ignore[attr-defined]


def sweep_shared_memory() -> None:
    """Delete what engines that are dead left on this machine."""
    if not _SHARED.is_dir():
        return
    mine = re.compile(rf"(?:sem\.)?{_shared_prefix()}(\d+)-")
    for path in _SHARED.iterdir():
        found = mine.match(path.name)
        if found and not Path(f"/proc/{found[1]}").exists():
            path.unlink(missing_ok=True)
    _sweep_unmapped([path for path in _SHARED.iterdir() if _CPU_TENSORS.search(path.name)])


def _sweep_unmapped(paths: Sequence[Path]) -> None:
    """Delete those of our own that no process maps: vLLM's CPU workers name theirs by no pid.

    A young one may belong to an engine that starts just now, in which another worker has yet to map it.
    """
    old = {path for path in paths if _is_ours_and_old(path)}
    if not old:
        return
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with suppress(OSError):  # it has ended, or is another user's
            text = maps.read_text(errors="replace")
            old -= {path for path in old if str(path) in text}
    for path in old:
        path.unlink(missing_ok=True)


def _is_ours_and_old(path: Path) -> bool:
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    return found.st_uid == os.getuid() and time.time() - found.st_mtime > _YOUNG_S


def _shared_prefix() -> str:
    """Tells this machine's names from those of a container that shares its /dev/shm, whose pids mean others."""
    return f"mmpr-{hashlib.sha256(platform.node().encode()).hexdigest()[:6]}-"


@contextmanager
def held_signals() -> Iterator[None]:
    """Within, SIGTERM and SIGINT wait: for short work that must not be left half done.

    Blocking them would not do: any other thread takes a signal that this one blocks, and Python's handler runs here.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in before:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def kill_descendants() -> None:
    """End every process that this one has started, and theirs, at once; one that ends by itself meanwhile is fine."""
    import psutil

    processes = psutil.Process().children(recursive=True)
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=10)


def give_way(niceness: int) -> None:
    """Let this process's threads run behind others; children keep theirs. Linux counts niceness by thread."""
    for thread in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # it has just ended
            now = os.getpriority(os.PRIO_PROCESS, int(thread.name))
            os.setpriority(os.PRIO_PROCESS, int(thread.name), max(now, niceness))
