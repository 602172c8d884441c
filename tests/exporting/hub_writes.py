"""A stand-in for the Hugging Face Hub that takes pushes: as much of its HTTP interface as huggingface_hub calls for
creating a dataset repository and committing to it, with large files sent apart (LFS, basic transfer)."""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

WRITER, READER = "hf_" + "w" * 34, "hf_" + "r" * 34
OWNER = "owner"
_LARGE = (".parquet",)  # as a dataset repository's .gitattributes has it


class Repository:
    """One dataset repository: its files now, and the commits that led there."""

    def __init__(self, private):
        self.private = private
        self.files = {".gitattributes": b"*.parquet filter=lfs\n"}
        self.commits = []

    @property
    def sha(self):
        return hashlib.sha1(json.dumps([len(self.commits)]).encode()).hexdigest()

    def oid(self, name):
        content = self.files.get(name)
        if content is None:
            return None
        if name.endswith(_LARGE):
            return hashlib.sha256(content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Hub:
    """What the server knows, and what it was asked.

    Args:
        failing: path's beginning -> statuses that it answers with first, one a request.
    """

    def __init__(self, failing):
        self.repositories = {}
        self.large = {}  # by sha256
        self.failing = {path: list(statuses) for path, statuses in failing.items()}
        self.asked = []  # (method, path)
        self.bodies = []
        self.unasked_tokens = []  # requests with a token in another place than its header

    def sent(self, method, begins):
        return [path for verb, path in self.asked if verb == method and path.startswith(begins)]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else the body waits 40 ms for the client to acknowledge the headers
    hub = None
    url = None

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.answer()

    do_POST = do_PUT = do_HEAD = do_GET

    def answer(self):
        body = self.body()
        path = unquote(self.path.partition("?")[0])
        self.hub.asked.append((self.command, path))
        if WRITER.encode() in body or WRITER in self.path:
            self.hub.unasked_tokens.append(path)
        for begins, statuses in self.hub.failing.items():
            if path.startswith(begins) and statuses:
                self.reply({"error": "the Hub is being mended"}, statuses.pop(0))
                return
        if path.startswith("/large/"):
            self.hub.large[path.removeprefix("/large/")] = body
            self.reply({})
        elif self.headers["Authorization"] not in (f"Bearer {WRITER}", f"Bearer {READER}"):
            self.reply({"error": "Invalid username or password."}, 401)
        elif self.command == "POST" and READER in self.headers["Authorization"]:
            self.reply({"error": "You have no rights to write here"}, 403)
        else:
            self.known(path, body)

    def known(self, path, body):
        for pattern, act in _ROUTES:
            if found := re.fullmatch(pattern, path):
                act(self, *found.groups(), body)
                return
        self.reply({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})

    def create(self, body):
        asked = json.loads(body)
        assert asked["type"] == "dataset"
        name = f"{asked['organization'] or OWNER}/{asked['name']}"
        url = {"url": f"{self.url}/datasets/{name}"}
        if not name.startswith(f"{OWNER}/"):
            self.reply({"error": "You don't have the rights to create a dataset under this namespace"}, 403)
        elif name in self.hub.repositories:
            self.reply({"error": "You already created this dataset repo", **url}, 409)
        else:
            private = asked.get("visibility") == "private" or asked.get("private", False)
            self.hub.repositories[name] = Repository(private)
            self.reply(url)

    def validate(self, body):
        front = json.loads(body)["content"].startswith("---\n")
        errors = [] if front else [{"message": "no metadata"}]
        self.reply({"errors": errors, "warnings": []}, 200 if front else 400)

    def repository(self, name):
        if found := self.hub.repositories.get(name):
            return found
        self.reply({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        return None

    def info(self, name, _):
        if repo := self.repository(name):
            siblings = [{"rfilename": file} for file in sorted(repo.files)]
            self.reply({"id": name, "sha": repo.sha, "private": repo.private, "tags": [], "siblings": siblings})

    def tree(self, name, _):
        if repo := self.repository(name):
            entries = [
                {"type": "file", "path": file, "size": len(content), "oid": repo.oid(file)}
                for file, content in sorted(repo.files.items())
            ]
            self.reply(entries)

    def preupload(self, name, body):
        if repo := self.repository(name):
            found = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(_LARGE) else "regular",
                    "shouldIgnore": False,
                    "oid": repo.oid(file["path"]),
                }
                for file in json.loads(body)["files"]
            ]
            self.reply({"files": found})

    def batch(self, _, body):
        objects = [{"oid": one["oid"], "size": one["size"]} for one in json.loads(body)["objects"]]
        for one in objects:
            if one["oid"] not in self.hub.large:
                one["actions"] = {"upload": {"href": f"{self.url}/large/{one['oid']}"}}
        self.reply({"transfer": "basic", "objects": objects})

    def commit(self, name, body):
        repo = self.repository(name)
        lines = [json.loads(line) for line in body.splitlines()]
        assert lines[0]["key"] == "header"
        files = dict(repo.files)
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                content = self.hub.large[value["oid"]]
                assert hashlib.sha256(content).hexdigest() == value["oid"] and len(content) == value["size"]
                files[value["path"]] = content
            else:
                assert line["key"] == "deletedFile"
                del files[value["path"]]
        repo.files = files
        repo.commits.append([(line["key"], line["value"].get("path")) for line in lines[1:]])
        self.reply({"commitUrl": f"{self.url}/datasets/{name}/commit/{repo.sha}", "commitOid": repo.sha})

    def body(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            blocks = []
            while n_bytes := int(self.rfile.readline(), 16):
                blocks.append(self.rfile.read(n_bytes))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(blocks)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def reply(self, body, code=200, headers=()):
        content = json.dumps(body).encode()
        self.send_response(code)
        for name, value in {"Content-Type": "application/json", **dict(headers)}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


_NAME = r"(\w[\w.-]*/\w[\w.-]*)"
_ROUTES = (
    ("/api/repos/create", _Handler.create),
    ("/api/validate-yaml", _Handler.validate),
    (f"/api/datasets/{_NAME}(?:/revision/main)?", _Handler.info),
    (f"/api/datasets/{_NAME}/tree/main/?", _Handler.tree),
    (f"/api/datasets/{_NAME}/preupload/main", _Handler.preupload),
    (f"/datasets/{_NAME}.git/info/lfs/objects/batch", _Handler.batch),
    (f"/api/datasets/{_NAME}/commit/main", _Handler.commit),
)


@contextmanager
def serving(**failing):
    """A Hub of its own on this machine; gives what it knows and its address."""
    hub = Hub(failing.pop("failing", {}))
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    handler.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub, handler.url
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
