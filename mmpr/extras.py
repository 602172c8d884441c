"""Packages that extras install (`pip install 'mmpr[data]'`): a missing one is one line that names its extra."""

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
    """What to install for an import that failed; None where no extra has it, which is a fault of mmpr.

    Args:
        error: of one that names no package (fsspec raises such) the cause is looked at.
        wanted: an extra that includes `data` and `build`: the command at hand needs it too, so that one install does.
    """
    name = error.name or (error.__cause__.name if isinstance(error.__cause__, ImportError) else None)
    package = (name or "").partition(".")[0]
    if package not in _EXTRAS or is_installed(package):
        return None
    extra = wanted if wanted and _EXTRAS[package] in _INCLUDED else _EXTRAS[package]
    other = ", or mmpr[gpu] on a machine with GPUs" if extra == "cpu" else ""
    return MissingExtra(f"{package} is not installed: pip install 'mmpr[{extra}]'{other}")


def is_installed(package: str) -> bool:
    """Whether a package is there; imports nothing."""
    return find_spec(package) is not None


@contextmanager
def named_extras() -> Iterator[None]:
    """Within, or in a function that it decorates, a missing package is named with its extra.

    Raises:
        MissingExtra: in place of the ImportError.
    """
    try:
        yield
    except ImportError as error:
        if (missing := missing_extra(error)) is None:
            raise
        raise missing from None
