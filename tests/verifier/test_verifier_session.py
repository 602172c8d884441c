"""A verifier for single responses and for anyone's rollouts, behind a server or scripted."""

import asyncio
import json
import math

import pytest
from endpoint_standin import Standin, serving
from typer.testing import CliRunner

import mmpr
from mmpr.cli.verbs import app
from mmpr.engines.endpoint import EndpointOptions, start_endpoint
from mmpr.engines.protocol import AnswerScores
from mmpr.engines.scripted import ScriptedEngine
from mmpr.errors import ConfigError, EngineError, RequestRefused
from mmpr.types import JudgedBy, Message, Outcome, Prompt, Reason, Stage
from mmpr.verifier.verifier_options import VerifierOptions

OPEN = {"answer": "cat", "question": "What animal is on the sofa?"}
PROMPT = Prompt("q", Stage.VERIFY, (Message("user", "A: correct"),))


def said_by(question):
    """The letters of a server that finds kittens right, in whichever order it is asked."""
    right, wrong = ("B", "A") if "A: incorrect" in question else ("A", "B")
    best = right if "kitten" in question else wrong
    return {letter: (-0.1 if letter == best else -4.1) for letter in "ABC"} | {"Well": -3.0}


def choose(standin, answers=("A", "B", "C")):
    async def asked():
        with serving(standin) as server:
            options = EndpointOptions(server.url, "m", patience_s=5.0, timeout_s=5.0, pause_s=0.002, continues="none")
            engine = await start_endpoint(options)
            server.requests.clear()
            try:
                return await engine.choose(PROMPT, answers), server.of("/v1/chat/completions")
            finally:
                await engine.close()

    return asyncio.run(asked())


def test_vllm_serve_is_told_the_letters_and_gives_theirs_alone():
    scores, (body,) = choose(Standin(letters=lambda _: {"A": -9.0, "B": -8.0, "The": -0.1}))
    assert scores.logprobs == (-9.0, -8.0, -20.0) and scores.prompt_tokens > 0
    assert body["allowed_token_ids"] == body["logprob_token_ids"] == [65, 66, 67]
    assert body["max_tokens"] == 1 and body["logprobs"] is True and body["temperature"] == 0.0


def test_other_servers_give_the_likeliest_tokens_and_a_letter_that_is_not_listed_has_the_least():
    scores, (body,) = choose(Standin(owner="openai", tokenizer=False))
    assert scores.logprobs == (-0.2, -2.2, -5.2)
    assert "allowed_token_ids" not in body
    scores, _ = choose(Standin(owner="openai", tokenizer=False, letters=lambda _: {" A": -0.1, "The": -3.0}))
    assert scores.logprobs == (-0.1, -3.0, -3.0)


def test_a_server_that_gives_fewer_is_asked_for_fewer():
    scores, bodies = choose(Standin(owner="openai", tokenizer=False, most_likeliest=5))
    assert scores.logprobs[0] == -0.2
    assert [body["top_logprobs"] for body in bodies] == [20, 5]


@pytest.mark.parametrize(
    ("standin", "error", "words"),
    [
        (Standin(gives_logprobs=False), EngineError, "returns no log-probabilities"),
        (Standin(owner="x", tokenizer=False, letters=lambda _: {"The": -0.1}), RequestRefused, "none of A, B, C"),
    ],
)
def test_a_server_without_letters_is_one_line(standin, error, words):
    with pytest.raises(error, match=words):
        choose(standin)


def test_an_answer_of_several_tokens_is_refused():
    with pytest.raises(RequestRefused, match="not a single token"):
        choose(Standin(), answers=("A", "no"))


@pytest.fixture
def verifier():
    async def engine():
        return ScriptedEngine(choices=lambda prompt, _: [said_by(prompt.messages[-1].text)[letter] for letter in "ABC"])

    with mmpr.Verifier("kittens", make_engine=engine) as found:
        yield found


def test_a_response_that_the_rules_leave_open_is_put_to_the_verifier(verifier):
    right = mmpr.judge("Final Answer: a kitten", **OPEN, verifier=verifier)
    assert (right.outcome, right.judged_by) == (Outcome.CORRECT, JudgedBy.VERIFIER)
    assert right.verifier_margin == pytest.approx(4.0)
    assert mmpr.judge("Final Answer: a bobcat", **OPEN, verifier=verifier).outcome is Outcome.INCORRECT
    assert mmpr.judge("Final Answer: a kitten", **OPEN).outcome is Outcome.AMBIGUOUS


def test_a_proof_is_never_put_to_it():
    class Never:
        def verify(self, asked):
            raise AssertionError("asked about a proof")

    assert mmpr.judge("Final Answer: 7", answer="6", verifier=Never()).outcome is Outcome.INCORRECT
    assert mmpr.judge("Final Answer: cat", **OPEN, verifier=Never()).outcome is Outcome.CORRECT


def test_rollouts_of_anyone_are_put_to_a_server(tmp_path):
    rows = [
        {"id": "1", **OPEN, "responses": ["Final Answer: cat", "Final Answer: a kitten", "Final Answer: a bobcat"]},
        {"id": "2", "question": "How many?", "answer": 6, "response": "Final Answer: 7"},
        {"id": "3", "question": "?"},
    ]
    file = tmp_path / "rollouts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with serving(Standin(letters=said_by)) as server:
        done = CliRunner().invoke(app, ["judge", str(file), "--verifier", server.url])
    assert done.exit_code == 0, done.output
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["outcome"] for line in lines] == ["correct", "correct", "incorrect", "incorrect", "error"]
    assert [line["judged_by"] for line in lines] == ["rule", "verifier", "verifier", "rule", "rule"]
    assert lines[1]["verifier_margin"] == pytest.approx(4.0)
    without = CliRunner().invoke(app, ["judge", str(file)])
    assert "judged_by" not in without.stdout


def test_a_server_of_several_models_needs_a_name():
    with serving(Standin(models=("m", "other"))) as server:
        with pytest.raises(ConfigError, match="it serves m, other"):
            mmpr.Verifier(url=server.url)
        with mmpr.Verifier("m", url=server.url) as found:
            assert found.model == "m"


def test_a_verifier_needs_a_name():
    with pytest.raises(ConfigError, match=r"give an mmpr\.Verifier"):
        mmpr.judge("Final Answer: a kitten", **OPEN, verifier="http://host:8000/v1")
    with pytest.raises(ConfigError, match="name a model"):
        mmpr.Verifier()
    with pytest.raises(ConfigError, match="name a model"):
        mmpr.Verifier("self")


def test_a_verifier_that_answers_nothing_is_an_error_and_one_that_answers_some_is_a_warning():
    async def engine():
        return ScriptedEngine(choices=refuse)

    def refuse(prompt, answers):
        if "bobcat" in prompt.messages[-1].text:
            raise RequestRefused(Reason.ENGINE_REFUSED, "too long")
        return [-0.1, -4.0, -5.0]

    with mmpr.Verifier("some", make_engine=engine) as found:
        for _ in range(19):  # the first ones may be those that any verifier refuses
            assert mmpr.judge("Final Answer: a bobcat", **OPEN, verifier=found).judged_by is JudgedBy.RULE
        with pytest.raises(EngineError, match="some did not answer 20 of 20: engine_refused: too long"):
            mmpr.judge("Final Answer: a bobcat", **OPEN, verifier=found)
    with mmpr.Verifier("some", make_engine=engine) as found:
        mmpr.judge("Final Answer: a kitten", **OPEN, verifier=found)
        assert mmpr.judge("Final Answer: a bobcat", **OPEN, verifier=found).judged_by is JudgedBy.RULE
        assert found.faults_line() == "the verifier some did not answer 1 of 2: engine_refused: too long"


@pytest.mark.parametrize("given", ["localhost:8000/v1", "ftp://x/y", "HTTP://host:8000/v1"])
def test_what_is_meant_as_an_address_is_no_model(tmp_path, given):
    (tmp_path / "r.jsonl").write_text(json.dumps({"id": "1", **OPEN, "response": "Final Answer: a kitten"}) + "\n")
    done = CliRunner().invoke(app, ["judge", str(tmp_path / "r.jsonl"), "--verifier", given])
    assert done.exit_code == 2 and "http://HOST:PORT/v1" in done.stderr
    with pytest.raises(ConfigError, match="give verifier_url"):
        VerifierOptions(given)


@pytest.mark.parametrize("margin", [math.nan, -5, "2", math.inf])
def test_a_margin_is_a_number_of_nats(margin):
    with pytest.raises(ConfigError, match="min_margin"):
        mmpr.Verifier("some", min_margin=margin)


def rollouts(tmp_path, texts):
    file = tmp_path / "rollouts.jsonl"
    rows = [{"id": str(i), **OPEN, "response": f"Final Answer: {text}"} for i, text in enumerate(texts)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def lines_of(done):
    """What `mmpr judge` printed, and the one line of its error."""
    *notes, error = done.stderr.splitlines()
    assert "Traceback" not in done.output
    return [json.loads(line) for line in done.stdout.splitlines()], notes, error


@pytest.mark.parametrize("ends", ["drop", "slow"])
def test_a_server_that_goes_away_is_waited_for_aloud_and_what_is_judged_is_printed(tmp_path, monkeypatch, ends):
    monkeypatch.setattr("mmpr.builder.verifier_session._FIRST_S", 0.01)
    monkeypatch.setattr("mmpr.judging.rollouts._AT_ONCE", 2)
    file = rollouts(tmp_path, ["a kitten", "a bobcat", "cat", "a kitten", "cat"])
    with serving(Standin(letters=said_by)) as server:
        # a request at the start, and two for each of two rows
        server.faults.extend([None] * 5 + [ends] * 999)
        words = ["judge", file, "--verifier", server.url, "--verifier-timeout-s", "0.4"]
        done = CliRunner().invoke(app, words)
    found, notes, error = lines_of(done)
    assert done.exit_code == 1
    assert [line["id"] for line in found] == ["0", "1", "2"]
    assert [line["judged_by"] for line in found] == ["verifier", "verifier", "rule"]
    assert notes and all(f"waiting for the verifier {server.url}: 0 s so far" in note for note in notes)
    assert server.url in error and error.endswith(
        "; 3 verdicts are printed; judge the other rows when the verifier answers, or leave out --verifier"
    )


@pytest.mark.parametrize("place", ["http://127.0.0.1:9/v1", "http://127.0.0.1:9"])
def test_a_server_that_is_not_there_is_one_line(tmp_path, place):
    done = CliRunner().invoke(app, ["judge", rollouts(tmp_path, ["a kitten"]), "--verifier", place])
    found, notes, error = lines_of(done)
    assert (done.exit_code, found, notes) == (1, [], [])
    assert f"no model server at {place}" in error and "leave out --verifier" in error


def test_an_address_without_its_path_is_named_with_what_it_should_be(tmp_path):
    with serving(Standin()) as server:
        place = server.url.removesuffix("/v1")
        for words in ([], ["--verifier-model", "m"]):
            done = CliRunner().invoke(app, ["judge", rollouts(tmp_path, ["a kitten"]), "--verifier", place, *words])
            found, _, error = lines_of(done)
            assert done.exit_code in (1, 2) and not found and "usually ends in /v1" in error


@pytest.mark.parametrize("name", ["a\nb", "m\x1b[31m", "m\x00", " m", "m ", "m\u2028", "m\ud800", ""])
def test_a_model_is_named_by_one_line(name):
    with pytest.raises(ConfigError, match="verifier: ") as refused:
        VerifierOptions(name)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("url", ["http://h\x00/v1", "http://h/v1\n", "http://h\x1b[31m/v1", "http://h/v1\u200b"])
def test_an_address_has_no_control_characters(url):
    for options in (lambda: VerifierOptions("m", url), lambda: EndpointOptions(url, "m")):
        with pytest.raises(ConfigError, match="http"):
            options()


@pytest.mark.parametrize("given", [lambda: [1.0, 2.0], lambda: ["A", 1, 2], lambda: [10**400, 1, 2], lambda: None])
def test_an_engine_of_ones_own_that_gives_no_letters_has_not_answered(given):
    class Odd(ScriptedEngine):
        async def choose(self, prompt, answers):
            return AnswerScores(given(), 1)

    async def engine():
        return Odd()

    with mmpr.Verifier("odd", make_engine=engine) as found:
        assert mmpr.judge("Final Answer: a kitten", **OPEN, verifier=found).judged_by is JudgedBy.RULE
        assert "did not answer 1 of 1" in found.faults_line()


@pytest.mark.parametrize("given", [3, object(), mmpr.Verifier, "http://host:8000/v1"])
def test_what_is_no_verifier_is_refused_in_one_line(given):
    with pytest.raises(ConfigError, match=r"give an mmpr\.Verifier"):
        mmpr.judge("Final Answer: 2", answer="2", verifier=given)


def test_a_closed_verifier_says_so():
    async def engine():
        return ScriptedEngine()

    with mmpr.Verifier("some", make_engine=engine) as found:
        pass
    with pytest.raises(ConfigError, match="this Verifier is closed"):
        mmpr.judge("Final Answer: a kitten", **OPEN, verifier=found)


@pytest.mark.parametrize("given", [{"both_orders": "x"}, {"url": 3}, {"model": ""}, {"model": "m", "key_env": " "}])
def test_an_argument_of_another_type_is_named(given):
    with pytest.raises(ConfigError, match=f"^{list(given)[-1]}: must be "):
        mmpr.Verifier(**{"model": "some", **given})


@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf, "5"])
def test_a_time_limit_is_a_number_of_seconds(seconds):
    with pytest.raises(ConfigError, match="timeout_s"):
        mmpr.Verifier("some", timeout_s=seconds)


@pytest.mark.parametrize(
    "words", [["--min-margin", "3"], ["--verifier-timeout-s", "9"], ["--verifier", "./m", "--verifier-timeout-s", "9"]]
)
def test_an_option_without_effect_is_an_error(tmp_path, words):
    done = CliRunner().invoke(app, ["judge", rollouts(tmp_path, ["cat"]), *words])
    assert done.exit_code == 2 and "works only with --verifier" in done.stderr and done.stdout == ""
