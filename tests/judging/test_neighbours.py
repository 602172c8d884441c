"""One answer in other clothes: whatever is said around it, the verdict is the one of the bare answer."""

from __future__ import annotations

import pytest

from judging.asking import question
from judging.test_guarded import KINDS, asked
from mmpr.judging import JudgeOptions, judge
from mmpr.types import Outcome

ANY = JudgeOptions(format="any")
CLOTHES = (
    "Step 1: there are 3 + 17 = 20 parts.\nStep 2: not 250.\n\n**Conclusion**: The answer is **{a}**.",
    "<think>The answer is 99? No: final answer: 42.</think>\n\n**Final Answer:** {a}",
    "Final answer: 99\n\nWait, I made a mistake. Let me check again.\n\nFinal answer: {a}",
    "First I thought the answer is 99, but I was wrong.\n\nFinal Answer:\n- {a}",
    "### Final Answer\n\n{a}",
    "Final answer: {a}, because the image shows it.",
    "Final answer: {a} (as shown in the image)",
    "Final answer: {a}. I hope it is correct.",
    "Answer: {a}\n\nExplanation: the figure shows this, not 99.",
    "Final answer: {a}\n\nNote: read differently, the answer could be 99.",
    "Final answer: It is {a}",
    "Final answer: Answer: {a}",
    "Final answer: The answer is {a}.",
    "Final answer: `{a}`",
    "ANSWER: {a}",
    "因此，最终答案是：{a}",
    "故答案为{a}。",
    "【答案】{a}",
    '{{"reasoning": "I see it", "answer": "{a}"}}',
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", CLOTHES)
def test_the_words_around_an_answer_change_no_verdict(kind: str, form: str) -> None:
    _, reference, other, _ = KINDS[kind]
    if "answer" in form and form.startswith("{{") and "\\" in reference:
        reference, other = reference.replace("\\", "\\\\"), other.replace("\\", "\\\\")  # as JSON writes it
    assert judge(asked(kind), form.format(a=reference), options=ANY).outcome is Outcome.CORRECT
    said, bare = (judge(asked(kind), text, options=ANY) for text in (form.format(a=other), f"Final answer: {other}"))
    assert said.outcome is bare.outcome and said.certainty is bare.certainty


# question | reference | equal to it | proven different | neither
CHINESE = r"""
图中有多少只猫？ | 3 | 三只 ; 有三只猫 ; 图中有3只猫 | 四只 ; 图中有4只猫 ; 一只也没有 | 可能3只 ; 三只或四只 ; 三只以上
图中的动物是什么？ | 大熊猫 | 一只大熊猫 ; 这是大熊猫 |  | 熊猫 ; 不是大熊猫 ; 老虎 ; 可能是大熊猫
衣服是什么颜色的？ | 红色 | 红色的 ; 衣服是红色的 ; 红 | 绿色的 ; 黑 | 不是红色 ; 红色或蓝色 ; 深红色
今天是星期几？ | 星期三 | 周三 ; 礼拜三 ; Wednesday | 星期天 ; 周五 | 不是星期三
现在几点了？ | 3:15 | 三点十五分 ; 三点一刻 | 四点十五分 ; 三点三刻 | 下午3点15分
合同签订于哪一天？ | 2019年7月3日 | 2019-07-03 ; 二〇一九年七月三日 | 二〇一九年七月四日 | 不是2019年7月3日
房间面积是多少平方米？ | 25平方米 | 二十五 ; 25㎡ | 26平方米 | 不到25平方米
增长率是多少？ | 百分之三十五 | 35% ; 增长了35% | 36% | 超过35%
最低气温是多少？ | 零下5度 | -5℃ ; 零下五度 | 5℃ ; 零下6度 | 零下5度以上
时长是多少？ | 1小时30分钟 | 一个半小时 ; 90分钟 | 2个小时 ; 1小时20分钟 | 超过1小时30分钟
他多大了？ | 12岁 | 十二岁 ; 12 | 13岁 ; 二十岁 | 12岁以上
第几名？ | 第三名 | 第3名 ; 第三 ; 3 | 第二名 | 不是第三名
涂色部分占几分之几？ | \frac{1}{3} | 三分之一 ; 是三分之一 ; 1/3 | 四分之一 ; 三分之二 | 不到三分之一
红色部分占百分之几？ | 25% | 四分之一 ; 百分之二十五 | 三分之一 ; 百分之十五 | 超过四分之一
一共有多少人？ | 11000人 | 一万一千人 ; 一万一千 ; 1.1万 | 一千一百人 | 一万一千人以上
甲比乙多多少个？ | 5个 | 5 ; 多5个 ; 五个 | 6个 | 少5个
函数的最小值是多少？ | -4 | 最小值为-4 ; 最小值是-4 ; -4 | 最小值为4 ; 最小值为-5 | 最小值不是-4
灯是开着的吗？ | 是 | 是的 ; 没错 | 不是 ; 灯没有开着 | 不确定 ; 可能是
图中有狗吗？ | 没有 | 没有狗 ; 图中没有狗 ; 不，没有 ; 否 | 有 ; 有，图中有一只狗 | 不确定
物体向哪个方向移动？ | 左 | 向左 ; 左边 ; 向左移动 | 右边 ; 往右 | 左上 ; 可能向左
列出图中的颜色。 | 红、黄、蓝 | 蓝、黄、红 ; 红色，黄色和蓝色 | 红、黄、绿 | 红、黄、蓝或绿
牌子上写着什么？ | 禁止停车 | 牌子上写着“禁止停车” | 禁止吸烟 | 不是禁止停车
"""
ROWS = [[part.strip() for part in line.split(" | ")] for line in CHINESE.strip().splitlines()]
STATED = ("答案：{}", "所以，答案是{}。", "Final answer: {}", "综上所述，最终答案为：{}")


@pytest.mark.parametrize(("text", "reference", "same", "other", "neither"), ROWS)
@pytest.mark.parametrize("form", STATED)
def test_chinese_answers_are_read_as_their_readers_read_them(
    form: str, text: str, reference: str, same: str, other: str, neither: str
) -> None:
    for answers, wanted in ((same, Outcome.CORRECT), (other, Outcome.INCORRECT), (neither, Outcome.AMBIGUOUS)):
        for answer in filter(None, answers.split(" ; ")):
            said = judge(question(text, reference), form.format(answer), options=ANY)
            assert said.outcome is wanted, (answer, said)


@pytest.mark.parametrize("form", ["AC", "A、C", "A与C", "选AC", "故选：AC"])
def test_letters_between_chinese_words_are_a_set(form: str) -> None:
    several = question("下列哪些正确？", "AC", choices=("甲", "乙", "丙", "丁"))
    assert judge(several, f"答案：{form}").outcome is Outcome.CORRECT


@pytest.mark.parametrize(
    ("reference", "answer"),
    [
        ("-125", "I cannot determine whether it is -125"),
        ("27", "not 27"),  # where the question itself says `not`
        ("yes", "yes or 7"),
        ("no", "No. Wait, no, yes"),
        ("8:5", "8:5. Wait, no, 7:5"),
        ("e^2", "It cannot be $e^2$"),
        ("5", "$5$ is wrong"),
        ("[0,1]", "It is (0,1)"),
    ],
)
def test_what_its_writer_does_not_say_is_not_correct(reference: str, answer: str) -> None:
    asking = question("Which one is it, not counting (and not including) 10?", reference)
    assert judge(asking, f"Final answer: {answer}").outcome is not Outcome.CORRECT


# question | reference | equal to it | proven different
ENGLISH = r"""
What color is the car? | red | The car is red. ; red in color | The car is blue.
Which country has the highest value? | South Korea | The country is South Korea | The country is Japan.
Which month had the lowest sales? | February | Feb. ; The month is February. | The month is May.
When is the concert? | June 12, 2024 | The concert is on June 12, 2024. | The concert is on June 21, 2024.
What is the measure of angle ABC? | 60° | ∠ABC = 60° ; m∠ABC = 60 | ∠ABC = 45°
How many people are in the image? | 4 | 4 individuals ; There are four. | There are 3 people.
What is the phone number? | (555) 123-4567 | 555-123-4567 ; 555.123.4567 | 555-123-4568
Find the coordinates of point P. | (3, -4) | (x, y) = (3, -4) ; P(3, -4) | (3, 4)
What is the chemical formula of water? | H2O | h2o ; The formula is H2O | CO2
What animals are in the picture? | cat, dog | dog and cat ; a dog and a cat |
What is the largest category? | Food & Beverages | Food and Beverages |
What is the probability? | 0.25 | 1 in 4 ; 25% | 1 in 5
What are the roots? | x = 1/2, x = (-1 \pm \sqrt{13})/4 | The answer is x = 1/2, x = (-1 ± √13)/4 | 1/2, 4
"""
ENGLISH_ROWS = [[part.strip() for part in line.split(" |")] for line in ENGLISH.strip().splitlines()]


@pytest.mark.parametrize(("text", "reference", "same", "other"), ENGLISH_ROWS)
@pytest.mark.parametrize("form", ["Final answer: {}", "**Answer:** {}", "Answer:\n\n- {}"])
def test_the_questions_words_around_a_value_change_no_verdict(
    form: str, text: str, reference: str, same: str, other: str
) -> None:
    for answers, wanted in ((same, Outcome.CORRECT), (other, Outcome.INCORRECT)):
        for answer in filter(None, answers.split(" ; ")):
            assert judge(question(text, reference), form.format(answer), options=ANY).outcome is wanted, answer
    assert judge(question(text, reference), form.format(f"{reference} is wrong"), options=ANY).outcome != "correct"


def test_a_shade_is_no_colour_and_a_subject_no_letter() -> None:
    assert judge(question("What color is the car?", "red"), "Final answer: reddish").outcome is Outcome.AMBIGUOUS
    asking = question("Is it so? Choices: (A) yes (B) no, e.g., A or B", "no", choices=("yes", "no"))
    assert judge(asking, "Final answer: B is wrong").outcome is not Outcome.CORRECT


@pytest.mark.parametrize(
    ("text", "reference", "answer", "expected"),
    [
        ("What is the shape in row 1?", "circle", "It is a triangle.", Outcome.INCORRECT),
        ("Are there more circles or more squares?", "circles", "triangles", Outcome.INCORRECT),
        ("What is the shape?", "square", "diamond", Outcome.AMBIGUOUS),
        ("正方形和三角形哪个更多?", "正方形", "三角形", Outcome.INCORRECT),
        ("十字和菱形哪个更多?", "菱形", "十字", Outcome.INCORRECT),
        ("熊猫还是老虎?", "熊猫", "老虎", Outcome.INCORRECT),
        ("图中是什么动物?", "熊猫", "老虎", Outcome.AMBIGUOUS),
    ],
)
def test_shapes_and_what_a_chinese_question_offers_are_told_apart(
    text: str, reference: str, answer: str, expected: Outcome
) -> None:
    assert judge(question(text, reference), f"Final answer: {answer}").outcome is expected


@pytest.mark.parametrize(
    ("answer", "reference", "outcomes"),
    [
        ("5000 kg", "5 t", {Outcome.AMBIGUOUS}),  # tonnes have no symbol in the table: `t` is a variable
        ("50 km", "2.5 d", {Outcome.AMBIGUOUS}),
        ("3x", "5x", {Outcome.INCORRECT}),
        ("7t", "5t", {Outcome.INCORRECT}),
        ("1200 s", "20 m", {Outcome.AMBIGUOUS}),  # minutes
        ("120 m", "2 h", {Outcome.AMBIGUOUS}),
        ("20 m", "2 h", {Outcome.INCORRECT}),  # neither as minutes nor as metres
        ("20 m", "20 s", {Outcome.INCORRECT}),
        ("20 m", "20 km", {Outcome.INCORRECT}),
        ("20 kg", "20 s", {Outcome.INCORRECT}),
    ],
)
def test_a_letter_that_may_be_a_unit_proves_nothing(answer: str, reference: str, outcomes: set[Outcome]) -> None:
    verdict = judge(question("How much is it?", reference), f"Final Answer: {answer}")
    assert verdict.outcome in outcomes, verdict
