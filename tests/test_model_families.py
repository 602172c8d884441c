"""The records of model families: found from a configuration, compared with vLLM's own classes, shown in the docs."""

from pathlib import Path

import pytest

from mmpr.engines.families import (
    ALL_MARKS,
    FAMILIES,
    HARMONY,
    KIMI,
    LIMITS,
    SWITCH,
    THINK,
    UNKNOWN,
    Level,
    described,
    family_of,
    marks_in,
    thinking_way,
)
from mmpr.prompts import SYSTEM_MESSAGES
from mmpr.settings.config import load
from mmpr.settings.presets import preset_names
from mmpr.types import Thinking
from tests.tiny_models import GEMMA, OPENS, PLAIN, SWITCHED, write_tokenizer

ON, OFF, AUTO = Thinking.ON, Thinking.OFF, Thinking.AUTO
# The parsers of thoughts that vLLM names for a family's models.
PARSERS = {
    "Qwen3-VL": "qwen3",
    "Qwen3.5, Intern-S2-Preview": "qwen3",
    "GLM-4.1V, GLM-4.5V": "glm45",
    "MiniCPM-V": "minicpmv",
    "InternVL3.5": "deepseek_r1",
    "Intern-S1": "deepseek_r1",
    "Ovis2.5": "qwen3",
}


def by_name(name):
    return next(one for one in FAMILIES if one.name == name)


@pytest.mark.parametrize(
    ("architecture", "language", "name"),
    [
        ("InternVLChatModel", "internlm2", "InternVL2, 2.5, 3"),
        ("InternVLChatModel", "qwen2", "InternVL2, 2.5, 3"),
        ("InternVLChatModel", None, "InternVL2, 2.5, 3"),
        ("InternVLChatModel", "qwen3", "InternVL3.5"),
        ("InternVLChatModel", "qwen3_moe", "InternVL3.5"),
        ("InternVLChatModel", "gpt_oss", "InternVL3.5 GPT-OSS"),
        ("InternVLForConditionalGeneration", "qwen2", "InternVL2.5, 3 -HF"),
        ("InternVLForConditionalGeneration", "qwen3", "InternVL3.5 -HF"),
        ("InternVLForConditionalGeneration", "gpt_oss", "InternVL3.5 GPT-OSS -HF"),
        ("Qwen2_5_VLForConditionalGeneration", "qwen2_5_vl_text", "Qwen2-VL, Qwen2.5-VL"),
        ("Qwen3VLMoeForConditionalGeneration", "qwen3_vl_moe_text", "Qwen3-VL"),
        ("Glm4vMoeForConditionalGeneration", "glm4v_moe_text", "GLM-4.1V, GLM-4.5V"),
        ("KimiVLForConditionalGeneration", "deepseek_v3", "Kimi-VL"),
        ("Gemma3ForConditionalGeneration", "gemma3_text", "Gemma 3"),
        ("LlavaForConditionalGeneration", "llama", "unknown"),
    ],
)
def test_a_family_is_found_from_the_configuration(architecture, language, name):
    assert family_of([architecture], language).name == name


def test_families_have_names_of_their_own_and_an_unknown_one_says_what_is_assumed():
    assert len({one.name for one in FAMILIES}) == len(FAMILIES)
    assert UNKNOWN.assumed and UNKNOWN not in FAMILIES
    assert {"max_dynamic_patch", "max_patches", "max_pixels"} == LIMITS
    assert {one.thinking_message for one in FAMILIES} - {None} <= SYSTEM_MESSAGES.keys()


def test_a_template_with_a_switch_is_switched_by_it_whatever_the_family():
    for family in (*FAMILIES, UNKNOWN):
        way = thinking_way(family, SWITCHED)
        assert way.switch == SWITCH and way.marks is not None and way.system(ON) is None
        assert way.arguments(ON) == {SWITCH: True} and way.arguments(OFF) == {SWITCH: False}
        assert way.arguments(AUTO) == way.arguments(None) == {}
        assert way.fault(ON) is way.fault(OFF) is None


def test_without_a_switch_a_family_thinks_by_its_message_or_by_itself_or_not_at_all():
    r1 = thinking_way(by_name("InternVL3.5"), PLAIN)
    assert r1.system(ON) == SYSTEM_MESSAGES["internvl_think"] and r1.system(AUTO) is r1.system(OFF) is None
    assert r1.fault(ON) is r1.fault(OFF) is None and r1.arguments(ON) == {}
    for name in ("Qwen3-VL", "Kimi-VL", "GLM-4.1V, GLM-4.5V", "Ovis2.5"):  # a checkpoint may think by itself, or not
        way = thinking_way(by_name(name), PLAIN)
        assert "thinking=auto keeps the thoughts apart" in way.fault(ON) and way.fault(OFF) is None
    gpt_oss = thinking_way(by_name("InternVL3.5 GPT-OSS"), PLAIN)
    assert gpt_oss.fault(ON) is None and "always thinks" in gpt_oss.fault(OFF)
    always = thinking_way(by_name("Qwen3-VL"), OPENS, prompt_end="<|im_start|>assistant\n<think>\n")
    assert always.opens and always.fault(ON) is None and "always thinks" in always.fault(OFF)
    for family in (by_name("InternVL2, 2.5, 3"), by_name("Gemma 3"), UNKNOWN):
        way = thinking_way(family, PLAIN)
        assert way.marks is None and "cannot be asked to think" in way.fault(ON) and way.fault(OFF) is None
    assert thinking_way(UNKNOWN, OPENS).marks is THINK


def test_marks_are_told_apart_by_a_text():
    for marks in ALL_MARKS:
        assert marks_in(marks.closed("two") + "Final Answer: 2") is marks
        assert marks_in(f"two{marks.end}Final Answer: 2") is marks
    assert marks_in("Final Answer: 2") is THINK


def test_a_description_names_what_was_found():
    family = by_name("GLM-4.1V, GLM-4.5V")
    lines = described(family, thinking_way(family, SWITCHED), family.image, ("<|im_end|>",))
    text = "\n".join(lines)
    for words in (
        family.name,
        family.image,
        "ends of a turn: <|im_end|>",
        "<think> .. </think>",
        SWITCH,
        "<|begin_of_box|>",
        "max_tiles must be null",
    ):
        assert words in text


def test_presets_load_and_say_nothing_that_their_family_has_no_word_for():
    for name in set(preset_names()) - {"pocket"}:
        config = load(Path(name), [], pocket=False)
        tiles = "internvl" in name
        assert (config.images.max_tiles is not None) == tiles, name
        assert config.engine.trust_remote_code == (not name.endswith("-hf")) or not tiles, name
        assert "*" not in config.engine.model and config.engine.model.count("/") == 1


def test_the_table_of_the_docs_is_that_of_the_records():
    page = (Path(__file__).parents[1] / "docs" / "models.md").read_text(encoding="utf-8")
    table = page.split("| family |")[1].split("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in (t.replace("\\|", "¦") for t in table)]
    shown = {row[0]: row[1:] for row in rows}
    assert list(shown) == [one.name for one in FAMILIES]
    for family in FAMILIES:
        image, limit, thoughts, level, assumed = (cell.replace("¦", "|").strip("`") for cell in shown[family.name])
        assert image == family.image
        assert limit == (family.tile_argument or family.pixel_argument or "none")
        assert thoughts == {None: "none", THINK: "<think>", KIMI: "◁think▷", HARMONY: "Harmony channels"}[family.marks]
        assert (level, assumed) == (family.level.value, family.assumed or "nothing")


@pytest.mark.engine
@pytest.mark.filterwarnings("ignore")
def test_what_stands_for_an_image_is_what_vllms_own_classes_say():
    import torch  # noqa: F401 before transformers
    from vllm.model_executor.models.registry import ModelRegistry

    for family in FAMILIES:
        for architecture in family.architectures:
            found = ModelRegistry._try_load_model_cls(architecture)
            assert found.get_placeholder_str("image", 1) == family.image, architecture


@pytest.mark.engine
@pytest.mark.filterwarnings("ignore")
def test_marks_of_thoughts_are_those_of_vllms_own_parsers(tmp_path):
    from vllm.reasoning import ReasoningParserManager

    tokenizer = write_tokenizer(
        tmp_path, ("<|endoftext|>", "<|im_start|>", "<|im_end|>"), SWITCHED, plain=("<think>", "</think>")
    )
    for name, parser in PARSERS.items():
        found = ReasoningParserManager.get_reasoning_parser(parser)(tokenizer)
        marks = by_name(name).marks
        assert (found.reasoning_start_str, found.reasoning_end_str) == (marks.start, marks.end), name
    thinks = {one.name for one in FAMILIES if one.marks is THINK and one.level is not Level.RECORD}
    assert thinks - PARSERS.keys() == {"InternVL3.5 -HF"}


def test_a_family_that_ends_turns_otherwise_has_its_stop():
    assert "<end_of_turn>" in GEMMA and by_name("Gemma 3").stops == ("<end_of_turn>",)
    assert by_name("Llama 4").stops == ("<|eot|>",)
