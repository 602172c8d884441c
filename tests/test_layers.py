"""The table of rooms (README, "Layout"): a file imports only from rooms above its own; heavy packages have one home."""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import mmpr

ROOT = Path(mmpr.__file__).parent
ROOMS = [
    *("types", "errors", "options", "redact", "log", "extras", "_processes", "termination", "pocket", "text_table"),
    *(
        "image_tags",
        "option_letters",
        "thought_marks",
        "prompts",
        "demo",
        "judging",
        "verifier",
        "rewards",
        "pairing",
        "rounds",
        "evaluation",
        "dropout",
    ),
    *("images", "sources", "run", "verification", "reporting", "status"),
    *("engines", "pool"),
    *("opened_run", "settings", "builder", "exporting", "importing", "checking", "api", "cli", "__main__"),
]
FILES = sorted(path for path in ROOT.rglob("*.py") if "checkpoint" not in path.parts and path != ROOT / "__init__.py")


def room(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"mmpr.{n.name}" for n in node.names if n.name != "__version__"]
            yield from (names if node.module == "mmpr" else [node.module])
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_only_from_rooms_above_its_own(path):
    own = ROOMS.index(room(path))
    below = [name for name in imports(path) if name.startswith("mmpr.") and ROOMS.index(name.split(".")[1]) > own]
    assert not below


@pytest.mark.parametrize(
    ("package", "home"), [("vllm", "engines/vllm.py"), ("httpx", "engines/endpoint"), ("ray", "pool")]
)
def test_a_heavy_package_has_one_home(package, home):
    users = [path for path in FILES if any(name.split(".")[0] == package for name in imports(path))]
    assert users
    assert all(path.is_relative_to(ROOT / home) for path in users)


def test_no_two_modules_have_one_name():
    names = Counter(path.stem for path in FILES if path.name != "__init__.py")
    assert [name for name, n in names.items() if n > 1] == []


def test_no_two_classes_have_one_name():
    classes = [
        node.name for path in FILES for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)
    ]
    assert [name for name, n in Counter(classes).items() if n > 1] == []


def test_pure_rooms_touch_no_file_and_no_clock():
    forbidden = {"time", "os", "socket", "pathlib", "requests", "fsspec"}
    pure = [p for p in FILES if room(p) in ("prompts", "verifier", "pairing", "rounds", "evaluation", "dropout")]
    assert not [(p.name, name) for p in pure for name in imports(p) if name.split(".")[0] in forbidden]


@pytest.mark.parametrize("words", [("--help",), ("build", "--help"), ("verify", "--help")])
def test_help_imports_nothing_heavy(words):
    heavy = ("torch", "ray", "vllm", "pyarrow", "numpy", "PIL", "datasets", "pandas")
    program = (
        "import sys, mmpr.cli\n"
        f"sys.argv[1:] = {list(words)!r}\n"
        "try: mmpr.cli.main()\n"
        "except SystemExit: pass\n"
        f"print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "Example" in done.stdout or "Commands" in done.stdout
