"""One record for each model family, with what an engine needs to know; the model's configuration names the family.

Where vLLM knows a fact itself (the placeholder of an image, the tokens that end a text), the engine asks vLLM, and a
test compares the record with vLLM. A model of another family works by its chat template; `UNKNOWN` has what is assumed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from mmpr.prompts import SYSTEM_MESSAGES
from mmpr.thought_marks import ALL_MARKS, HARMONY, KIMI, THINK, ThoughtMarks
from mmpr.types import Thinking

# An image processor knows a limit if an image of `WIDE` pixels has different numbers of tokens under its two values.
WIDE = (1024, 256)
_TILES, _PIXELS = (1, 4), (64 * 64, 512 * 512)
SWITCH = "enable_thinking"  # the argument that turns thinking on or off in the chat templates of all families


class Level(StrEnum):
    """How a record was tested; `docs/models.md` lists the level of each family.

    CLASS_RUN: the family's own class ran in vLLM with random weights and images. COMPARED: the record agrees with
    vLLM's classes and parsers. RECORD: not run.
    """

    CLASS_RUN = "class run"
    COMPARED = "template and markers compared"
    RECORD = "record only"


@dataclass(frozen=True, slots=True)
class Family:
    """What is known about a model family.

    Args:
        name: its common name.
        architectures: a model belongs to the family if its config.json has one of these architectures.
        language: the `model_type` of the language model must be one of these too. Empty: any.
        image: the text that stands for an image in a prompt.
        image_ends_line: whether a line break may follow an image; if not, the engine leaves it out.
        tile_argument: the image processor's argument for the most tiles of an image; None: it has no such limit.
        pixel_argument: the image processor's argument for the most pixels of an image; None: it has no such limit.
        stops: texts of the tokens that end a turn, for checkpoints whose generation_config does not list them.
        marks: around thoughts; None: the model does not think.
        thinking_message: name of the system message that makes the model think, if its chat template has no switch.
        always_thinks: whether every checkpoint of the family thinks, whatever the prompt requests.
        answer_marks: around a final answer, if the family has its own marks; the judge reads them as a box.
        level: how the record was tested.
        assumed: what was not checked on real weights.
    """

    name: str
    architectures: tuple[str, ...]
    language: tuple[str, ...] = ()
    image: str = "<image>"
    image_ends_line: bool = True
    tile_argument: str | None = None
    pixel_argument: str | None = None
    stops: tuple[str, ...] = ()
    marks: ThoughtMarks | None = None
    thinking_message: str | None = None
    always_thinks: bool = False
    answer_marks: tuple[str, str] | None = None
    level: Level = Level.RECORD
    assumed: str = ""


_CHATML = ("<|im_end|>",)  # some InternVL checkpoints do not list it in their generation_config
_QWEN_IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"

_INTERNVL = Family(
    "InternVL2, 2.5, 3",
    ("InternVLChatModel",),
    tile_argument="max_dynamic_patch",
    stops=_CHATML,
    level=Level.CLASS_RUN,
)
_INTERNVL3_5 = replace(
    _INTERNVL,
    name="InternVL3.5",
    language=("qwen3", "qwen3_moe"),
    marks=THINK,
    thinking_message="internvl_think",
    assumed="if its chat template has no switch, its system message makes it think",
)
_INTERNVL3_5_GPT_OSS = replace(
    _INTERNVL,
    name="InternVL3.5 GPT-OSS",
    language=("gpt_oss",),
    stops=(),
    marks=HARMONY,
    always_thinks=True,
    level=Level.RECORD,
    assumed="thoughts are on Harmony's channel analysis, the answer is on final",
)


def _hf(family: Family, name: str) -> Family:
    """Return the record of the same models as `-HF` checkpoints, which use the classes of transformers."""
    return replace(
        family,
        name=name,
        architectures=("InternVLForConditionalGeneration",),
        image="<IMG_CONTEXT>",
        tile_argument="max_patches",
    )


# `family_of` takes the first that fits. InternVL2 to 3.5 have the same architecture, and `_INTERNVL` accepts any
# language model, so the records that name their language models come first.
FAMILIES = (
    _INTERNVL3_5,
    _INTERNVL3_5_GPT_OSS,
    _INTERNVL,
    _hf(_INTERNVL3_5, "InternVL3.5 -HF"),
    _hf(_INTERNVL3_5_GPT_OSS, "InternVL3.5 GPT-OSS -HF"),
    replace(_hf(_INTERNVL, "InternVL2.5, 3 -HF"), assumed="the class was run with a Qwen3 language model"),
    Family(
        "Intern-S1",
        ("InternS1ForConditionalGeneration",),
        image="<IMG_CONTEXT>",
        tile_argument="max_patches",
        stops=_CHATML,
        marks=THINK,
        level=Level.COMPARED,
    ),
    Family(
        "Qwen2-VL, Qwen2.5-VL",
        ("Qwen2VLForConditionalGeneration", "Qwen2_5_VLForConditionalGeneration"),
        image=_QWEN_IMAGE,
        pixel_argument="max_pixels",
        stops=_CHATML,
        level=Level.CLASS_RUN,
        assumed="Qwen2-VL's class was run; Qwen2.5-VL's has the same placeholder and limit",
    ),
    Family(
        "Qwen3-VL",
        ("Qwen3VLForConditionalGeneration", "Qwen3VLMoeForConditionalGeneration"),
        image=_QWEN_IMAGE,
        pixel_argument="max_pixels",
        stops=_CHATML,
        marks=THINK,
        level=Level.CLASS_RUN,
        assumed="Thinking checkpoints always think: their chat template opens the thoughts",
    ),
    Family(
        "Qwen3.5, Intern-S2-Preview",
        (
            "Qwen3_5ForConditionalGeneration",
            "Qwen3_5MoeForConditionalGeneration",
            "InternS2PreviewForConditionalGeneration",
        ),
        image=_QWEN_IMAGE,
        pixel_argument="max_pixels",
        stops=_CHATML,
        marks=THINK,
        level=Level.COMPARED,
    ),
    Family(
        "GLM-4.1V, GLM-4.5V",
        ("Glm4vForConditionalGeneration", "Glm4vMoeForConditionalGeneration"),
        image="<|begin_of_image|><|image|><|end_of_image|>",
        marks=THINK,
        answer_marks=("<|begin_of_box|>", "<|end_of_box|>"),
        level=Level.COMPARED,
        assumed="vllm.mm_processor_kwargs.size.longest_edge limits the pixels of an image; max_pixels does not exist",
    ),
    Family(
        "Kimi-VL",
        ("KimiVLForConditionalGeneration",),
        image="<|media_start|>image<|media_content|><|media_pad|><|media_end|>",
        stops=_CHATML,
        marks=KIMI,
        level=Level.COMPARED,
        assumed="Thinking checkpoints always think; vLLM has no parser to compare their marks with",
    ),
    Family(
        "MiniCPM-V",
        ("MiniCPMV",),
        image="(<image>./</image>)",
        stops=_CHATML,
        marks=THINK,
        level=Level.COMPARED,
        assumed="4.5 has a switch for thinking in its chat template; the number of slices keeps the checkpoint's limit",
    ),
    Family(
        "Gemma 3",
        ("Gemma3ForConditionalGeneration",),
        image="<start_of_image>",
        image_ends_line=False,
        stops=("<end_of_turn>",),
        level=Level.CLASS_RUN,
        assumed="a line break after an image is left out of the prompt: with it, vLLM's class does not find the image",
    ),
    Family(
        "Llama 4",
        ("Llama4ForConditionalGeneration",),
        image="<|image|>",
        stops=("<|eot|>",),
        level=Level.COMPARED,
    ),
    Family(
        "Molmo2",
        ("Molmo2ForConditionalGeneration",),
        image="<|image|>",
        stops=_CHATML,
        level=Level.COMPARED,
        assumed="the number of crops keeps the checkpoint's limit",
    ),
    Family(
        "Ovis2.5",
        ("Ovis2_5", "Ovis2_6ForCausalLM", "Ovis2_6_MoeForCausalLM"),
        pixel_argument="max_pixels",
        stops=_CHATML,
        marks=THINK,
        level=Level.COMPARED,
    ),
)
UNKNOWN = Family(
    "unknown",
    (),
    tile_argument="max_dynamic_patch",
    pixel_argument="max_pixels",
    stops=_CHATML,
    assumed=(
        "its chat template and vLLM's image placeholder; limits are tested at the start; thoughts in <think>..</think> "
        "if the chat template names them"
    ),
)


TILE_ARGUMENTS = tuple(sorted({one.tile_argument for one in FAMILIES if one.tile_argument is not None}))
LIMITS = frozenset((*TILE_ARGUMENTS, *(one.pixel_argument for one in FAMILIES if one.pixel_argument is not None)))


def trial_values(limit: str) -> tuple[int, int]:
    """Return a low and a high value to try a limit of tiles or pixels with, on an image of `WIDE` pixels."""
    return _PIXELS if "pixels" in limit else _TILES


def family_of(architectures: Sequence[str], language: str | None) -> Family:
    """Return the first family with the model's architecture and language model; `UNKNOWN` if there is none.

    Args:
        architectures: the architectures in the model's config.json.
        language: `model_type` of its language model.
    """
    for family in FAMILIES:
        if set(family.architectures) & set(architectures) and (not family.language or language in family.language):
            return family
    return UNKNOWN


@dataclass(frozen=True, slots=True)
class ThinkingWay:
    """How a model is asked to think and how its thoughts are recognized, from its family and its chat template.

    Args:
        marks: around thoughts; None: the engine looks for no thoughts.
        switch: argument of the chat template; None: the template has no switch.
        message: system message that makes the model think, if there is no switch.
        opens: whether the chat template opens the thoughts if the prompt requests nothing.
        always: whether the model thinks whatever the prompt requests: by its family, or because the template opens.
    """

    marks: ThoughtMarks | None
    switch: str | None
    message: str | None
    opens: bool
    always: bool

    def arguments(self, thinking: Thinking | None) -> dict[str, bool]:
        """Return the arguments for the chat template."""
        if self.switch is None or thinking in (None, Thinking.AUTO):
            return {}
        return {self.switch: thinking is Thinking.ON}

    def system(self, thinking: Thinking | None) -> str | None:
        """Return the system message that is put before the prompt's own; None if no message is needed."""
        return self.message if thinking is Thinking.ON else None

    def fault(self, thinking: Thinking) -> str | None:
        """Return why the model cannot be made to think, or not to think; None if it can."""
        if self.switch is not None:
            return None
        if thinking is Thinking.ON and not (self.message or self.always):
            # a checkpoint such as Kimi-VL's Thinking thinks by itself, and its configuration does not say so
            auto = "; thinking=auto keeps the thoughts apart if it thinks by itself" if self.marks else ""
            return (
                f"thinking=on: the model cannot be asked to think: its chat template does not name {SWITCH}, and its "
                f"family has no system message for it; prompt_version=think asks in the instruction{auto}"
            )
        if thinking is Thinking.OFF and self.always:
            return f"thinking=off: the model always thinks, and its chat template names no {SWITCH}"
        return None


def thinking_way(family: Family, template: str, *, prompt_end: str = "") -> ThinkingWay:
    """Find out how a model thinks; a switch in the chat template takes precedence over the family's system message.

    Args:
        template: the text of the chat template.
        prompt_end: the end of a rendered prompt; the template may have opened the thoughts there.
    """
    switch = SWITCH if re.search(rf"\b{SWITCH}\b", template) else None
    marks = family.marks or (THINK if switch or THINK.start in template else None)
    message = None if switch or family.thinking_message is None else SYSTEM_MESSAGES[family.thinking_message]
    opens = marks is not None and is_open(prompt_end, marks)
    return ThinkingWay(marks, switch, message, opens, opens or (family.always_thinks and switch is None))


def is_open(prompt_end: str, marks: ThoughtMarks) -> bool:
    """Whether a rendered prompt ends inside thoughts, as Qwen3-VL's Thinking checkpoints do with `<think>\\n`."""
    return prompt_end.rstrip().endswith(marks.start)


def marks_in(text: str) -> ThoughtMarks:
    """Return the marks that occur in a text, or `<think>` if none do; for a server whose model is not known."""
    begun = text.lstrip()
    begins = next((marks for marks in ALL_MARKS if begun.startswith(marks.start)), None)
    return begins or next((marks for marks in ALL_MARKS if marks.end in text), THINK)


def described(family: Family, way: ThinkingWay, image: str, stops: Sequence[str]) -> tuple[str, ...]:
    """Describe the family that an engine found for its model, as lines.

    Args:
        image: vLLM's placeholder of an image.
        stops: the tokens that end a turn.
    """
    marks = "none known" if way.marks is None else f"{way.marks.start} .. {way.marks.end}"
    by = f"by {way.switch} of the chat template" if way.switch else "by a system message" if way.message else ""
    limits = [f"max_tiles is {family.tile_argument}"] if family.tile_argument else ["max_tiles must be null"]
    limits += [f"vllm.mm_processor_kwargs.{family.pixel_argument} limits pixels"] if family.pixel_argument else []
    lines = [
        f"{family.name} ({family.level})",
        f"placeholder of an image: {image}; {', '.join(limits)}",
        f"thoughts: {marks}" + (f", switched {by}" if by else ", without a switch" if way.marks else ""),
    ]
    lines += [f"ends of a turn: {' '.join(stops)}"]
    lines += [f"final answers: {' .. '.join(family.answer_marks)}"] if family.answer_marks else []
    return (*lines, f"assumed: {family.assumed}") if family.assumed else tuple(lines)
