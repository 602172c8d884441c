from hypothesis import given
from hypothesis import strategies as st

from mmpr.prompts import (
    SHIELD,
    VERSIONS,
    PromptOptions,
    ask,
    blind,
    count_tags,
    language_of,
    shield,
    strip_suffix,
    template_fault,
    with_tags,
)
from mmpr.types import Message, Question


def question(text, **fields):
    return Question(id="q", source="s", row=1, text=text, **fields)


def test_a_suffix_goes_also_where_the_options_are_a_list_of_their_own():
    question = Question(
        "q", "s", 0, "Which?\nAnswer with the option's letter from the given choices directly.",
        images=("x",), choices=("red", "blue"), answer=("A",), language="en",
    )  # fmt: skip
    (message,) = ask(question)
    assert message.text.endswith("Which?\nA. red\nB. blue")


def test_one_image_goes_in_front_and_several_are_numbered():
    assert with_tags("What?", ["a.png"]) == "<image>\nWhat?"
    assert with_tags("What?", ["a.png", "b.png"]) == "Image-1: <image>\nImage-2: <image>\nWhat?"


def test_fault_18_tags_that_stand_in_the_question_stay_where_they_are():
    (message,) = ask(question("Is <image> like <image>?", images=("a", "b")))
    assert message.text == "Is <image> like <image>?"


def test_an_open_question_gets_no_instruction():
    (message,) = ask(question("Describe the image.", images=("a",)))
    assert message.text == "<image>\nDescribe the image."


def test_a_question_with_an_answer_is_asked_to_reason_in_its_own_language():
    (english,) = ask(question("How many?", answer=("2",)))
    (chinese,) = ask(question("有几个?", answer=("2",), language="zh"))
    assert "step by step" in english.text and english.text.endswith("How many?")
    assert "最终答案" in chinese.text and chinese.text.endswith("有几个?")


def test_an_instruction_of_ones_own_goes_around_the_question_by_its_language():
    template = {"en": "Solve {this}: {question} Box it.", "zh": "解答:{question}"}
    (english,) = ask(
        question("How many {question}?", images=("a",), answer=("2",)), PromptOptions("boxed", template=template)
    )
    (chinese,) = ask(question("有几个?", answer=("2",), language="zh"), PromptOptions("boxed", template=template))
    (open_one,) = ask(question("Describe it."), PromptOptions("boxed", template=template))
    assert english.text == "<image>\nSolve {this}: How many {question}? Box it."
    assert (chinese.text, open_one.text) == ("解答:有几个?", "Describe it.")


def test_a_system_message_is_of_rows_that_have_none_and_known_by_its_name():
    row = question("What?", system="Be brief.")
    assert ask(row, PromptOptions(system_message="internvl2"))[0] == Message("system", "Be brief.")
    for name, says in (("internvl2", "书生多模态大模型"), ("internvl2_5", "书生·万象"), ("internvl3", "书生·万象")):
        first, second = ask(question("What?"), PromptOptions(system_message=name))
        assert first.role == "system" and says in first.text and second == Message("user", "What?")
    assert ask(question("What?"), PromptOptions(system_message="You see well."))[0].text == "You see well."
    assert [m.role for m in ask(question("What?"))] == ["user"]


def test_system_history_and_several_images_stand_in_their_order():
    row = question(
        "And now?", system="Be brief.", history=(("What?", "A cat."), ("Where?", "Left.")), images=("a", "b")
    )
    turns = ask(row)
    assert [m.role for m in turns] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert [m.text for m in turns][:3] == ["Be brief.", "Image-1: <image>\nImage-2: <image>\nWhat?", "A cat."]
    assert [m.text for m in turns][3:] == ["Where?", "Left.", "And now?"]


def test_a_tag_in_a_later_turn_stays_there():
    row = question("Is <image> like it?", history=(("What is <image>?", "A cat."),), images=("a", "b"))
    assert [m.text for m in ask(row)] == ["What is <image>?", "A cat.", "Is <image> like it?"]


def test_every_version_has_both_languages_and_its_own_form_of_answer():
    for version, says in (("final", "Final Answer: .."), ("boxed", "\\boxed{..}"), ("think", "<think>")):
        assert says in VERSIONS[version]["en"] and VERSIONS[version].keys() == {"en", "zh"}
        assert all(template_fault(wording) is None for wording in VERSIONS[version].values())


def test_braces_in_a_question_are_text():
    for version in VERSIONS:
        (message,) = ask(question("What is {x} in \\frac{1}{2}?", answer=("1",)), PromptOptions(version))
        assert message.text.endswith("What is {x} in \\frac{1}{2}?")


def test_a_benchmarks_suffix_is_taken_off_before_ours_goes_on():
    assert strip_suffix("Is it red?\nPlease answer Yes or No.") == "Is it red?"
    assert strip_suffix("Please answer Yes or No.") == "Please answer Yes or No."


def test_options_are_lettered_unless_the_question_lists_them():
    (listed,) = ask(question("Which?\nA. red\nB. blue", choices=("red", "blue"), answer=("A",)))
    (bare,) = ask(question("Which?", choices=("red", "blue"), answer=("A",)))
    assert listed.text.count("A. red") == 1
    assert bare.text.endswith("Which?\nA. red\nB. blue")


def test_history_becomes_turns_and_the_image_goes_to_the_first():
    turns = ask(question("And now?", history=(("What?", "A cat."),), images=("a",)))
    assert [m.role for m in turns] == ["user", "assistant", "user"]
    assert turns[0].text == "<image>\nWhat?"


@given(st.text(), st.integers(0, 3))
def test_blind_takes_out_tags_and_labels_and_nothing_else(text, n_images):
    text = text.replace("<image>", "").replace("\r", "")
    if text.startswith(("\n", " ", "\t")):
        text = "x" + text
    (seen,) = ask(question(text, images=("a",) * n_images))
    (unseen,) = blind((seen,))
    (never,) = ask(question(text))
    assert count_tags([unseen.text]) == 0
    assert unseen.text == never.text


def test_blind_takes_out_labels_of_several_images_and_frames():
    messages = (Message("user", "Image-1: <image>\nImage-2: <image>\nFrame3: <image>\nWhich one, Image-1?"),)
    assert blind(messages)[0].text == "Which one, Image-1?"


def test_language_is_chinese_from_a_fifth_of_the_characters_on():
    assert language_of("图中有几只猫?") == "zh"
    assert language_of("How many cats does 猫 name?") == "en"
    assert language_of("") == "en"


@given(st.text(), st.sampled_from(["<|im_end|>", "</s>", "<IMG_CONTEXT>"]), st.text())
def test_a_shielded_special_token_cannot_be_recognised_and_nothing_is_lost(before, special, after):
    text = (before + special + after).replace(SHIELD, "")
    pieces = shield(text, ["<IMG_CONTEXT>", "<|im_end|>", "</s>"]).split(SHIELD)
    assert "".join(pieces) == text
    assert not any(special in piece for piece in pieces)
