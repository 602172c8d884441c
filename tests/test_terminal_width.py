"""What every verb prints keeps to the terminal's width, at 60 columns as at 200, and breaks no word."""

import fcntl
import json
import os
import pty
import re
import shutil
import struct
import sys
import termios
from pathlib import Path

import pytest
from rich.cells import cell_len
from test_extras import HIDE

ROOT = Path(__file__).parents[1]
RUNS = ROOT / "tests" / "old_runs"
FIRST, EVALUATED = str(RUNS / "first"), str(RUNS / "eval")
PAIRS = ("16194d2904f2fe2a3b70", "225bb460174aac6a574f")
VERBS = [
    ("status", FIRST),
    ("status", str(RUNS)),
    ("report", "copy"),
    ("verify", FIRST),
    ("verify", "no-run"),
    ("peek", FIRST, "--n", "9"),
    *(("explain", FIRST, pair, "--texts") for pair in PAIRS),
    ("eval", FIRST),
    ("eval", EVALUATED),
    ("eval", "--compare", FIRST, str(RUNS / "second")),
    ("eval", "--compare", FIRST, FIRST),
    ("pair", FIRST, "--dry-run"),
    ("check", "--source", "vqa.jsonl"),
    ("check", "--source", "vqa.jsonl", "--show", "3"),
    ("check", "--source", "missing.jsonl"),
    ("judge", "rollouts.jsonl", "--summary"),
    ("export", FIRST, "--format", "trl", "--to", "trl"),
    ("export", FIRST, "--format", "nobody", "--to", "x"),
    ("settings",),
    ("settings", "--presets"),
    ("build", "--source", "vqa.jsonl", "--out", "out", "temprature=1"),
    ("build", "--temperature", "0.5"),
    ("--help",),
    *((verb, "--help") for verb in ("build", "demo", "eval", "import", "pair", "ask-verifier", "merge", "verify")),
    *((verb, "--help") for verb in ("status", "report", "explain", "peek", "export", "push", "check", "judge")),
    ("settings", "--help"),
]
MARK = "=== the next verb ==="
# Without Ray, which would start anew in each program, pairing works in the process itself.
PROGRAM = f"""
{HIDE.format(hidden=("ray",))}
import json, shutil
from mmpr.cli.verbs import app
for words in json.loads(sys.argv[1]):
    print("{MARK}")
    try:
        app(words)
    except SystemExit:
        pass
    sys.stderr.flush()
    shutil.rmtree("trl", ignore_errors=True)
"""
WAITING = re.compile("^[\u2800-\u28ff] |…\\s*$")  # the last that a spinner drew
ERASED = re.compile(r"[^\n]*(?:\n\r?\x1b\[1A)?\x1b\[2K")  # what is waited for: a spinner's line, drawn over and erased
JSON_LINE = re.compile(r'\{"id": .*\}')  # for programs: as long as it is
UNWRAPPED = re.compile(JSON_LINE.pattern + r"| +\$ mmpr .*")  # a command to copy: wrapped by the terminal, it stays one


def at_width(columns, folder):
    """What each verb prints on a terminal so wide."""
    process, terminal = pty.fork()
    if not process:
        os.chdir(folder)
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color"}  # without the COLUMNS that pytest's readline has set
        environment.pop("COLUMNS", None)
        os.execve(sys.executable, [sys.executable, "-c", PROGRAM, json.dumps(VERBS)], environment)
    text = b""
    while chunk := read(terminal):
        text += chunk
    os.waitpid(process, 0)
    os.close(terminal)
    kept = ERASED.sub("", text.decode().replace("\r\n", "\n"))
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", kept)
    return [
        [line for line in one.strip("\n").split("\n") if not WAITING.search(line)]
        for one in plain.split(f"{MARK}\n")[1:]
    ]


def read(terminal):
    try:
        return os.read(terminal, 65536)
    except OSError:  # the process has ended
        return b""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("width")
    shutil.copytree(FIRST, place / "copy")
    rows = [{"question": "How many cats sit on the mat in front of the door?", "answer": str(n)} for n in range(9)]
    rows += [{"question": "Which is it?", "choices": ["a red circle", "a blue square"], "answer": "B"}] * 3
    (place / "vqa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = [{**row, "response": f"Final Answer: {n}"} for n, row in enumerate(rows)]
    (place / "rollouts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    return place


def words(lines):
    # a help text may be broken after a hyphen, by typer's own wrapping
    return {word.strip(",()") for line in lines for word in re.split(r"[\s=-]+", line)}


def test_every_line_of_every_verb_keeps_to_60_columns_and_breaks_no_word(folder):
    narrow, wide = at_width(60, folder), at_width(400, folder)
    assert len(narrow) == len(wide) == len(VERBS)
    for verb, lines, unbroken in zip(VERBS, narrow, wide, strict=True):
        assert lines != [""], verb
        long = [line for line in lines if cell_len(line) > 60 and not UNWRAPPED.fullmatch(line)]
        assert all(max(map(len, line.split())) > 45 for line in long), (verb, long)  # a path, a choice of formats
        assert words(lines) - words(unbroken) - pieces(unbroken) == set(), verb


def test_the_list_of_verbs_has_a_whole_line_for_each_at_60_columns(folder):
    lines = dict(zip(VERBS, at_width(60, folder), strict=True))[("--help",)]
    listed = [line.split(None, 1) for line in lines[lines.index("Commands:") + 1 :]]
    assert {name for name, _ in listed} == {verb[0] for verb in VERBS if verb[1:] == ("--help",)}
    assert not [words for words in listed if words[1].endswith(".")]  # `Build pairs; run the same...`


def pieces(unbroken):
    """What a rule, and a hash that is longer than the terminal, may be broken into."""
    found = {"─" * n for n in range(61)}
    for word in words(unbroken):
        if re.fullmatch(r"[0-9a-f]{64}", word):
            found |= {word[:n] for n in range(64)} | {word[n:] for n in range(64)}
    return found


def test_a_wide_terminal_gets_whole_tables(folder):
    wide = dict(zip(VERBS, at_width(200, folder), strict=True))
    assert any(line.startswith("kind number ") and line.count("%") >= 4 for line in wide["eval", EVALUATED])
    assert any("undecided" in line and "likely" in line for line in wide["pair", FIRST, "--dry-run"])
    for verb, lines in wide.items():
        long = [line for line in lines if cell_len(line) > 200 and not JSON_LINE.fullmatch(line)]
        assert long == [], (verb, long)
