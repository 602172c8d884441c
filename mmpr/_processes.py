"""Start-up code of mmpr's processes: a fix for CUDA builds next to a CPU torch, and cleanup after killed engines.

`watch_imports` and `die_with_parent` are entry points (pyproject.toml), so that processes that vLLM starts run them
too. In other processes both do nothing.
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
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

ENGINE_PARENT = "MMPR_ENGINE_PARENT"  # the pid of the actor; when it dies, its engine's processes end
_NMS = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_PR_SET_PDEATHSIG = 1
_SHARED = Path("/dev/shm")
_CPU_TENSORS = re.compile(r"vllm_dist_.*-cpushm_")  # of vLLM's tensor parallel workers on a CPU
_YOUNG_S = 120.0
_COMPANIONS = ("torchvision", "torchaudio", "torchcodec")
_IMPORTERS = frozenset(("transformers", "torchvision"))
_kept: list[object] = []  # definitions of a torch Library exist as long as the object


def watch_imports() -> None:
    """Entry point of `torch.backends`, which `import torch` calls at its end.

    If torch is a CPU build and one of its companions a CUDA build (PyPI installs that), the first import of
    transformers or torchvision would fail. `fix_torch` is called before that import, or at once if it has started
    already.
    """
    import torch

    if torch.version.cuda is not None or not any(map(_is_cuda_build, _COMPANIONS)):
        return
    if _IMPORTERS & sys.modules.keys():
        fix_torch()
    else:
        sys.meta_path.insert(0, _Waiting())


class _Waiting:
    """An import finder that finds nothing: it fixes torch before the first failing import, and removes itself."""

    def find_spec(self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        if fullname in _IMPORTERS and self in sys.meta_path:
            sys.meta_path.remove(self)
            fix_torch()


def fix_torch() -> None:
    """Make CUDA builds of torch's companions work next to a CPU build of torch.

    torchvision's compiled operators do not load there, and `import torchvision` fails with "operator torchvision::nms
    does not exist"; InternVL needs only its pure-Python transforms. torchaudio and torchcodec do not load at all, but
    transformers and vLLM import them if they find them. With matching builds nothing may be done, because the operators
    would be defined twice.
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
    for found in vars(known).values() if known else ():  # if it was imported first, it has cached what it found
        if callable(clear := getattr(found, "cache_clear", None)):
            clear()


def _hide(packages: set[str]) -> None:
    """Hide packages from `import` and `find_spec`, and keep them out of `sys.modules`.

    `sys.modules[name] = None` would hide them too, but `datasets` takes a name in `sys.modules` for an imported module.
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
    spec = importlib.util.find_spec(package)  # finds the folder without importing it
    if spec is None or spec.origin is None:
        return False
    version = Path(spec.origin).with_name("version.py")
    return version.is_file() and re.search(r"__version__ = '[^']*\+cu", version.read_text()) is not None


def die_with_parent() -> None:
    """Entry point of `vllm.general_plugins`: end an engine's process when the actor that started it ends.

    Without this, a killed actor leaves the engine's process and its memory behind (vllm#55510).
    """
    parent = os.environ.get(ENGINE_PARENT)
    if parent is None or sys.platform != "linux" or int(parent) == os.getpid():
        return
    name_shared_memory(int(parent))
    # vLLM ends its processes with SIGTERM, which processes of our own Ray inherit as blocked (`pool.ray_server`).
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1:  # the parent died before the call
        os._exit(1)


def name_shared_memory(pid: int) -> None:
    """Name this process's shared memory and semaphores by the pid of the engine that they belong to.

    vLLM's queues take hundreds of megabytes in /dev/shm under random names; after a SIGKILL nobody would know their
    owner.
    """
    if sys.platform != "linux":
        return
    from multiprocessing import process, shared_memory

    prefix = f"/{_shared_prefix()}{pid}-"
    shared_memory._SHM_NAME_PREFIX = prefix  # type: ignore[attr-defined]
    shared_memory._SHM_SAFE_NAME_LENGTH = len(prefix) + 8  # type: ignore[attr-defined]
    process.current_process()._config["semprefix"] = prefix.rstrip("-")  # type: ignore[attr-defined]


def sweep_shared_memory() -> None:
    """Delete shared memory that dead engines left on this machine."""
    if not _SHARED.is_dir():
        return
    mine = re.compile(rf"(?:sem\.)?{_shared_prefix()}(\d+)-")
    for path in _SHARED.iterdir():
        found = mine.match(path.name)
        if found and not Path(f"/proc/{found[1]}").exists():
            path.unlink(missing_ok=True)
    _sweep_unmapped(_cpu_tensor_files())


def _sweep_unmapped(paths: Sequence[Path]) -> None:
    """Delete our own files that no process maps: vLLM's CPU workers do not use a pid in their names.

    A new file is kept: it may belong to a starting engine in which a worker has not mapped it yet.
    """
    old = {path for path in paths if _is_ours_and_old(path)}
    delete_all(old - _mapped(old, Path("/proc").glob("[0-9]*")))


def _mapped(paths: Iterable[Path], processes: Iterable[Path]) -> set[Path]:
    """Return the files that some of the processes map; these are given by their folders in /proc."""
    mapped: set[Path] = set()
    if sought := set(paths):
        for process in processes:
            with suppress(OSError):  # the process has ended, or belongs to another user
                text = (process / "maps").read_text(errors="replace")
                mapped |= {path for path in sought if str(path) in text}
    return mapped


def _cpu_tensor_files() -> list[Path]:
    return [path for path in _SHARED.iterdir() if _CPU_TENSORS.search(path.name)]


def cpu_tensors() -> set[Path]:
    """Return the shared memory of vLLM's CPU workers below this process, which only they know by name."""
    import psutil

    found = _cpu_tensor_files() if _SHARED.is_dir() else []
    below = psutil.Process().children(recursive=True) if found else []
    return _mapped(found, (Path(f"/proc/{process.pid}") for process in below))


def delete_all(paths: Iterable[Path]) -> None:
    """Delete files; those that are gone are no error."""
    for path in paths:
        path.unlink(missing_ok=True)


def _is_ours_and_old(path: Path) -> bool:
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    return found.st_uid == os.getuid() and time.time() - found.st_mtime > _YOUNG_S


def _shared_prefix() -> str:
    """Return a prefix for this machine; a container that shares its /dev/shm has other pids."""
    return f"mmpr-{hashlib.sha256(platform.node().encode()).hexdigest()[:6]}-"


@contextmanager
def held_signals() -> Iterator[None]:
    """Hold SIGTERM and SIGINT inside the block, for short work that must not be interrupted.

    Blocking them is not enough: another thread would receive the signal, and Python runs the handler in this one.
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
    """Kill all descendants of this process at once; a process that ends by itself in the meantime is no error."""
    import psutil

    held = cpu_tensors()
    processes = psutil.Process().children(recursive=True)
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=10)
    delete_all(held)


def give_way(niceness: int) -> None:
    """Lower the priority of this process's threads; children are not changed. Linux has a niceness per thread."""
    for thread in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # the thread has just ended
            now = os.getpriority(os.PRIO_PROCESS, int(thread.name))
            os.setpriority(os.PRIO_PROCESS, int(thread.name), max(now, niceness))
