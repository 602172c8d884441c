"""A stand-in for the Hugging Face Hub: as much of its HTTP interface as fetching one public repository takes."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

COMMIT = "a" * 40


class _Hub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else the body waits 40 ms for the client to acknowledge the headers
    root = None
    downloads = None

    def log_message(self, *_):
        pass

    def do_GET(self):
        path = unquote(self.path.partition("?")[0])
        if re.fullmatch(r"/api/(?:datasets|models)/owner/vqa(/revision/\w+)?", path):
            siblings = [{"rfilename": name} for name in self.files()]
            self.reply({"id": "owner/vqa", "sha": COMMIT, "private": False, "tags": [], "siblings": siblings})
        elif found := re.fullmatch(r"/api/(?:datasets|models)/owner/vqa/tree/\w+/?(.*)", path):
            self.reply(self.tree(found[1]))
        elif found := re.fullmatch(r"(?:/datasets)?/owner/vqa/resolve/\w+/(.*)", path):
            self.file(found[1])
        else:
            self.reply({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.reply([self.entry(name) for name in json.loads(body)["paths"] if (self.root / name).exists()])

    def files(self):
        return sorted(str(file.relative_to(self.root)) for file in self.root.rglob("*") if file.is_file())

    def tree(self, folder):
        inside = (self.root / folder).iterdir() if (self.root / folder).is_dir() else []
        return [self.entry(str(file.relative_to(self.root))) for file in sorted(inside)]

    def entry(self, name):
        if (self.root / name).is_dir():
            return {"type": "directory", "path": name, "oid": "0"}
        content = (self.root / name).read_bytes()
        return {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}

    def file(self, name):
        commit = {"X-Repo-Commit": COMMIT}
        if not (self.root / name).is_file():
            self.reply({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound", **commit})
        else:
            content = (self.root / name).read_bytes()
            self.downloads[name] += self.command == "GET"
            self.reply(content, 200, {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', **commit})

    def reply(self, body, code=200, headers=()):
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextmanager
def hub(root):
    """Serve a folder as the data set `owner/vqa`; gives the address for `HF_ENDPOINT`."""
    with counting_hub(root) as (address, _):
        yield address


@contextmanager
def counting_hub(root):
    """Serve a folder as the data set and as the model `owner/vqa`; gives the address and each file's downloads."""
    downloads = Counter()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Hub", (_Hub,), {"root": root, "downloads": downloads}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", downloads
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
