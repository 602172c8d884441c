"""Models that think, with a scripted engine: thoughts apart, judged without them, cut behind them."""

import asyncio
import json
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpr import checking
from mmpr.builder.answer import answer
from mmpr.builder.build_flow import build, pair_again
from mmpr.builder.engine_choice import endpoint_options, engine_options
from mmpr.builder.progress import Progress
from mmpr.builder.progress_views import shown
from mmpr.dropout import Cut, cut_text
from mmpr.engines.families import marks_in
from mmpr.engines.protocol import Pulse, Sampling
from mmpr.engines.scripted import ScriptedEngine
from mmpr.engines.thoughts import split_given, split_ids, split_text
from mmpr.errors import ConfigError, RequestRefused
from mmpr.judging import Judge
from mmpr.pool import Beat
from mmpr.prompts import PromptOptions
from mmpr.run.stored_verdicts import verdicts_on
from mmpr.settings.config import BuildConfig, load, merge
from mmpr.thought_marks import ALL_MARKS, HARMONY, KIMI, THINK
from mmpr.types import (
    Continues,
    DecodedImage,
    Finish,
    Message,
    Outcome,
    Prompt,
    Question,
    Reason,
    Response,
    Stage,
    Thinking,
)
from mmpr.verification import verify
from tests.recipes import changed_recipe, make_recipe

DRAFT = "In the image there is a red circle and a blue square on a white wall."
RECIPE = make_recipe(
    prompt=PromptOptions(thinking=Thinking.ON), n=4, max_tokens=400, draft_max_tokens=400, min_side_tokens=8
)
IMAGE = DecodedImage("a", "a", b"", 8, 8, "PNG", None)
OPEN = Question("d", "s", 1, "Describe the image.", images=("x",))


def script(prompt, index):
    """Thinks where it is asked to; the third sampled response never ends its thoughts, the fourth is wrong."""
    if prompt.prefix is not None:
        return " there is a green cat beside a tree."
    said = DRAFT if prompt.stage is Stage.DRAFT else f"Final Answer: {3 if index == 3 else 2}"
    if prompt.thinking is not Thinking.ON:
        return said
    if prompt.stage is Stage.SAMPLE and index % 4 == 2:
        return "<think>\nIt may be 7, or " + "it may be 8, or " * 40
    return f"<think>\nFinal Answer: 9? Thought {index} sees two circles.\n</think>\n\n{said}"


async def thinking_engine():
    return ScriptedEngine(script)


def asked(question, engine, recipe=RECIPE):
    return asyncio.run(answer(question, engine, recipe, lambda _: (IMAGE,)))


# -- apart ------------------------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="<◁\x00"), max_size=40)


@given(
    thoughts=TEXT,
    text=TEXT,
    marks=st.sampled_from(ALL_MARKS),
    opened=st.booleans(),
    blank=st.sampled_from(["", "\n", "\n\n"]),
)
def test_thoughts_and_text_come_apart_in_ids_and_in_texts(thoughts, text, marks, opened, blank):
    whole = ("" if opened else marks.start) + f"{blank}{thoughts}{blank}{marks.end}{blank}{text}"
    ids = tuple(map(ord, whole))
    found, n_ids = split_ids(ids, marks, is_open=opened, decode=decode)
    assert found == thoughts.strip() and decode(ids[n_ids:]) == text.lstrip()
    assert split_text(whole, marks, is_open=opened) == (thoughts.strip(), text.lstrip())


@given(text=TEXT, marks=st.sampled_from(ALL_MARKS))
def test_what_begins_with_no_mark_has_no_thoughts_and_what_ends_with_none_is_all_thoughts(text, marks):
    ids = tuple(map(ord, text))
    assert split_ids(ids, marks, is_open=False, decode=decode) == (None, 0)
    assert split_text(text, marks, is_open=False) == (None, text)
    begun = marks.start + text
    assert split_ids(tuple(map(ord, begun)), marks, is_open=False, decode=decode) == (text.strip(), len(begun))
    assert split_text(begun, marks, is_open=False) == (text.strip(), "")


@pytest.mark.parametrize("marks", ALL_MARKS)
@pytest.mark.parametrize(
    ("shape", "text"),
    [
        ("S a S b E c E\nFinal Answer: 3", "Final Answer: 3"),  # one thought within another
        ("S a E\nS b, Final Answer: 9 E\nFinal Answer: 3", "Final Answer: 3"),  # it thinks again
        ("S a E E\nFinal Answer: 3", "Final Answer: 3"),
        ("S a E\nFinal Answer: 3\nS and yet", ""),  # the last one is not closed: nothing is an answer
        ("S S a", ""),
        ("S E", ""),
        ("So 9? No. E\nFinal Answer: 3", "Final Answer: 3"),  # the start mark is left out
        ("Well,\nS a, 9 E\nFinal Answer: 3", "Final Answer: 3"),  # it begins to think after some words
        ("Final Answer: 9. S or is it", ""),
    ],
)
def test_no_thought_stays_in_what_is_judged_however_often_a_model_thinks(marks, shape, text):
    whole = shape.replace("S", marks.start).replace("E", marks.end)
    ids = tuple(map(ord, whole))
    thoughts, n_ids = split_ids(ids, marks, is_open=False, decode=decode)
    assert thoughts is not None and decode(ids[n_ids:]) == text
    assert split_text(whole, marks, is_open=False) == (thoughts, text)


@pytest.mark.parametrize("marks", ALL_MARKS)
def test_a_text_of_a_file_may_quote_a_mark_and_only_thoughts_at_its_beginning_count(marks):
    assert split_given(f"{marks.start}a{marks.end}\nb") == ("a", "b")
    assert split_given(f"{marks.start}a, Final Answer: 5") == ("a, Final Answer: 5", "")
    for text in ("b", f"It writes {marks.start} first.", f"It writes {marks.end} last."):
        assert split_given(text) == (None, text)


@pytest.mark.parametrize("continues", [Continues.EXACT, Continues.TEXT])
@pytest.mark.parametrize("marks", ALL_MARKS)
def test_a_draft_that_the_source_gives_is_cut_behind_its_thoughts(continues, marks):
    engine = ScriptedEngine(script, continues=continues, marks=marks)
    given = replace(OPEN, draft=f"{marks.start}\nTwo shapes, one of them red.\n{marks.end}\n\n{DRAFT}")
    answered = asked(given, engine)
    draft = answered.responses[0]
    assert (draft.text, draft.thoughts) == (DRAFT, "Two shapes, one of them red.") and answered.skip is None
    assert DRAFT.startswith(answered.cut.prefix.text) and answered.cut.prefix.thoughts == draft.thoughts
    unclosed = asked(replace(OPEN, draft=f"{marks.start}\nTwo shapes. {DRAFT}"), engine)
    assert unclosed.skip.reason is Reason.DRAFT_UNFINISHED


@pytest.mark.parametrize("marks", ALL_MARKS)
def test_the_judge_reads_no_thought_of_any_family(marks):
    question = Question("q", "s", 0, "How many?", answer=("2",))
    for text, outcome in (
        (f"{marks.start}Final Answer: 9{marks.end}Final Answer: 2", Outcome.CORRECT),
        (f"{marks.start}It is clear. Final Answer: 2", Outcome.UNPARSED),
    ):
        with Judge() as judge:
            assert judge.judge_all(question, [text])[0].outcome is outcome, text


def test_the_marks_that_a_text_begins_with_are_its_own():
    assert marks_in(f"{KIMI.start} a {THINK.end} b {KIMI.end}Final Answer: 3") is KIMI
    assert marks_in(f"a {KIMI.end} b") is KIMI


def test_a_token_that_holds_the_end_of_thoughts_and_more_is_refused_not_lost():
    pieces = ["<think>", "two", "</think>x", " y"]
    with pytest.raises(RequestRefused, match="one token has"):
        split_ids(range(4), THINK, is_open=False, decode=lambda ids: "".join(pieces[i] for i in ids))
    pieces[2] = "</think>\n\n"
    assert split_ids(range(4), THINK, is_open=False, decode=lambda ids: "".join(pieces[i] for i in ids)) == ("two", 3)


def decode(ids):
    return "".join(map(chr, ids))


@pytest.mark.parametrize("marks", [THINK, KIMI, HARMONY])
def test_an_engine_keeps_thoughts_apart_unless_the_instruction_asks_for_them(marks):
    engine = ScriptedEngine(lambda prompt, index: f"{marks.start}\ntwo\n{marks.end}\n\nFinal Answer: 2", marks=marks)
    plain = Prompt("q", Stage.SAMPLE, (Message("user", "How many?"),))
    (apart,) = asyncio.run(engine.generate(replace(plain, thinking=Thinking.AUTO), Sampling(max_tokens=200)))
    assert (apart.thoughts, apart.text) == ("two", "Final Answer: 2") and apart.n_tokens > apart.text_tokens == 15
    (whole,) = asyncio.run(engine.generate(plain, Sampling(max_tokens=200)))
    assert whole.thoughts is None and whole.text.startswith(marks.start)


# -- one question -----------------------------------------------------------------------------------------------------


def test_a_draft_is_cut_behind_its_thoughts_which_stand_closed_in_the_prefix():
    engine = ScriptedEngine(script)
    answered = asked(OPEN, engine)
    draft, completion = answered.responses
    assert draft.text == DRAFT and draft.thoughts.endswith("sees two circles.") and answered.skip is None
    prefix = engine.prompts[-1].prefix
    assert prefix == answered.cut.prefix and DRAFT.startswith(prefix.text) and "think" not in prefix.text
    assert prefix.thoughts == draft.thoughts and engine.decode(prefix.thought_ids).endswith("</think>\n\n")
    assert engine.decode(draft.token_ids) == DRAFT and len(prefix.token_ids) <= len(DRAFT) / 2
    assert engine.prompts[-1].thinking is Thinking.ON and completion.thoughts is None
    assert engine.decode((*prefix.token_ids, *completion.token_ids)) == prefix.text + completion.text


def test_where_nothing_of_a_draft_stays_its_thoughts_do_not_either():
    engine = ScriptedEngine(
        lambda p, i: script(p, i) if p.images else f"<think>\nblind\n</think>\n\n{DRAFT.replace('red', 'tan')}"
    )
    answered = asked(OPEN, engine, changed_recipe(RECIPE, keep_fraction=0))
    assert engine.prompts[-1].prefix is None and answered.responses[-1].thoughts == "blind"
    assert answered.responses[-1].text == DRAFT.replace("red", "tan") and answered.skip is None


def test_a_draft_that_only_thinks_is_unfinished():
    for end, most in (("", 30), ("", 400), ("</think>\n\n", 400)):
        engine = ScriptedEngine(lambda p, i, end=end: "<think>It may be a circle, or a square, or a ball." + end)
        answered = asked(OPEN, engine, changed_recipe(RECIPE, draft_max_tokens=most))
        assert answered.skip.reason is Reason.DRAFT_UNFINISHED, (end, most)
        assert answered.responses[0].text == "" and answered.responses[0].only_thinks


def test_a_text_is_cut_behind_its_thoughts_by_its_own_share_of_tokens():
    draft = Response("d", Stage.DRAFT, 0, DRAFT, (), 100, Finish.STOP, thoughts="t" * 331)
    assert draft.text_tokens == round(100 * len(DRAFT) / (len(DRAFT) + 331)) == 17
    cut = cut_text(draft, min_side_tokens=4)
    assert (
        isinstance(cut, Cut) and cut.prefix.thoughts == draft.thoughts and cut.kept_tokens + cut.remaining_tokens == 17
    )
    engine = ScriptedEngine(script, continues=Continues.TEXT)
    answered = asked(OPEN, engine, changed_recipe(RECIPE, min_side_tokens=4))
    assert answered.cut.prefix.thoughts and not answered.cut.prefix.thought_ids and answered.skip is None


def test_gains_are_measured_behind_the_thoughts():
    engine = ScriptedEngine(script)
    answered = asked(OPEN, engine, changed_recipe(RECIPE, drafts=2, grounding=True))
    scored = [prompt for prompt in engine.prompts if prompt.stage is Stage.SCORE]
    assert scored and all(prompt.prefix.thoughts for prompt in scored) and answered.skip is None


def test_verdicts_are_of_what_follows_the_thoughts_and_thoughts_alone_are_no_answer():
    question = Question("q", "s", 1, "How many?", answer=("2",))
    responses = asked(question, ScriptedEngine(script)).responses
    with Judge() as judge:
        verdicts = verdicts_on(judge, question, responses)
    assert [v.outcome for v in verdicts] == [Outcome.CORRECT, Outcome.CORRECT, Outcome.UNPARSED, Outcome.INCORRECT]
    assert verdicts[2].rule == "unparsed-think" and responses[2].is_cut and not responses[2].text
    assert all("9?" in r.thoughts for r in responses if r.text)


def test_thoughts_are_closed_after_their_limit():
    engine = ScriptedEngine(script)
    question = Question("q", "s", 1, "How many?", answer=("2",))
    answered = asked(question, engine, changed_recipe(RECIPE, max_thought_tokens=14))
    assert answered.responses[0].thoughts == "Final Answer:" and answered.responses[0].text == "Final Answer: 2"
    assert len(answered.responses[2].thoughts) <= 14


# -- a build ----------------------------------------------------------------------------------------------------------


def run(source, out, **settings):
    values = {"model": "pocket", "n": 4, "adaptive": False, "max_tokens": 300, "chunk_questions": 8, "thinking": "on"}
    return build(BuildConfig(source=str(source), **{**values, **settings}), str(out), thinking_engine)


def rows_of(out):
    return pq.read_table(out / "data" / "train-00000-of-00001.parquet").to_pylist()


@pytest.mark.usefixtures("cluster")
def test_a_build_keeps_thoughts_in_their_column_and_out_of_pairs_unless_asked(write_source, tmp_path):
    out = tmp_path / "run"
    assert run(write_source(6), out).report.paired == 6
    responses = pq.read_table(out / "responses").to_pylist()
    sampled = [row for row in responses if row["stage"] == "sample"]
    assert len(sampled) == 16 and all("think" not in (row["text"] or "") and row["thoughts"] for row in sampled)
    unfinished = [row for row in sampled if row["index"] == 2]
    assert {(r["outcome"], r["rule"], r["finish_reason"]) for r in unfinished} == {
        ("unparsed", "unparsed-think", "length")
    }
    plain = rows_of(out)
    assert {row["pair_kind"] for row in plain} == {"correctness", "dropout_ntp"}
    assert not any("hought" in row[side] for row in plain for side in ("chosen_text", "rejected_text"))
    assert verify(str(out)) == []
    pair_again(str(out), ["keep_thoughts=true"])
    for kept, row in zip(rows_of(out), plain, strict=True):
        for side in ("chosen_text", "rejected_text"):
            thoughts, _, text = kept[side].partition("\n</think>\n\n")
            assert text == row[side] and thoughts.startswith("<think>\nFinal Answer: 9? Thought")
        if row["prefix_chars"]:
            begun = kept["chosen_text"][: kept["prefix_chars"]]
            assert kept["rejected_text"].startswith(begun) and begun.endswith(row["chosen_text"][: row["prefix_chars"]])
    assert verify(str(out)) == []


@pytest.mark.usefixtures("cluster")
def test_without_thinking_a_build_is_what_it_was(write_source, tmp_path):
    for name, thinking in (("auto", "auto"), ("off", "off")):
        run(write_source(6), tmp_path / name, thinking=thinking)
    assert rows_of(tmp_path / "auto") == rows_of(tmp_path / "off")
    responses = pq.read_table(tmp_path / "auto" / "responses").to_pylist()
    assert all(row["thoughts"] is None for row in responses)


def test_the_r1_instruction_keeps_its_thoughts_in_the_text():
    engine = ScriptedEngine(lambda p, i: "<think>two</think>\nFinal Answer: \\boxed{2}")
    recipe = make_recipe(prompt=PromptOptions(version="think"), n=1, max_tokens=200)
    answered = asked(Question("q", "s", 1, "How many?", answer=("2",)), engine, recipe)
    assert answered.responses[0].text.startswith("<think>two</think>") and answered.responses[0].thoughts is None


@pytest.mark.usefixtures("cluster")
def test_check_asks_the_engine_what_it_took_its_model_for(write_source, monkeypatch):
    monkeypatch.setattr(checking, "engine_maker", lambda config: thinking_engine)
    lines = []
    config = BuildConfig(source=str(write_source(6)), model="pocket", thinking="on", n=2, max_tokens=300)
    assert checking.check(config, every_image=False, with_engine=True, say=lines.append)
    assert "model      a script" in lines


def test_what_an_engine_had_to_assume_is_printed_once(capsys):
    figures = Progress(10, 0)
    with shown(figures, run="r", as_json=False) as view:
        for _ in range(3):
            beat = Beat((Pulse(warning="assumed: its chat template"),), 0, ((0, "host"),))
            figures.see(beat)
            view.see(beat)
    assert capsys.readouterr().err.count("warning: assumed: its chat template") == 1


# -- settings ---------------------------------------------------------------------------------------------------------


def test_yaml_reads_on_and_off_as_booleans_which_are_words_here(tmp_path):
    for text, thinking in (("on", Thinking.ON), ("off", Thinking.OFF), ("auto", Thinking.AUTO)):
        file = tmp_path / f"{text}.yaml"
        file.write_text(f"prompt:\n  thinking: {text}\n")
        assert load(file, [], pocket=True).prompt.thinking is thinking
        assert merge({}, [f"thinking={text}"]).prompt.thinking is thinking
        assert merge({}, [f"prompt.thinking={text}"]).prompt.thinking is thinking
        entries = [{"source": "a.jsonl", "thinking": thinking.value}, {"source": "b.jsonl"}]
        mixed = BuildConfig(**json.loads(json.dumps({"sources": entries})))
        assert engine_options(mixed).thinking == ((thinking,) if text != "auto" else ())
    file.write_text("sources:\n  - {source: a.jsonl, thinking: off}\n")
    assert endpoint_options(load(file, [], pocket=True)).thinking == (Thinking.OFF,)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["thinking=maybe"], "thinking"),
        (["thinking=on", "prompt_version=think"], "thinking: on does not go with"),
        (["thinking=off", "answer_form=think"], "thinking: off does not go with"),
        (["max_thought_tokens=4096"], "leaves no token of max_tokens"),
        (["max_thought_tokens=2048"], "leaves no token of draft_max_tokens"),
        (["max_thought_tokens=-1"], "max_thought_tokens"),
    ],
)
def test_a_setting_that_would_do_nothing_is_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        merge({}, settings)
