"""The page: its content, its safety against hostile text, and its behaviour in a real browser."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import random
import re
import shutil
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from mmpr.reporting.page import bare_question, island
from mmpr.reporting.report_files import write_reports
from mmpr.reporting.sample import Pick, Sampler, read_picks
from mmpr.reporting.thumbnails import Thumbnails

from .conftest import HOSTILE, counted, make_run

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
NEEDS_CHROMIUM = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)")


@pytest.fixture(scope="module")
def html(run):
    return run[0].store.read_bytes("report.html").decode()


def embedded(html: str):
    return json.loads(re.search(r'<script type="application/json" id="island">(.*?)</script>', html, re.DOTALL)[1])


def test_hostile_text_stays_text(html):
    assert "<script>window.hacked" not in html
    assert "<img src=x" not in html
    assert "open &lt;b&gt;scenes" in html
    assert any(HOSTILE.split()[0] in pair["question"] for pair in embedded(html)["pairs"])


def test_the_policy_allows_the_pages_own_script_and_no_network(html):
    script = re.search(r"<script>(.*?)</script>", html, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in html
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", html)
    assert html.count("<script") == 2


def test_an_island_cannot_be_left():
    text = {"a": "</script><!-- & \u2028\u2029", "b": "\ud800"}
    assert not set("<>&\u2028\u2029") & set(island(text))
    assert json.loads(island(text)) == text


def test_the_sample_is_of_all_kinds_and_no_order_of_writing_changes_it(run):
    pairs = embedded(run[0].store.read_bytes("report.html").decode())["pairs"]
    assert {pair["kind"] for pair in pairs[:3]} == {"correctness", "format", "dropout_ntp"}
    assert len(pairs) == run[3].pairs


def test_a_rare_kind_is_seen_too():
    import pyarrow as pa

    sampler = Sampler(10)
    ids = [f"{n:04d}" for n in range(1000)]
    batch = pa.record_batch(
        {"pair_id": ids, "pair_kind": ["format" if n == 999 else "correctness" for n in range(1000)]}
    )
    sampler.offer(batch, "data/x", 0)
    picks = sampler.picks()
    assert len(picks) == 10
    assert Pick("0999", "data/x", 999) in picks


def test_picks_are_read_wherever_they_stand():
    folder, totals, files = make_run("memory://picks", n=40)
    ids = [row["pair_id"] for row in read_picks(folder, [Pick("", files[0].path, row) for row in range(totals.pairs)])]
    assert len(set(ids)) == totals.pairs
    wanted = [Pick(ids[row], files[0].path, row) for row in (totals.pairs - 1, 0, 17)]
    assert {row["pair_id"] for row in read_picks(folder, wanted)} == {pick.pair_id for pick in wanted}


def test_a_dropout_pair_shows_its_shared_prefix_once_and_its_texts_whole(html):
    pair = next(pair for pair in embedded(html)["pairs"] if pair["kind"] == "dropout_ntp")
    assert pair["prefix"].startswith("There is a ")
    assert "grey dog" in "".join(text for _, text in pair["rejected"])


def test_the_instruction_is_left_out_of_a_question():
    from mmpr.prompts import VERSIONS

    for wording in (w for version in VERSIONS.values() for w in version.values()):
        assert bare_question("<image>\n" + wording.replace("{question}", "How many?")) == "How many?"
    assert bare_question("<image>\nDescribe it.") == "Describe it."


def test_noisy_photographs_stay_within_five_megabytes():
    thumbnails = Thumbnails()
    rng = random.Random(1)
    for n in range(60):
        file = io.BytesIO()
        Image.frombytes("RGB", (400, 300), rng.randbytes(360_000)).save(file, "JPEG", quality=95)
        thumbnails.add([{"bytes": file.getvalue()}], [f"{n}"])
    thumbnails.add([{"bytes": b"no image"}], ["broken"])
    shown = thumbnails.to_json([f"{n}" for n in range(60)] + ["broken"])
    assert len(shown) == 60
    assert sum(len(one["uri"]) for one in shown.values()) < 2_300_000


def test_a_page_of_very_long_answers_stays_under_five_megabytes():
    rng = random.Random(2)
    rows = []
    for row in range(110):
        committed = counted(row)
        found = [replace(r.response, text=_rambling(rng) + r.response.text) for r in committed.responses]
        responses = tuple(replace(r, response=one) for r, one in zip(committed.responses, found, strict=True))
        rows.append(replace(committed, responses=responses))
    folder, totals, files = make_run("memory://long", rows=rows)
    write_reports(folder, totals, files)
    html = folder.store.read_bytes("report.html")
    shown = embedded(html.decode())["pairs"]
    assert len(html) < 5_000_000
    assert len(shown) == 300 < totals.pairs
    assert "more characters]" in shown[0]["chosen"][-1][1]


def _rambling(rng) -> str:
    return " ".join(rng.choice(["然而", "the", "<b>", "figure", "because", "42"]) for _ in range(1500))


# -- in a browser -------------------------------------------------------------------------------------------------


class Tab:
    """One page over Chromium's debugging protocol."""

    def __init__(self, socket) -> None:
        self._socket, self._n, self.troubles = socket, 0, []

    async def send(self, method: str, **params):
        self._n += 1
        await self._socket.send_json({"id": self._n, "method": method, "params": params})
        while True:
            found = await self._socket.receive_json(timeout=30)
            if found.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded", "Network.requestWillBeSent"):
                self.troubles.append(found["params"])
            if found.get("id") == self._n:
                return found.get("result", found)

    async def run(self, expression: str):
        result = await self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        return result["result"].get("value")

    async def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            await self.send("Input.dispatchKeyEvent", type=kind, key=key, text=key if kind == "keyDown" else "")

    async def until(self, expression: str) -> None:
        for _ in range(100):
            if await self.run(expression):
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"never true: {expression}")


@asynccontextmanager
async def opened(page: Path, profile: Path):
    import aiohttp

    flags = [
        *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"),
        f"--user-data-dir={profile}",
    ]
    process = await asyncio.create_subprocess_exec(
        CHROMIUM, *flags, "about:blank", stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        port_file = profile / "DevToolsActivePort"
        for _ in range(300):
            if port_file.exists() and port_file.read_text().count("\n"):
                break
            await asyncio.sleep(0.1)
        address = f"http://127.0.0.1:{port_file.read_text().split()[0]}/json/list"
        async with aiohttp.ClientSession() as session:
            tabs = await (await session.get(address)).json()
            async with session.ws_connect(tabs[0]["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                tab = Tab(socket)
                for domain in ("Runtime", "Log", "Page"):
                    await tab.send(f"{domain}.enable")
                await tab.send("Page.navigate", url=page.as_uri())
                await tab.until("document.readyState === 'complete' && document.querySelectorAll('article').length > 0")
                yield tab
    finally:
        process.terminate()
        await process.wait()


@NEEDS_CHROMIUM
async def test_the_page_is_browsed_by_keyboard_and_filters_in_a_browser(run, tmp_path):
    folder, totals, _, report = run
    shown = "[...document.querySelectorAll('article')].filter(a => !a.hidden).length"
    async with opened(Path(folder.url) / "report.html", tmp_path / "profile") as tab:
        assert await tab.run(shown) == totals.pairs
        assert await tab.run("window.hacked") is None
        assert await tab.run("document.querySelectorAll('img[src=x], .text script').length") == 0
        await tab.press("j")
        await tab.press("j")
        assert await tab.run("document.activeElement === document.querySelectorAll('article')[1]")
        await tab.press("k")
        assert await tab.run("document.activeElement === document.querySelectorAll('article')[0]")
        await tab.run("document.querySelector('#kinds button[value=dropout_ntp]').click()")
        assert await tab.run(shown) == report.pairs_by_kind["dropout_ntp"]
        await tab.press("/")
        await tab.send("Input.insertText", text="no such words anywhere")
        assert await tab.run(shown) == 0
        await tab.run("document.getElementById('reset').click()")
        assert await tab.run(shown) == totals.pairs
        for width in (1400, 768, 360):
            await tab.send(
                "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False
            )
            assert await tab.run("document.documentElement.scrollWidth") <= width
        assert tab.troubles == []


@NEEDS_CHROMIUM
async def test_the_page_is_right_to_the_eye_in_dark_and_light(run, tmp_path):
    async with opened(Path(run[0].url) / "report.html", tmp_path / "profile") as tab:
        colours = []
        for scheme in ("light", "dark"):
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            await tab.send("Emulation.setEmulatedMedia", features=features)
            colours.append(await tab.run(style_of("body", "backgroundColor")))
        assert colours == ["rgb(250, 249, 246)", "rgb(20, 20, 19)"]
        await tab.run("document.getElementById('theme').click()")
        assert await tab.run(style_of("body", "backgroundColor")) == colours[0]
        await tab.press("t")
        assert await tab.run(style_of("body", "backgroundColor")) == colours[1]
        clear = "rgba(0, 0, 0, 0)"
        for shaded in ("article .prefix", "article .chosen mark", "article .rejected mark"):
            assert await tab.run(style_of(shaded, "backgroundColor")) != clear
        assert await tab.run("document.querySelectorAll('.flow .band').length") == 2 + 3 + 1  # kinds, one reason
        await tab.run("document.images[0].scrollIntoView()")  # images load when they are looked at
        await tab.until("document.images[0].complete && document.images[0].naturalWidth > 0")


@NEEDS_CHROMIUM
async def test_pairs_are_filtered_by_source_rule_and_words_and_linked_to(run, tmp_path):
    shown = "[...document.querySelectorAll('article')].filter(a => !a.hidden)"
    pairs = embedded(run[0].store.read_bytes("report.html").decode())["pairs"]
    async with opened(Path(run[0].url) / "report.html", tmp_path / "profile") as tab:
        for column in ("source", "rule"):
            value = next(pair[column] for pair in pairs if pair[column])
            await tab.run(
                f"(s => {{ s.value = {json.dumps(value)}; s.dispatchEvent(new Event('change')) }})"
                f"(document.getElementById('{column}'))"
            )
            assert await tab.run(f"{shown}.length") == sum(pair[column] == value for pair in pairs)
            await tab.run("document.getElementById('reset').click()")
        last = pairs[-1]["pair_id"]
        await tab.run(f"document.querySelector('a[href=\"#{last}\"]').click()")
        assert await tab.run("location.hash") == f"#{last}"
        seen = f"(b => b.top < innerHeight && b.bottom > 0)(document.getElementById('{last}').getBoundingClientRect())"
        await tab.until(seen)
        await tab.press("/")
        await tab.send("Input.insertText", text=r"\x1b]0;owned\x07")
        assert await tab.run(f"{shown}.length") > 0
        assert not await tab.run(
            r"/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e]/.test(document.body.innerText)"
        )
        assert tab.troubles == []


def style_of(selector, name):
    return f"getComputedStyle(document.querySelector('{selector}')).{name}"


def test_the_report_can_be_written_twice():
    folder, totals, files = make_run("memory://twice", n=16)
    assert write_reports(folder, totals, files) == write_reports(folder, totals, files)
