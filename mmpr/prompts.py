"""Make the prompts for questions: instruction, answer format, language, image tags. Pure.

The instructions follow the versions of InternVL's `reasoning_data_pipeline` (2025-09): `final` (its en, zh) requests a
plain final answer, `boxed` (en_v2, zh_v2) a box on the last line, `think` (en_r1, zh_r1) thoughts in tags first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from mmpr.errors import ConfigError
from mmpr.image_tags import IMAGE_TAG, without_tags
from mmpr.option_letters import bare, lettered, lists_options
from mmpr.options import option
from mmpr.types import Message, Question, Thinking

VIDEO_TAG = "<video>"
QUESTION = "{question}"  # the place of the question in an instruction
PromptVersion = Literal["final", "boxed", "think", "given"]
SHIELD = "\ue000"  # a private-use character: an engine divides a text here before it tokenizes the parts

_FINAL = {
    "en": (
        "Your task is to answer the question below. Give step by step reasoning before you answer, and when you're "
        'ready to answer, please use the format "Final Answer: ..".\n\nQuestion:\n\n{question}'
    ),
    "zh": (
        "你的任务是回答以下问题。在回答之前,请逐步推理说明您的思路。当你准备好给出答案时,请使用以下格式:"
        "“最终答案: ..”。\n\n问题:\n\n{question}"
    ),
}
_BOXED = {
    "en": (
        "Answer the question below. Reason step by step. The last line of your response must be of the form "
        '"Final Answer: \\boxed{..}".\n\nQuestion:\n\n{question}'
    ),
    "zh": "回答以下问题,请逐步推理。回答的最后一行必须是“最终答案: \\boxed{..}”。\n\n问题:\n\n{question}",
}
_THINK = {
    "en": (
        "Answer the question below. First think between <think> and </think>, then give the answer "
        'as "Final Answer: \\boxed{..}".\n\nQuestion:\n\n{question}'
    ),
    "zh": (
        "回答以下问题。先在 <think> 和 </think> 之间思考,然后以“最终答案: \\boxed{..}”给出答案。\n\n问题:\n\n{question}"
    ),
}
GIVEN = "given"  # the question unchanged, without an instruction
VERSIONS = {"final": _FINAL, "boxed": _BOXED, "think": _THINK, GIVEN: dict.fromkeys(("en", "zh"), QUESTION)}

# The system messages with which the InternVL models were trained. The models' own `chat` method adds them; the chat
# templates of their tokenizers may not. Source: `conversation.py` in their repositories (InternVL3 uses that of 2.5)
# and their model cards.
_INTERNVL2 = (
    "你是由上海人工智能实验室联合商汤科技开发的书生多模态大模型，英文名叫InternVL, 是一个有用无害的人工智能助手。"
)
_INTERNVL2_5 = (
    "你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合开发的多模态大语言模型。"
)
_INTERNVL_THINK = (
    "You are an AI assistant that rigorously follows this response protocol:\n\n1. First, conduct a detailed analysis "
    "of the question. Consider different angles, potential solutions, and reason through the problem step-by-step. "
    "Enclose this entire thinking process within <think> and </think> tags.\n\n2. After the thinking section, provide "
    "a clear, concise, and direct answer to the user's question. Separate the answer from the think section with a "
    "newline.\n\nEnsure that the thinking process is thorough but remains focused on the query. The final answer "
    "should be standalone and not reference the thinking section."
)
SYSTEM_MESSAGES = {
    "internvl2": _INTERNVL2,
    "internvl2_5": _INTERNVL2_5,
    "internvl3": _INTERNVL2_5,
    "internvl_think": _INTERNVL_THINK,
}


@dataclass(frozen=True, slots=True)
class PromptOptions:
    """How questions are asked.

    Raises:
        ConfigError: the template cannot be an instruction, no system message has the given name, or `thinking` is set
            although the instruction requests thoughts itself.
    """

    version: PromptVersion = option(
        "final", "the instruction and the form of the final answer; given: no instruction, any form"
    )
    answer_form: Literal["final", "boxed", "think", "any"] | None = option(
        None, "form of the final answer that the judge expects; None: that of prompt_version"
    )
    template: dict[str, str] | None = option(None, "file with your own instruction; the run stores its text")
    system_message: str | None = option(
        None, f"system message for rows without one: a text, or {', '.join(SYSTEM_MESSAGES)}"
    )
    thinking: Thinking = option(
        Thinking.AUTO, "whether the model thinks before it answers: off, on, or auto: as its chat template has it"
    )

    @property
    def thinks(self) -> Thinking | None:
        """The value of `Prompt.thinking`; None if the instruction requests thoughts as a part of the answer."""
        return None if "think" in (self.version, self.answer_form) else self.thinking

    def __post_init__(self) -> None:
        if self.thinks is None and self.thinking is not Thinking.AUTO:
            raise ConfigError(
                f"thinking: {self.thinking} does not go with the form `think`, whose instruction asks for thoughts in "
                "the answer itself: leave thinking at auto, or choose another prompt_version"
            )
        if self.template is not None:
            if self.template.keys() != {"en", "zh"}:
                raise ConfigError("prompt_template: must have a text for en and one for zh")
            for fault in filter(None, map(template_fault, self.template.values())):
                raise ConfigError(f"prompt_template: {fault}")
        named = self.system_message
        # One ASCII word cannot be a system message: `internvl2.5` is a mistyped name.
        if named and named.isascii() and not re.search(r"\s", named) and named not in SYSTEM_MESSAGES:
            names = ", ".join(SYSTEM_MESSAGES)
            raise ConfigError(f"system_message: no system message is named {named!r}: {names}, or a text")


# Benchmarks append these to their questions, and the original pipeline removes them: they contradict "step by step".
# All request a few words. So `sources.turns` takes the reply to a question with such an end as the reference answer.
_SUFFIXES = (
    "Answer the question using a single word or phrase.",
    "Answer the question with a single word or phrase.",
    "Answer with a single word or phrase.",
    "Answer with the option's letter from the given choices directly.",
    "Answer with the option’s letter from the given choices directly.",
    "Answer with the option letter from the given choices directly.",
    "Answer with the option's letter from the given choices.",
    "Please respond with only the letter of the correct answer.",
    "Please answer Yes or No.",
    "Please answer yes or no.",
    "Answer yes or no.",
    "Give a very brief answer.",
    "请直接回答选项字母。",
    "请用单个词或短语回答问题。",
    "用单个词或短语回答问题。",
)
_VIDEO = re.compile(r"<video>[ \t]*\n?")
_FRAME = re.compile(r".#frame=[1-9]\d*/[1-9]\d*$")
_CJK = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")


def language_of(text: str) -> str:
    """Return `zh` if at least a fifth of the non-space characters are Chinese, else `en`."""
    n_visible = sum(map(len, text.split()))
    return "zh" if 5 * len(_CJK.findall(text)) >= max(1, n_visible) else "en"


def count_tags(texts: Iterable[str]) -> int:
    """Return the number of `<image>` tags in the texts."""
    return sum(text.count(IMAGE_TAG) for text in texts)


def has_media_tag(text: str) -> bool:
    """Whether a text has a tag that trainers replace by media; in an answer, it would ask for an image too many."""
    return any(tag in text for tag in ("<image>", "<video>", "<audio>"))


def strip_suffix(text: str) -> str:
    """Return the question without a benchmark's instruction at its end ("Please answer Yes or No.")."""
    stripped = text.rstrip()
    for suffix in _SUFFIXES:
        if stripped.endswith(suffix) and len(stripped) > len(suffix):
            return stripped[: -len(suffix)].rstrip()
    return stripped


def is_frame(reference: str) -> bool:
    """Whether an image's reference is a frame of a video, such as `clip.mp4#frame=3/8`."""
    # Only the end is searched: a data URI may have megabytes.
    return _FRAME.search(reference[-40:]) is not None and not reference.startswith("data:")


def with_tags(text: str, images: Sequence[str]) -> str:
    """Return the text with a tag for each image.

    A text with tags is not changed. Otherwise the tags are put before the text; several are numbered as in InternVL
    ("Image-1: <image>").
    """
    if not images or IMAGE_TAG in text:
        return text
    if is_frame(images[0]):
        return with_frames(VIDEO_TAG + text, len(images))
    if len(images) == 1:
        return f"{IMAGE_TAG}\n{text}"
    return "".join(f"Image-{i}: {IMAGE_TAG}\n" for i in range(1, len(images) + 1)) + text


def with_frames(text: str, n_frames: int) -> str:
    """Return the text with each `<video>` replaced by a line per frame, numbered as in InternVL ("Frame1: <image>")."""
    lines = "".join(f"Frame{i}: {IMAGE_TAG}\n" for i in range(1, n_frames + 1))
    return _VIDEO.sub(lines, text)


def with_choices(question: Question) -> str:
    """Return the question's text followed by its options, one per line with a letter, unless the text lists them."""
    choices = bare(question.choices)
    if not choices or lists_options(question.text, choices):
        return question.text
    return f"{question.text}\n{lettered(choices)}"


def template_fault(template: str) -> str | None:
    """Return why a text cannot be an instruction around questions; None if it can."""
    if template.count(QUESTION) != 1:
        return f"must say {QUESTION} once, where the question goes; it says so {template.count(QUESTION)} times"
    if has_media_tag(template):
        return "must have no <image> or <video> tag: images are put in front, or where the question has their tags"
    return None


def ask(question: Question, options: PromptOptions = PromptOptions()) -> tuple[Message, ...]:
    """Return the messages of a question; only a question with a reference answer gets the instruction.

    The question's `text` may have `<image>` tags; their number must be `len(question.images)` or 0. The language of
    the instruction is that of the question. The question's own system message takes precedence over that of the
    options.
    """
    bare = question.text if options.version == GIVEN else strip_suffix(question.text)
    text = with_choices(replace(question, text=bare))
    if question.answer is not None:
        text = (options.template or VERSIONS[options.version])[question.language].replace(QUESTION, text)
    named = options.system_message
    instruction = question.system or (named and SYSTEM_MESSAGES.get(named, named))
    turns = [Message("system", instruction)] if instruction else []
    spoken = [turn for pair in question.history for turn in pair]
    texts = _place_tags([*spoken, text], question.images)
    turns += [Message("assistant" if i % 2 else "user", text) for i, text in enumerate(texts)]
    return tuple(turns)


def _place_tags(texts: list[str], images: Sequence[str]) -> list[str]:
    if count_tags(texts) == 0:
        texts = [with_tags(texts[0], images), *texts[1:]]
    return texts


def blind(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Return the same messages without the tags and labels of images; nothing else is changed."""
    return tuple(Message(m.role, without_tags(m.text)) for m in messages)


def shield(text: str, specials: Iterable[str]) -> str:
    """Return the text with `SHIELD` inside each special token, so that the parts contain no special token.

    A question may contain `<|im_end|>`. Tokenized as "<" and "|im_end|>", it is plain text for the model and does not
    end the turn.

    Args:
        text: a message; any `SHIELD` in it is removed first.
        specials: the texts that the tokenizer turns into one special token, longest first.
    """
    text = text.replace(SHIELD, "")
    for special in specials:
        if len(special) > 1 and special != IMAGE_TAG:
            text = text.replace(special, special[0] + SHIELD + special[1:])
    return text
