"""The judge as a reward: each trainer's own call, the reference answer as text, and what a training loop does to it."""

import json
import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpr import rewards
from mmpr.errors import JudgeError
from mmpr.judging import Judge, JudgeOptions, judge
from mmpr.judging.option_lists import BOX_FORMATS, FORMATS, KINDS
from mmpr.rewards import (
    SwiftReward,
    compute_score,
    easyr1_compute_score,
    openrlhf_reward_func,
    read_reference,
    reward_func,
    verdict_on,
    write_reference,
)
from mmpr.types import Outcome, Question, Verdict

COUNTED = Question("q", "s", 0, "How many cars are there?", answer=("3",))
THREE = write_reference(COUNTED, JudgeOptions())
RIGHT, WRONG, UNSURE, SILENT = "Final Answer: 3", "Final Answer: 4", "Final Answer: perhaps 3 or 4", "I count them."
BOXED = "So it is \\boxed{3}."
ALL = [RIGHT, WRONG, UNSURE, SILENT, BOXED]


@pytest.fixture(scope="module", autouse=True)
def second_reader():
    """With time enough on a busy machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rewards, "_SECOND_READER_S", 60.0)
        rewards._SECOND_READER.begin()
        yield
        rewards._SECOND_READER._worker.close()


def test_right_is_one_wrong_is_zero_and_undecided_is_nothing():
    accuracies = [rewards.reward_of(verdict_on(text, THREE)).accuracy for text in ALL]
    assert accuracies == [1.0, 0.0, None, 0.0, 1.0]


# -- trainers ----------------------------------------------------------------------------------------------------------


def test_verl_gets_a_score_and_its_metrics_whatever_it_passes_along():
    called = {"data_source": "vqa", "ground_truth": THREE, "extra_info": {"index": 7}, "reward_router_address": None}
    scores = [compute_score(solution_str=text, **called) for text in ALL]
    assert [one["score"] for one in scores] == [1, 0, 0, 0, 1]
    assert [one["undecided"] for one in scores] == [0, 0, 1, 0, 0]
    assert all(type(value) is float for one in scores for value in one.values())
    assert compute_score(solution_str=UNSURE, undecided=0.5, **called)["score"] == 0.5


def test_trl_gets_none_for_the_undecided_and_the_share_as_a_metric():
    metrics, extra = {}, {}
    completions = [[{"role": "assistant", "content": text}] for text in ALL]
    given = {"prompts": [[]] * 5, "completion_ids": [[1]] * 5, "difficulty": ["easy"] * 5, "trainer_state": None}
    found = reward_func(
        completions=completions,
        reference=[THREE] * 5,
        log_metric=metrics.__setitem__,
        log_extra=extra.__setitem__,
        **given,
    )
    assert found == [1.0, 0.0, None, 0.0, 1.0] and metrics == {"mmpr/undecided": 0.2}
    assert extra["verdict"][0] == "correct (exact)" and len(extra["verdict"]) == 5
    parts = [[{"role": "assistant", "content": [{"type": "text", "text": text}]}] for text in ALL]
    assert reward_func(completions=parts, reference=[THREE] * 5) == found
    assert reward_func(completions=ALL, solution=[THREE] * 5) == found
    with pytest.raises(JudgeError, match="reference"):
        reward_func(completions=ALL)


def test_easyr1_gets_a_dictionary_a_response():
    inputs = [{"response": text, "response_length": 9, "ground_truth": THREE} for text in ALL]
    found = easyr1_compute_score(inputs)
    assert [one["overall"] for one in found] == [one["accuracy"] for one in found] == [1, 0, 0, 0, 1]
    assert [one["format"] for one in found] == [1, 1, 1, 0, 0] and found[2]["undecided"] == 1


def test_swift_makes_the_reward_with_its_arguments_and_calls_it_with_columns(caplog):
    caplog.set_level(logging.INFO, "mmpr.rewards")
    reward = SwiftReward(args=object())
    assert reward(completions=ALL, solution=[THREE] * 5, images=[[]] * 5, question_id=["q"] * 5) == [1, 0, 0, 0, 1]
    assert "20.0 % of 5 responses undecided" in caplog.text
    assert SwiftReward(undecided=-1.0)(completions=ALL, solution=[THREE] * 5)[2] == -1.0


def test_openrlhf_is_judged_by_what_follows_the_prompt():
    pytest.importorskip("torch")
    prompt = "<|im_start|>user\n<|image_pad|>Write Final Answer: 4.<|im_end|>\n<|im_start|>assistant\n"
    expanded = prompt.replace("<|image_pad|>", "<|image_pad|>" * 256)  # one tag became many tokens
    queries = [start + text + "<|im_end|><|endoftext|>" for start in (prompt, expanded) for text in ALL]
    found = openrlhf_reward_func(queries, [prompt] * 10, [THREE] * 10)
    assert found["rewards"].tolist() == [1, 0, 0, 0, 1] * 2 == found["scores"].tolist()
    assert found["extra_logs"]["undecided"].tolist() == [0, 0, 1, 0, 0] * 2
    with pytest.raises(JudgeError, match="does not contain its prompt"):
        openrlhf_reward_func([RIGHT], [prompt], [THREE])


def test_the_asked_form_earns_its_share():
    found = [compute_score(solution_str=text, ground_truth=THREE, format_weight=0.1)["score"] for text in ALL]
    assert found == pytest.approx([1.0, 0.1, 0.1, 0.0, 0.9])
    assert reward_func(completions=ALL, reference=[THREE] * 5, format_weight=0.1)[2] is None


def test_the_undecided_share_is_logged_where_a_trainer_takes_no_metric(caplog):
    caplog.set_level(logging.INFO, "mmpr.rewards")
    rewards._SHARE_LOG.begin()
    for number in range(1024):
        compute_score(solution_str=UNSURE if number % 4 == 0 else RIGHT, ground_truth=THREE)
    assert caplog.messages == ["25.0 % of 1024 responses undecided"]


# -- the reference answer ----------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
QUESTIONS = st.builds(
    Question,
    id=st.just("reward"),
    source=st.just(""),
    row=st.just(0),
    text=TEXTS,
    choices=st.lists(TEXTS, max_size=4).map(tuple),
    answer=st.lists(TEXTS, min_size=1, max_size=3).map(tuple),
    answer_kind=st.sampled_from([None, *KINDS]),
    minority_answers=st.lists(TEXTS, max_size=2).map(tuple),
)
OPTIONS = st.builds(
    JudgeOptions,
    answer_kind=st.sampled_from([None, *KINDS]),
    relative_tolerance=st.none() | st.floats(0, 0.99),
    box_format=st.sampled_from([None, *BOX_FORMATS]),
    box_iou=st.floats(0.01, 1),
    box_band=st.floats(0, 1),
    ordered=st.sampled_from([None, True, False]),
    format=st.sampled_from(FORMATS),
)


@given(QUESTIONS, OPTIONS)
def test_a_reference_answer_reads_back_exactly(question, options):
    text = write_reference(question, options)
    assert read_reference(text) == (question, options) and "\n" not in text
    assert json.loads(text)["mmpr_reference"] == 1


def test_every_option_of_the_judge_travels():
    assert set(json.loads(THREE)["options"]) == {field.name for field in fields(JudgeOptions)}


@given(QUESTIONS, st.sampled_from([RIGHT, BOXED, SILENT, "Final Answer: B", "yes", ""]))
def test_a_reward_is_the_verdict_of_the_judge(question, response):
    options = JudgeOptions()
    assert verdict_on(response, write_reference(question, options)) == judge(question, response, options=options)


@pytest.mark.parametrize(
    "text",
    [
        '{"mmpr_reference": 1}',
        '{"mmpr_reference": 1, "answer": ["3"]',
        '{"mmpr_reference": 2, "answer": ["3"]}',
        THREE.replace('"options": {', '"options": {"format": "own", "x": {'),
        THREE.replace('["3"]', "3"),
        THREE[:-20],
    ],
)
def test_a_damaged_reference_answer_or_a_newer_one_ends_training_in_one_line(text):
    with pytest.raises(JudgeError) as found:
        compute_score(solution_str=RIGHT, ground_truth=text)
    assert "\n" not in str(found.value) and ("damaged" in str(found.value) or "version 2" in str(found.value))


def test_an_option_that_a_later_mmpr_adds_is_no_damage():
    later = json.loads(THREE)
    later["options"]["later"] = 1
    assert verdict_on(RIGHT, json.dumps(later)).outcome is Outcome.CORRECT


@pytest.mark.parametrize("plain", ["3", ("3", "three"), ["3"], 3, 3.0])
def test_plain_reference_answers_of_other_data_are_judged_in_any_form(plain):
    assert [compute_score(solution_str=text, ground_truth=plain)["score"] for text in ALL] == [1, 0, 0, 0, 1]


def test_a_reference_answer_that_cannot_be_judged_by_decides_nothing():
    text = write_reference(Question("q", "s", 0, "?", choices=("a", "b"), answer=("a whale",)), JudgeOptions())
    assert reward_func(completions=ALL, reference=[text] * 5) == [None] * 5


def own_judge(question, response):
    return Verdict(Outcome.CORRECT if "spell" in response else Outcome.INCORRECT, response, "own")


own_judge.name, own_judge.version = "own", "1"


def test_a_data_set_does_not_name_the_code_that_judges_it(monkeypatch):
    monkeypatch.setattr(rewards, "_ALLOWED_JUDGES", set())
    place = f"{__name__}:own_judge"
    text = write_reference(COUNTED, JudgeOptions(judge=place))
    with pytest.raises(JudgeError, match="allow_judge"):
        reward_func(completions=["a spell"], reference=[text])
    rewards.allow_judge(place)
    assert reward_func(completions=["a spell", RIGHT], reference=[text] * 2) == [1.0, 0.0]


# -- threads, processes, mathematics -----------------------------------------------------------------------------------

HARD = Question("q", "s", 0, "What is it?", answer=("\\int_0^1 x\\,dx",))


def test_mathematics_that_only_the_second_reader_knows_is_rewarded_as_the_run_judged_it():
    said = ["Final Answer: \\frac{1}{2}", "Final Answer: 0.5", "Final Answer: \\frac{1}{3}"]
    text = write_reference(HARD, JudgeOptions())
    with Judge(time_limit_s=60.0) as one:
        verdicts = one.judge_all(HARD, said)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda one: verdict_on(one, text), said * 8))
    assert found == verdicts * 8 and verdicts[0].rule == "second-opinion"


def test_many_threads_get_what_one_gets():
    questions = [Question(str(i), "s", i, "How many?", answer=(str(i),)) for i in range(50)]
    work = [(f"Final Answer: {i % 7}", write_reference(questions[i % 50], JudgeOptions())) for i in range(2000)]
    expected = [verdict_on(*one) for one in work]
    rewards._compiled.cache_clear()
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda one: verdict_on(*one), work)) == expected


def test_a_forked_worker_has_a_second_reader_of_its_own():
    text = write_reference(HARD, JudgeOptions())
    assert verdict_on("Final Answer: \\frac{1}{2}", text).outcome is Outcome.CORRECT  # the parent's has started
    child = os.fork()
    if child == 0:
        rewards._compiled.cache_clear()
        os._exit(0 if verdict_on("Final Answer: \\frac{2}{4}", text).outcome is Outcome.CORRECT else 1)
    assert os.waitpid(child, 0)[1] == 0
    rewards._compiled.cache_clear()
    assert verdict_on("Final Answer: \\frac{3}{6}", text).outcome is Outcome.CORRECT  # and the parent's goes on


def test_without_math_verify_such_mathematics_stays_undecided(monkeypatch, caplog):
    broken = rewards.SymbolicProcess(time_limit_s=1.0, command=(sys.executable, "-c", "raise SystemExit(1)"))
    monkeypatch.setattr(rewards._SECOND_READER, "_worker", broken)
    monkeypatch.setattr(rewards._SECOND_READER, "_starts", True)
    rewards._compiled.cache_clear()
    text = write_reference(HARD, JudgeOptions())
    assert reward_func(completions=["Final Answer: \\frac{1}{2}"], reference=[text]) == [None]
    assert "math-verify" in caplog.text
    rewards._compiled.cache_clear()


def test_a_reward_imports_nothing_heavy():
    heavy = ("torch", "ray", "pyarrow", "numpy", "PIL", "datasets", "pandas", "sympy", "pydantic", "rapidfuzz", "babel")
    program = (
        "import sys\nfrom mmpr.rewards import compute_score, write_reference\n"
        f"assert compute_score(solution_str={RIGHT!r}, ground_truth={THREE!r})['score'] == 1\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_reward_is_a_plain_record():
    assert asdict(rewards.Reward(None, 1.0)) == {"accuracy": None, "format": 1.0}
