"""A small server with OpenAI's HTTP interface on loopback: a token is one character, and every fault comes on order."""

import base64
import io
import json
import socket
import threading
import time
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image

BEGIN, ANSWER, STOP, IMAGE, THINKING = "\x02", "\x03", 4, "\x05", "\x06"
THOUGHTS = "Two circles: Final Answer: 9?"
DESCRIBED = "In the image there is a red circle and a blue square on a white wall."

_CHOICE = {"index": 0, "finish_reason": "stop", "message": {"content": "\ud800"}, "text": "\ud800"}
_LIES = {
    "surrogate": {"choices": [_CHOICE], "usage": {"prompt_tokens": 3, "completion_tokens": 2}},
    "negative": {
        "choices": [{**_CHOICE, "message": {"content": "yes"}, "text": "yes"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": -(10**30)},
    },
}

KEY = "not-a-real-key-0123456789"  # of a server that asks for one


def answer(question, index):
    """Half of the answers right; what is described is long enough to be cut."""
    if "How many" in question:
        return f"Response {index} counts what it sees.\n\nFinal Answer: {2 + index % 2}"
    if "Count from one" in question:
        return "one, two, three, four, five, six, seven, eight, nine, ten, eleven, twelve"
    return DESCRIBED


@dataclass
class Standin:
    """How the server behaves; `faults` are taken one a generating request, `requests` is what it was asked.

    A fault is a status, (status, headers), or a word: `drop` hangs up, `slow` says nothing until the client has hung
    up, `drip` takes longer than anyone waits, `short` ends amid the answer, `garbage` is no JSON, `empty` is no answer,
    `surrogate` no text and `negative` no count. Where several requests are under way, which of them meets the next
    of `faults` is chance; `faults_at` has faults of their own for the questions that hold some words.
    """

    owner: str = "vllm"
    models: tuple = ("m",)
    tokenizer: bool = True
    continues: str = "flag"  # flag: only when told so; turn: always; no: begins anew
    takes_n: bool = True
    gives_one: bool = False  # takes n without a word and gives one response
    strips: bool = False  # takes blanks off the texts it gives
    moves_images: bool = False  # to the front of a text that has no tags, as vLLM does for InternVL
    eyes: bool = True
    takes_tiles: bool = True
    tile_argument: str | None = "max_dynamic_patch"  # what its image processor knows; None: it drops every limit
    thinks: str | None = (
        None  # where `enable_thinking` says so: marks: in the text; parser: in `reasoning`; opens: unasked
    )
    key: str | None = None
    refuses: str | None = None  # a question with this word is refused
    alter_ids: bool = False  # runs other tokens than it was given
    finish: str | None = None
    gives_logprobs: bool = True
    most_likeliest: int = 20  # of the first token; more are refused
    letters: object = staticmethod(lambda question: {"A": -0.2, "B": -2.2, "C": -5.2, "The": -0.9})
    answer: object = staticmethod(answer)
    faults: deque = field(default_factory=deque)
    faults_at: dict = field(default_factory=dict)
    requests: list = field(default_factory=list)
    connections: list = field(default_factory=list)
    most_at_once: int = 0
    url: str = ""
    _now: int = 0
    _count: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, path):
        return [body for asked, body in self.requests if asked == path]

    # -- what it says ---------------------------------------------------------------------------------------------

    def reply(self, path, body):
        try:
            return self.said(path, body)
        except ValueError as error:
            return 400, {"error": {"message": str(error)}}

    def said(self, path, body):
        if path == "/tokenize" and self.tokenizer:
            text = self.rendered(body["messages"]) + self.begun(body) if "messages" in body else body["prompt"]
            return 200, {"tokens": [ord(c) for c in text], "count": len(text)}
        if path == "/detokenize" and self.tokenizer:
            return 200, {"prompt": "".join(chr(i) for i in body["tokens"])}
        if path == "/v1/completions" and self.tokenizer:
            prompt = "".join(chr(i) for i in body["prompt"])
            question, _, prefix = prompt.rpartition(ANSWER)
            body["chat_template_kwargs"] = {"enable_thinking": question.endswith(THINKING)}
            return self.generated(body, question, prefix, prompt, chat=False)
        if path == "/v1/chat/completions":
            return self.chat(body)
        return 404, {"detail": "Not Found"}

    def chat(self, body):
        messages, prefix = body["messages"], ""
        if messages[-1]["role"] == "assistant":
            prefix = messages[-1]["content"].strip()
            found = self.continues == "turn" or (self.continues == "flag" and body.get("continue_final_message"))
            messages = messages[:-1] if found else [*messages[:-1], {"role": "assistant", "content": prefix + BEGIN}]
            prefix = prefix if found else ""
        question = self.rendered(messages)
        return self.generated(body, question, prefix, question + self.begun(body) + prefix, chat=True)

    def begun(self, body):
        """Where an answer begins; a template that opens thoughts by itself ends in their mark."""
        thinking = (THINKING if self.is_asked(body) else "") + ANSWER
        return thinking + ("<think>\n" if self.thinks == "opens" else "")

    def is_asked(self, body):
        return self.thinks in ("marks", "parser") and (body.get("chat_template_kwargs") or {}).get("enable_thinking")

    def rendered(self, messages):
        return "".join(BEGIN + self.content(m["content"]) for m in messages)

    def content(self, content):
        if isinstance(content, str):
            return content
        images = [part for part in content if part["type"] == "image_url"]
        for decoded in images:
            if not self.eyes:
                raise ValueError("this model takes no images")
            header, _, body = decoded["image_url"]["url"].partition(";base64,")
            image = Image.open(io.BytesIO(base64.b64decode(body)))
            assert header == f"data:image/{image.format.lower()}"
        if not self.moves_images:
            return "".join(part["text"] if part["type"] == "text" else IMAGE for part in content)
        text = "\n".join(part["text"] for part in content if part["type"] == "text")
        missing = len(images) - text.count("<image>")
        return "\n".join([*[IMAGE] * missing, text.replace("<image>", IMAGE)])

    def generated(self, body, question, prefix, prompt, *, chat):
        if fault := self.refusal(body, question):
            return fault
        with self._lock:
            first, self._count = self._count, self._count + 1
        n = 1 if self.gives_one else body.get("n") or 1
        choices = []
        for i in range(n):
            text = self.answer(question, first + i if n == 1 else i)
            if self.is_asked(body):
                text = f"<think>\n{THOUGHTS}\n</think>\n\n{text}"
            elif self.thinks == "opens":
                text, prefix = f"{THOUGHTS}\n</think>\n\n{text}", prefix.removeprefix("<think>\n")
            if prefix:
                text = text.removeprefix(prefix) if text.startswith(prefix) else " there is a green cat."
            finish = self.finish or ("length" if len(text) > body["max_tokens"] else "stop")
            text = text[: body["max_tokens"]]
            ids = [ord(c) for c in text] + ([STOP] if finish == "stop" else [])
            text = text.strip() if self.strips else text
            message = {"role": "assistant", "content": text}
            if self.thinks == "parser" and chat and text.startswith("<think>"):
                thoughts, _, content = text.removeprefix("<think>").partition("</think>")
                message |= {"reasoning": thoughts, "content": content or None}
            said = {"message": message} if chat else {"text": text}
            found = {"token_ids": ids} if body.get("return_token_ids") and self.owner == "vllm" else {}
            if body.get("logprobs") and self.gives_logprobs:
                found["logprobs"] = self.likeliest(body, question)
            choices.append({"index": i, "finish_reason": finish, **said, **found, "n_tokens": len(ids)})
        ran = [ord(c) for c in (prompt[:-1] + "?" if self.alter_ids else prompt)]
        tiles = (body.get("mm_processor_kwargs") or {}).get(self.tile_argument, 0)
        usage = {"prompt_tokens": len(ran) + 16 * tiles, "completion_tokens": sum(c.pop("n_tokens") for c in choices)}
        found = {"prompt_token_ids": ran} if body.get("return_token_ids") and self.owner == "vllm" else {}
        if "prompt_logprobs" in body:
            found["prompt_logprobs"] = [None] + [{str(i): {"logprob": -i / 100}} for i in ran[1:]]
        return 200, {"choices": choices, "usage": usage, **found}

    def likeliest(self, body, question):
        """The log-probabilities of the first token: of those that were named, or of the likeliest."""
        found = self.letters(question)
        if ids := self.owner == "vllm" and body.get("logprob_token_ids"):
            found = {chr(i): found.get(chr(i), -20.0) for i in ids}
        listed = sorted(({"token": t, "logprob": p} for t, p in found.items()), key=lambda one: -one["logprob"])
        return {"content": [{**listed[0], "top_logprobs": listed[: body["top_logprobs"]]}]}

    def refusal(self, body, question):
        if body.get("top_logprobs", 0) > self.most_likeliest:
            return 400, {"error": {"message": f"top_logprobs must be at most {self.most_likeliest}"}}
        if body.get("n", 1) > 1 and not self.takes_n:
            return 400, {"error": {"message": "n must be 1"}}
        if body.get("mm_processor_kwargs") and not self.takes_tiles:
            return 400, {"error": {"message": "Per-request mm_processor_kwargs are disabled by default"}}
        if self.refuses and self.refuses in question:
            return 400, {"error": {"message": "This model's maximum context length is 10 tokens."}}
        return None

    def next_fault(self, path, body):
        """What the next request meets, or None."""
        if "completions" not in path:
            return None
        asked = " ".join(part.get("text", "") for m in body.get("messages", ()) for part in _parts(m["content"]))
        with self._lock:
            waiting = next((faults for words, faults in self.faults_at.items() if words in asked), self.faults)
            return waiting.popleft() if waiting else None


def _parts(content):
    return [{"text": content}] if isinstance(content, str) else content


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else the body waits 40 ms for the client to acknowledge the headers
    standin: Standin

    def do_GET(self):
        standin = self.standin
        if self.path == "/v1/models":
            self.send(200, {"data": [{"id": name, "owned_by": standin.owner} for name in standin.models]})
        else:
            self.send(200 if self.path == "/health" else 404, {})

    def do_POST(self):
        standin = self.standin
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with standin._lock:
            standin.requests.append((self.path, body))
            standin._now += 1
            standin.most_at_once = max(standin.most_at_once, standin._now)
        try:
            self.answer(body)
        finally:
            with standin._lock:
                standin._now -= 1

    def answer(self, body):
        standin, authorization = self.standin, self.headers.get("Authorization")
        if standin.key and authorization != f"Bearer {standin.key}":
            return self.send(401, {"error": {"message": f"no such key: {authorization}"}})
        fault = standin.next_fault(self.path, body)
        if fault == "drop":
            return self.hang_up()
        if fault == "slow":
            self.connection.recv(1)  # until there is no one to read it
            return self.hang_up()
        if fault in ("drip", "short"):
            return self.send_part(pause_s=0.25 if fault == "drip" else 0.0)
        if fault in ("surrogate", "negative"):
            return self.send(200, _LIES[fault])
        if fault == "garbage":
            return self.send_raw(200, b"<html>busy</html>")
        if fault == "empty":
            return self.send(200, {"choices": []})
        if fault is not None:
            status, headers = fault if isinstance(fault, tuple) else (fault, {})
            return self.send(status, {"error": {"message": f"on order, to {authorization}"}}, headers)
        return self.send(*standin.reply(self.path, body))

    def setup(self):
        super().setup()
        self.standin.connections.append(self.connection)

    def hang_up(self):
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def send(self, status, content, headers=()):
        self.send_raw(status, json.dumps(content).encode(), headers)

    def send_part(self, pause_s):
        """A byte now and then, and less than was announced."""
        with suppress(OSError):
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            for _ in range(60):
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(pause_s)
        self.hang_up()

    def send_raw(self, status, content, headers=()):
        try:
            self.send_response(status)
            for name, value in dict(headers).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client was not so patient

    def log_message(self, *_):
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        pass  # a client that hung up


@contextmanager
def serving(standin):
    """Within, the stand-in answers at `standin.url`."""
    handler = type("Handler", (_Handler,), {"standin": standin})
    server = _Server(("127.0.0.1", 0), handler)
    standin.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield standin
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        for connection in standin.connections:  # those that were kept alive would go on answering
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
