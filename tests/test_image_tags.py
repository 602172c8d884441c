"""Image tags of all dialects: placed where they stand, by their number, or taken out; none in a blind prompt."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmpr.image_tags import IMAGE_TAG, inline_images, place_tags, tag_words, without_tags
from mmpr.prompts import ask, blind, count_tags
from mmpr.sources.row_faults import RowFault
from mmpr.sources.row_tags import TaggedRow, placed
from mmpr.types import Question

NUMBERED = (
    "<image{}>",
    "<image {}>",
    "<image_{}>",
    "<|image_{}|>",
    "<image-{}>",
    "<Image {}>",
    "<|Image_{}|>",
    "<img{}>",
)
UNNUMBERED = (
    *("<image>", "<Image>", "<IMAGE>", "<ImageHere>", "<|image|>", "<img>a/b.png</img>", "(<image>./</image>)"),
    *(
        "<|vision_start|><|image_pad|><|vision_end|>",
        "<|begin_of_image|><|image|><|end_of_image|>",
        "<image_placeholder>",
    ),
    *("<im_start><image><im_end>", "<img><IMG_CONTEXT><IMG_CONTEXT></img>", "<start_of_image>", "<__media__>"),
    *("<|image_pad|><|image_pad|>", "<im_patch>"),
)
SOFT = ("[IMG]", "[image]", "[Image]", "<img>", "<img/>", '<img src="a.png">')
# What no blind prompt may have, written apart from the code that takes it out.
ANY_TAG = re.compile(
    r"<[|_]*\s*(image|img|im_|media|start_of_image|begin_of|end_of|vision)|</im|\[\s*(img|image)", re.I
)
WORDS = st.sampled_from(
    ["What is", "Compare", "with the one on the left.", "\n", " ", "How many?", "3 < 4", "[2, 3)", "图"]
)


def prompt_of(text, images, choices=(), history=(), answer=None):
    row = placed(TaggedRow(text, history, choices, images))
    question = Question(
        "q", "s", 0, row.text, history=row.history, images=row.images, choices=row.choices, answer=answer
    )
    return row, ask(question)


@st.composite
def tagged_texts(draw):
    """Texts with tags of one dialect, and the order of the images that they name."""
    n = draw(st.integers(1, 4))
    dialect = draw(st.sampled_from(NUMBERED + UNNUMBERED))
    numbers = draw(st.permutations(range(1, n + 1))) if "{}" in dialect else range(1, n + 1)
    pieces = []
    for number in numbers:
        pieces += [*draw(st.lists(WORDS, max_size=2)), dialect.format(number)]
    pieces += draw(st.lists(WORDS, min_size=1, max_size=3))
    return " ".join(pieces) + " Why?", [number - 1 for number in numbers]


@settings(max_examples=150)
@given(tagged_texts(), st.booleans())
def test_each_image_stands_where_its_tag_stood_and_a_blind_prompt_has_no_tag(tagged, with_answer):
    text, order = tagged
    names = tuple(f"{i}.png" for i in range(len(order)))
    row, messages = prompt_of(text, names, answer=("3",) if with_answer else None)
    assert row.images == tuple(names[place] for place in order)
    assert count_tags(m.text for m in messages) == len(row.images)
    seen = "".join(m.text for m in messages).replace(IMAGE_TAG, "")
    assert not ANY_TAG.search(seen)
    assert not ANY_TAG.search("".join(m.text for m in blind(messages)))


@settings(max_examples=150)
@given(st.lists(st.one_of(WORDS, st.sampled_from(UNNUMBERED + SOFT)), max_size=6), st.integers(1, 3))
def test_a_row_keeps_all_its_images_or_is_refused(pieces, n):
    names = tuple(f"{i}.png" for i in range(n))
    try:
        row, messages = prompt_of(" ".join([*pieces, "Why?"]), names)
    except RowFault as fault:
        assert "tags for" in fault.text
        return
    assert row.images == names and count_tags(m.text for m in messages) == n
    unseen = "".join(m.text for m in blind(messages)).replace('<img src="a.png">', "")
    assert not ANY_TAG.search(unseen)


@pytest.mark.parametrize(
    ("text", "images", "shown", "order"),
    [
        ("<image 2> or <image 1>? <image 2>!", 2, "<image> or <image>? <image>!", (1, 0, 1)),
        ("Look at <image 2>.", 2, "<image>\nLook at <image>.", (0, 1)),
        ("<image0> and <image1>", 2, "<image> and <image>", (0, 1)),
        ("<image>\n<image>\nIs <image 1> like <image 2>?", 2, "<image>\n<image>\nIs image 1 like image 2?", (0, 1)),
        ("[IMG]\nWhat?", 1, "<image>\nWhat?", (0,)),
        ("[IMG] [IMG]\nWhat?", 1, "What?", (0,)),
        ("[Image 1]\n[Image 2]\nIs [Image 1] like it?", 2, "<image>\n<image>\nIs image 1 like it?", (0, 1)),
        ("<image>\nWhat is in [IMG]?", 1, "<image>\nWhat is in the image?", (0,)),
        ("<image>\nWhat is it? <ImageHere>", 1, "<image>\nWhat is it? ", (0,)),
        ("See [Image 3] and [Image 1].", 2, "See image 3 and image 1.", (0, 1)),
        ("<Image>\nWhat?</Image>", 1, "<image>\nWhat?", (0,)),
        ("<image id=2> or <image: 1>?", 2, "<image> or <image>?", (1, 0)),
        ("[Image 2] or [Image 1]?", 2, "<image> or <image>?", (1, 0)),
        ("{image}\nWhat?", 1, "<image>\nWhat?", (0,)),
        ("What does f'{image}.png' name?", 1, "What does f'{image}.png' name?", (0,)),
        ("What does `<img src='a.png'>` need?", 1, "What does `<img src='a.png'>` need?", (0,)),
        ("Image 1: <img>a.png</img>\nWhat?", 1, "Image 1: <image>\nWhat?", (0,)),
    ],
)
def test_tags_and_what_becomes_of_them(text, images, shown, order):
    found = place_tags([text], tuple(range(images)))
    assert (found.texts, found.order) == ((shown,), order)


@pytest.mark.parametrize(
    "text",
    [
        "In HTML, what does <img src='a.png' alt=\"x\"> do?", "Which tag is void: `<img>` or <p>?",
        "What is [IMG] short for?",
        "What does f'{image}.png' give?", "The prompt says `<image 1>`. Why?", 'Why does "<|image_1|>" stand there?',
        "a <imagination> b", "Is x<image_width>y?",
    ],
)  # fmt: skip
def test_a_text_without_images_that_speaks_of_tags_stays_as_it_is(text):
    _, (message,) = prompt_of(text, ())
    assert message.text == text


@pytest.mark.parametrize("text", ["<image1>\nWhat?", "<ImageHere> What?", "<|image_1|> What?", "<image> What?"])
def test_a_tag_of_a_row_without_images_is_a_missing_image(text):
    with pytest.raises(RowFault, match="for 0 images"):
        prompt_of(text, ())


def test_a_number_that_no_image_has_is_named():
    assert place_tags(["What is <image 3>?"], (0, 1)).startswith("<image 3> without an image of that number (2 given)")
    found = place_tags(["What is <image 3>?"], (0, 2))
    assert (found.texts, found.order) == (("<image>\nWhat is <image>?",), (0, 2))


def test_an_image_that_only_the_text_names_is_the_rows():
    assert inline_images(["Image 1: <img>a b/c.png</img>\n<img>d.jpg</img>"]) == ["a b/c.png", "d.jpg"]
    row, (message,) = prompt_of("Image 1: <img>a.png</img>\nWhat?", ())
    assert row.images == ("a.png",) and message.text == "Image 1: <image>\nWhat?"
    assert blind((message,))[0].text == "What?"


def test_options_with_images_are_listed_in_the_text_where_their_images_stand():
    row, (message,) = prompt_of("Which?", ("x", "y"), choices=("<image 2>", "<image 1>", "none"), answer=("C",))
    assert row.text == "Which?\nA. <image>\nB. <image>\nC. none" and row.images == ("y", "x")
    assert message.text.count("A. ") == 1 and row.choices == ("<image>", "<image>", "none")
    row, _ = prompt_of("Which?\nA. <image 1>\nB. <image 2>", ("x", "y"), choices=("<image 1>", "<image 2>"))
    assert row.text == "Which?\nA. <image>\nB. <image>" and row.images == ("x", "y")


def test_a_tag_in_a_models_own_turn_is_a_word():
    row, _ = prompt_of("And?", ("x",), history=(("<image1> What?", "In <image1> a cat."),))
    assert row.history == (("<image> What?", "In image 1 a cat."),) and row.images == ("x",)
    assert tag_words("<|image_2|> and <image> [2, 3)") == "image 2 and <image> [2, 3)"


def test_what_is_a_tag():
    assert without_tags("Image-1: <image>\nIs it <|image_2|> red?") == "Is it red?"
    assert without_tags("Image: <image>\nImage B: <image>\nWhich image: it?") == "Which image: it?"


def test_the_tags_that_the_page_lists_are_tags():
    page = (Path(__file__).parent.parent / "docs" / "prompts.md").read_text()
    cells = [line.split(" | ")[0] for line in page.splitlines() if line.startswith(("| `<", "| `("))]
    tags = [tag.replace("\\|", "|") for cell in cells for tag in re.findall(r"`([^`]+)`", cell)]
    assert len(tags) >= 12
    for tag in tags:
        found = place_tags([f"{tag} What?"], (0,) if "2" not in tag else (0, 1))
        assert IMAGE_TAG in found.texts[0] and not ANY_TAG.search(found.texts[0].replace(IMAGE_TAG, "")), tag
