"""Where the final answer stands, and where there is none."""

from __future__ import annotations

import pytest

from mmpr.judging.extract import extract
from mmpr.judging.rules import Rule

FOUND = [
    "Final Answer: 3",
    "final answer:3",
    "Final answer : 3",
    "Final Answer -> 3",
    "Final Answer = 3",
    "Final Answer\n\n3",
    "Final Answer:\n```\n3\n```",
    "**Final Answer (in total):** 3",
    "# Final Answer: 3 #",
    "\\textbf{Final Answer:} 3",
    "Final Answer: $$3$$",
    "Final Answer:\n\n$$\n3\n$$",
    "Final Answer: The value of x is:\n\n3",
    "**Final Answer:**\n\nThe value of x is\n\n$$\\boxed{3}$$",
    "The final answer is $\\boxed{3}$. I hope this is right.",
    'My final answer is "3".',
    "**Answer:** 3",
    "so \\boxed{3}",
    "<think>4? Final answer: 4</think>\nFinal answer: 3",
    "so far 4.</think>Final answer: 3",
    "最终答案：3",
    "**答案**：3",
    "答案是3。",
    "Final Answer: 4\n\nWait. Final Answer: 3",
    "Final Answer: 3\n\nNote: the final answer is rounded.",
    "Final Answer: \\boxed{\n3\n}",
]


@pytest.mark.parametrize("response", FOUND)
def test_the_final_answer_is_found(response: str) -> None:
    from mmpr.judging.clean import clean

    answer = extract(response).answer
    assert answer is not None
    assert clean(answer).split(".")[0] == "3"


@pytest.mark.parametrize(
    ("response", "rule"),
    [
        ("The answer is 3.", Rule.NO_ANSWER),
        ("I see 3 birds", Rule.NO_ANSWER),
        ("Final ans", Rule.NO_ANSWER),
        ("Final answer: x is", Rule.CUT),
        ("Final answer: \\frac{3", Rule.CUT),
        ("Final answer: (3, ", Rule.CUT),
        ("Final answer: \\boxed{}", Rule.EMPTY),
        ("Final answer: <answer>", Rule.PLACEHOLDER),
        ("Final answer: ..", Rule.PLACEHOLDER),
        ("Final answer: [final answer]", Rule.PLACEHOLDER),
        ("最终答案：", Rule.EMPTY),
        ("", Rule.EMPTY),
        ("<think>Final answer: 3", Rule.THINK),
        ("Final answer: 3\n" * 40, Rule.LOOP),
    ],
)
def test_what_has_no_final_answer_says_why(response: str, rule: Rule) -> None:
    found = extract(response)
    assert (found.answer, found.rule) == (None, rule)


@pytest.mark.parametrize(
    ("form", "response", "found"),
    [
        ("boxed", "Final answer: \\boxed{3}", True),
        ("boxed", "Final answer: 3", False),
        ("boxed", "The area is \\boxed{3}", True),
        ("think", "<think>so</think>Final answer: \\boxed{3}", True),
        ("think", "Final answer: \\boxed{3}", False),
        ("think", "<think>so</think>Final answer: 3", False),
    ],
)
def test_each_prompt_version_wants_its_own_form(form: str, response: str, found: bool) -> None:
    assert (extract(response, form=form).answer is not None) is found
