"""Packages that extras install (`pip install 'mmpr[data]'`); a missing one is reported with the name of its extra."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from mmpr.errors import MissingExtra

_MODULES = {
    "data": (
        *("pyarrow", "numpy", "PIL", "pydantic", "pydantic_core", "yaml", "fsspec", "jinja2", "psutil", "aiohttp"),
        "tenacity",
    ),
    "pandas": ("pandas",),
    "build": ("ray",),
    "cpu": ("vllm", "torch", "torchvision", "transformers"),
    "endpoint": ("httpx",),
    "video": ("av",),
    "hub": ("datasets", "huggingface_hub"),
    "stores": ("s3fs", "gcsfs"),
    "mpo": ("trl", "peft", "accelerate"),
}
_INCLUDED = ("data", "pandas", "build")  # in each of cpu, gpu and endpoint
_EXTRAS = {module: extra for extra, modules in _MODULES.items() for module in modules}


def missing_extra(error: ImportError, *, wanted: str | None = None) -> MissingExtra | None:
    """Return what to install for a failed import; None if no extra has the package, which is a bug of mmpr.

    Args:
        error: if it names no package (as fsspec's errors), its cause is used.
        wanted: an extra that includes `data` and `build` and that the command needs anyway, so that one install is
            enough.
    """
    name = error.name or (error.__cause__.name if isinstance(error.__cause__, ImportError) else None)
    package = (name or "").partition(".")[0]
    if package not in _EXTRAS or is_installed(package):
        return None
    extra = wanted if wanted and _EXTRAS[package] in _INCLUDED else _EXTRAS[package]
    other = ", or mmpr[gpu] on a machine with GPUs" if extra == "cpu" else ""
    return MissingExtra(f"{package} is not installed: pip install 'mmpr[{extra}]'{other}")


def is_installed(package: str) -> bool:
    """Whether a package is installed; imports nothing."""
    return find_spec(package) is not None


@contextmanager
def named_extras() -> Iterator[None]:
    """Report a missing package with its extra, inside the block or in a decorated function.

    Raises:
        MissingExtra: instead of the ImportError.
    """
    try:
        yield
    except ImportError as error:
        if (missing := missing_extra(error)) is None:
            raise
        raise missing from None
