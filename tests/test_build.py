"""The whole house with scripted engines: real Ray, real files, real commits."""

import json
import shutil
from collections import Counter
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest
from conftest import scripted_engine, write_rows
from PIL import Image

from mmpr.builder.build_flow import build, pair_again
from mmpr.builder.chunk import ChunkReport
from mmpr.builder.failure_watch import FailureWatch
from mmpr.errors import ConfigError, ResumeError, RunFolderError, SourceError
from mmpr.exporting import Format, export_run
from mmpr.exporting.push import push_run
from mmpr.run import RunFolder, read_chunk
from mmpr.settings.config import BuildConfig
from mmpr.types import Stage
from mmpr.verification import verify

pytestmark = pytest.mark.usefixtures("cluster")  # all builds of this file join one Ray


def run(source, out, **settings):
    values = {"model": "pocket", "n": 4, "max_tokens": 256, "chunk_questions": 8, **settings}
    return build(BuildConfig(source=str(source), **values), str(out), scripted_engine)


@pytest.fixture(scope="module")
def kept(tmp_path_factory, cluster):
    """A source of 20 questions and its finished run, where they were built, and a copy of both."""
    place = tmp_path_factory.mktemp("finished")
    source = write_rows(place, 20)
    report = run(source, place / "run").report
    return place, shutil.copytree(place, tmp_path_factory.mktemp("kept") / "copy"), report


@pytest.fixture
def finished(kept):
    """The source, its run and the run's report, as the build left them: a run knows its source by the path."""
    place, copy, report = kept
    shutil.rmtree(place)
    shutil.copytree(copy, place)
    return place / "vqa.jsonl", place / "run", report


def table(out):
    return pq.read_table(out / "data" / "train-00000-of-00001.parquet").to_pylist()


def shards(out):
    return {path.name: path.read_bytes() for path in sorted((out / "data").iterdir())}


def test_a_build_gives_pairs_of_both_kinds_that_datasets_opens(write_source, tmp_path):
    out = tmp_path / "run"
    report = run(write_source(30), out).report
    assert report.questions == 30 == report.paired + report.skipped
    assert report.pocket_model is True
    rows = datasets.load_dataset(
        "parquet", data_files=str(out / "data" / "*.parquet"), split="train", cache_dir=str(tmp_path / "cache")
    )
    kinds = Counter(rows["pair_kind"])
    assert kinds["correctness"] and kinds["format"] and kinds["dropout_ntp"] == 10
    assert rows[0]["images"][0].size == (40, 30)
    assert len(set(rows["pair_id"])) == len(rows)
    assert verify(str(out)) == []


def test_the_rejected_half_follows_the_drafts_own_beginning(finished):
    _, out, _ = finished
    pairs = [row for row in table(out) if row["pair_kind"] == "dropout_ntp"]
    assert len(pairs) == 7
    for pair in pairs:
        kept = pair["chosen_text"][: pair["prefix_chars"]]
        assert pair["rejected_text"] == kept + " there is a green cat beside a tree."
        assert 0 < pair["prefix_chars"] < len(pair["chosen_text"])


def test_every_row_leaves_as_pairs_or_as_one_named_skip(write_source, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 50)
    extra = [
        "{bad json",
        json.dumps({"question": "", "answer": 2}),
        json.dumps({"question": "Two and two?", "answer": 2}),
        json.dumps({"question": "Describe."}),
        json.dumps({"question": "How many?", "answer": 2, "image": "missing.png"}),
        json.dumps({"question": "How many?", "answer": 2, "image": "broken.png"}),
        json.dumps({"question": "How many?", "answer": 2, "image": "../../etc/passwd"}),
        json.dumps({"question": "How many?", "answer": 7, "image": "0.png"}),
    ]
    report = run(write_source(3, extra=extra), tmp_path / "run").report
    assert report.questions == 11 and report.paired == 4
    assert dict(report.skips_by_reason) == {
        "bad_row": 1,
        "empty_question": 1,
        "no_picture": 1,
        "image_missing": 1,
        "image_unreadable": 1,
        "image_outside_root": 1,
        "all_wrong": 1,
    }
    skips = {row["reason"]: row for row in pq.read_table(tmp_path / "run" / "skips.parquet").to_pylist()}
    assert skips["bad_row"]["row"] == 4 and "vqa.jsonl line 4" in skips["bad_row"]["detail"]


def test_strict_ends_with_one_line_that_names_file_and_row(write_source, tmp_path):
    bad_row = write_source(3, extra=["{bad json"])
    with pytest.raises(SourceError, match=r"vqa\.jsonl line 4: .*strict"):
        run(bad_row, tmp_path / "run", strict=True)
    missing = write_source(3, extra=[json.dumps({"question": "?", "answer": 2, "image": "no.png"})], name="b.jsonl")
    with pytest.raises(SourceError, match=r"b\.jsonl line 4: .*no\.png"):
        run(missing, tmp_path / "run2", strict=True)


def test_the_same_command_again_does_nothing_and_changes_no_byte(finished):
    source, out, _ = finished
    before, commits = shards(out), RunFolder(str(out)).committed()
    run(source, out)
    assert shards(out) == before
    assert RunFolder(str(out)).committed() == commits


def test_a_lost_commit_is_built_again_to_the_same_bytes(finished):
    source, out, _ = finished
    before = shards(out)
    (out / "chunks" / "00001.json").unlink()
    run(source, out, engines=2)
    assert shards(out) == before
    assert verify(str(out)) == []


def test_what_verify_finds_damaged_the_next_build_builds_again_and_nothing_else(finished):
    source, out, _ = finished
    before, commits = shards(out), RunFolder(str(out)).committed()
    (path,) = (out / "responses").glob("00002-*.parquet")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    (out / "chunks" / "00001.json").write_text("{")
    found = verify(str(out))
    assert len(found) == 2 and "responses/00002" in found[1] and "start the build again" in found[1]
    run(source, out)
    after = RunFolder(str(out)).committed()
    assert {k for k in commits if after[k] != commits[k]} == {1, 2}
    assert shards(out) == before and verify(str(out)) == []


def test_pairing_into_a_new_folder_leaves_the_old_one_alone(write_source, tmp_path):
    source, out, other = write_source(20), tmp_path / "run", tmp_path / "other"
    report = run(source, out, pairs_per_question=1).report
    before = {path: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
    assert pair_again(str(out), ["pairs_per_question=4"], to=str(other)).pairs > report.pairs
    assert {path: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()} == before
    assert verify(str(other)) == verify(str(out)) == []
    again = pair_again(str(other), ["pairs_per_question=1"])
    assert again.pairs == report.pairs and shards(other) == shards(out)
    with pytest.raises(RunFolderError, match="holds a run already"):
        pair_again(str(out), [], to=str(other))


def test_a_line_that_is_still_being_written_is_left_for_the_next_start(write_source, tmp_path, capfd):
    path, out = write_source(6), tmp_path / "run"
    whole = '{"id": "late", "image": "1.png", "question": "How many?", "answer": 2}\n'
    path.write_text(path.read_text() + whole[:40])
    assert run(path, out).report.questions == 6
    assert "vqa.jsonl line 7: the file ends inside it: left for the next start" in capfd.readouterr().err
    path.write_text(path.read_text() + whole[40:])
    assert run(path, out).report.questions == 7
    assert "line 7" not in capfd.readouterr().err and verify(str(out)) == []


def test_appended_rows_are_new_chunks_and_old_ones_stay(finished):
    source, out, _ = finished
    commits = RunFolder(str(out)).committed()
    with source.open("a") as file:
        file.write(json.dumps({"question": "How many?", "answer": 2, "image": "1.png"}) + "\n")
    report = run(source, out).report
    after = RunFolder(str(out)).committed()
    assert report.questions == 21
    assert {chunk: after[chunk] for chunk in commits} == commits and len(after) == len(commits) + 1


def test_a_changed_old_row_is_named_and_refused(finished):
    source, out, _ = finished
    source.write_text(source.read_text().replace('"q9"', '"other"'))
    with pytest.raises(ResumeError, match=r"vqa\.jsonl line 9 and 16.*has changed"):
        run(source, out)


def test_removed_rows_are_refused(finished):
    source, out, _ = finished
    source.write_text("".join(source.read_text().splitlines(keepends=True)[:10]))
    with pytest.raises(ResumeError, match="has 10 rows and had 20"):
        run(source, out)


@pytest.mark.parametrize(("name", "value"), [("n", 5), ("keep_fraction", 0.25), ("prompt_version", "boxed")])
def test_a_changed_identity_is_refused_and_named(finished, name, value):
    source, out, _ = finished
    with pytest.raises(ResumeError, match=f"^{name} was"):
        run(source, out, **{name: value})


def test_pairing_again_needs_neither_source_nor_engine(write_source, tmp_path):
    source, out = write_source(20), tmp_path / "run"
    few = run(source, out, pairs_per_question=1).report.pairs
    source.unlink()
    many = pair_again(str(out), ["pairs_per_question=4"]).pairs
    assert many > few
    assert pair_again(str(out), ["pairs_per_question=1"]).pairs == few
    with pytest.raises(ResumeError, match=r"^n was"):
        pair_again(str(out), ["n=9"])


def test_images_by_path_are_the_files_themselves_and_read_the_same(write_source, tmp_path):
    out = tmp_path / "run"
    run(write_source(9), out)
    embedded, before = decoded(out), table(out)
    pair_again(str(out), ["embed_images=false"])
    after = table(out)
    assert {image["bytes"] for row in after for image in row["images"]} == {None}
    paths = {Path(image["path"]) for row in after for image in row["images"]}
    assert len(paths) == 9 and {path.parent for path in paths} == {tmp_path}
    assert [row["image_sha256"] for row in after] == [row["image_sha256"] for row in before]
    assert decoded(out) == embedded and verify(str(out)) == []
    assert "Images are paths" in (out / "README.md").read_text()
    export_run(str(out), Format.JSONL, tmp_path / "there")
    assert len(list((tmp_path / "there").glob("images/*/*.png"))) == len({row["image_sha256"][0] for row in before})
    with pytest.raises(ConfigError, match="embed_images=true"):
        push_run(str(out), "me/pairs", allow_pocket=True)
    min(paths).unlink()
    assert any("has other images than its question" in fault for fault in verify(str(out)))
    pair_again(str(out), ["embed_images=true"])
    assert table(out) == before and verify(str(out)) == []
    assert "Images are embedded" in (out / "README.md").read_text()


def decoded(out):
    """Pixels of every pair's images, as `datasets` gives them."""
    files, cache = str(out / "data" / "*.parquet"), str(out.parent / "cache")
    rows = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=cache)
    return [[image.convert("RGB").tobytes() for image in row["images"]] for row in rows]


def test_a_turned_image_is_embedded_where_others_go_by_path(write_source, tmp_path):
    turned = Image.new("RGB", (40, 30), "red")
    exif = turned.getexif()
    exif[0x0112] = 6  # orientation: a quarter turn
    turned.save(tmp_path / "turned.jpg", exif=exif)
    extra = [json.dumps({"question": "How many?", "answer": 2, "image": "turned.jpg"})]
    run(write_source(1, extra=extra), tmp_path / "run", embed_images=False)
    by_row = {row["source_row"]: row["images"][0] for row in table(tmp_path / "run")}
    assert by_row[1]["bytes"] is None and by_row[1]["path"]
    assert by_row[2]["path"] is None and by_row[2]["bytes"]


def test_another_judge_is_applied_by_pairing_again(write_source, tmp_path):
    extra = [json.dumps({"question": "How long is it?", "answer": "2.05", "image": "0.png"})]
    out = tmp_path / "run"
    strict = run(write_source(1, extra=extra), out).report
    lenient = pair_again(str(out), ["relative_tolerance=0.05"])
    assert lenient.paired == strict.paired + 1
    assert "correct" not in strict.outcomes and lenient.outcomes["correct"]
    (pair, *_) = [row for row in table(out) if row["source_row"] == 2]
    assert pair["chosen_answer"] == "2" and pair["answer"] == "2.05"
    assert pair_again(str(out), ["relative_tolerance=0"]).paired == strict.paired


def test_every_rule_of_selection_is_applied_by_pairing_again_and_taken_back(write_source, tmp_path):
    bench = tmp_path / "bench.jsonl"
    bench.write_text(json.dumps({"image": "4.png"}) + "\n" + json.dumps({"image": "6.png"}) + "\n")
    out = tmp_path / "run"
    plain = run(write_source(30), out).report
    before = shards(out)
    rules = ["strategy=hardest", "max_pairs_per_source=20", "max_format_fraction=0.25", "validation_fraction=0.3"]
    report = pair_again(str(out), [*rules, f"exclude={bench}", "near_duplicate=0.99"])
    assert report.questions == 30 == report.paired + report.skipped
    assert report.pairs == 20 and report.skips_by_reason["excluded"] == 2
    assert report.selection["exclude"] == "bench.jsonl"  # the report travels, a path is of one machine
    splits = {
        name: pq.read_table(out / "data" / f"{name}-00000-of-00001.parquet").to_pylist()
        for name in ("train", "validation")
    }
    kinds = Counter(row["pair_kind"] for rows in splits.values() for row in rows)
    assert kinds["format"] <= 0.25 * (kinds["format"] + kinds["correctness"])
    shown = [{sha256 for row in rows for sha256 in row["image_sha256"]} for rows in splits.values()]
    assert all(shown) and not shown[0] & shown[1]
    assert verify(str(out)) == []
    bench.unlink()
    assert shards(out) == shards_after(out, [])  # the list stays in the run folder
    nothing = ["strategy=random", "max_pairs_per_source=null", "max_format_fraction=null", "validation_fraction=0"]
    assert pair_again(str(out), [*nothing, "exclude=null", "near_duplicate=1"]).pairs == plain.pairs
    assert shards(out) == before


def shards_after(out, overrides):
    pair_again(str(out), overrides)
    return shards(out)


def test_a_build_with_every_rule_gives_what_pairing_again_gives(write_source, tmp_path):
    source, rules = (
        write_source(30),
        {"max_pairs_per_source": 20, "validation_fraction": 0.3, "strategy": "length_matched"},
    )
    run(source, tmp_path / "at_once", engines=2, chunk_questions=5, **rules)
    run(source, tmp_path / "later")
    later = shards_after(tmp_path / "later", [f"{name}={value}" for name, value in rules.items()])
    assert later == shards(tmp_path / "at_once")


def test_a_list_that_cannot_be_read_ends_a_build_before_anything_is_asked(write_source, tmp_path):
    with pytest.raises(ConfigError, match=r"exclude: .*none\.jsonl: no such file"):
        run(write_source(3), tmp_path / "run", exclude=str(tmp_path / "none.jsonl"))
    assert RunFolder(str(tmp_path / "run")).committed() == {}


def test_an_accuracy_window_is_a_named_skip(finished):
    _, out, plain = finished
    report = pair_again(str(out), ["accuracy_window=[0.6, 1.0]"])
    assert report.skips_by_reason == {"accuracy_window": 13} and plain.skips_by_reason == {}
    (skip, *_) = pq.read_table(out / "skips.parquet").to_pylist()
    assert skip["detail"] == "0.5 of the responses are right, the window is 0.6 to 1"


def test_limit_samples_the_whole_source_and_the_sample_stays(write_source, tmp_path):
    source, out = write_source(60), tmp_path / "run"
    report = run(source, out, limit=10).report
    rows = [
        c.question.row for k in RunFolder(str(out)).committed().values() for c in read_chunk(RunFolder(str(out)), k)
    ]
    assert report.questions == len(rows) == 10
    assert max(rows) > 40 and min(rows) < 20
    with source.open("a") as file:
        file.write(json.dumps({"question": "How many?", "answer": 2, "image": "1.png"}) + "\n")
    assert run(source, out, limit=10).report.questions == 10


def test_a_given_draft_is_the_chosen_side_and_none_is_sampled(write_source, tmp_path):
    given = "The image shows a small grey house with two windows and a red door."
    extra = [json.dumps({"question": "Describe.", "image": "0.png", "chosen": given})]
    run(write_source(1, extra=extra), tmp_path / "run")
    pair = next(row for row in table(tmp_path / "run") if row["source_row"] == 2)
    assert pair["chosen_text"] == given and pair["rejected_text"].startswith(given[: pair["prefix_chars"]])
    folder = RunFolder(str(tmp_path / "run"))
    (commit,) = folder.committed().values()
    asked = [c for c in read_chunk(folder, commit) if c.question.row == 2]
    assert [r.response.stage for r in asked[0].responses] == [Stage.DRAFT, Stage.COMPLETION]


def test_grounding_scores_stand_in_the_dataset_and_a_least_margin_filters_by_them(write_source, tmp_path):
    out = tmp_path / "run"
    before = run(write_source(9), out, grounding=True).report
    scores = [(row["chosen_score"], row["rejected_score"]) for row in table(out) if row["pair_kind"] == "dropout_ntp"]
    assert len(scores) == 3 and all(chosen < 0 and rejected < 0 for chosen, rejected in scores)
    after = pair_again(str(out), ["min_grounding_margin=2"])
    assert after.skips_by_reason["grounding_margin"] == 3 and after.paired == before.paired - 3
    assert pair_again(str(out), ["min_grounding_margin=-1"]).paired == before.paired


def test_a_margin_without_scores_is_refused(finished):
    _, out, _ = finished
    with pytest.raises(ConfigError, match="needs a run that was built with grounding=true"):
        pair_again(str(out), ["min_grounding_margin=1"])


def test_a_host_on_which_most_questions_fail_ends_the_run_and_is_named():
    watch = FailureWatch(0.5)
    for host, failed in (("good", 0), ("good", 1), ("good", 2), ("broken", 30), ("broken", 30)):
        watch.count(32, {"image_missing": failed}, host)
    assert (
        watch.failing() == "60 of 64 questions on broken failed, 60 of them with image_missing (max_failure_fraction)"
    )


def test_a_few_failures_everywhere_end_nothing():
    watch = FailureWatch(None)
    report = ChunkReport(0, 32, {}, {"image_missing": 8, "all_right": 24}, {}, 1.0, "host")
    for _ in range(10):
        watch.count(report.questions, report.failures, report.host)
    assert watch.failing() is None
