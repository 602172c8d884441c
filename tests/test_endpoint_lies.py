"""Servers with slow, wrong or huge replies: each is refused with its reason, in bounded time; the engine continues."""

import asyncio
import gzip
import json
import re
import zlib
from contextlib import asynccontextmanager

import pytest

from mmpr.engines.endpoint import EndpointOptions
from mmpr.engines.endpoint import server as endpoint_server
from mmpr.engines.endpoint.server import Server
from mmpr.engines.endpoint.wire import read_likeliest, read_reply, read_scored
from mmpr.errors import EngineDead, EngineError, RequestRefused

GOOD = {
    "choices": [{"index": 0, "message": {"content": "yes"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2},
}


@asynccontextmanager
async def server(body, *, status=b"200 OK", drip_s=0.0, **settings):
    """A server that answers every request so; a byte every `drip_s`."""

    async def answer(reader, writer):
        answering.append((asyncio.current_task(), writer))
        request = await reader.readuntil(b"\r\n\r\n")
        if found := re.search(rb"(?i)content-length: (\d+)", request):
            await reader.readexactly(int(found[1]))  # what is left unread resets the connection
        healthy = request.startswith(b"GET")
        said = b"{}" if healthy else body
        line = b"200 OK" if healthy else status
        length = str(len(said)).encode()
        writer.write(b"HTTP/1.1 " + line + b"\r\n" + b"Connection: close\r\nContent-Length: " + length + b"\r\n\r\n")
        for first in range(0, len(said), 1 if drip_s and not healthy else len(said)):
            writer.write(said[first : first + (1 if drip_s and not healthy else len(said))])
            await asyncio.sleep(drip_s)
        writer.close()

    answering = []
    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
    asked = Server(EndpointOptions(url, "m", **{"pause_s": 0.001, "timeout_s": 5.0, **settings}))
    try:
        yield asked
    finally:
        await asked.close()
        listening.close()
        for task, writer in answering:
            task.cancel()
            writer.close()
        await asyncio.gather(*(task for task, _ in answering), return_exceptions=True)
        await asyncio.gather(*(writer.wait_closed() for _, writer in answering), return_exceptions=True)


def with_usage(**usage):
    return json.dumps({**GOOD, "usage": {**GOOD["usage"], **usage}}).encode()


def with_choice(**choice):
    return json.dumps({**GOOD, "choices": [{**GOOD["choices"][0], **choice}]}).encode()


async def test_a_server_that_drips_has_one_time_for_its_whole_answer():
    async with server(json.dumps(GOOD).encode(), drip_s=0.05, timeout_s=0.3) as asked:
        with pytest.raises(RequestRefused, match="no complete reply"):
            await asked.post("chat/completions", {}, read_reply)


@pytest.mark.parametrize(
    "body",
    [
        with_usage(completion_tokens=-(10**30)),
        with_usage(completion_tokens=10**30),
        with_usage(prompt_tokens=-1),
        with_usage(prompt_tokens="many"),
        with_usage(completion_tokens=1.5),
        with_usage(completion_tokens=True),
        with_choice(message={"content": "\ud800"}),
        with_choice(message={"content": "yes \udfff"}),
        with_choice(token_ids=[-5]),
        with_choice(token_ids=[10**20]),
        with_choice(token_ids="abc"),
        b"[" * 100_000,
        b"null",
        b'{"choices": []}',
        b"\xff\xfe",
        b"<!doctype html><html><body>Log in</body></html>",
        b"",
        b'{"a":' * 100_000,
        json.dumps({**GOOD, "choices": [GOOD["choices"][0]] * 2}).encode(),  # one index twice
        with_choice(index=-1),
        with_choice(message=None),
        with_choice(message={"content": ["yes"]}),
        json.dumps({"usage": GOOD["usage"]}).encode(),
    ],
)
async def test_a_reply_that_lies_is_refused_by_name(body):
    async with server(body) as asked:
        with pytest.raises(RequestRefused, match="unexpected reply") as refused:
            await asked.post("chat/completions", {}, read_reply)
        assert len(str(refused.value)) < 500


@pytest.mark.parametrize("to", ["file:///etc/passwd", "http://169.254.169.254/latest/meta-data/", "//", "http://[", ""])
@pytest.mark.parametrize("status", [b"302 Found", b"307 Temporary Redirect"])
async def test_a_redirect_is_not_followed(to, status):
    async with server(b"", status=status + b"\r\nLocation: " + to.encode()) as asked:
        with pytest.raises((RequestRefused, EngineError)) as refused:
            await asked.post("chat/completions", {}, read_reply)
        assert status[:3].decode() in str(refused.value)


@pytest.mark.parametrize("head", [b"X-A: " + b"a" * 2_000_000, b"\r\n".join(b"X-%d: a" % i for i in range(200_000))])
async def test_a_head_without_end_is_refused(head):
    async with server(json.dumps(GOOD).encode(), status=b"200 OK\r\n" + head) as asked:
        with pytest.raises((RequestRefused, EngineDead)):
            await asked.post("chat/completions", {}, read_reply)


@pytest.mark.parametrize(
    ("encoding", "content"),
    [
        ("gzip", gzip.compress(json.dumps(GOOD).encode())),
        ("deflate", zlib.compress(json.dumps(GOOD).encode())),
        ("GZIP", gzip.compress(json.dumps(GOOD).encode())),
        ("identity", json.dumps(GOOD).encode()),
    ],
)
async def test_a_packed_reply_is_unpacked(encoding, content):
    async with server(content, status=f"200 OK\r\nContent-Encoding: {encoding}".encode()) as asked:
        assert (await asked.post("chat/completions", {}, read_reply)).choices[0].text == "yes"


ZEROS = gzip.compress(bytes(5_000_000))


@pytest.mark.parametrize(
    ("encoding", "content"),
    [
        ("gzip", ZEROS),
        ("gzip, gzip", gzip.compress(ZEROS)),
        ("gzip,identity,deflate", zlib.compress(ZEROS)),
        ("br", b"abc"),
        ("zstd", b"abc"),
        ("\xe9", b"abc"),
        ("gzip", b"no gzip"),
        ("gzip", gzip.compress(json.dumps(GOOD).encode())[:-9]),
        ("deflate", b""),
    ],
)
async def test_a_reply_that_unpacks_to_too_much_or_to_nothing_is_refused(encoding, content, monkeypatch):
    monkeypatch.setattr(endpoint_server, "_MOST_BYTES", 1_000_000)
    status = f"200 OK\r\nContent-Encoding: {encoding}".encode()
    async with server(content, status=status) as asked:
        with pytest.raises((RequestRefused, EngineDead), match="reply") as refused:
            await asked.post("chat/completions", {}, read_reply)
        assert len(str(refused.value)) < 500


async def test_all_replies_that_are_received_at_once_have_one_limit(monkeypatch):
    monkeypatch.setattr(endpoint_server, "_MOST_BYTES_AT_ONCE", 1_000_000)
    large = json.dumps({**GOOD, "more": "x" * 1_100_000}).encode()
    async with server(large) as asked:
        with pytest.raises(RequestRefused, match="a reply of more than"):
            await asked.post("chat/completions", {}, read_reply)
        assert asked._receiving == 0


NO_LOGPROBS = [float("nan"), float("inf"), 10**400, -(10**400), 1e300, 7, True, False, "x", "-0.5", None, [], {}]


@pytest.mark.parametrize("logprob", [*NO_LOGPROBS, float("-inf")], ids=lambda one: repr(one)[:10])
def test_a_log_probability_that_is_no_number_is_no_score(logprob):
    with pytest.raises((ValueError, TypeError)):
        read_scored({**GOOD, "prompt_logprobs": [None, {"1": {"logprob": logprob}}]})


@pytest.mark.parametrize("logprob", NO_LOGPROBS, ids=lambda one: repr(one)[:10])
async def test_a_letter_has_a_log_probability_or_the_answer_is_refused_in_one_line(logprob):
    async with server(json.dumps(likely(logprob)).encode()) as asked:
        with pytest.raises(RequestRefused, match="unexpected reply") as refused:
            await asked.post("chat/completions", {}, read_likeliest)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 500


@pytest.mark.parametrize("logprob", [-0.5, 0, 0.0, 1e-7, -9999.0, -3.4e38, float("-inf")])
def test_what_servers_give_for_a_letter_is_read(logprob):
    assert read_likeliest(likely(logprob))[1] == [("A", float(logprob))]


def likely(logprob):
    listed = [{"token": "A", "logprob": logprob}]
    return {**GOOD, "choices": [{**GOOD["choices"][0], "logprobs": {"content": [{"top_logprobs": listed}]}}]}


@pytest.mark.parametrize("wish", ["99999999999", "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT", "1e999", "-5", "\u0663"])
async def test_a_wish_for_a_pause_is_bounded(wish):
    response = endpoint_server.httpx.Response(429, headers={"Retry-After": wish.encode()})
    assert 0.0 <= endpoint_server._retry_after(response) <= endpoint_server._LONGEST_WISH_S


async def test_a_body_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(endpoint_server, "_MOST_BYTES", 1000)
    async with server(b"x" * 5000) as asked:
        with pytest.raises(RequestRefused, match="a reply of more than"):
            await asked.post("chat/completions", {}, read_reply)


async def test_what_a_server_shouts_steers_no_terminal():
    async with server(b'{"error": "\\u001b[2J\\u001b]0;owned\\u0007\\u202e oh"}', status=b"400 Bad Request") as asked:
        with pytest.raises(RequestRefused) as refused:
            await asked.post("chat/completions", {}, read_reply)
        assert str(refused.value).isprintable()


async def test_half_a_surrogate_pair_in_a_question_refuses_that_question():
    async with server(json.dumps(GOOD).encode()) as asked:
        with pytest.raises(RequestRefused, match="surrogate"):
            await asked.post("chat/completions", {"messages": [{"role": "user", "content": "\ud800"}]}, read_reply)
        assert await asked.post("chat/completions", {}, read_reply)
