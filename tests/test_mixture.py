"""Several sources in one build, each with its own settings: real Ray, real files, scripted engines."""

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from conftest import script, scripted_engine
from PIL import Image
from typer.testing import CliRunner

from mmpr.builder.build_flow import _settings, build, pair_again
from mmpr.builder.chunk import ChunkWork
from mmpr.builder.engine_choice import engine_options
from mmpr.builder.evaluation_flow import compare_runs, evaluate_run
from mmpr.builder.layout import sources_of
from mmpr.builder.merge_flow import merge_runs
from mmpr.checking import check
from mmpr.cli.verbs import app
from mmpr.engines.scripted import ScriptedEngine
from mmpr.errors import ConfigError, MmprError, ResumeError
from mmpr.exporting import export_run
from mmpr.pool import Lease
from mmpr.reporting.pair_story import read_story
from mmpr.run import RunFolder, read_chunk
from mmpr.settings.config import BuildConfig, load, of_sources, settings_by_name
from mmpr.settings.mixture import PER_SOURCE, shares
from mmpr.sources import index, ranges
from mmpr.status import read_status
from mmpr.verification import verify
from tests.test_sources_parts import Beside, Opened


def write(folder, name, rows):
    path = folder / name
    Image.new("RGB", (40, 30), (90, 80, 160)).save(folder / "a.png")
    rows = [{"image": "a.png", **row} for row in rows]
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def charts(folder, n=12, answer="2.05"):
    """Rows whose answer is right with a tolerance of 0.05 alone."""
    return write(folder, "charts.jsonl", [{"question": f"How long is bar {i}?", "answer": answer} for i in range(n)])


def more(folder, n=6):
    rows = [{"query": f"Describe image {i}.", "answer": None} for i in range(n - 2)]
    rows += [{"query": f"How many in {i}?", "answer": "2"} for i in range(2)]
    return write(folder, "more.parquet", rows)


def mixed(folder, *overrides, charts_says=(), more_says=()):
    """A mixture as a user writes it: two sources in a file of settings."""
    first = {"source": str(folder / "charts.jsonl"), "max_tiles": 2, "prompt_version": "boxed", **dict(charts_says)}
    second = {"source": str(folder / "more.parquet"), "name": "open", "keep_fraction": 0.25, **dict(more_says)}
    second |= {"columns": {"question": "query"}}
    file = folder / "mix.yaml"
    common = {"model": "pocket", "n": 4, "max_tokens": 256, "chunk_questions": 4, "min_side_tokens": 2}
    file.write_text(yaml.safe_dump({**common, "sources": [first, second]}))
    return load(file, list(overrides), pocket=True)


def run(config, out):
    return build(config, str(out), scripted_engine).report


def table(out):
    return pq.read_table(out / "data" / "train-00000-of-00001.parquet").to_pylist()


def by_source(out):
    skips = pq.read_table(out / "skips.parquet").to_pylist()
    places = {(row["source"], row["source_row"]) for row in table(out)} | {(row["source"], row["row"]) for row in skips}
    return Counter(source for source, _ in places)


# -- a build ----------------------------------------------------------------------------------------------------------


def test_each_sources_settings_are_seen_in_its_rows_alone(tmp_path, cluster):
    charts(tmp_path), more(tmp_path)
    report = run(mixed(tmp_path, charts_says={"prompt_version": "final", "relative_tolerance": 0.05}), tmp_path / "run")
    assert report.questions == 18 == report.paired + report.skipped
    rows = {name: [row for row in table(tmp_path / "run") if row["source"] == name] for name in ("charts", "open")}
    assert {row["pair_kind"] for row in rows["charts"]} == {"correctness", "format"}
    assert {row["keep_fraction"] for row in rows["open"] if row["pair_kind"] == "dropout_ntp"} == {0.25}
    kept = [row["prefix_chars"] / len(row["chosen_text"]) for row in rows["open"] if row["prefix_chars"]]
    assert kept and max(kept) < 0.4
    assert verify(str(tmp_path / "run")) == []
    assert read_status(str(tmp_path / "run")).questions.total == 18
    assert rows["open"][0]["question_id"].startswith("open:")
    found = read_story(str(tmp_path / "run"), rows["charts"][0]["pair_id"])
    assert found.selection["relative_tolerance"] == 0.05
    assert read_story(str(tmp_path / "run"), rows["open"][0]["pair_id"]).selection["relative_tolerance"] is None


def test_an_evaluation_judges_each_source_by_its_own_tolerance(tmp_path, cluster):
    charts(tmp_path), more(tmp_path)
    lenient = {"prompt_version": "final", "relative_tolerance": 0.05}
    shares = {}
    for tolerance, says in (("strict", {"prompt_version": "final"}), ("lenient", lenient)):
        out = str(tmp_path / tolerance)
        run(mixed(tmp_path, "evaluate=true", "adaptive=false", charts_says=says), out)
        shares[tolerance] = {name: one.right.value for name, one in evaluate_run(out).by_source.items()}
    assert shares["strict"]["charts"] == 0 < shares["lenient"]["charts"]
    assert shares["strict"]["open"] == shares["lenient"]["open"] > 0
    with pytest.raises(ConfigError, match="per_source is"):
        compare_runs(str(tmp_path / "strict"), str(tmp_path / "lenient"))


def test_each_sources_rejected_sides_are_its_own_and_the_card_tells_of_both(tmp_path, cluster):
    charts(tmp_path), more(tmp_path)
    write(tmp_path, "plain.jsonl", [{"question": f"Describe bar {i}."} for i in range(4)])
    says = {"rejected_view": "image_kept", "endings": 2}
    run(mixed(tmp_path, charts_says={"source": str(tmp_path / "plain.jsonl")}, more_says=says), tmp_path / "run")
    views = {
        name: {row["rejected_view"] for row in table(tmp_path / "run") if row["source"] == name}
        for name in ("plain", "open")
    }
    assert views["plain"] == {"blind"} and "image_kept" in views["open"]
    assert len(re.findall("the same model finished it", (tmp_path / "run" / "README.md").read_text())) == 2


def test_instruction_and_tiles_are_each_sources_own(tmp_path, cluster):
    charts(tmp_path, n=4, answer="2"), more(tmp_path)
    run(mixed(tmp_path), tmp_path / "run")
    versions = {row["source"]: row["prompt_version"] for row in table(tmp_path / "run")}
    assert versions["open"] == "final"
    assert "charts" not in versions  # the script boxes no answer, and boxed wants a box
    skips = pq.read_table(tmp_path / "run" / "skips.parquet").to_pylist()
    assert {row["source"] for row in skips} == {"charts"}


def test_no_chunk_has_rows_of_two_sources(tmp_path, cluster):
    charts(tmp_path, n=5), more(tmp_path, n=5)
    run(mixed(tmp_path), tmp_path / "run")
    folder = RunFolder(str(tmp_path / "run"))
    asked = [{one.question.source for one in read_chunk(folder, commit)} for commit in folder.committed().values()]
    assert asked == [{"charts"}, {"charts"}, {"open"}, {"open"}]


def test_rows_appended_to_the_first_source_are_new_chunks_and_they_alone_are_asked(tmp_path, cluster):
    path, out = charts(tmp_path), tmp_path / "run"
    more(tmp_path)
    config = mixed(tmp_path, charts_says={"prompt_version": "final", "relative_tolerance": 0.05})
    run(config, out)
    before = RunFolder(str(out)).committed()
    with path.open("a") as file:
        file.write(json.dumps({"image": "a.png", "question": "How wide?", "answer": "2.05"}) + "\n")
    report = run(config, out)
    after = RunFolder(str(out)).committed()
    assert {chunk: after[chunk] for chunk in before} == before and len(after) == len(before) + 1
    assert report.questions == 19 and by_source(out) == {"charts": 13, "open": 6}
    assert verify(str(out)) == []
    late = [row for row in table(out) if row["source"] == "charts" and row["source_row"] == 13]
    assert late  # its tolerance is that of its source, though its chunk stands behind those of the other
    assert build(config, str(out), scripted_engine).idle
    assert read_status(str(out)).questions.total == 19


def test_pairing_again_applies_one_sources_tolerance_and_takes_it_back(tmp_path, cluster):
    charts(tmp_path), more(tmp_path)
    out = tmp_path / "run"
    strict = run(mixed(tmp_path, charts_says={"prompt_version": "final"}), out)
    paired = pair_again(str(out), ["sources.charts.relative_tolerance=0.05"])
    assert paired.paired == strict.paired + 12
    assert pair_again(str(out), ["sources.charts.relative_tolerance=0"]).paired == strict.paired
    again = run(mixed(tmp_path, charts_says={"prompt_version": "final", "relative_tolerance": 0.05}), out)
    assert again.paired == paired.paired
    with pytest.raises(ResumeError, match=r"^sources\.charts\.max_tiles was 2 .*now 6"):
        pair_again(str(out), ["sources.charts.max_tiles=6"])


def test_a_changed_setting_or_row_of_one_source_is_refused_and_named(tmp_path, cluster):
    path, out = charts(tmp_path), tmp_path / "run"
    more(tmp_path)
    run(mixed(tmp_path), out)
    with pytest.raises(ResumeError, match=r"^sources\.open\.keep_fraction was 0\.25 .*now 0\.5"):
        run(mixed(tmp_path, more_says={"keep_fraction": 0.5}), out)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:10]))
    with pytest.raises(ResumeError, match=r"charts\.jsonl has 10 rows and had 12"):
        run(mixed(tmp_path), out)
    path.write_text("".join(lines).replace("bar 5", "line 5"))
    with pytest.raises(ResumeError, match=r"charts\.jsonl: .*a row has changed"):
        run(mixed(tmp_path), out)


def test_limits_of_sources_and_weights_of_a_limited_build(tmp_path, cluster):
    charts(tmp_path, n=40), more(tmp_path, n=30)
    run(mixed(tmp_path, charts_says={"limit": 7}), tmp_path / "own")
    assert by_source(tmp_path / "own") == {"charts": 7, "open": 30}
    config = mixed(tmp_path, "limit=12", charts_says={"weight": 2})
    assert run(config, tmp_path / "shared").questions == 12
    assert by_source(tmp_path / "shared") == {"charts": 8, "open": 4}
    charts(tmp_path, n=50)
    assert build(config, str(tmp_path / "shared"), scripted_engine).idle  # a sample is of what was there


def test_settings_by_name_are_refused_where_there_is_one_source(tmp_path, cluster):
    plain = {"model": "pocket", "n": 4, "source": str(charts(tmp_path, n=2, answer="2"))}
    named = {"per_source": {"charts": {"relative_tolerance": 0.05}}}
    with pytest.raises(ConfigError, match="per_source: works only with several sources"):
        run(BuildConfig(**plain, **named), tmp_path / "run")
    run(BuildConfig(**plain), tmp_path / "run")
    with pytest.raises(ConfigError, match="per_source: works only with several sources"):
        pair_again(str(tmp_path / "run"), ["per_source.charts.relative_tolerance=0.05"])


def test_the_order_of_the_entries_is_of_no_consequence(tmp_path, cluster):
    charts(tmp_path), more(tmp_path)
    config = mixed(tmp_path)
    run(config, tmp_path / "run")
    turned = config.model_copy(update={"sources": dict(reversed(config.sources.items()))})
    assert build(BuildConfig(**dict(turned)), str(tmp_path / "run"), scripted_engine).idle


def test_rows_that_name_one_source_themselves_stay_apart(tmp_path, cluster):
    write(tmp_path, "charts.jsonl", [{"question": "How many?", "answer": "2", "source": "vqa"}])
    write(tmp_path, "more.parquet", [{"query": "How many?", "answer": "2", "source": "vqa"}])
    run(mixed(tmp_path, charts_says={"prompt_version": "final"}), tmp_path / "run")
    assert by_source(tmp_path / "run") == {"charts/vqa": 1, "open/vqa": 1}
    assert len({row["pair_id"] for row in table(tmp_path / "run")}) == len(table(tmp_path / "run"))
    assert verify(str(tmp_path / "run")) == []


def test_a_report_tells_of_every_source_and_of_no_place(tmp_path, cluster):
    charts(tmp_path), more(tmp_path)
    report = run(mixed(tmp_path), tmp_path / "run")
    assert report.source == "charts.jsonl + more.parquet"
    assert report.identity["sources"]["charts"]["source"] == "charts.jsonl"
    assert "`charts`: A question with a reference answer" in (tmp_path / "run" / "README.md").read_text()
    for name in ("report.json", "README.md", "report.html"):
        assert str(tmp_path) not in (tmp_path / "run" / name).read_text()


def test_an_export_tells_tiles_only_where_all_sources_were_cut_alike(tmp_path, cluster):
    charts(tmp_path), more(tmp_path)
    for name, tiles, expected in (("unlike", 2, set()), ("alike", 6, {6})):
        run(mixed(tmp_path, charts_says={"max_tiles": tiles}), tmp_path / name)
        export_run(str(tmp_path / name), "internvl", tmp_path / f"{name}-export")
        entries = json.loads((tmp_path / f"{name}-export" / "meta.json").read_text()).values()
        assert {entry["max_dynamic_patch"] for entry in entries if "max_dynamic_patch" in entry} == expected


async def test_the_engine_is_asked_in_each_sources_way(tmp_path):
    charts(tmp_path, n=1), more(tmp_path, n=2)
    config = mixed(tmp_path, "adaptive=false")
    sources, folder, engine = sources_of(config), RunFolder(str(tmp_path / "run")), ScriptedEngine(script)
    work = ChunkWork(_settings(config, Opened(folder, sources)))
    for chunk, source in enumerate(sources):
        [lease] = ranges(index(source))
        await work(engine, Lease(chunk, replace(lease, source=chunk).to_json()), Beside())
    asked = {prompt.question_id.partition(":")[0]: prompt for prompt in engine.prompts}
    assert "boxed" in asked["charts"].messages[-1].text and "boxed" not in asked["open"].messages[-1].text
    assert (asked["charts"].max_tiles, asked["open"].max_tiles) == (2, None)  # None: as the engine was started
    assert engine_options(config).max_tiles == 6 == config.images.max_tiles
    assert engine_options(mixed(tmp_path, charts_says={"max_tiles": 12})).max_tiles == 12


def test_a_merged_run_keeps_each_sources_settings(tmp_path, cluster):
    charts(tmp_path), more(tmp_path)
    config = mixed(tmp_path, charts_says={"prompt_version": "final", "relative_tolerance": 0.05})
    pairs = run(config, tmp_path / "mix").pairs
    (tmp_path / "other").mkdir()
    alone = charts(tmp_path / "other", answer="2").rename(tmp_path / "other" / "alone.jsonl")
    plain = {"model": "pocket", "n": 4, "max_tokens": 256, "chunk_questions": 4}
    pairs += run(BuildConfig(source=str(alone), **plain), tmp_path / "plain").pairs
    merged = merge_runs([str(tmp_path / "plain"), str(tmp_path / "mix")], str(tmp_path / "all"), [])
    assert merged.report.pairs == pairs and merged.notes == ()
    assert by_source(tmp_path / "all") == {"charts": 12, "open": 6, "alone": 12}
    blind = [row for row in table(tmp_path / "all") if row["pair_kind"] == "dropout_ntp"]
    assert {row["keep_fraction"] for row in blind} == {0.25}
    one = next(row for row in table(tmp_path / "all") if row["source"] == "charts")
    assert read_story(str(tmp_path / "all"), one["pair_id"]).selection["relative_tolerance"] == 0.05
    assert verify(str(tmp_path / "all")) == []


# -- settings ---------------------------------------------------------------------------------------------------------


def test_every_setting_of_a_source_is_one_of_the_builds():
    assert set(PER_SOURCE) <= settings_by_name().keys()


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ([{"source": "a.jsonl"}, {"source": "b/a.jsonl"}], "two are named 'a': give one of them another `name`"),
        ([{"source": "a.jsonl", "max_tile": 3}], "sources.a: no setting of one source is named 'max_tile'; did you me"),
        ([{"source": "a.jsonl", "temperature": 0.5}], "sources.a: no setting of one source is named 'temperature'"),
        ([{"source": "a.jsonl", "max_tiles": 0}], "sources.a.max_tiles: Input should be greater than or equal to 1"),
        ([{"source": "a.jsonl", "relative_tolerance": 7}], "sources.a.relative_tolerance: Input should be less"),
        ([{"source": "a.jsonl", "weight": 0}], "sources.a.weight: must be a number above 0 (got 0)"),
        ([{"source": "a.jsonl", "weight": "big"}], "sources.a.weight: must be a number above 0 (got 'big')"),
        ([{"source": "a.jsonl", "max_tiles": None}], "sources.a.max_tiles: give null"),
        ([{"source": "a.jsonl", "name": 3}], "sources: entry 1: its `name` must be a text (got 3)"),
        ([{"name": "a"}], "sources: entry 1 names no file: give it a `source`"),
        (["a.jsonl"], "sources: entry 1 names no file: give it a `source`"),
        ({"a": {"limit": 3}}, "sources.a names no file: give it a `source`"),
        ({"a": "a.jsonl"}, "sources.a: expected `setting: value` lines"),
        ("a.jsonl", "sources: expected a list of entries"),
        ([{"source": "hf://nowhere"}], "write hf://owner/name:split"),
    ],
)
def test_a_wrong_entry_is_one_line_that_names_it(tmp_path, entries, says):
    file = tmp_path / "mix.yaml"
    file.write_text(yaml.safe_dump({"sources": entries}))
    with pytest.raises(MmprError) as raised:
        load(file, [], pocket=True)
    assert says in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("source=b.jsonl", "source and sources: give one of them"),
        ("per_source.b.ordered=true", "per_source: no source is named 'b', only a"),
        ("per_source.a.max_tiles=3", "per_source.a: no setting of one source is named 'max_tiles'"),
        ("sources.b.max_tiles=3", "sources.b names no file"),
    ],
)
def test_what_does_not_go_with_the_sources_is_refused(tmp_path, override, says):
    file = tmp_path / "mix.yaml"
    file.write_text("sources:\n- source: a.jsonl\n")
    with pytest.raises(ConfigError) as raised:
        load(file, [override], pocket=True)
    assert says in str(raised.value)


def test_an_override_reaches_one_source_and_no_other(tmp_path):
    file = tmp_path / "mix.yaml"
    file.write_text("max_tiles: 6\nsources:\n- source: a.jsonl\n- {source: b.jsonl, relative_tolerance: 0.1}\n")
    config = load(file, ["sources.a.max_tiles=12", "sources.b.relative_tolerance=0.05"], pocket=True)
    a, b = (one.config for one in of_sources(config))
    assert (a.images.max_tiles, b.images.max_tiles) == (12, 6)
    assert (a.judge.relative_tolerance, b.judge.relative_tolerance) == (None, 0.05)


def test_a_source_may_have_a_template_file_of_its_own(tmp_path):
    (tmp_path / "ask.txt").write_text("Solve: {question}")
    file = tmp_path / "mix.yaml"
    file.write_text(f"sources:\n- {{source: a.jsonl, prompt_template: {tmp_path}/ask.txt}}\n- source: b.jsonl\n")
    a, b = (one.config for one in of_sources(load(file, [], pocket=True)))
    assert a.prompt.template == dict.fromkeys(("en", "zh"), "Solve: {question}") and b.prompt.template is None


def test_two_sources_that_hold_entries_of_one_name_are_refused(tmp_path):
    charts(tmp_path), more(tmp_path)
    (tmp_path / "meta.json").write_text(json.dumps({"charts": {"root": "", "annotation": "charts.jsonl"}}))
    config = mixed(
        tmp_path, "sources.open.columns.question=question", more_says={"source": str(tmp_path / "meta.json")}
    )
    with pytest.raises(ConfigError, match=r"sources: 'charts' and 'open' both have rows of 'charts': give one"):
        check(config, every_image=False, with_engine=False, say=print)


@pytest.mark.parametrize(
    ("rooms", "weights", "limit", "expected"),
    [
        ([100, 100], [1, 1], 10, [5, 5]),
        ([100, 100], [2, 1], 10, [7, 3]),
        ([100, 2], [1, 1], 10, [8, 2]),
        ([3, 100, 1], [5, 1, 5], 10, [3, 6, 1]),
        ([1, 2], [1, 1], 10, [1, 2]),
        ([0, 50], [9, 1], 4, [0, 4]),
        ([50, 50, 50], [0.1, 0.1, 0.1], 2, [1, 1, 0]),
        ([50, 50], [1000, 1], 3, [3, 0]),
    ],
)
def test_a_limit_is_shared_by_weight_and_what_one_lacks_the_others_give(rooms, weights, limit, expected):
    assert shares(rooms, weights, limit) == expected


# -- check and the command line ---------------------------------------------------------------------------------------


def test_check_covers_every_source(tmp_path):
    charts(tmp_path), more(tmp_path)
    found = []
    assert check(mixed(tmp_path), every_image=True, with_engine=False, say=found.append)
    assert [line.split(":")[0] for line in found if line.startswith("source")] == [
        "source     charts",
        "source     open",
    ]
    assert "rows       12, of them 12 questions" in found and "rows       6, of them 6 questions" in found
    write(tmp_path, "charts.jsonl", [{"question": "", "answer": "2"}])
    assert not check(mixed(tmp_path), every_image=False, with_engine=False, say=found.append)


def test_the_command_line_takes_sources_from_the_file_alone(tmp_path):
    charts(tmp_path), more(tmp_path)
    mixed(tmp_path)
    done = CliRunner().invoke(app, ["check", "--config", str(tmp_path / "mix.yaml")])
    assert done.exit_code == 0 and "source     open" in done.output
    for words in (["--config", str(tmp_path / "mix.yaml")], ["--config", "pocket", "--out", str(tmp_path / "run")]):
        done = CliRunner().invoke(app, ["build", *words])
        assert (
            done.exit_code == 2
            and "give --source (or sources in --config)" in done.output
            and not (tmp_path / "run").exists()
        )


def test_the_shipped_mixture_has_sources_with_settings_of_their_own():
    config = load(Path(__file__).parents[1] / "configs" / "mixture.yaml", [], pocket=False)
    assert len(config.sources) >= 2 and config.per_source
