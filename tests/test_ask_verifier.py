"""A verifier in a build and after it, with scripted engines in real Ray: asked once, resumed, never over a proof."""

import functools
import json
import shutil
import sys
import uuid
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from ray import cloudpickle
from typer.testing import CliRunner

from mmpr.builder.ask_flow import ask_about_run
from mmpr.builder.build_flow import build, pair_again
from mmpr.builder.merge_flow import merge_runs
from mmpr.cli.verbs import app
from mmpr.errors import ConfigError, RunFolderError
from mmpr.importing.import_flow import import_file
from mmpr.judging.rules import is_open, is_proven
from mmpr.run import RunFolder, read_chunk
from mmpr.settings.config import BuildConfig
from mmpr.types import JudgedBy
from mmpr.verification import verify
from tests.verifier import scripted

pytestmark = pytest.mark.usefixtures("cluster")
cloudpickle.register_pickle_by_value(scripted)
cloudpickle.register_pickle_by_value(sys.modules[__name__])

N = 24


def run(source, out, *, make=scripted.answering, make_verifier=None, **settings):
    values = {"model": "pocket", "n": 4, "adaptive": False, "max_tokens": 200, "chunk_questions": 8, **settings}
    return build(BuildConfig(source=str(source), **values), str(out), make, make_verifier=make_verifier)


def committed(out):
    folder = RunFolder(str(out))
    return [one for commit in folder.commits() for one in read_chunk(folder, commit)]


def rows(out):
    return pq.read_table(out / "data" / "train-00000-of-00001.parquet").to_pylist()


def shards(out):
    return {path.name: path.read_bytes() for path in sorted((out / "data").iterdir())}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return scripted.write_questions(tmp_path_factory.mktemp("source"), N)


@pytest.fixture(scope="module")
def built(source, tmp_path_factory, cluster):
    """A run that nobody was asked about."""
    out = tmp_path_factory.mktemp("built") / "run"
    run(source, out)
    return out


@pytest.fixture(scope="module")
def verified(source, tmp_path_factory, cluster):
    """A run whose own model was asked."""
    out = tmp_path_factory.mktemp("verified") / "run"
    run(source, out, verifier="self")
    return out


def copied(run_folder, tmp_path):
    return Path(shutil.copytree(run_folder, tmp_path / "run"))


async def counted_starts(folder):
    """The answering engine; each start leaves a file."""
    Path(folder, str(uuid.uuid4())).touch()
    return await scripted.answering()


def test_the_model_itself_is_asked_in_the_build_about_what_is_open_and_a_share_of_the_proofs(source, tmp_path):
    out, starts = tmp_path / "run", tmp_path / "starts"
    starts.mkdir()
    make = functools.partial(counted_starts, str(starts))
    report = run(source, out, make=make, verifier="self", audit=0.5).report
    assert len(list(starts.iterdir())) == 1  # the engine that answered
    answers = [one for question in committed(out) for one in question.responses]
    for one in answers:
        assert one.verdict.judged_by is JudgedBy.RULE
        assert (one.answer is not None) or not is_open(one.verdict)
    audited = [one for one in answers if one.answer is not None and is_proven(one.verdict)]
    proven = [one for one in answers if is_proven(one.verdict)]
    assert 0.25 * len(proven) < len(audited) < 0.75 * len(proven)
    assert all(one.answer.model == "pocket" and one.answer.swapped is not None for one in audited)
    assert report.pairs and {row["chosen_by"] for row in rows(out)} == {"rule"}
    assert verify(str(out)) == []
    assert run(source, out, make=make, verifier="self", audit=0.5).idle
    (out / "verifier" / "00002.json").unlink()  # as if it had been stopped before
    kept = {path.name for path in (out / "verifier").glob("0000[01]*")}
    assert not run(source, out, make=make, verifier="self", audit=0.5).idle
    assert kept < {path.name for path in (out / "verifier").iterdir()}
    assert [one.answer for question in committed(out) for one in question.responses] == [one.answer for one in answers]


def test_decisions_stand_in_pairs_where_a_setting_says_so_and_pairing_asks_nobody(verified, tmp_path):
    out = copied(verified, tmp_path)
    before = shards(out)
    pair_again(str(out), ["use_verifier=both"])
    found = rows(out)
    by = {(row["chosen_by"], row["rejected_by"]) for row in found}
    assert ("verifier", "verifier") in by
    for row in found:
        for side in ("chosen", "rejected"):
            if row[f"{side}_by"] == "verifier":
                assert row["rule" if side == "chosen" else "rejected_rule"] == "verifier"
                assert row["verifier_margin"] == pytest.approx(5.0)
                wanted = "good" if side == "chosen" else ("bad", "violin")
                assert any(word in row[f"{side}_text"] for word in ([wanted] if side == "chosen" else wanted))
    for use, side in (("chosen", "rejected"), ("rejected", "chosen")):
        pair_again(str(out), [f"use_verifier={use}", "rejected_certainty=likely"])
        assert {row[f"{side}_by"] for row in rows(out)} == {"rule"}
        assert "verifier" in {row[f"{use}_by"] for row in rows(out)}
    pair_again(str(out), ["use_verifier=both", "min_margin=5.5", "rejected_certainty=proven"])
    assert {row["chosen_by"] for row in rows(out)} == {"rule"}
    pair_again(str(out), ["use_verifier=none", "min_margin=2.0"])
    assert shards(out) == before


@pytest.mark.parametrize("damage", ["flip", "empty", "stray"])
def test_damaged_answers_are_found_before_anything_is_written(verified, tmp_path, damage):
    out = copied(verified, tmp_path)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    table = next((out / "verifier").glob("00001-*.parquet"))
    content = table.read_bytes()
    if damage == "stray":
        (out / "verifier" / "00099.json").write_text("[]")
    else:
        table.write_bytes(b"" if damage == "empty" else bytes([*content[:27], content[27] ^ 1, *content[28:]]))
    with pytest.raises(RunFolderError, match=r"verifier/000(01|99)"):
        pair_again(str(out), ["use_verifier=both"])
    assert (out / "manifest.json").exists()
    assert all(path.read_bytes() == content for path, content in before.items() if path != table)


def test_a_finished_run_is_asked_about_later_and_no_committed_file_changes(built, tmp_path):
    out = copied(built, tmp_path)
    kept = {
        path: path.read_bytes() for folder in ("responses", "questions", "chunks") for path in (out / folder).iterdir()
    }
    outcome = ask_about_run(str(out), ["verifier=judge-3b", "use_verifier=both"], make_verifier=scripted.knowing)
    assert outcome.report is not None and not outcome.idle
    assert all(path.read_bytes() == content for path, content in kept.items())
    assert {row["chosen_by"] for row in rows(out)} == {"rule", "verifier"}
    assert len(list((out / "verifier").iterdir())) == 2 * 3
    assert verify(str(out)) == []
    again = ask_about_run(str(out), ["verifier=judge-3b", "use_verifier=both"], make_verifier=scripted.knowing)
    assert again.idle


def test_another_verifier_needs_a_word_to_replace_the_first(verified, tmp_path):
    out = copied(verified, tmp_path)
    with pytest.raises(ConfigError, match=r"has the answers of pocket .*--anew"):
        ask_about_run(str(out), ["verifier=judge-3b"], make_verifier=scripted.knowing)
    ask_about_run(str(out), ["verifier=judge-3b"], make_verifier=scripted.knowing, anew=True)
    assert {one.answer.model for question in committed(out) for one in question.responses if one.answer} == {"judge-3b"}


@pytest.fixture(scope="module")
def contradicted(source, tmp_path_factory, cluster):
    """A run whose verifier contradicts every proof, and may decide whatever it can."""
    out = tmp_path_factory.mktemp("contradicted") / "run"
    return run(source, out, make=contrary, verifier="self", audit=1.0, use_verifier="both").report, out


def test_no_proof_is_overruled(contradicted):
    _, out = contradicted
    for row in rows(out):
        for side in ("chosen", "rejected"):
            if row[f"{side}_answer"] in ("2", "3", "cat"):
                assert row[f"{side}_by"] == "rule"
                assert (row[f"{side}_answer"] == "3") is (side == "rejected")


async def contrary():
    """Says the opposite of the truth, as sure as can be."""
    from mmpr.engines.scripted import ScriptedEngine

    def choices(prompt, answers):
        found = scripted.knows_all(prompt, answers)
        return [found[1], found[0], found[2]]

    return ScriptedEngine(scripted.script, choices=choices)


async def mortal_at(flag):
    """Dies once, amid a chunk, for all engines together."""
    from pathlib import Path

    from mmpr.engines.scripted import ScriptedEngine
    from mmpr.errors import EngineDead

    def choices(prompt, answers):
        if prompt.question_id == "q10" and not Path(flag).exists():
            Path(flag).touch()
            raise EngineDead("scripted to die once")
        return scripted.knows_all(prompt, answers)

    return ScriptedEngine(choices=choices)


def test_the_death_of_the_verifier_midway_loses_nothing_and_a_stopped_run_goes_on(built, tmp_path):
    out = copied(built, tmp_path)
    flag = tmp_path / "died"
    make = functools.partial(mortal_at, str(flag))
    outcome = ask_about_run(str(out), ["verifier=judge-3b", "use_verifier=both"], make_verifier=make)
    assert flag.exists() and outcome.report is not None
    found = [one for question in committed(out) for one in question.responses]
    assert all((one.answer is not None and one.answer.fault is None) or not is_open(one.verdict) for one in found)
    whole = shards(out)
    (out / "verifier" / "00001.json").unlink()  # as if it had been stopped before
    kept = {path.name: path.read_bytes() for path in (out / "verifier").glob("0000[02]*")}
    again = ask_about_run(str(out), ["verifier=judge-3b", "use_verifier=both"], make_verifier=make)
    assert not again.idle and shards(out) == whole
    assert kept == {path.name: path.read_bytes() for path in (out / "verifier").glob("0000[02]*")}
    assert len(list((out / "verifier").iterdir())) == 2 * 3


def test_responses_made_elsewhere_are_put_to_a_named_verifier_and_not_to_an_unknown_self(tmp_path):
    texts = [[f"Final Answer: {end}" for end in ("cat", f"cat good {i}", f"cat bad {i}")] for i in range(6)]
    rows = [{"id": f"q{i}", "question": f"What is {i}?", "answer": "cat", "responses": r} for i, r in enumerate(texts)]
    file = tmp_path / "rollouts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "run"
    import_file(str(file), str(out), [])
    with pytest.raises(ConfigError, match="self needs a run that one known model answered"):
        ask_about_run(str(out), ["verifier=self"])
    report = ask_about_run(str(out), ["verifier=v", "use_verifier=both"], make_verifier=scripted.knowing).report
    assert report.paired == 6 and report.verifier.groups["undecided"].asked == 12


def test_answers_go_along_with_copies_and_merges(verified, tmp_path):
    first, second = copied(verified, tmp_path), tmp_path / "b"
    pair_again(str(first), ["use_verifier=both"])
    run(scripted.write_questions(tmp_path, 8).rename(tmp_path / "more.jsonl"), second, verifier="self")
    n_more = sum(one.answer is not None for question in committed(second) for one in question.responses)
    n_answers = sum(one.answer is not None for question in committed(first) for one in question.responses)
    pair_again(str(first), ["use_verifier=both"], to=str(tmp_path / "copy"))
    assert sum(one.answer is not None for q in committed(tmp_path / "copy") for one in q.responses) == n_answers
    assert shards(tmp_path / "copy") == shards(first)
    merged = merge_runs([str(first), str(second)], str(tmp_path / "both"), []).report
    assert (
        sum(one.answer is not None for q in committed(tmp_path / "both") for one in q.responses) == n_answers + n_more
    )
    assert merged.verifier.chosen_sides
    assert verify(str(tmp_path / "both")) == []


def test_the_report_says_what_was_asked_and_lists_proofs_that_are_contradicted(contradicted):
    report, out = contradicted
    figures = report.verifier
    n_open, n_proven = 3 * N // 2, 4 * N // 2 + N // 2
    assert figures.groups["audited"].asked == n_proven
    assert figures.groups["undecided"].asked + figures.groups["likely"].asked == n_open
    assert (figures.agreement.agree, figures.agreement.disagree) == (0, n_proven)
    assert figures.agreement.interval[0] == 0.0 and 0 < figures.agreement.interval[1] < 0.1
    assert figures.reliability[4].agreement.disagree == n_proven  # a margin of 5 is in the row from 4 to 8
    assert figures.requests and figures.prompt_tokens > 100 * figures.requests
    one = figures.contradictions[0]
    assert f"mmpr explain DIR {one.source}:{one.row}" in (out / "README.md").read_text()
    assert "What the verifier said" in (out / "report.html").read_text()
    shown = CliRunner().invoke(app, ["explain", str(out), f"{one.source}:{one.row}"]).output
    assert f"verifier: {one.decision.replace('_', ' ')}, margin 5.0" in shown
    assert f"mmpr explain {out}" in CliRunner().invoke(app, ["report", str(out)]).output
    shown = CliRunner().invoke(app, ["pair", str(out), "--dry-run", "use_verifier=both"]).output
    assert "chosen and" in shown and "sides are there by its decision" in shown


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["pair", "{run}", "verifier=self"], "pairing asks no model"),
        (["ask-verifier", "{run}"], "name the model to ask"),
        (["ask-verifier", "{run}", "--model", "self", "n=9"], "n was 4"),
        (["ask-verifier", "{run}", "--model", "self", "--url", "http://h/v1"], "name the model"),
        (["ask-verifier", "{run}", "--model", "opencompass/CompassVerifier-3B", "both_orders=true"], "one order"),
        (["ask-verifier", "{run}", "--model", "./nowhere"], "no config.json"),
        (
            ["ask-verifier", "{run}", "--model", "m", "--url", "http://h/v1", "verifier_key_env=NOT_SET"],
            "this environment variable is not set",
        ),
        (
            ["build", "--source", "{source}", "--out", "{new}", "evaluate=true", "adaptive=false", "verifier=self"],
            "pairs",
        ),
        (["build", "--source", "{source}", "--out", "{new}", "verifier=./nowhere"], "no config.json"),
        (["import", "{source}", "--out", "{new}", "verifier=self"], "no effect on an import"),
    ],
)
def test_what_cannot_be_asked_is_one_line(built, source, tmp_path, words, line):
    done = CliRunner().invoke(app, [word.format(run=built, source=source, new=tmp_path / "new") for word in words])
    assert done.exit_code in (1, 2), done.output
    assert line in done.output and "Traceback" not in done.output


# -- requests that fail -----------------------------------------------------------------------------------------------


async def refusing(place):
    """Refuses what is about a question that a file names; the file may be changed between two starts."""
    from pathlib import Path

    from mmpr.engines.scripted import ScriptedEngine
    from mmpr.errors import RequestRefused
    from mmpr.types import Reason

    def choices(prompt, answers):
        with Path(place, "asked").open("a") as file:
            file.write(f"{prompt.question_id}\n")
        if prompt.question_id in Path(place, "refused").read_text().split():
            raise RequestRefused(Reason.ENGINE_REFUSED, f"HTTP 500 at {prompt.question_id} (5 times)")
        return scripted.knows_all(prompt, answers)

    return ScriptedEngine(choices=choices)


@pytest.fixture
def refusals(tmp_path):
    """Make a verifier that refuses some questions; returns (maker, what to refuse from now on, who was asked)."""
    place = tmp_path / "refusals"
    place.mkdir()

    def refuse(names):
        (place / "refused").write_text(" ".join(names))
        (place / "asked").write_text("")

    def asked():
        return {*(place / "asked").read_text().split()}

    return functools.partial(refusing, str(place)), refuse, asked


ASKING = ["verifier=judge-3b", "use_verifier=both", "audit=0"]
OPEN = [f"q{i}" for i in range(0, N, 2)]


def test_what_could_not_be_asked_is_said_and_asked_again_alone(built, tmp_path, refusals):
    out, (make, refuse, asked) = copied(built, tmp_path), refusals
    refuse(["q2", "q20"])
    report = ask_about_run(str(out), ASKING, make_verifier=make).report
    assert asked() == {*OPEN} and sum(one.faults for one in report.verifier.groups.values()) == 6
    done = CliRunner().invoke(app, ["report", str(out)])
    assert "6 responses could not be asked about (6 engine_refused)" in done.stderr
    assert f"mmpr ask-verifier {out} --model judge-3b" in done.stderr
    for name in ("README.md", "report.html"):
        assert "mmpr ask-verifier DIR --model judge-3b" in (out / name).read_text()
    kept = (out / "verifier" / "00001.json").read_bytes()  # q8 to q15
    refuse([])
    outcome = ask_about_run(str(out), ASKING, make_verifier=make)
    assert asked() == {"q2", "q20"} and not outcome.idle
    assert not any(one.faults for one in outcome.report.verifier.groups.values())
    assert (out / "verifier" / "00001.json").read_bytes() == kept
    whole = copied(built, tmp_path / "whole")
    ask_about_run(str(whole), ASKING, make_verifier=scripted.knowing)
    assert shards(out) == shards(whole)
    assert ask_about_run(str(out), ASKING, make_verifier=make).idle
    assert "could not be asked" not in CliRunner().invoke(app, ["report", str(out)]).output
    assert verify(str(out)) == []


@pytest.mark.parametrize("refused", [OPEN, [*OPEN[:4], *OPEN[5:10]]], ids=["all", "most"])
def test_a_verifier_that_mostly_refuses_ends_in_one_line_and_loses_nothing(built, tmp_path, refusals, refused):
    out, (make, refuse, asked) = copied(built, tmp_path), refusals
    before = shards(out)
    refuse(refused)
    outcome = ask_about_run(str(out), ASKING, make_verifier=make)
    assert outcome.report is None and outcome.stopped is None
    n = 3 * len(refused)
    assert outcome.failing.startswith(f"{n} of 36 verdicts failed, {n} of them with engine_refused")
    assert "HTTP 500 at q" in outcome.failing and "\n" not in outcome.failing
    assert shards(out) == before and verify(str(out)) == []
    answered = {*OPEN} - {*refused}
    refuse([])
    again = ask_about_run(str(out), ASKING, make_verifier=make)
    assert again.report is not None and asked() == {*OPEN} - answered
    assert not any(one.faults for one in again.report.verifier.groups.values())


def test_what_fails_at_every_start_ends_no_start(built, tmp_path, refusals):
    out, (make, refuse, _) = copied(built, tmp_path), refusals
    refuse(["q2"])
    for _ in range(2):
        outcome = ask_about_run(str(out), ASKING, make_verifier=make)
        assert outcome.report is not None and outcome.failing is None
        assert outcome.report.verifier.groups["undecided"].faults
    refuse(OPEN)  # and a server that is out of order now, at what was not asked about yet
    (out / "verifier" / "00002.json").unlink()
    assert ask_about_run(str(out), ASKING, make_verifier=make).failing


def test_a_share_that_may_fail_is_a_setting(built, tmp_path, refusals):
    out, (make, refuse, _) = copied(built, tmp_path), refusals
    refuse(OPEN)
    outcome = ask_about_run(str(out), [*ASKING, "max_failure_fraction=1"], make_verifier=make)
    assert outcome.report is not None


def test_another_verifier_that_refuses_everything_leaves_the_answers_of_the_first(verified, tmp_path, refusals):
    out, (make, refuse, _) = copied(verified, tmp_path), refusals
    before = [one.answer for question in committed(out) for one in question.responses]
    refuse([f"q{i}" for i in range(N)])
    assert ask_about_run(str(out), ASKING, make_verifier=make, anew=True).failing
    assert [one.answer for question in committed(out) for one in question.responses] == before
    refuse([])
    ask_about_run(str(out), ASKING, make_verifier=make, anew=True)
    models = {one.answer.model for question in committed(out) for one in question.responses if one.answer}
    assert models == {"judge-3b"}


def test_a_build_whose_verifier_refuses_ends_with_3_and_asks_again(source, tmp_path, refusals):
    out, (make, refuse, asked) = tmp_path / "run", refusals
    refuse([f"q{i}" for i in range(N)])
    outcome = run(source, out, make_verifier=make, verifier="judge-3b", use_verifier="both")
    assert outcome.report is None and outcome.failing
    refuse(["q4"])
    outcome = run(source, out, make_verifier=make, verifier="judge-3b", use_verifier="both")
    assert outcome.report.verifier.groups["undecided"].faults
    assert {*OPEN} <= asked()
    assert run(source, out, make_verifier=make, verifier="judge-3b", use_verifier="both").idle


# -- answers that are gone --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gone", ["all", "one"])
@pytest.mark.parametrize("old", [False, True], ids=["now", "older"])
def test_answers_that_are_gone_are_missed(verified, tmp_path, gone, old):
    if gone == "one" and old:
        pytest.skip("an older manifest does not say how many there were")
    out = copied(verified, tmp_path)
    pair_again(str(out), ["use_verifier=both"])
    before = shards(out)
    if old:
        _as_older(out)
    for path in (out / "verifier").glob("*.json" if gone == "all" else "00001.json"):
        path.unlink()
    (line,) = verify(str(out))
    assert "verifier/" in line and f"mmpr ask-verifier {out}" in line
    for words in (["pair", str(out)], ["pair", str(out), "max_uses=1"], ["pair", str(out), "--dry-run"]):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 1 and len(done.stderr.splitlines()) == 1
        assert f"mmpr ask-verifier {out}" in done.stderr and "use_verifier=none" in done.stderr
    assert shards(out) == before
    done = CliRunner().invoke(app, ["pair", str(out), "use_verifier=none"])
    assert done.exit_code == 0 and verify(str(out)) == []


@pytest.mark.parametrize("fault", ["gone", "damaged"])
def test_a_merge_refuses_runs_whose_answers_are_gone_or_damaged(verified, tmp_path, fault):
    one, other = copied(verified, tmp_path / "a"), tmp_path / "b"
    run(scripted.write_questions(tmp_path, 4).rename(tmp_path / "more.jsonl"), other)
    pair_again(str(one), ["use_verifier=both"])
    path = next((one / "verifier").glob("00001.json" if fault == "gone" else "00001-*.parquet"))
    path.unlink() if fault == "gone" else path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RunFolderError, match=r"verifier/.*ask-verifier"):
        merge_runs([str(one), str(other)], str(tmp_path / "both"), [])
    assert not (tmp_path / "both" / "run.json").exists()


def _as_older(out):
    """Make the manifest of an mmpr that did not note the answers."""
    from mmpr.run.json_records import sealed

    path = out / "manifest.json"
    path.write_bytes(sealed({k: v for k, v in json.loads(path.read_bytes()).items() if k not in ("answers", "sha256")}))


def test_asking_again_brings_lost_answers_back(verified, tmp_path):
    out = copied(verified, tmp_path)
    pair_again(str(out), ["use_verifier=both"])
    before = shards(out)
    (out / "verifier" / "00001.json").unlink()
    ask_about_run(str(out), ["verifier=self"], make_verifier=scripted.knowing)
    assert shards(out) == before and verify(str(out)) == []


def test_a_run_that_was_asked_and_not_paired_again_is_paired_by_the_same_command(built, tmp_path):
    out, whole = copied(built, tmp_path), copied(built, tmp_path / "whole")
    before = (out / "manifest.json").read_bytes()
    ask_about_run(str(whole), ASKING, make_verifier=scripted.knowing)
    shutil.copytree(whole / "verifier", out / "verifier")  # as if it had been killed before it paired
    shutil.copy(whole / "run.json", out / "run.json")
    assert (out / "manifest.json").read_bytes() == before
    assert not ask_about_run(str(out), ASKING, make_verifier=scripted.knowing).idle
    assert shards(out) == shards(whole)


@pytest.mark.parametrize("cut", ["answers", "run"])
def test_a_copy_that_was_cut_off_is_finished_by_the_same_command_or_refused(verified, tmp_path, monkeypatch, cut):
    out, to = copied(verified, tmp_path), tmp_path / "copy"
    pair_again(str(out), ["use_verifier=both"])
    name = "mmpr.builder.build_flow.take_answers" if cut == "answers" else "mmpr.builder.build_flow.finish"
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(name, lambda *_, **__: 1 / 0)
        pair_again(str(out), ["max_uses=1"], to=str(to))
    if cut == "answers":
        with pytest.raises(RunFolderError, match="another folder"):
            pair_again(str(out), ["max_uses=1"], to=str(to))
        assert verify(str(to))
        return
    pair_again(str(out), ["max_uses=1"], to=str(to))
    assert len(list((to / "verifier").glob("*.json"))) == 3 and verify(str(to)) == []
    with pytest.raises(RunFolderError, match="holds a run already"):
        pair_again(str(out), ["max_uses=1"], to=str(to))
    pair_again(str(out), ["max_uses=1"])
    assert shards(to) == shards(out)
