"""Servers with planned faults at the n-th request of a start: an image server and a model server."""

import json
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.endpoint_standin import IMAGE, Standin, answer

STEP_S = 0.25  # between two bytes of a `drip` reply


class Orders:
    """The faults of a start's requests, by the number of the request, and those that happened."""

    def __init__(self, event):
        self.event = event
        self._lock = threading.Lock()
        self.expect(())

    def expect(self, faults):
        """Set the faults of the next start."""
        with self._lock:
            self._due = {fault.nth + i: fault.action for fault in faults for i in range(fault.times)}
            self._asked, self.fired = 0, Counter()

    def next(self):
        """Return the fault of this request, or None."""
        with self._lock:
            self._asked += 1
            action = self._due.get(self._asked)
            if action:
                self.fired[f"{self.event} {action}"] += 1
            return action


def _spoiled(handler, action, content):
    """Send a faulty reply.

    Args:
        action: `silent`: no reply; `drip`: one byte every `STEP_S` seconds; `drop`: close the connection; `short`:
            close it in the middle of the reply; a number: an HTTP status with `Retry-After: 0`.
    """
    if action == "silent":
        handler.connection.settimeout(15)
        with suppress(OSError):
            handler.connection.recv(1)
    elif action in ("drip", "short"):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        for first in range(min(len(content) // 2, 60)):
            handler.wfile.write(content[first : first + 1])
            handler.wfile.flush()
            time.sleep(STEP_S if action == "drip" else 0)
    elif action.isdecimal():
        handler.send_response(int(action))
        handler.send_header("Retry-After", "0")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return
    handler.close_connection = True


class _Images(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else the body waits 40 ms for the client to acknowledge the headers
    folder, orders = None, None

    def log_message(self, *_):
        pass

    def do_GET(self):
        content = (self.folder / self.path.lstrip("/")).read_bytes()
        with suppress(OSError):
            if action := self.orders.next():
                return _spoiled(self, action, content)
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        return None


@contextmanager
def image_host(folder):
    """Serve a folder's files during the block; yield the server's address and its orders."""
    orders = Orders("image")
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Images", (_Images,), {"folder": folder, "orders": orders}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", orders
    finally:
        server.shutdown()
        server.server_close()


def blind_answer(question, index):
    """Return the stand-in's answer; without an image it is another one, so that chosen and rejected sides differ."""
    if IMAGE in question or "Count from one" in question:
        return answer(question, index)
    return "Nothing at all is to be seen here, so there is nothing to be said of it either."


class OrderedStandin(Standin):
    """A model server with planned faults at the n-th request."""

    def __init__(self, orders):
        super().__init__(answer=blind_answer)
        self.orders = orders

    def next_fault(self, path, body):
        # The requests of an engine's start ("Count from one to twenty ...") are not counted.
        if "completions" not in path or "Count from one" in json.dumps(body):
            return None
        action = self.orders.next()
        if action is None or not action.isdecimal():
            return "slow" if action == "silent" else action
        return int(action), {"Retry-After": "0"}
