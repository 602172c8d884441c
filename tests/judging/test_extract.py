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
        ("The answer is clear from the chart.", Rule.NO_ANSWER),
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
    ("form", "response", "off"),
    [
        ("boxed", "Final answer: \\boxed{3}", False),
        ("boxed", "Final answer: 3", True),
        ("boxed", "The area is \\boxed{3}", False),
        ("think", "<think>so</think>Final answer: \\boxed{3}", False),
        ("think", "Final answer: \\boxed{3}", True),
        ("think", "<think>so</think>Final answer: 3", True),
        ("final", "The area is \\boxed{3}", True),
        ("final", "The answer is 3.", True),
        ("final", "Answer: 3", False),
        ("any", "3", False),
    ],
)
def test_a_clear_answer_in_another_form_than_asked_is_found_and_marked(form: str, response: str, off: bool) -> None:
    found = extract(response, form=form)
    assert (found.answer or "").rstrip(".") == "3"
    assert found.off_format is off


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("The answer is (B).", "(B)."),
        ("So the correct answer is **(B)**", "(B)"),
        ("【解析】略\n【答案】B", "B"),
        ("【答案】: B", "B"),
        ("因此a最大，故选B。", "B。"),
        ("4 + 14 = 18\n#### 18", "18"),
        ("<think>hm</think><answer>B</answer>", "B"),
        ("E", "E"),
        (" (D) 4", "(D) 4"),
        ("(D) 1\n\nIn the image, two birds stand in water.", "(D) 1"),
        ("The correct answer is (B) 2. Two people wear white.</s>", "(B) 2. Two people wear white."),
        ("maybe \\boxed{1}... no, that is the radius.\n\nSo it is \\boxed{2}", "2"),
        ("<answer>1</answer> Wait. <answer>2</answer>", "2"),
        ("The answer is 4. No: the answer is 5.", "5."),
        ("Final answer: Yes, it is", "Yes, it is"),
        ("So option C is correct.", "C"),
        ("<think>hm</think>\nIt is <|begin_of_box|>42<|end_of_box|>.", "42"),
        ("Final Answer: <|begin_of_box|>B<|end_of_box|>", "B"),
        ("<|begin_of_box|>40 + 2.\n\nFinal Answer: 42<|end_of_box|>", "42"),
        ("<|begin_of_box|>**Final Answer:** 42<|end_of_box|>", "42"),
        ("<|begin_of_box|>41<|end_of_box|>? No: <|begin_of_box|>42<|end_of_box|>", "42"),
        ("Final Answer: <|begin_of_box|>\\boxed{42}<|end_of_box|>", "42"),
    ],
)
def test_the_last_clear_statement_is_the_answer(response: str, answer: str) -> None:
    assert extract(response).answer == answer
