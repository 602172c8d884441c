"""Sets that name the right option by its index, of the pocket world's questions: no pair is wrong by the world."""

import io
import json
import re
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from ray import cloudpickle
from typer.testing import CliRunner

from mmpr.builder.build_flow import build
from mmpr.cli.verbs import app
from mmpr.demo.pocket_language import draw_question
from mmpr.demo.pocket_world import draw_image, draw_scene
from mmpr.engines.scripted import ScriptedEngine
from mmpr.settings.config import load

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the workers cannot import a test module
POCKET = Path(__file__).parents[1] / "configs" / "pocket.yaml"
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
TEXT, TEXTS = pa.string(), pa.list_(pa.string())
# columns as on the Hub, and what each says of the right option beside question, image and options
SETS = {
    "scienceqa": (
        {"image": IMAGE, "question": TEXT, "choices": TEXTS, "answer": pa.int8(), "hint": TEXT, "lecture": TEXT},
        lambda options, place: {"choices": options, "answer": place, "hint": "", "lecture": ""},
    ),
    "a-okvqa": (
        {"image": IMAGE, "question": TEXT, "choices": TEXTS, "correct_choice_idx": pa.int8(), "direct_answers": TEXT},
        lambda options, place: {"choices": options, "correct_choice_idx": place, "direct_answers": str(options)},
    ),
    "ai2d": (
        {"question": TEXT, "options": TEXTS, "answer": TEXT, "image": IMAGE},
        lambda options, place: {"options": options, "answer": str(place)},
    ),
}


def drawn(seed):
    """A question of the world with its image, its options, and the right one by the scene itself."""
    rng = np.random.default_rng((23, seed))
    scene = draw_scene(rng, (1, 1))
    asked = draw_question(scene, rng, "en", ("multiple_choice",))
    row, column = map(int, re.search(r"row (\d+), column (\d+)", asked.text).groups())
    (mark,) = [mark for mark in scene.marks if (mark.row, mark.column) == (row, column)]
    right = mark.colour if "Which colour" in asked.text else mark.shape
    file = io.BytesIO()
    draw_image(scene, rng).save(file, "PNG")
    return asked.text, {"bytes": file.getvalue(), "path": f"{seed}.png"}, list(asked.choices), right


def write_sets(folder, n):
    """Each set with `n` questions; the right option by question and options."""
    right = {}
    for number, (name, (schema, says)) in enumerate(SETS.items()):
        rows = []
        for seed in range(number * 1000, number * 1000 + n):
            text, image, options, word = drawn(seed)
            rows.append({"question": text, "image": image, **says(options, options.index(word))})
            right[text, *options] = word
        pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(list(schema.items()))), folder / f"{name}.parquet")
    settings = yaml.safe_load(POCKET.read_text()) | {"n": 16, "adaptive": False}
    settings["sources"] = [{"name": name, "source": f"{name}.parquet"} for name in SETS]
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    return right


def said(text, options):
    """The options that a final answer names, by the eye: its letter or its words."""
    found = re.findall(r"Final Answer: ?(.*)", text)
    answer = found[-1].strip(" .").casefold() if found else ""
    return {option for letter, option in zip("ABCD", options, strict=True) if answer in (letter.casefold(), option)}


def test_the_references_of_the_sets_are_those_of_the_world(tmp_path):
    right = write_sets(tmp_path, 40)
    for name in SETS:
        words = ["check", "--source", str(tmp_path / f"{name}.parquet"), "--show", "40", "--json"]
        done = CliRunner().invoke(app, words)
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        assert len(rows) == 40 and {row["layout"] for row in rows} == {name} and {row["images"] for row in rows} == {1}
        for row in rows:
            question = re.search(r"(W.*)\nA\. ", row["prompt"])[1]
            assert row["reference"][0] == right[question, *row["options"]]


OPTIONS = re.compile(r"\nA\. (.*)\nB\. (.*)\nC\. (.*)\nD\. (.*)")


def respond(prompt, index):
    """Each option in turn, as the pocket model names one: by letter or words, found by a look or at a glance."""
    options = OPTIONS.search(prompt.messages[-1].text).groups()
    by_words, at_once = list(product((False, True), repeat=2))[index // 4]
    option = options[index % 4]
    listed = [f"{letter} {text}" for letter, text in zip("ABCD", options[: index % 4 + 1], strict=False)]
    reason = f"It is {option}." if at_once else f"Looking for {option}. {'. '.join(listed)} (here)."
    return f"{reason}\nFinal Answer: {option if by_words else 'ABCD'[index % 4]}"


async def engine():
    return ScriptedEngine(respond)


def test_no_chosen_side_is_wrong_by_the_world_and_no_rejected_side_right(cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    right = write_sets(tmp_path, 10)
    run = build(load(tmp_path / "config.yaml", [], pocket=True), str(tmp_path / "run"), engine)
    assert run.report.paired == 10 * len(SETS)
    pairs = [row for file in (tmp_path / "run" / "data").glob("*.parquet") for row in pq.read_table(file).to_pylist()]
    assert {pair["source"] for pair in pairs} == set(SETS)
    for pair in pairs:
        text, *listed = re.search(r"(W.*)" + OPTIONS.pattern, pair["question"]).groups()
        word = right[text, *listed]
        assert said(pair["chosen_text"], listed) == {word}
        assert word not in said(pair["rejected_text"], listed)
