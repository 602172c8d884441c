"""A verifier for use from plain Python: it has its own engine in this process and is asked about single responses."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import math
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, TypeVar

from mmpr.builder.engine_choice import has_gpu
from mmpr.builder.verifier_choice import verifier_endpoint, verifier_engine
from mmpr.engines.engine_options import EngineOptions
from mmpr.engines.protocol import Engine
from mmpr.engines.verifier_requests import VerifierAsk, ask_verifier, verifier_prompts
from mmpr.errors import ConfigError, EngineError
from mmpr.extras import named_extras
from mmpr.pool import MakeEngine
from mmpr.types import Question, Verdict
from mmpr.verifier.opinions import UseVerifier, VerifierAnswer, with_opinion
from mmpr.verifier.verifier_options import NONE, SELF, VerifierOptions
from mmpr.verifier.verifier_prompts import format_for

_HOPELESS = 20  # requests without a single answer, after which a verifier counts as unable
R = TypeVar("R")
Asked = tuple[Question, str, Verdict]
_FIRST_S, _EVERY_S = 5.0, 30.0  # of waiting: until it is said, and until it is said again


class Verifier:
    """A model that is asked about verdicts that the rules leave open. A context manager, because it holds an engine.

    Args:
        model: a checkpoint folder or Hub repository that vLLM runs here, or the name of a model on the server;
            None: the only model of the server.
        url: base URL of an OpenAI-compatible server, `http://host:8000/v1`; None: vLLM in this process.
        key_env: name of the environment variable with the server's key.
        min_margin: a verdict stays open if the likeliest letter leads by fewer nats.
        both_orders: ask with the letters in both orders; None: if the verifier knows both.
        timeout_s: seconds without any answer of the server after which it counts as gone.
        waiting: called with one line when an answer takes more than a few seconds, and then now and then.
        make_engine: starts an engine of your own instead; `model` is then only a name.

    Raises:
        ConfigError: neither a model nor a server is named, or a value is wrong.
        EngineStartError: the engine does not start, or no server answers.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        url: str | None = None,
        key_env: str | None = None,
        min_margin: float = 2.0,
        both_orders: bool | None = None,
        timeout_s: float = 60.0,
        waiting: Callable[[str], None] | None = None,
        make_engine: MakeEngine | None = None,
    ) -> None:
        for name, text in (("model", model), ("url", url), ("key_env", key_env)):
            if text is not None and not (isinstance(text, str) and text.strip()):
                raise ConfigError(f"{name}: must be a text that is not empty, not {text!r}")
        if model in (NONE, SELF) or (model is None and url is None):
            raise ConfigError("verifier: name a model, or a server by url=")
        if both_orders not in (None, True, False):
            raise ConfigError(f"both_orders: must be True, False or None, not {both_orders!r}")
        if isinstance(min_margin, str) or not 0 <= min_margin < math.inf:
            raise ConfigError(f"min_margin: must be a number of nats, 0 or more, not {min_margin!r}")
        if isinstance(timeout_s, str) or not 0 < timeout_s < math.inf:
            raise ConfigError(f"timeout_s: must be a number of seconds, above 0, not {timeout_s!r}")
        self.min_margin = min_margin
        self._waiting, self._whom = waiting, " at ".join(filter(None, (model, url)))
        self.n_asked, self.faults = 0, Counter[str]()
        # Engines live on one event loop; a thread of its own lets plain code, and a notebook's loop, call them.
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="mmpr-verifier", daemon=True)
        self._thread.start()
        self._engine: Engine | None = None
        try:
            if model is None:
                model = self._wait(_served_model(VerifierOptions("unknown", url, key_env, timeout_s=timeout_s)))
            options = VerifierOptions(
                model, url, key_env, timeout_s=timeout_s, patience_s=timeout_s, both_orders=both_orders
            )
            self.model = model
            self._ask = VerifierAsk(model, format_for(model), options.swaps)
            self._engine = self._wait(_started(options, make_engine))
        # also for Ctrl-C while the engine starts: its processes must end
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Verifier:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def answers(self, asked: Sequence[Asked]) -> list[VerifierAnswer]:
        """Return the model's answer about each (question, response, verdict), proven or not. All run concurrently.

        Raises:
            ConfigError: this verifier was closed.
            EngineDead: the engine has ended, or the server no longer answers.
        """
        if self._loop.is_closed():
            raise ConfigError("this Verifier is closed: judge inside its `with` block")
        return self._wait(self._all(asked))

    def verify(self, asked: Sequence[Asked]) -> list[Verdict]:
        """Return the verdicts that count: the model's if the rules left it open and the margin is wide enough.

        Raises:
            EngineError: it has answered none of its first requests. Other faults are counted, and the rules' verdicts
                stay.
        """
        answers = self.answers(asked)
        self.n_asked += len(answers)
        self.faults.update(answer.fault for answer in answers if answer.fault is not None)
        # the first may be one that any verifier refuses: too long, for example
        if self.n_asked >= _HOPELESS and self.faults.total() == self.n_asked:
            raise EngineError(self.faults_line())
        return [
            with_opinion(verdict, answer, min_margin=self.min_margin, use=UseVerifier.BOTH)
            for (_, _, verdict), answer in zip(asked, answers, strict=True)
        ]

    def faults_line(self) -> str:
        """Return how often it did not answer, with the most frequent cause, in one line."""
        ((cause, _),) = self.faults.most_common(1)
        return f"the verifier {self.model} did not answer {self.faults.total():,} of {self.n_asked:,}: {cause}"

    def close(self) -> None:
        """End the engine and its processes. A second call does nothing."""
        if self._loop.is_closed():
            return
        if self._engine is not None:
            self._wait(self._engine.close())
            self._engine = None
            self._wait(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        gc.collect()  # vLLM's engine must not wait for the interpreter's end, when its modules are gone

    async def _all(self, asked: Sequence[Asked]) -> list[VerifierAnswer]:
        engine = self._engine
        assert engine is not None, "asked before it was started"

        async def one(question: Question, response: str, verdict: Verdict) -> VerifierAnswer:
            prompts = verifier_prompts(question, verdict.answer, response, self._ask)
            return (await ask_verifier(engine, question, prompts, self._ask)).answer

        return list(await asyncio.gather(*(one(*each) for each in asked)))

    def _wait(self, asked: Coroutine[Any, Any, R]) -> R:
        answer = asyncio.run_coroutine_threadsafe(asked, self._loop)
        began, pause_s = time.monotonic(), _FIRST_S
        while self._waiting is not None and not concurrent.futures.wait([answer], pause_s).done:
            self._waiting(f"waiting for the verifier {self._whom}: {time.monotonic() - began:.0f} s so far")
            pause_s = _EVERY_S
        return answer.result()


async def _started(options: VerifierOptions, make_engine: MakeEngine | None) -> Engine:
    if make_engine is not None:
        return await make_engine()
    with named_extras():
        if options.url is not None:
            from mmpr.engines.endpoint import start_endpoint

            return await start_endpoint(verifier_endpoint(options))
        # vLLM logs to stdout by default, where `mmpr judge` prints its results
        os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        from mmpr.engines.vllm import start_vllm

        return await start_vllm(verifier_engine(options, EngineOptions(), on_cpu=not has_gpu()))


async def _served_model(options: VerifierOptions) -> str:
    """Return the name of the only model that a server serves.

    Raises:
        ConfigError: the server serves several models, or does not list them.
    """
    with named_extras():
        from mmpr.engines.endpoint.server import Server
    server = Server(verifier_endpoint(options))
    try:
        served = list(await server.models())
    finally:
        await server.close()
    if len(served) != 1:
        names = f"it serves {', '.join(served[:5])}" if served else f"it does not say what it serves{server.hint}"
        raise ConfigError(f"verifier: name the model of {server.url}: {names}")
    return served[0]
