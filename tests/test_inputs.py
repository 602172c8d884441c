"""Every kind of input in one source, through the chunk's own work on a scripted engine, up to the commit and back."""

from __future__ import annotations

import base64
import json

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from mmpr.builder.build_flow import _settings
from mmpr.builder.chunk import ChunkWork
from mmpr.builder.layout import source_of
from mmpr.engines.scripted import ScriptedEngine
from mmpr.pool import Lease
from mmpr.run import RunFolder, read_chunk
from mmpr.settings.config import load
from mmpr.sources import index, ranges
from mmpr.types import Reason, Stage
from tests.conftest import script
from tests.test_images_remote import serving
from tests.test_images_video import film
from tests.test_sources_parts import Beside, Opened


async def build(source, run, *overrides):
    """The committed questions of one chunk, and what the engine was asked."""
    config = load(None, [f"source={source}", "n=2", "adaptive=false", *overrides], pocket=True)
    opened, folder, engine = source_of(config), RunFolder(str(run)), ScriptedEngine(script)
    [lease] = ranges(index(opened))
    work = ChunkWork(_settings(config, Opened(folder, (opened,))))
    await work(engine, Lease(0, lease.to_json(), attempt="0123abcd"), Beside())
    stored = {one.question.id: one for one in read_chunk(folder, folder.committed()[0])}
    return stored, {(prompt.question_id, prompt.stage): prompt for prompt in engine.prompts}


def write(folder, **rows):
    (folder / "vqa.jsonl").write_text("".join(json.dumps({"id": name, **row}) + "\n" for name, row in rows.items()))
    return folder / "vqa.jsonl"


async def test_every_kind_of_input_is_asked_and_kept(tmp_path):
    Image.new("RGB", (4, 3), "blue").save(tmp_path / "a.png")
    film(tmp_path / "a.mp4")
    inline = f"data:image/png;base64,{base64.b64encode((tmp_path / 'a.png').read_bytes()).decode()}"
    with serving() as (url, _):
        source = write(
            tmp_path,
            text={"question": "What is two plus two?", "answer": 4},
            path={"image": "a.png", "question": "How many?", "answer": 2},
            address={"image": f"file://{tmp_path}/a.png", "question": "How many?", "answer": 2},
            inline={"image": inline, "question": "How many?", "answer": 2},
            remote={"image": f"{url}/a.png", "question": "Describe the image."},
            several={"image": ["a.png", "a.png"], "question": "Which?", "answer": 2, "history": [["Hm?", "Yes."]]},
            tagged={"image": ["a.png", "a.png"], "question": "Is <image> like <image>?", "answer": "no"},
            told={"image": "a.png", "question": "How many?", "answer": 2, "system": "Be brief.", "language": "zh"},
            film={"video": "a.mp4", "question": "Describe the video."},
        )
        stored, asked = await build(source, tmp_path / "run", f"allowed_hosts=[{url}]", "video_frames=4")
    assert [one.skip for one in stored.values()] == [None] * 9
    counts = {name: len(one.images) for name, one in stored.items()}
    assert counts == {**dict.fromkeys(stored, 1), "text": 0, "several": 2, "tagged": 2, "film": 4}
    assert asked["several", Stage.SAMPLE].messages[0].text == "Image-1: <image>\nImage-2: <image>\nHm?"
    assert "Is <image> like <image>?" in asked["tagged", Stage.SAMPLE].messages[0].text
    assert (
        asked["told", Stage.SAMPLE].messages[0].text == "Be brief."
        and "问题" in asked["told", Stage.SAMPLE].messages[1].text
    )
    assert asked["film", Stage.DRAFT].max_tiles == 1 and asked["path", Stage.SAMPLE].max_tiles is None
    for name in ("remote", "film"):
        blind = asked[name, Stage.COMPLETION]
        assert blind.images == () and not any(word in blind.messages[0].text for word in ("<image>", "Frame"))


async def test_bytes_in_parquet_are_asked_and_kept(tmp_path):
    Image.new("RGB", (4, 3), "blue").save(tmp_path / "a.png")
    raw = (tmp_path / "a.png").read_bytes()
    pq.write_table(
        pa.table({"id": ["q"], "question": ["How?"], "answer": ["2"], "image": [raw]}), tmp_path / "a.parquet"
    )
    stored, _ = await build(tmp_path / "a.parquet", tmp_path / "run")
    assert [image.encoded for image in stored["q"].images] == [raw]


async def test_faults_of_inputs_are_named_skips_and_the_others_go_on(tmp_path):
    Image.new("RGB", (4, 3), "blue").save(tmp_path / "a.png")
    film(tmp_path / "short.mp4", 3)
    source = write(
        tmp_path,
        fine={"image": "a.png", "question": "How many?", "answer": 2},
        host={"image": "https://example.org/a.png", "question": "How many?", "answer": 2},
        short={"video": "short.mp4", "question": "How many?", "answer": 2},
        broken={"video": "a.png", "question": "How many?", "answer": 2},
    )
    stored, _ = await build(source, tmp_path / "run")
    reasons = {name: one.skip and one.skip.reason for name, one in stored.items()}
    assert reasons == {
        "fine": None,
        "host": Reason.IMAGE_NOT_ALLOWED,
        "short": Reason.VIDEO_TOO_SHORT,
        "broken": Reason.VIDEO_UNREADABLE,
    }


async def test_an_instruction_and_a_system_message_of_ones_own_reach_the_engine(tmp_path):
    (tmp_path / "ask.txt").write_text("Look twice.\n{question}\nEnd with \\boxed{..}.")
    source = write(tmp_path, q={"question": "What is two plus two?", "answer": 4})
    own = [f"prompt_template={tmp_path}/ask.txt", "prompt_version=boxed", "system_message=internvl2_5"]
    _, asked = await build(source, tmp_path / "run", *own)
    system, user = asked["q", Stage.SAMPLE].messages
    assert "书生·万象" in system.text
    assert user.text == "Look twice.\nWhat is two plus two?\nEnd with \\boxed{..}."


async def test_a_chunks_prompts_go_before_those_of_chunks_leased_later(tmp_path):
    """Drafts, completions and later rounds alike: else chunks in flight would all end at once."""
    Image.new("RGB", (4, 3), "blue").save(tmp_path / "a.png")
    asks = [{"image": "a.png", "question": "How many?", "answer": 2}, {"image": "a.png", "question": "Describe."}]
    source = write(tmp_path, **{f"q{i}": asks[i % 2] for i in range(6)})
    config = load(None, [f"source={source}", "n=8", "first_round=2"], pocket=True)
    opened, engine = source_of(config), ScriptedEngine(script)
    work = ChunkWork(_settings(config, Opened(RunFolder(str(tmp_path / "run")), (opened,))))
    leases = ranges(index(opened), chunk_questions=2)
    for chunk, lease in enumerate(leases):
        await work(engine, Lease(chunk, lease.to_json(), attempt="0123abcd"), Beside())
    priorities = {}
    for prompt in engine.prompts:
        priorities.setdefault(prompt.question_id, set()).add(prompt.priority)
    stages = {prompt.stage for prompt in engine.prompts}
    assert stages == {Stage.SAMPLE, Stage.DRAFT, Stage.COMPLETION} and len(engine.prompts) > 9
    assert all(len(own) == 1 for own in priorities.values())
    order = [priorities[f"q{i}"].pop() for i in range(6)]
    assert order[0] == order[1] < order[2] == order[3] < order[4] == order[5]


async def test_a_reference_answer_that_cannot_be_judged_by_is_a_skip_before_the_engine_is_asked(tmp_path):
    source = write(
        tmp_path,
        outside={"question": "Which?", "choices": ["red", "blue"], "answer": "green"},
        unread={"question": "When?", "answer": "blue", "answer_kind": "date"},
        good={"question": "How many?", "answer": 2},
    )
    stored, asked = await build(source, tmp_path / "run")
    assert {name: one.skip and one.skip.reason for name, one in stored.items()} == {
        "outside": Reason.BAD_ANSWER,
        "unread": Reason.BAD_ANSWER,
        "good": None,
    }
    assert {name for name, _ in asked} == {"good"}
    assert stored["outside"].skip.detail.startswith("vqa.jsonl line 1: the answer 'green' is none of the 2 options")
