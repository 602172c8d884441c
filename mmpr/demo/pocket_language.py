"""The language of the pocket world: questions with answers, descriptions, and three ways to reach an answer.

A *worked out* response repeats the question and lists every shape, row by row, with the cell before its content, so
that each statement needs one look at the image. A shape that counts gets a remark at once ("(count 2)"), so that each
step follows from the words before it and the answer can be read off the text. A *listed* response has the list without
remarks, one *at a glance* has no list: both are true, but harder to find in one step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import accumulate

import numpy as np

from mmpr.demo.pocket_world import COLOURS, SHAPES, PlacedShape, Scene
from mmpr.prompts import PromptOptions, PromptVersion, ask
from mmpr.types import Question

COLOUR_NAMES = tuple(COLOURS)
COLOURS_ZH = dict(zip(COLOUR_NAMES, ("红色", "橙色", "黄色", "绿色", "青色", "蓝色", "紫色", "棕色"), strict=True))
SHAPES_ZH = dict(zip(SHAPES, ("圆形", "正方形", "三角形", "菱形", "十字"), strict=True))
OPEN_EN = (
    "Describe the image.",
    "What do you see in this picture?",
    "List the shapes in the image.",
    "Describe every shape and its place.",
)
OPEN_ZH = ("描述这张图片。", "图中有什么?")
UNCLEAR = {"en": "something unclear", "zh": "模糊的图形"}  # instead of a mark's colour and shape
SEEN = {"en": "I see ", "zh": "看到"}  # before colour and shape
THINK_FIRST = "Think first."  # the system turn that makes the model think; its chat template writes it


class Habit(Enum):
    """The way to reach an answer."""

    WORKED_OUT = auto()
    LISTED = auto()
    GLANCE = auto()


class Claim(Enum):
    """How a description names a mark: "a red circle", "I see a red circle", or "something unclear"."""

    STATED = auto()
    SEEN = auto()
    UNCLEAR = auto()


@dataclass(frozen=True, slots=True)
class Asked:
    """A question about a scene with its true answer and the reasoning for it.

    Args:
        goal: what the response looks for, as a sentence.
        remarks: one per mark of the scene; empty for marks that do not count. None: the scene is not listed.
        glance: the answer in one sentence, without reasoning.
        conclusion: a sentence that follows from the remarks, if one is needed.
    """

    kind: str
    text: str
    answer: str
    goal: str
    remarks: tuple[str, ...] | None
    glance: str
    conclusion: str = ""
    choices: tuple[str, ...] = ()


def article(word: str) -> str:
    """Return `an` before a vowel, else `a`."""
    return "an" if word[0] in "aeio" else "a"


def plural(shape: str) -> str:
    """Return the plural of a shape: `crosses`, `circles`."""
    return "crosses" if shape == "cross" else f"{shape}s"


def describe(scene: Scene, language: str, remarks: Sequence[str] = (), claims: Sequence[Claim] = ()) -> str:
    """Describe every shape with its remark: "Row 1: column 2 a red circle, column 4 a blue cross. Row 3: ...".

    Args:
        remarks: one per mark, or empty.
        claims: how each mark is named; empty: all are stated.
    """
    rows: dict[int, list[str]] = {}
    n = len(scene.marks)
    for mark, remark, claim in zip(scene.marks, remarks or [""] * n, claims or [Claim.STATED] * n, strict=True):
        place = f"第{mark.column}列" if language == "zh" else f"column {mark.column} "
        rows.setdefault(mark.row, []).append(place + _put(mark, claim, language) + remark)
    if language == "zh":
        return "".join(f"第{row}行:{','.join(said)}。" for row, said in rows.items())
    return " ".join(f"Row {row}: {', '.join(said)}." for row, said in rows.items())


def _put(mark: PlacedShape, claim: Claim, language: str) -> str:
    if claim is Claim.UNCLEAR:
        return UNCLEAR[language]
    return (SEEN[language] if claim is Claim.SEEN else "") + _look(mark, language)


def _look(mark: PlacedShape, language: str) -> str:
    if language == "zh":
        return COLOURS_ZH[mark.colour] + SHAPES_ZH[mark.shape]
    return f"{article(mark.colour)} {mark.colour} {mark.shape}"


def _counted(scene: Scene, wanted: Callable[[PlacedShape], bool], language: str) -> tuple[str, ...]:
    """Return a remark with a number for each mark that counts."""
    numbers = accumulate(int(wanted(mark)) for mark in scene.marks)
    wording = "(第{}个)" if language == "zh" else " (count {})"
    return tuple(wording.format(n) if wanted(mark) else "" for mark, n in zip(scene.marks, numbers, strict=True))


def _pointed(scene: Scene, wanted: PlacedShape, language: str) -> tuple[str, ...]:
    """Return a remark for the one wanted mark."""
    return tuple(("(这里)" if language == "zh" else " (here)") if mark == wanted else "" for mark in scene.marks)


def _matched(scene: Scene, wanted: PlacedShape, found: tuple[str, ...], language: str) -> tuple[str, ...]:
    """Return the given remarks, and for a mark that shares only the wanted colour or shape, which of them."""
    half = ("(颜色)", "(形状)") if language == "zh" else (" (colour)", " (shape)")
    remarks = []
    for mark, remark in zip(scene.marks, found, strict=True):
        colour, shape = mark.colour == wanted.colour, mark.shape == wanted.shape
        remarks.append(remark or (half[0] if colour and not shape else half[1] if shape and not colour else ""))
    return tuple(remarks)


def _scored(scene: Scene, first: str, second: str, language: str) -> tuple[str, ...]:
    """Return a remark with the score for each mark of either shape."""
    n: Counter[str] = Counter()
    remarks = []
    for mark in scene.marks:
        n[mark.shape] += 1
        score = f"({n[first]}比{n[second]})" if language == "zh" else f" ({n[first]} to {n[second]})"
        remarks.append(score if mark.shape in (first, second) else "")
    return tuple(remarks)


def _colour(name: str, language: str) -> str:
    return COLOURS_ZH[name] if language == "zh" else name


def _shape(name: str, language: str) -> str:
    return SHAPES_ZH[name] if language == "zh" else name


def _count(scene: Scene, rng: np.random.Generator, language: str) -> Asked:
    one = _any(scene, rng)
    zh = language == "zh"
    if rng.random() < 0.5:
        colour = one.colour if rng.random() < 0.85 else COLOUR_NAMES[int(rng.integers(len(COLOUR_NAMES)))]
        name = f"{COLOURS_ZH[colour]}的图形" if zh else f"{colour} shapes"
        remarks = _counted(scene, lambda mark: mark.colour == colour, language)
    else:
        shape = one.shape if rng.random() < 0.85 else SHAPES[int(rng.integers(len(SHAPES)))]
        name = SHAPES_ZH[shape] if zh else plural(shape)
        remarks = _counted(scene, lambda mark: mark.shape == shape, language)
    text, goal = (f"图中有几个{name}?", f"数{name}。") if zh else (f"How many {name} are there?", f"Counting {name}.")
    n = sum(map(bool, remarks))
    return Asked("count", text, str(n), goal, remarks, f"我看到{n}个{name}。" if zh else f"I see {n} {name}.")


def _cell(mark: PlacedShape, language: str) -> str:
    return f"第{mark.row}行第{mark.column}列" if language == "zh" else f"row {mark.row}, column {mark.column}"


def _at_cell(scene: Scene, mark: PlacedShape, language: str) -> tuple[str, tuple[str, ...], str]:
    """Return goal, remarks and conclusion for a question about a cell."""
    cell, remarks = _cell(mark, language), _pointed(scene, mark, language)
    if language == "zh":
        return f"看{cell}。", remarks, f"是{_look(mark, language)}。"
    return f"Looking at {cell}.", remarks, f"It is {_look(mark, language)}."


def _it_is(name: str, language: str) -> str:
    """Say a colour or a shape by its English name."""
    if language == "zh":
        return f"是{COLOURS_ZH[name] if name in COLOURS else SHAPES_ZH[name]}。"
    return f"It is {name}." if name in COLOURS else f"It is {article(name)} {name}."


def _ask_colour(scene: Scene, rng: np.random.Generator, language: str) -> Asked:
    mark = _any(scene, rng)
    cell, answer = _cell(mark, language), _colour(mark.colour, language)
    text = f"{cell}的图形是什么颜色?" if language == "zh" else f"What colour is the shape in {cell}?"
    goal, remarks, conclusion = _at_cell(scene, mark, language)
    return Asked("colour", text, answer, goal, remarks, _it_is(mark.colour, language), conclusion)


def _ask_shape(scene: Scene, rng: np.random.Generator, language: str) -> Asked:
    mark = _any(scene, rng)
    cell, answer = _cell(mark, language), _shape(mark.shape, language)
    text = f"{cell}是什么形状?" if language == "zh" else f"What is the shape in {cell}?"
    goal, remarks, conclusion = _at_cell(scene, mark, language)
    return Asked("shape", text, answer, goal, remarks, _it_is(mark.shape, language), conclusion)


def _position(scene: Scene, rng: np.random.Generator, language: str) -> Asked | None:
    looks = Counter((m.colour, m.shape) for m in scene.marks)
    single = [m for m in scene.marks if looks[m.colour, m.shape] == 1]
    if not single:
        return None
    mark = single[int(rng.integers(len(single)))]
    by_row = rng.random() < 0.5
    zh, number = language == "zh", mark.row if by_row else mark.column
    if zh:
        name = _look(mark, language)
        text, goal, found = f"{name}在第几{'行' if by_row else '列'}?", f"找{name}。", "在"
        glance = f"在第{number}{'行' if by_row else '列'}。"
    else:
        line, name = "row" if by_row else "column", f"the {mark.colour} {mark.shape}"
        text, goal, found = f"In which {line} is {name}?", f"Looking for {name}.", "It is in "
        glance = f"It is in {line} {number}."
    conclusion = found + _cell(mark, language) + ("。" if zh else ".")
    remarks = _matched(scene, mark, _pointed(scene, mark, language), language)
    return Asked("position", text, str(number), goal, remarks, glance, conclusion)


def _comparison(scene: Scene, rng: np.random.Generator, language: str) -> Asked | None:
    first = _any(scene, rng).shape
    second = _any(scene, rng).shape if rng.random() < 0.7 else SHAPES[int(rng.integers(len(SHAPES)))]
    n = Counter(m.shape for m in scene.marks)
    if n[first] == n[second]:
        return None
    more = first if n[first] > n[second] else second
    remarks = _scored(scene, first, second, language)
    if language == "zh":
        names = f"{SHAPES_ZH[first]}和{SHAPES_ZH[second]}"
        glance = f"{SHAPES_ZH[more]}更多。"
        return Asked("comparison", f"{names}哪个更多?", SHAPES_ZH[more], f"数{names}。", remarks, glance)
    text = f"Are there more {plural(first)} or more {plural(second)}?"
    goal = f"Counting {plural(first)} and {plural(second)}."
    return Asked("comparison", text, plural(more), goal, remarks, f"There are more {plural(more)}.")


def _yes_no(scene: Scene, rng: np.random.Generator, language: str) -> Asked:
    there = {(m.colour, m.shape) for m in scene.marks}
    one = _any(scene, rng)
    colour, shape = (one.colour, one.shape) if rng.random() < 0.5 else _absent(there, rng)
    found = (colour, shape) in there
    finds = _counted(scene, lambda mark: (mark.colour, mark.shape) == (colour, shape), language)
    remarks = _matched(scene, PlacedShape(0, 0, colour, shape), finds, language)
    if language == "zh":
        name, glance = COLOURS_ZH[colour] + SHAPES_ZH[shape], "有" if found else "没有"
        return Asked("yes_no", f"图中有{name}吗?", "是" if found else "否", f"找{name}。", remarks, f"{glance}{name}。")
    name = f"{article(colour)} {colour} {shape}"
    glance = f"There is {name if found else f'no {colour} {shape}'}."
    return Asked("yes_no", f"Is there {name}?", "yes" if found else "no", f"Looking for {name}.", remarks, glance)


def _absent(there: set[tuple[str, str]], rng: np.random.Generator) -> tuple[str, str]:
    """A look that the scene does not have, of a colour and a shape that it has where possible: a near miss."""
    near = {(c, s) for c, _ in there for _, s in there} - there
    pool = sorted(near or {(c, s) for c in COLOUR_NAMES for s in SHAPES} - there)
    return pool[int(rng.integers(len(pool)))]


def _multiple_choice(scene: Scene, rng: np.random.Generator, language: str) -> Asked:
    mark = _any(scene, rng)
    cell, zh = _cell(mark, language), language == "zh"
    if rng.random() < 0.5:
        names, truth, say = COLOUR_NAMES, mark.colour, _colour
        text = f"{cell}的图形是什么颜色?" if zh else f"Which colour is the shape in {cell}?"
    else:
        names, truth, say = SHAPES, mark.shape, _shape
        text = f"{cell}是什么形状?" if zh else f"Which shape is in {cell}?"
    wrong = [name for name in names if name != truth]
    options = [truth, *(wrong[int(i)] for i in rng.choice(len(wrong), 3, replace=False))]
    options = [options[int(i)] for i in rng.permutation(4)]
    spoken = tuple(say(option, language) for option in options)
    at = options.index(truth)
    # The look comes first, alone, so that the options have the same distance as in the question.
    goal = f"{cell}是{_look(mark, language)}。" if zh else f"In {cell} is {_look(mark, language)}."
    steps = f"{goal}\n{_go_through(spoken, at, language)}"
    return Asked("multiple_choice", text, "ABCD"[at], steps, None, _it_is(truth, language), choices=spoken)


def _go_through(options: Sequence[str], at: int, language: str) -> str:
    """List the options up to the right one: "Looking for blue. A red. B blue (here).\""""
    past = [f"{letter} {option}" for option, letter in zip(options[: at + 1], "ABCD", strict=False)]
    if language == "zh":
        return f"找{options[at]}。{'。'.join(past)} (这里)。"
    return f"Looking for {options[at]}. {'. '.join(past)} (here)."


Asker = Callable[[Scene, np.random.Generator, str], Asked | None]
KINDS: dict[str, Asker] = {
    "count": _count,
    "colour": _ask_colour,
    "shape": _ask_shape,
    "position": _position,
    "comparison": _comparison,
    "yes_no": _yes_no,
    "multiple_choice": _multiple_choice,
}


def _any(scene: Scene, rng: np.random.Generator) -> PlacedShape:
    return scene.marks[int(rng.integers(len(scene.marks)))]


def draw_question(scene: Scene, rng: np.random.Generator, language: str, kinds: Sequence[str] = tuple(KINDS)) -> Asked:
    """Draw a question of a random kind that has an answer in this scene; `kinds` must include one that always has."""
    asked = None
    while asked is None:
        asked = KINDS[kinds[int(rng.integers(len(kinds)))]](scene, rng, language)
    return asked


def draw_open(rng: np.random.Generator, language: str) -> str:
    """Draw an open question."""
    wordings = OPEN_ZH if language == "zh" else OPEN_EN
    return wordings[int(rng.integers(len(wordings)))]


def respond(
    scene: Scene, asked: Asked, version: str, language: str, habit: Habit = Habit.WORKED_OUT, *, thinks: bool = False
) -> str:
    """Return the true response in the form of a prompt version; with `thinks`, its reasoning is a thought."""
    body = _reason(scene, asked, language, habit)
    answer = asked.answer if version == "final" else f"\\boxed{{{asked.answer}}}"
    end = f"最终答案: {answer}" if language == "zh" else f"Final Answer: {answer}"
    if thinks:
        return behind_thought(body, end)
    return f"<think>{body}</think>\n{end}" if version == "think" else f"{body}\n{end}"


def behind_thought(thought: str, visible: str) -> str:
    """Put a thought before a response, as under `THINK_FIRST`."""
    return f"<think>\n{thought}\n</think>\n{visible}"


def plan_description(scene: Scene, language: str) -> str:
    """Return the thought before a description: which rows have shapes."""
    rows = [str(row) for row in dict.fromkeys(mark.row for mark in scene.marks)]
    return f"有图形的行:{'、'.join(rows)}。" if language == "zh" else f"Rows with shapes: {', '.join(rows)}."


def _reason(scene: Scene, asked: Asked, language: str, habit: Habit) -> str:
    if habit is Habit.GLANCE:
        return asked.glance
    if habit is Habit.LISTED:
        return describe(scene, language)
    listed = "" if asked.remarks is None else describe(scene, language, asked.remarks)
    return ("" if language == "zh" else " ").join(filter(None, (asked.goal, listed, asked.conclusion)))


def as_question(asked: Asked, language: str) -> Question:
    """Return the question as a build reads it from a source, with an image."""
    answer = (asked.answer,)
    return Question(
        "pocket", "pocket", 0, asked.text, images=("x",), choices=asked.choices, answer=answer, language=language
    )


def prompt_text(asked: Asked, version: PromptVersion, language: str) -> str:
    """Return the user's turn exactly as a build sends it, with one `<image>`."""
    (message,) = ask(as_question(asked, language), PromptOptions(version))
    return message.text
