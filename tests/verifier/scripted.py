"""Scripted worlds for verifiers: responses that contain their truth, and verifiers with known errors."""

import hashlib
import json
import math

from mmpr.engines.scripted import ScriptedEngine

WRONG_SHARE = 0.1


def truth_in(text):
    """Whether the answer that a prompt shows is right: these worlds' responses say so in a word."""
    return "good" in text.partition("Answer: <<<")[2].partition(">>>")[0]


def letters(right, margin, *, swapped):
    """Log-probabilities of A, B and C for a verifier that says so by a margin."""
    best = "A" if right is not swapped else "B"
    return [-0.1 if letter == best else -0.1 - margin if letter != "C" else -0.2 - margin for letter in "ABC"]


def is_swapped(text):
    return "A: incorrect" in text


def drawn(text, salt=""):
    """A number from 0 to 1 that a text decides, whatever the order of the letters."""
    data = text.partition("A: ")[0]
    return int.from_bytes(hashlib.sha256((salt + data).encode()).digest()[:8], "big") / 2**64


def calibrated(prompt, answers, *, widest=6.0):
    """A verifier whose margin is what it says: it errs with the probability 1 / (1 + exp(margin))."""
    text = prompt.messages[-1].text
    margin = widest * drawn(text)
    errs = drawn(text, "errs") < 1 / (1 + math.exp(margin))
    return letters(truth_in(text) is not errs, margin, swapped=is_swapped(text))


def mostly_right(prompt, answers):
    """A verifier that errs in a tenth of the answers, whatever its margin says."""
    text = prompt.messages[-1].text
    errs = drawn(text, "errs") < WRONG_SHARE
    return letters(truth_in(text) is not errs, 0.5 + 6 * drawn(text), swapped=is_swapped(text))


def knows_all(prompt, answers):
    """A verifier that is always right, and knows the numbers of these worlds too."""
    text = prompt.messages[-1].text
    right = truth_in(text) or "Answer: <<<2>>>" in text or "Answer: <<<cat>>>" in text
    return letters(right, 5.0, swapped=is_swapped(text))


def script(prompt, index):
    """Texts that the rules leave open beside right ones, and numbers that they prove."""
    if "How many" in prompt.messages[-1].text:
        return f"Counting {index} of {prompt.question_id}.\n\nFinal Answer: {(2, 3)[index % 2]}"
    end = ("cat", f"cat good {index}", f"cat bad {index}", "a violin")[index % 4]
    return f"I look at {prompt.question_id} and see what it shows, time {index}.\n\nFinal Answer: {end}"


async def answering():
    return ScriptedEngine(script, choices=knows_all)


async def knowing():
    return ScriptedEngine(choices=knows_all)


def write_questions(folder, n):
    """n questions without images: every other one about a number."""
    rows = [
        {"id": f"q{i}", "question": f"How many are in {i}?", "answer": 2}
        if i % 2
        else {"id": f"q{i}", "question": f"What animal is in {i}?", "answer": "cat"}
        for i in range(n)
    ]
    path = folder / "vqa.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
