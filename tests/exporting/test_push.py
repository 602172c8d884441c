"""Pushes to a local server with the Hub's HTTP interface: what is uploaded, what is refused, and with which message."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from run import making

from exporting import hub_writes, runs
from mmpr.errors import ConfigError, HubError, MmprError, RunFolderError
from mmpr.exporting.push import push_run
from mmpr.reporting.report_files import report_again
from mmpr.run import DatasetOptions, RunFolder
from mmpr.run.json_records import unsealed
from mmpr.verification import verify

REPO = "owner/pairs"
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of huggingface_hub's own uploads
TOP = {"README.md", "report.html", "report.json", "manifest.json"}


@pytest.fixture(autouse=True)
def writer(monkeypatch):
    """A token that may write, and uploads by plain HTTP: hf_xet speaks to a store of its own."""
    monkeypatch.setenv("HF_TOKEN", hub_writes.WRITER)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)


def make(path, *, model="owner/model", rows=None):
    folder = runs.make(path, rows)
    stored = unsealed((path / "run.json").read_bytes())
    stored["identity"]["model"] = model
    (path / "run.json").write_text(json.dumps(stored))
    report_again(folder.url)
    return path


@pytest.fixture
def run(tmp_path):
    """A finished run with its reports."""
    return make(tmp_path / "run")


def push(run, address, repo=REPO, **how):
    return push_run(str(run), repo, endpoint=address, **{"pauses_s": (0, 0), **how})


def arrived(hub, repo=REPO):
    return {name: content for name, content in hub.repositories[repo].files.items() if name != ".gitattributes"}


def expected(run):
    return {name: content for name, content in runs.files_in(run).items() if name in TOP or name.startswith("data/")}


def test_what_arrives_is_the_dataset_byte_for_byte_and_private(run):
    with hub_writes.serving() as (hub, address):
        pushed = push(run, address)
    assert arrived(hub) == expected(run) and len(arrived(hub)) == len(TOP) + 1
    assert pushed.private and hub.repositories[REPO].private and pushed.changed
    assert pushed.repo == REPO and pushed.url.endswith(f"/datasets/{REPO}")
    assert pushed.n_bytes == sum(map(len, arrived(hub).values()))
    assert len(hub.repositories[REPO].commits) == 1  # all of it, or nothing


def test_the_same_again_sends_nothing_and_commits_nothing(run):
    with hub_writes.serving() as (hub, address):
        push(run, address)
        before = len(hub.sent("PUT", "/large/"))
        assert not push(run, address).changed
        assert len(hub.sent("PUT", "/large/")) == before
        assert len(hub.repositories[REPO].commits) == 1


def test_a_run_that_was_paired_again_takes_its_old_shards_away(run):
    folder = RunFolder(str(run))
    with hub_writes.serving() as (hub, address):
        making.finish(folder, options=DatasetOptions(shard_bytes=8_000))
        report_again(folder.url)
        push(run, address)
        many = set(arrived(hub))
        making.finish(folder)
        report_again(folder.url)
        assert push(run, address).changed
        assert arrived(hub) == expected(run)
        assert len(many) > len(arrived(hub)) and len(hub.repositories[REPO].commits) == 2


def test_with_responses_a_copy_from_the_hub_is_a_sound_run(run, tmp_path):
    with hub_writes.serving() as (hub, address):
        push(run, address, with_responses=True, commit_files=3)
        for name, content in arrived(hub).items():
            path = tmp_path / "copy" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        assert verify(str(tmp_path / "copy")) == []
        assert not {"driver.json", "starts.jsonl"} & arrived(hub).keys()
        assert [name for _, name in hub.repositories[REPO].commits[-1]][-1] == "verdicts.json"  # the dataset comes last
        with pytest.raises(HubError, match="--with-responses"):
            push(run, address)


def test_a_push_with_responses_that_was_cut_off_is_completed(run):
    with hub_writes.serving() as (hub, address):
        push(run, address, with_responses=True, commit_files=3)
        whole = arrived(hub)
        half = {name: content for name, content in whole.items() if name.startswith(("chunks/", "questions/"))}
        hub.repositories[REPO].files = {".gitattributes": b"", **half}
        push(run, address, with_responses=True)
        assert arrived(hub) == whole


def test_a_new_repository_is_public_where_asked_and_the_missing_licence_is_told(run):
    with hub_writes.serving() as (hub, address):
        pushed = push(run, address, public=True)
        assert not pushed.private and not hub.repositories[REPO].private
        assert any("licence" in note for note in pushed.notes)


def test_a_card_that_was_filled_in_may_be_pushed(run):
    card = run / "README.md"
    card.write_text(card.read_text().replace("license_name: to-be-filled-in", "license_name: mine"))
    with hub_writes.serving() as (hub, address):
        assert push(run, address, public=True).notes == ()
        assert arrived(hub)["README.md"] == card.read_bytes()


def test_no_private_upload_becomes_public_by_accident(run):
    with hub_writes.serving() as (hub, address):
        hub.repositories[REPO] = hub_writes.Repository(private=False)
        with pytest.raises(HubError, match=r"owner/pairs is public: give --public"):
            push(run, address)
        assert arrived(hub) == {}
        hub.repositories[REPO].private = True
        assert "stays private" in push(run, address, public=True).notes[0]


@pytest.mark.parametrize("name", ["model.safetensors", "data/train-00000-of-00001.parquet"])
def test_a_repository_of_something_else_is_left_alone(run, name):
    with hub_writes.serving() as (hub, address):
        hub.repositories[REPO] = hub_writes.Repository(private=True)
        hub.repositories[REPO].files |= {name: b"precious", "README.md": b"---\n---\n"}
        with pytest.raises(HubError, match=f"not of mmpr .{name}"):
            push(run, address)
        assert arrived(hub)[name] == b"precious" and not hub.repositories[REPO].commits


def test_the_pocket_model_is_pushed_only_where_that_is_meant(tmp_path):
    run = make(tmp_path / "run", model="pocket")
    with hub_writes.serving() as (hub, address):
        with pytest.raises(ConfigError, match="--allow-pocket"):
            push(run, address)
        assert not hub.asked
        push(run, address, allow_pocket=True)
        assert arrived(hub) == expected(run)


def damage(run):
    shard = run / runs.SHARD
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda run: (run / "manifest.json").unlink(), "is not finished"),
        (lambda run: (run / "chunks/00000.json").unlink(), "is not finished"),
        (lambda run: (run / "run.json").unlink(), "is no run folder"),
        (lambda run: (run / runs.SHARD).unlink(), "train-00000-of-00001.parquet is missing"),
        (lambda run: (run / "report.html").write_text("other"), "report.html has 5 bytes"),
        (lambda run: (run / "README.md").unlink(), "README.md is missing"),
        (damage, "train-00000-of-00001.parquet has changed since it was written"),
    ],
)
def test_a_run_that_verify_would_refuse_is_not_pushed(run, spoil, words):
    spoil(run)
    with hub_writes.serving() as (hub, address):
        with pytest.raises(RunFolderError, match=words):
            push(run, address)
        assert not hub.asked


def test_damaged_responses_are_not_pushed(run):
    next((run / "responses").iterdir()).write_bytes(b"")
    with hub_writes.serving() as (hub, address), pytest.raises(RunFolderError, match=r"responses/.* has 0 bytes"):
        push(run, address, with_responses=True)
    assert not hub.asked


def test_a_run_elsewhere_is_refused():
    folder = runs.make("memory://push-elsewhere")
    with pytest.raises(RunFolderError, match="not on this machine"):
        push(folder.url, "http://127.0.0.1:9")


@pytest.mark.parametrize("repo", ["a/b/c", "owner/na me", "https://huggingface.co/datasets/owner/x", "", "owner/..x"])
def test_a_bad_name_is_told_before_anything_is_asked(run, repo):
    with hub_writes.serving() as (hub, address):
        with pytest.raises(ConfigError, match=r"is not a repository name; write owner/name"):
            push(run, address, repo)
        assert not hub.asked


@pytest.mark.parametrize(
    ("token", "repo", "words"),
    [
        ("hf_" + "x" * 34, REPO, "does not know the token: `hf auth login`"),
        (hub_writes.READER, REPO, "the token may not write to owner/pairs"),
        (hub_writes.WRITER, "elsewhere/pairs", "the token may not write to elsewhere/pairs"),
    ],
)
def test_a_token_that_may_not_write_is_one_line(run, monkeypatch, token, repo, words):
    monkeypatch.setenv("HF_TOKEN", token)
    with hub_writes.serving() as (hub, address):
        with pytest.raises(HubError, match=words) as found:
            push(run, address, repo)
        assert not hub.repositories and token not in str(found.value) and "\n" not in str(found.value)


def test_a_hub_that_is_not_there_is_one_line(run):
    with pytest.raises(HubError, match=r"the Hub at http://127\.0\.0\.1:9 cannot be reached .*check the network"):
        push(run, "http://127.0.0.1:9")


def test_a_commit_that_the_hub_fails_is_tried_again(run):
    failing = {f"/api/datasets/{REPO}/commit": [503, 500]}
    with hub_writes.serving(failing=failing) as (hub, address):
        push(run, address)
        assert arrived(hub) == expected(run)
        assert len(hub.sent("PUT", "/large/")) == 1  # what was sent is not sent again


def test_a_hub_that_fails_for_good_is_one_line_and_a_later_push_completes(run):
    failing = {f"/api/datasets/{REPO}/commit": [503] * 3}
    with hub_writes.serving(failing=failing) as (hub, address):
        with pytest.raises(HubError, match=r"the Hub failed \(503: the Hub is being mended\); push again later"):
            push(run, address)
        assert arrived(hub) == {}
        push(run, address)
        assert arrived(hub) == expected(run)


def test_a_refusal_is_not_tried_again(run):
    failing = {f"/api/datasets/{REPO}/commit": [402, 402]}
    with hub_writes.serving(failing=failing) as (hub, address):
        with pytest.raises(HubError, match=r"refuses owner/pairs \(402: the Hub is being mended\)"):
            push(run, address)
        assert len(hub.sent("POST", f"/api/datasets/{REPO}/commit")) == 1


def test_a_card_whose_front_matter_was_broken_is_told_with_what_the_hub_says(run):
    (run / "README.md").write_text("no front matter")
    with hub_writes.serving() as (hub, address):
        with pytest.raises(MmprError, match=r"the Hub refuses owner/pairs .*README\.md.* no metadata"):
            push(run, address)
        assert arrived(hub) == {}


def command(*words, **environment):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING_FACE"))}
    return subprocess.run(
        [sys.executable, "-m", "mmpr", "push", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env={**kept, "HF_HUB_DISABLE_XET": "1", **environment},
    )


def test_on_the_command_line_the_token_is_found_by_the_client_and_told_nowhere(run, tmp_path):
    with hub_writes.serving() as (hub, address):
        known = {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "home")}
        refused = command(run, REPO, **known)
        assert refused.returncode == 1 and refused.stdout == ""
        assert refused.stderr == "mmpr: no token for the Hub: `hf auth login`, or set HF_TOKEN to one that may write\n"
        assert not hub.asked
        (tmp_path / "home").mkdir(exist_ok=True)
        (tmp_path / "home/token").write_text(hub_writes.WRITER)  # as `hf auth login` leaves it
        done = command(run, "pairs", **known)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [
            f"{address}/datasets/{REPO} (private): 5 files, {sum(map(len, expected(run).values())) / 1e6:.1f} MB",
            f'load: load_dataset("{REPO}", split="train")',
        ]
        assert arrived(hub) == expected(run)
        assert not hub.unasked_tokens
        printed = (done.stdout + done.stderr + refused.stderr).encode()
        assert not [place for place in (printed, *runs.files_in(run).values()) if hub_writes.WRITER.encode() in place]
        assert not [name for name in runs.files_in(run) if ".cache" in name or "driver" in name]


def test_the_folder_of_a_push_stays_as_it_was(run):
    before = runs.files_in(run)
    with hub_writes.serving() as (_, address):
        push(run, address, with_responses=True)
    assert runs.files_in(run) == before
    assert Path(run / "manifest.json").exists()
