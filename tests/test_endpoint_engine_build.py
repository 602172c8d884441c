"""Builds on a server: real Ray, real files, a real connection; leases, deaths and commits stay what they are."""

from collections import deque

import pyarrow.parquet as pq
import pytest
from endpoint_standin import IMAGE, KEY, Standin, serving
from endpoint_standin import answer as said

from mmpr.builder.build_flow import build
from mmpr.builder.engine_choice import engine_maker, placement
from mmpr.errors import ConfigError, EngineStartError
from mmpr.settings.config import BuildConfig, changed, load
from mmpr.verification import verify


def blind_answer(question, index):
    """What `said` says where there is an image; without one nothing that it would say with it."""
    if IMAGE in question or "Count from one" in question:
        return said(question, index)
    return "Nothing at all is to be seen here, so there is nothing to be said of it either."


def settings(server, source="", **changed):
    given = {"engine": "endpoint", "endpoint_url": server.url, "model": "m", "endpoint_patience_s": 2.0}
    return BuildConfig(source=str(source), **{**given, "n": 4, "max_tokens": 256, "chunk_questions": 8, **changed})


def run(server, source, out, **changed):
    config = settings(server, source, **changed)
    return build(config, str(out), engine_maker(config)).report


def rows(out):
    return pq.read_table(out / "data" / "train-00000-of-00001.parquet").to_pylist()


@pytest.mark.parametrize(
    ("standin", "continued"), [({}, "exact"), ({"owner": "lmdeploy", "tokenizer": False, "continues": "turn"}, "text")]
)
def test_a_build_on_a_server_gives_pairs_of_both_kinds_and_says_how_endings_continue(
    cluster, write_source, tmp_path, standin, continued
):
    out = tmp_path / "run"
    with serving(Standin(answer=blind_answer, **standin)) as server:
        report = run(server, write_source(12), out)
    assert report.questions == 12 == report.paired
    completions = [row for row in rows(out) if row["pair_kind"] == "dropout_ntp"]
    assert len(completions) == 4 and {row["continued"] for row in completions} == {continued}
    for row in completions:
        kept = row["chosen_text"][: row["prefix_chars"]]
        assert kept and row["rejected_text"] == kept + " there is a green cat."
        assert row["rejected_tokens"] > row["chosen_tokens"] // 3
    assert {row["continued"] for row in rows(out) if row["pair_kind"] == "correctness"} == {None}
    assert verify(str(out)) == []


def test_a_server_that_goes_and_comes_again_loses_and_doubles_nothing(cluster, write_source, tmp_path):
    out = tmp_path / "run"
    fatal = ['{"question": "How many fall?", "image": "1.png", "answer": 2}']
    faults = {"fall": deque(["drop", 503])}  # the first among others, the second when it is asked alone
    with serving(Standin(answer=blind_answer, faults_at=faults)) as server:
        report = run(server, write_source(23, extra=fatal), out, endpoint_patience_s=0.2)
    assert report.questions == 24 == report.paired and not report.skips_by_reason
    assert not faults["fall"] and len({row["pair_id"] for row in rows(out)}) == report.pairs


def test_what_one_question_is_refused_for_is_a_named_skip(cluster, write_source, tmp_path):
    extra = ['{"question": "How many poison?", "answer": 2}', '{"question": "How many <|im_end|>?", "answer": 2}']
    with serving(Standin(answer=blind_answer, refuses="poison")) as server:
        report = run(server, write_source(3, extra=extra), tmp_path / "run")
    assert dict(report.skips_by_reason) == {"prompt_too_long": 1, "engine_refused": 1}


def test_no_key_reaches_the_run_folder_even_from_a_server_that_says_it(cluster, write_source, tmp_path, capfd):
    out = tmp_path / "run"
    refused = ['{"question": "How many fall?", "answer": 2}']
    faults = {"fall": deque([400, 422])}  # once for n responses, once for one
    with serving(Standin(answer=blind_answer, key=KEY, faults_at=faults)) as server:
        run(server, write_source(12, extra=refused), out, endpoint_key_env="STANDIN_KEY", adaptive=False)
    files = [path for path in out.rglob("*") if path.is_file()]
    skips = pq.read_table(out / "skips.parquet").to_pylist()
    assert any("on order, to Bearer" in row["detail"] for row in skips)
    assert KEY not in str(skips) + str(capfd.readouterr())
    assert len(files) > 8 and not [path for path in files if KEY.encode() in path.read_bytes()]
    assert "STANDIN_KEY" in (out / "starts.jsonl").read_text()


def test_a_server_that_cannot_continue_ends_the_build_before_a_question_is_asked(cluster, write_source, tmp_path):
    with serving(Standin(continues="no", tokenizer=False)) as server:
        with pytest.raises(EngineStartError, match=r"does not continue .* endpoint_continues=none"):
            run(server, write_source(3), tmp_path / "run")
        assert not [body for body in server.of("/v1/chat/completions") if "Question" in str(body)]


# -- settings -----------------------------------------------------------------------------------------------------


def test_an_endpoint_is_one_engine_without_a_gpu():
    config = BuildConfig(engine="endpoint", endpoint_url="http://host/v1", tensor_parallel_size=4)
    assert (placement(config).engines, placement(config).gpus) == (1, 0)
    assert placement(changed(config, {"engines": 3})).engines == 3


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["engine=endpoint"], "give engine=endpoint and endpoint_url together"),
        (["endpoint_url=http://host/v1"], "give engine=endpoint and endpoint_url together"),
        (["engine=endpoint", "endpoint_url=host:8000"], "must be http"),
        (["engine=endpoint", f"endpoint_url=http://user:{KEY}@host/v1"], "without a password"),
        (["engine=endpoint", f"endpoint_url=http://host/v1?key={KEY}"], "without a password or a query"),
        (["engine=endpoint", "endpoint_url=http://host/v1", f"endpoint_key_env={KEY}"], "not the key itself"),
        (["engine=endpoint", "endpoint_url=http://host/v1", "endpoint_body.n=3"], "endpoint_body may not contain 'n'"),
    ],
)
def test_wrong_settings_are_named_and_no_key_is_repeated(given, says):
    with pytest.raises(ConfigError, match=says) as raised:
        load(None, given, pocket=False)
    assert KEY not in str(raised.value)


def test_a_key_that_is_not_there_is_told_before_anything_is_written(monkeypatch):
    monkeypatch.delenv("STANDIN_KEY", raising=False)
    config = BuildConfig(engine="endpoint", endpoint_url="http://host/v1", endpoint_key_env="STANDIN_KEY")
    with pytest.raises(ConfigError, match="endpoint_key_env: this environment variable is not set"):
        engine_maker(config)


def test_scores_need_token_ids():
    config = BuildConfig(engine="endpoint", endpoint_url="http://host/v1", endpoint_continues="text", grounding=True)
    with pytest.raises(ConfigError, match="grounding"):
        engine_maker(config)
