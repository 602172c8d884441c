"""Images from elsewhere: a real server on loopback, stores in memory and on disk, and everything a row may try."""

from __future__ import annotations

import io
import pickle
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from mmpr.errors import ConfigError, ImageError
from mmpr.images import ImageOptions, Loader, check_hosts
from mmpr.images.allowed import parse_allowed, place_of
from mmpr.types import Reason


def png(colour="red"):
    file = io.BytesIO()
    Image.new("RGB", (4, 3), colour).save(file, "PNG")
    return file.getvalue()


class Handler(BaseHTTPRequestHandler):
    """What it answers, its path says; `seen` counts requests by path."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else the body waits 40 ms for the client to acknowledge the headers
    seen: list[str]

    def log_message(self, *_):
        pass

    def do_GET(self):
        path = self.path.partition("?")[0]
        self.seen.append(path)
        if path == "/busy.png":  # twice, then well
            self.reply(png(), 503 if self.seen.count(path) < 3 else 200, {"Retry-After": "0"})
        elif path == "/slow.png":
            self.server.stopping.wait(5)
        elif path == "/cut.png":
            self.reply(png(), 200, length=1000)
            self.close_connection = True
        elif path == "/endless.png":
            self.endless()
        elif path == "/circle":
            self.reply(b"", 302, {"Location": path})
        elif path.startswith("/to/"):
            self.reply(b"", 302, {"Location": self.path.removeprefix("/to/")})
        elif path.startswith("/status/"):
            self.reply(b"no", int(path.rpartition("/")[2]))
        else:
            self.reply(png() if path == "/a.png" else b"<html>not found</html>", 200 if path == "/a.png" else 404)

    def reply(self, body, status=200, headers=(), length=None):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def endless(self):
        self.send_response(200)
        self.end_headers()
        try:
            while not self.server.stopping.is_set():
                self.wfile.write(b"x" * 65536)
        except OSError:
            pass
        self.close_connection = True


@contextmanager
def serving():
    seen: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Seen", (Handler,), {"seen": seen}))
    server.stopping = threading.Event()
    server.handle_error = lambda *_: None  # who asks goes away before it is answered
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.stopping.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def server():
    with serving() as found:
        yield found


def loader(*allowed, **options):
    return Loader(None, ImageOptions(allowed_hosts=allowed, **options))


def refused(load, reference):
    with pytest.raises(ImageError) as caught:
        load(reference)
    assert "\n" not in caught.value.detail
    return caught.value


def test_nothing_is_fetched_by_default_and_the_skip_says_how_to_allow_it(server):
    url, seen = server
    before = len(seen)
    error = refused(Loader(None).load, f"{url}/a.png")
    assert error.reason is Reason.IMAGE_NOT_ALLOWED
    assert f"allowed_hosts=[{url}] lets mmpr fetch from it" in error.detail
    assert "allowed_hosts=[example.org]" in refused(Loader(None).load, "https://example.org/a.png").detail
    assert "allowed_hosts=[s3://bucket]" in refused(Loader(None).load, "s3://bucket/a.png").detail
    assert len(seen) == before


def test_an_image_comes_over_http_byte_for_byte(server):
    url, _ = server
    image = loader(url).load(f"{url}/a.png?signature=secret")
    assert image.encoded == png()


def test_a_loader_goes_to_another_process(server):
    url, _ = server
    assert pickle.loads(pickle.dumps(loader(url))).load(f"{url}/a.png").width == 4


def test_what_is_not_there_is_missing_and_tried_once(server):
    url, seen = server
    assert refused(loader(url).load, f"{url}/none.png").reason is Reason.IMAGE_MISSING
    assert seen.count("/none.png") == 1


def test_a_busy_server_is_asked_again(server):
    url, seen = server
    assert loader(url).load(f"{url}/busy.png").width == 4
    assert seen.count("/busy.png") == 3


@pytest.mark.parametrize(("status", "attempts"), [(500, 2), (429, 2), (403, 1), (401, 1), (400, 1)])
def test_a_status_that_may_pass_is_tried_again_so_often_and_no_other(server, status, attempts):
    url, seen = server
    error = refused(loader(url, fetch_retries=1).load, f"{url}/status/{status}")
    assert error.reason is Reason.IMAGE_UNREACHABLE
    assert f"answers {status}" in error.detail
    assert seen.count(f"/status/{status}") == attempts


def test_the_query_of_an_address_may_be_signed_and_is_not_shown(server):
    url, _ = server
    for path in ("status/403", "none.png"):
        assert "secret" not in refused(loader(url).load, f"{url}/{path}?signature=secret").detail


def test_a_server_that_does_not_answer_is_given_up(server):
    url, _ = server
    error = refused(loader(url, fetch_timeout_s=0.2, fetch_retries=0).load, f"{url}/slow.png")
    assert error.reason is Reason.IMAGE_UNREACHABLE
    assert "within 0.2 s (fetch_timeout_s)" in error.detail


def test_a_body_that_is_cut_short_is_no_image(server):
    url, _ = server
    assert refused(loader(url, fetch_retries=0).load, f"{url}/cut.png").reason is Reason.IMAGE_UNREACHABLE


def test_a_body_without_an_end_is_read_up_to_the_limit(server):
    url, _ = server
    error = refused(loader(url, max_image_bytes=100_000).load, f"{url}/endless.png")
    assert error.reason is Reason.IMAGE_TOO_LARGE


def test_nobody_listens(server):
    with serving() as (url, _):
        pass
    assert refused(loader(url, fetch_retries=0).load, f"{url}/a.png").reason is Reason.IMAGE_UNREACHABLE


def test_a_redirect_inside_the_allowed_hosts_is_followed(server):
    url, _ = server
    assert loader(url).load(f"{url}/to//a.png").width == 4
    with serving() as (other, _):
        assert loader(url, other).load(f"{url}/to/{other}/a.png").width == 4


def test_a_redirect_does_not_leave_the_allowed_hosts(server):
    url, _ = server
    with serving() as (other, seen):
        error = refused(loader(url).load, f"{url}/to/{other}/a.png")
        assert error.reason is Reason.IMAGE_NOT_ALLOWED
        assert other.removeprefix("http://") in error.detail
        assert seen == []


@pytest.mark.parametrize("target", ["http://169.254.169.254/latest/meta-data", "file:///etc/passwd", "ftp://a.org/b"])
def test_a_redirect_to_a_place_of_another_kind_is_refused(server, target):
    url, _ = server
    error = refused(loader(url, "example.org", fetch_retries=0).load, f"{url}/to/{target}")
    assert error.reason in (Reason.IMAGE_NOT_ALLOWED, Reason.IMAGE_UNREACHABLE)


def test_redirects_in_a_circle_end(server):
    url, seen = server
    error = refused(loader(url).load, f"{url}/circle")
    assert error.reason is Reason.IMAGE_UNREACHABLE
    assert "redirects more than 5 times" in error.detail
    assert seen.count("/circle") <= 6


def test_an_allowed_name_that_leads_into_this_network_is_refused_unless_its_address_is_listed(server):
    url, seen = server
    named = url.replace("127.0.0.1", "localhost")
    before = len(seen)
    error = refused(loader(named).load, f"{named}/a.png")
    assert error.reason is Reason.IMAGE_NOT_ALLOWED
    assert "localhost leads to" in error.detail and "allowed_hosts, too" in error.detail
    assert len(seen) == before
    assert loader(named, "127.0.0.0/8", "::1").load(f"{named}/a.png").width == 4


@pytest.mark.parametrize(
    "reference",
    [
        "https://example.org@evil.org/a.png",
        "https://evil.org\\@example.org/a.png",
        "https://evil.org#@example.org/a.png",
        "https://evil.org/https://example.org/a.png",
        "https://example.org.evil.org/a.png",
        "https://xexample.org/a.png",
        "https://example.org:8443/a.png",
        "http://example.org/a.png",
        "https://exa mple.org/a.png",
        "https://ex\u0430mple.org/a.png",
        "https://[::ffff:127.0.0.1]/a.png",
        "https://127.1/a.png",
        "https://2130706433/a.png",
        "https:///a.png",
        "vc-reader:s3://bucket/a.png",
        "simplecache::https://example.org/a.png",
        "zip://a.png::https://example.org/a.zip",
        "s3://example.org/a.png",
    ],
)
def test_what_only_looks_like_an_allowed_host_is_refused_unasked(reference):
    error = refused(loader("example.org", fetch_retries=0).load, reference)
    assert error.reason in (Reason.IMAGE_NOT_ALLOWED, Reason.IMAGE_UNREADABLE)


@given(st.text() | st.text(alphabet="htps:/@[]\\\u2100%.?#a1 "))
@example("https://exa\u2100mple.org/a.png")
@example("https://[::1/a.png")
@example("file://[/a.png")
def test_any_text_as_an_address_is_an_image_error_and_nothing_else(text):
    for reference in (text, f"https://{text}", f"https://example.org{text}", f"file://{text}"):
        with pytest.raises(ImageError):
            Loader(Path("no such root")).load(reference)


def test_hosts_are_compared_as_hosts():
    allowed = parse_allowed(("Example.ORG", "*.cdn.org", "http://plain.org", "s3://bucket", "10.0.0.0/8"))
    fine = (
        *("https://example.org/a", "https://EXAMPLE.org:443/a", "https://example.org./a", "https://a.b.cdn.org/a"),
        *("http://plain.org/a", "http://plain.org:80/a", "s3://bucket/a", "https://10.2.3.4/a"),
    )
    for url in fine:
        assert allowed.refusal(place_of(url)) is None, url
    assert parse_allowed(("*.0.0.1",)).refusal(place_of("https://127.0.0.1/a")) is not None
    for url in ("https://cdn.org/a", "https://plain.org/a", "gs://bucket/a", "https://11.2.3.4/a", "http://10.2.3.4/a"):
        assert allowed.refusal(place_of(url)) is not None, url


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "::ffff:10.0.0.1", "fd00::1", "224.0.0.1", "0.0.0.0"]
)
def test_addresses_of_this_machine_and_its_network_are_no_public_ones(address):
    assert parse_allowed(("example.org",)).address_refusal("example.org", address)
    assert parse_allowed(("example.org",)).address_refusal("example.org", "93.184.215.14") is None


@pytest.mark.parametrize("entry", ["", "https://a.org/path", "a.org/path", "user@a.org", "*", "s3://*.x", "a b.org"])
def test_a_malformed_entry_is_named(entry):
    with pytest.raises(ConfigError, match="allowed_hosts: "):
        check_hosts((entry,))


def test_a_store_that_cannot_be_read_here_is_named_at_the_start():
    with pytest.raises(ConfigError, match=r"allowed_hosts: nosuch:// cannot be read here"):
        check_hosts(("nosuch://bucket",))
    check_hosts(("example.org", "memory://images", "10.0.0.0/8"))


def test_an_image_comes_from_a_store_that_fsspec_knows():
    files = fsspec.filesystem("memory")
    files.pipe("/images/a.png", png())
    try:
        assert loader("memory://images").load("memory://images/a.png").encoded == png()
        assert refused(loader("memory://images").load, "memory://images/b.png").reason is Reason.IMAGE_MISSING
        assert refused(loader("memory://other").load, "memory://images/a.png").reason is Reason.IMAGE_NOT_ALLOWED
        small = loader("memory://images", max_image_bytes=10)
        assert refused(small.load, "memory://images/a.png").reason is Reason.IMAGE_TOO_LARGE
    finally:
        files.rm("/images", recursive=True)


@pytest.mark.parametrize("reference", ["local://etc/passwd", "LOCAL:///etc/passwd", "FILE:///etc/passwd"])
def test_this_machines_disk_is_no_store(reference):
    assert refused(loader("example.org").load, reference).reason is Reason.IMAGE_UNREADABLE
    with pytest.raises(ConfigError, match="allowed_hosts"):
        check_hosts(("local://etc",))
