from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpr.dropout import (
    Cut,
    completion_budget,
    completion_fault,
    completion_prompt,
    cut_draft,
    cut_text,
    draft_fault,
    follows,
    given_draft,
    pair_completions,
    usable_completions,
    with_ids,
)
from mmpr.errors import RequestRefused
from mmpr.prompts import ask
from mmpr.types import Continues, DecodedImage, Finish, Prefix, Prompt, Question, Reason, Response, Skip, Stage


def by_bytes(ids):
    return bytes(ids).decode(errors="replace")


def by_characters(ids):
    return "".join(map(chr, ids))


def draft(text, *, encode=lambda text: tuple(map(ord, text)), finish=Finish.STOP):
    ids = encode(text)
    return Response("q", Stage.DRAFT, 0, text, ids, len(ids), finish)


def completion(text, finish=Finish.STOP):
    return Response("q", Stage.COMPLETION, 0, text, (), len(text), finish)


def image(sha256):
    return DecodedImage(sha256, sha256, b"", 4, 4, "PNG", None)


def asked(question):
    images = tuple(image(name) for name in question.images)
    return Prompt(question.id, Stage.DRAFT, ask(question), images, max_tiles=2)


def test_the_cut_keeps_half_and_falls_between_words():
    cut = cut_draft(draft("the red circle is left of the blue square"), decode=by_characters)
    assert cut.prefix.text == "the red circle is"
    assert cut.remaining_tokens == len(" left of the blue square")


def test_fault_12_chinese_is_cut_in_the_middle():
    text = "图中有一只红色的圆和一个蓝色的方块,背景是白色的墙壁。"
    cut = cut_draft(draft(text), decode=by_characters)
    assert len(cut.prefix.text) == len(text) // 2
    assert text.startswith(cut.prefix.text)


def test_the_cut_never_breaks_a_character():
    text = "图中有一只红色的圆和一个蓝色的方块。"
    cut = cut_draft(draft(text, encode=lambda text: tuple(text.encode())), decode=by_bytes, keep_fraction=0.49)
    assert text.startswith(cut.prefix.text) and "\ufffd" not in cut.prefix.text


def test_a_long_word_without_a_boundary_is_too_short_to_cut():
    reason, detail = cut_draft(draft("w" * 40), decode=by_characters)
    assert reason is Reason.DRAFT_TOO_SHORT and "40 tokens" in detail


def test_under_eight_tokens_on_a_side_is_too_short():
    assert cut_draft(draft("a b c d e f g h"), decode=by_characters)[0] is Reason.DRAFT_TOO_SHORT
    assert isinstance(cut_draft(draft("a b c d e f g h i j"), decode=by_characters), Cut)


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=120), st.floats(0, 0.9))
def test_fault_13_the_kept_text_is_always_a_true_prefix(text, keep_fraction):
    response = draft(text, encode=lambda text: tuple(text.encode()))
    cut = cut_draft(response, decode=by_bytes, keep_fraction=keep_fraction)
    if isinstance(cut, Cut):
        assert text.startswith(cut.prefix.text) and cut.prefix.text != text
        assert cut.prefix.token_ids == response.token_ids[: len(cut.prefix.token_ids)]
        assert cut.kept_tokens + cut.remaining_tokens == response.n_tokens and cut.remaining_tokens >= 8
        assert cut.kept_tokens == len(cut.prefix.token_ids) >= (8 if keep_fraction else 0)


def test_fault_14_refusals_equal_endings_and_unfinished_texts_are_named():
    whole = draft("The cat sits on a mat and looks at a bird.")
    rest = whole.text[15:]
    assert completion_fault(rest, completion(rest))[0] is Reason.COMPLETION_EQUAL
    assert completion_fault(rest, completion(" a sofa.", Finish.LENGTH))[0] is Reason.COMPLETION_UNFINISHED
    assert completion_fault(rest, completion(" I cannot see the image."))[0] is Reason.COMPLETION_REFUSES
    assert completion_fault(rest, completion(" a sofa.")) is None
    assert draft_fault(draft("a", finish=Finish.LENGTH))[0] is Reason.DRAFT_UNFINISHED


@pytest.mark.parametrize(
    "text",
    [
        "I'm unable to view the image you mention.",
        "I can't see any image here.",
        "As no image was provided, I must guess.",
        "抱歉,我无法查看图片。",
    ],
)
def test_a_draft_that_refuses_is_no_chosen_side(text):
    assert draft_fault(draft(text))[0] is Reason.DRAFT_REFUSES


@pytest.mark.parametrize("text", ["You cannot see the sky in the image.", "The image shows no image frames."])
def test_what_an_image_lacks_is_no_refusal(text):
    assert draft_fault(draft(text)) is None


def test_the_blind_prompt_has_no_image_no_tag_and_the_same_words():
    question = Question("q", "s", 1, "Describe the image.", images=("a", "b"))
    cut = Cut(Prefix("The cat", (1, 2)), 10, 2)
    prompt = completion_prompt(asked(question), cut)
    assert prompt.images == () and prompt.max_tiles is None
    assert prompt.prefix == cut.prefix and prompt.stage is Stage.COMPLETION
    assert [m.text for m in prompt.messages] == ["Describe the image."]
    assert completion_budget(cut) == 20


def test_a_prompt_that_keeps_its_images_keeps_tags_labels_and_tiles():
    prompt = asked(Question("q", "s", 1, "Describe the image.", images=("a", "b")))
    cut, others = Cut(Prefix("The cat", (1, 2)), 10, 2), (image("c"), image("d"))
    seeing = completion_prompt(prompt, cut, others)
    assert (seeing.images, seeing.messages, seeing.max_tiles) == (others, prompt.messages, prompt.max_tiles)
    assert seeing.messages[0].text == "Image-1: <image>\nImage-2: <image>\nDescribe the image."
    assert (seeing.stage, seeing.prefix) == (Stage.COMPLETION, cut.prefix)


def test_where_nothing_is_kept_the_prompt_has_no_prefix():
    whole = draft("the red circle is left of the blue square")
    for cut in (cut_draft(whole, decode=by_characters, keep_fraction=0), cut_text(whole, keep_fraction=0)):
        assert (cut.prefix, cut.kept_tokens, cut.remaining_tokens) == (Prefix("", ()), 0, 41)
        assert completion_prompt(asked(Question("q", "s", 1, "?", images=("a",))), cut).prefix is None
    assert cut_text(whole, keep_fraction=0).continues is Continues.TEXT
    assert cut_draft(draft("red"), decode=by_characters, keep_fraction=0)[0] is Reason.DRAFT_TOO_SHORT


@given(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 0.9]), st.integers(150, 200))
def test_every_fraction_cuts_chinese_and_english_where_it_says(keep_fraction, n):
    chinese = ("图中有一只红色的圆和一个蓝色的方块," * 20)[:n]
    cut = cut_draft(draft(chinese), decode=by_characters, keep_fraction=keep_fraction)
    assert len(cut.prefix.text) == int(n * keep_fraction)
    words = ("the red cat " * 20)[:n]
    kept = len(cut_draft(draft(words), decode=by_characters, keep_fraction=keep_fraction).prefix.text)
    assert 0 <= n * keep_fraction - kept <= len(" the red")


def test_faulty_and_equal_endings_are_left_out_one_by_one():
    texts = [" a mat.", " a  sofa.", " I cannot see the image.", " a sofa.", "", " a bed."]
    completions = [replace(completion(text), index=index) for index, text in enumerate(texts)]
    assert [one.index for one in usable_completions(" a mat.", completions)] == [1, 5]
    assert usable_completions(" a mat.", completions[:1])[0] is Reason.COMPLETION_EQUAL
    assert usable_completions(" a mat.", [completions[4], completions[0]])[0] is Reason.COMPLETION_UNFINISHED


def test_the_widest_margins_make_the_first_pairs_and_a_cap_the_last():
    completions = [
        (replace(completion(" a"), index=i), scores) for i, scores in enumerate([(0, -1), (0, -3), (0, 0.5), None])
    ]
    pairs = pair_completions(draft("x"), completions, most=2)
    assert [(pair.rejected[1], pair.rank) for pair in pairs] == [(1, 0), (0, 1)]
    assert [pair.rejected[1] for pair in pair_completions(draft("x"), completions)] == [1, 0, 2, 3]
    assert [pair.rejected[1] for pair in pair_completions(draft("x"), completions, min_margin=0)] == [1, 0]
    assert isinstance(pair_completions(draft("x"), completions[2:], min_margin=0), Skip)
    unscored = [(one, None) for one, _ in completions]
    assert [pair.rejected[1] for pair in pair_completions(draft("x"), unscored, most=3)] == [0, 1, 2]


def test_a_given_draft_must_survive_the_tokenizer():
    question = Question("q", "s", 1, "Describe.", images=("a",), draft="A cat.")
    draft = given_draft(question, "A cat.", None, 2)
    assert with_ids(draft, (1, 2), "A cat.").text == "A cat."
    with pytest.raises(RequestRefused, match="chosen"):
        with_ids(draft, (1, 2), "A cat")


def test_without_token_ids_the_cut_falls_before_a_blank_and_shares_the_tokens_out():
    text = "the red circle (which is small) is left of it."
    cut = cut_text(Response("q", Stage.DRAFT, 0, text, (), 24, Finish.STOP), min_side_tokens=4)
    assert cut.prefix == Prefix("the red circle (which", ()) and cut.continues is Continues.TEXT
    assert (cut.kept_tokens, cut.remaining_tokens) == (11, 13)
    chinese = "图中有一只红色的圆和一个蓝色的方块,背景是白色的墙壁。"
    cut = cut_text(Response("q", Stage.DRAFT, 0, chinese, (), 24, Finish.STOP))
    assert len(cut.prefix.text) == len(chinese) // 2
    assert cut_text(Response("q", Stage.DRAFT, 0, "w" * 40, (), 40, Finish.STOP))[0] is Reason.DRAFT_TOO_SHORT


@given(st.text(st.sampled_from("ab. ,(\n图圆。é"), min_size=1, max_size=80), st.integers(1, 90), st.floats(0, 0.9))
def test_a_cut_text_is_a_true_prefix_whose_own_rest_follows_it(text, n_tokens, keep_fraction):
    cut = cut_text(Response("q", Stage.DRAFT, 0, text, (), n_tokens, Finish.STOP), keep_fraction=keep_fraction)
    if isinstance(cut, Cut):
        rest = text.removeprefix(cut.prefix.text)
        assert cut.kept_tokens + cut.remaining_tokens == n_tokens and cut.remaining_tokens >= 8
        if keep_fraction:
            assert rest and rest != text and follows(cut.prefix.text, rest) and not cut.prefix.text[-1].isspace()
            assert cut.kept_tokens >= 8


@pytest.mark.parametrize(
    ("prefix", "completion", "fits"),
    [
        ("a cat,", " and", True),
        ("a cat,", "and", False),
        ("a cat", "and", False),
        ("a cat", ", and", True),
        ("有一只", "红色的圆", True),
        ("图中有", "3个", True),
        ("a cat", "", True),
    ],
)
def test_a_word_that_begins_without_its_blank_does_not_follow(prefix, completion, fits):
    assert follows(prefix, completion) is fits


def test_a_given_draft_without_token_ids_has_the_length_that_was_counted():
    question = Question("q", "s", 1, "Describe.", images=("a",), draft="A cat.")
    given = given_draft(question, question.draft, None, 3)
    assert (given.text, given.n_tokens, given.token_ids, given.finish_reason) == ("A cat.", 3, (), Finish.STOP)
