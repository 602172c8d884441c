"""`Engine` on vLLM's AsyncLLM; the only file that imports vllm.

This engine sends token ids and not texts: so a `<|im_end|>` in a question cannot end its turn, and a prefix is exactly
the tokens of the draft. It decodes each response once, when it is complete, from all its tokens.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from mmpr._processes import (
    ENGINE_PARENT,
    cpu_tensors,
    delete_all,
    give_way,
    kill_descendants,
    name_shared_memory,
    sweep_shared_memory,
)
from mmpr.engines.engine_options import EngineOptions
from mmpr.engines.families import (
    LIMITS,
    UNKNOWN,
    WIDE,
    Family,
    ThinkingWay,
    described,
    family_of,
    is_open,
    thinking_way,
    trial_values,
)
from mmpr.engines.protocol import AnswerScores, EngineClock, Pulse, Sampling, check_tags, report_phase
from mmpr.engines.thoughts import split_ids
from mmpr.errors import EngineDead, EngineError, EngineStartError, RequestRefused
from mmpr.image_tags import IMAGE_TAG
from mmpr.prompts import SHIELD, shield
from mmpr.types import Continues, Finish, Message, Prefix, Prompt, Reason, Response, Stage, Thinking

# The actor gets this niceness when its engine is up. With few cores, the engine's scheduler then runs before the
# threads that decode images.
_NICENESS = 10
_TOKENIZING = 2  # prompts that are tokenized at once
_TRIES = 4  # of a request that vLLM itself breaks off
_PAUSE_S = 0.1  # doubled for each try: 0.2 s before the second, 0.4 s before the third
_BROKEN_OFF = frozenset({"error", "abort"})
_KEEPS_IDS = frozenset({Stage.DRAFT, Stage.COMPLETION})  # drafts are cut by token, and both are scored by token
_LOOK_S = 0.5  # between two readings of the log while vLLM starts
_LOG_BYTES = 1_000_000  # only the end of the log is read
_FIRST_PHASE, _LOADING = "starting vLLM", "loading weights"
_PHASES = {  # the line that vLLM logs when it begins each phase
    "Starting to load model": _LOADING,
    "Starting torch.compile": "compiling",
    "Warming up model": "compiling",
    "Profiling CUDA graph memory": "capturing CUDA graphs",
}
_GREETING = "Good morning."
_MARK_CHARS = 100  # an open mark of thoughts is searched in so many last characters of a prompt
_LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # vLLM accepts no other `max_lora_rank`, except 1
_ERROR_LINE = re.compile(r"(\w*(?:Error|Exception|Killed)\b: .*)")


def engine_arguments(options: EngineOptions) -> dict[str, Any]:
    """Return the options as arguments of vLLM's `AsyncEngineArgs`, without those that depend on the model's family."""
    arguments: dict[str, Any] = {
        "model": options.model,
        "revision": options.revision,
        "dtype": options.dtype,
        "max_model_len": options.context_tokens,
        "tensor_parallel_size": options.tensor_parallel_size,
        "gpu_memory_utilization": options.memory_fraction,
        "quantization": options.quantization,
        "trust_remote_code": options.trust_remote_code,
        "seed": int.from_bytes(os.urandom(3), "big"),  # with vLLM's default 0, all engines would sample alike
        "disable_log_stats": False,  # `_Meter` reads the statistics
        "scheduling_policy": "priority",
    }
    if options.lora is not None:
        rank = next((rank for rank in _LORA_RANKS if rank >= options.lora_rank), options.lora_rank)
        arguments |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": rank}
    if options.tensor_parallel_size > 1:
        arguments["distributed_executor_backend"] = "mp"  # in a placement group, vLLM would choose Ray
    return {name: value for name, value in arguments.items() if value is not None} | options.vllm


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What vLLM's configuration says about a model before its weights are loaded."""

    family: Family
    way: ThinkingWay
    image: str  # the placeholder of an image in a prompt
    template: str  # the chat template
    takes_parts: bool  # whether contents must be lists of parts, because the template drops plain texts

    def render(self, tokenizer: Any, turns: Sequence[tuple[str, str]], thinking: Thinking | None) -> str:
        """Render turns of (role, text) with the chat template, up to where the answer begins."""
        return _rendered(tokenizer, self.template, turns, takes_parts=self.takes_parts, **self.way.arguments(thinking))


def served_model(model_config: Any) -> ServedModel:
    """Find out from vLLM's `ModelConfig` what a model is.

    Raises:
        EngineStartError: it has no chat template, or its template drops the texts of messages.
    """
    from vllm.tokenizers import cached_tokenizer_from_config

    family = family_of(model_config.architectures, getattr(model_config.hf_text_config, "model_type", None))
    tokenizer = cached_tokenizer_from_config(model_config)
    template = _chat_template(tokenizer, model_config)
    # A template that expects lists of parts drops a plain text without an error, so both forms are tried.
    for takes_parts in (False, True):
        rendered = _rendered(tokenizer, template, (("user", _GREETING),), takes_parts=takes_parts)
        if _GREETING in rendered:
            way = thinking_way(family, template, prompt_end=rendered[-_MARK_CHARS:])
            return ServedModel(family, way, _image_placeholder(model_config), template, takes_parts)
    raise EngineStartError("its chat template drops the user's text")


def _chat_template(tokenizer: Any, model_config: Any) -> str:
    """Return the tokenizer's chat template, or else the processor's, or else vLLM's own for such models.

    Raises:
        EngineStartError: there is none of them.
    """
    from vllm.renderers.hf import resolve_chat_template

    try:
        own: str = tokenizer.get_chat_template()
    except ValueError:  # the tokenizer has none
        found: str | None = resolve_chat_template(tokenizer, None, None, model_config=model_config)
        if found is None:
            raise EngineStartError("it has no chat template") from None
        return found
    return own


def _rendered(
    tokenizer: Any, template: str, turns: Sequence[tuple[str, str]], *, takes_parts: bool, **arguments: bool
) -> str:
    messages = [
        {"role": role, "content": [{"type": "text", "text": text}] if takes_parts else text} for role, text in turns
    ]
    rendered: str = tokenizer.apply_chat_template(
        messages, chat_template=template, tokenize=False, add_generation_prompt=True, **arguments
    )
    return rendered


def start_arguments(options: EngineOptions) -> dict[str, Any]:
    """Return all engine arguments; reads the model's configuration for those that depend on its family.

    Raises:
        EngineStartError: as `family_arguments` does.
    """
    from vllm import AsyncEngineArgs

    arguments = engine_arguments(options)
    return arguments | family_arguments(options, served_model(AsyncEngineArgs(**arguments).create_model_config()))


def family_arguments(options: EngineOptions, model: ServedModel) -> dict[str, Any]:
    """Return the engine arguments that depend on the model's family; `vllm.mm_processor_kwargs` take precedence.

    Raises:
        EngineStartError: the model does not support a setting: it has no tile limit for `max_tiles`, no switch for
            `thinking`, or no known marks for `max_thought_tokens`.
    """
    arguments: dict[str, Any] = {}
    own = options.vllm.get("mm_processor_kwargs") or {}
    if options.max_tiles is not None:
        if model.family.tile_argument is None:
            pixels = model.family.pixel_argument
            instead = f"; vllm.mm_processor_kwargs.{pixels} limits the pixels of an image" if pixels else ""
            fault = f"{model.family.name} has no tile limit: set max_tiles=null{instead}"
            raise EngineStartError(f"max_tiles={options.max_tiles}: {fault}")
        arguments["mm_processor_kwargs"] = {model.family.tile_argument: options.max_tiles, **own}
    for fault in filter(None, map(model.way.fault, options.thinking)):
        raise EngineStartError(fault)
    if options.limits_thoughts:
        if model.way.marks is None:
            raise EngineStartError(f"max_thought_tokens: the thought marks of {options.model!r} are not known")
        marks = {"reasoning_start_str": model.way.marks.start, "reasoning_end_str": model.way.marks.end}
        # vLLM closes thoughts at a budget only if it knows their marks.
        arguments["reasoning_config"] = marks | (options.vllm.get("reasoning_config") or {})
    return arguments


class _Meter:
    """Sums over vLLM's steps, for the pulse.

    Counted responses would show no progress: vLLM returns the n responses of a request together, at the end.
    """

    def __init__(self) -> None:
        self.last_step = time.monotonic()
        self.running = self.waiting = self.generated = self.prompted = self.cached = 0

    def step(self, scheduler: Any, iteration: Any) -> None:
        self.last_step = time.monotonic()
        if scheduler is not None:
            self.running, self.waiting = scheduler.num_running_reqs, scheduler.num_waiting_reqs
        if iteration is not None:
            self.generated += iteration.num_generation_tokens
            self.prompted += iteration.prompt_token_stats.total
            self.cached += iteration.prompt_token_stats.cached_tokens

    def pulse(self) -> Pulse:
        return Pulse(
            running=self.running,
            waiting=self.waiting,
            generated_tokens=self.generated,
            prompt_tokens=self.prompted,
            cached_tokens=self.cached,
            step_age_s=time.monotonic() - self.last_step,
        )


def _stat_logger(meter: _Meter) -> Any:
    from vllm.v1.metrics.loggers import StatLoggerBase

    class MeterLogger(StatLoggerBase):
        def __init__(self, vllm_config: Any, engine_index: int = 0) -> None:
            pass

        def record(self, scheduler_stats: Any, iteration_stats: Any, *_: Any, **__: Any) -> None:
            meter.step(scheduler_stats, iteration_stats)

        def log_engine_initialized(self) -> None:
            pass

    return MeterLogger


def _ray_loggers(options: EngineOptions) -> list[Any]:
    if not options.ray_metrics:
        return []
    from vllm.v1.metrics import ray_wrappers

    # vLLM's logger imports ray[serve]. Without that package the logger would fail, and with it the engine's start.
    has_metrics = getattr(ray_wrappers, "ray_metrics", None) is not None
    return [ray_wrappers.RayPrometheusStatLogger] if has_metrics else []


class VllmEngine:
    """One vLLM engine in this process and its own child processes. Make it with `await start_vllm(options)`."""

    continues = Continues.EXACT
    _lora: Any = None

    def __init__(self, llm: Any, meter: _Meter, lora: str | None = None) -> None:
        self.clock = EngineClock()
        self._llm = llm
        self._meter = meter
        self._lora = None if lora is None else _lora_request(lora)
        self._tokenizer = llm.get_tokenizer()
        self._specials = _special_texts(self._tokenizer)
        self._model = served_model(llm.model_config)
        self._stops = _stop_ids(llm.model_config, self._tokenizer, self.family.stops)
        self._image_ids = self._raw_ids(self._model.image)
        self._threads = ThreadPoolExecutor(_TOKENIZING, "mmpr-prompt")  # all libraries use the loop's default threads
        self._numbers = itertools.count()
        self._shared = cpu_tensors()  # found now: workers that were killed can no longer be asked
        self._answer_ids: dict[str, int] = {}
        self._opened: dict[Thinking, bool] = {}
        marks = self._model.way.marks
        self._end_id = self._tokenizer.get_vocab().get(marks.end) if marks is not None else None

    @property
    def family(self) -> Family:
        """The family that was found for the model."""
        return self._model.family

    def describe(self) -> tuple[str, ...]:
        stops = self._tokenizer.convert_ids_to_tokens(sorted(self._stops))
        return described(self._model.family, self._model.way, self._model.image, stops)

    async def check_limits(self, names: Sequence[str]) -> None:
        """Check that each limit of tiles or pixels works: vLLM ignores arguments that an image processor does not know.

        Raises:
            EngineStartError: an image has the same number of tokens under a small and a large limit.
        """
        for name in names:
            few, many = [await self._image_tokens({name: value}) for value in trial_values(name)]
            if few == many:
                found = "it fails with it" if few is None else f"an image has {few} tokens with any value"
                raise EngineStartError(
                    f"{name}: the image processor ({self.family.name}) does not know this limit: {found}; "
                    "leave it out (max_tiles=null)"
                )

    async def _image_tokens(self, limits: dict[str, int]) -> int | None:
        """Return the number of tokens of a prompt with a wide image under these limits; None if vLLM refuses them."""
        from PIL import Image

        ids = self.prompt_ids(Prompt("limits", Stage.SAMPLE, (Message("user", f"{IMAGE_TAG}\n."),)))
        request = {"prompt_token_ids": ids, "multi_modal_data": {"image": [Image.new("RGB", WIDE)]}}
        request["mm_processor_kwargs"] = limits
        try:
            # Without the cache, which would return the same image as it was cut under the other limit.
            (rendered,) = await self._llm.renderer.render_cmpl_async([request], skip_mm_cache=True)
        except (ValueError, TypeError):  # the processor refuses the limit, or the prompt becomes too long
            return None
        return len(rendered["prompt_token_ids"])

    async def generate(self, prompt: Prompt, sampling: Sampling) -> list[Response]:
        check_tags(prompt)
        result = await self._run(prompt, self._parameters(sampling))
        _assert_prefix(prompt, result.prompt_token_ids)
        # vLLM divides a request with n > 1 into n requests. A lost one must not go unnoticed: the question would have
        # fewer responses than the settings say.
        if len(result.outputs) != sampling.n:
            raise EngineError(f"vLLM returned {len(result.outputs)} of {sampling.n} responses")
        return [self._response(prompt, output, sampling) for output in result.outputs]

    async def score(self, prompt: Prompt, token_ids: Sequence[int]) -> float:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        check_tags(prompt)
        before = prompt.prefix or Prefix("", ())
        whole = replace(prompt, prefix=replace(before, token_ids=(*before.token_ids, *token_ids)))
        parameters = SamplingParams(
            max_tokens=1, prompt_logprobs=0, detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY
        )
        result = await self._run(whole, parameters)
        _assert_prefix(whole, result.prompt_token_ids)
        return _mean_logprob(result.prompt_logprobs, token_ids)

    async def choose(self, prompt: Prompt, answers: Sequence[str]) -> AnswerScores:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        check_tags(prompt)
        ids = [self._answer_id(answer) for answer in answers]
        # `logprob_token_ids`: the log-probabilities of exactly these tokens, before vLLM masks all others.
        parameters = SamplingParams(
            max_tokens=1, temperature=0.0, allowed_token_ids=ids, logprobs=len(ids), logprob_token_ids=ids,
            detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY,
        )  # fmt: skip
        # A thinking model would begin with a thought and not with a letter. So thinking is off, and the empty prefix
        # closes thoughts that the chat template has opened.
        result = await self._run(replace(prompt, thinking=Thinking.OFF, prefix=Prefix("", ())), parameters)
        (found,) = result.outputs[0].logprobs or [{}]
        if missing := [answer for answer, token in zip(answers, ids, strict=True) if token not in found]:
            raise RequestRefused(Reason.ENGINE_REFUSED, f"vLLM returned no log-probability for {missing[0]!r}")
        return AnswerScores(tuple(float(found[token].logprob) for token in ids), len(result.prompt_token_ids))

    def _answer_id(self, answer: str) -> int:
        """Return the token of an answer at the start of a reply; some tokenizers use another one after a line break."""
        if answer not in self._answer_ids:
            rendered = self._rendered((Message("user", "?"),), Thinking.OFF)
            self._answer_ids[answer] = _first_token(self._tokenizer, self._specials, rendered, answer)
        return self._answer_ids[answer]

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """Return the token ids of the rendered messages, with a placeholder for each `<image>`, and of the prefix."""
        rendered = self._rendered(prompt.messages, prompt.thinking)
        ids: list[int] = []
        # For Gemma 3 the line break after an image is dropped: with it, vLLM does not find the image in the prompt.
        line = "" if self.family.image_ends_line else "\n?"
        for piece in re.split(f"({SHIELD}|{IMAGE_TAG}{line})", rendered):
            if piece.startswith(IMAGE_TAG):
                ids += self._image_ids
            elif piece and piece != SHIELD:
                ids += self._raw_ids(piece)
        return ids + (self._prefix_ids(prompt.prefix, prompt.thinking) if prompt.prefix else [])

    def _rendered(self, messages: Sequence[Message], thinking: Thinking | None) -> str:
        """Render the messages with the chat template so that no text in a message is read as a special token."""
        turns = [(m.role, shield(m.text, self._specials)) for m in messages]
        if (asked := self._model.way.system(thinking)) is not None:
            own = turns.pop(0)[1] if turns and turns[0][0] == "system" else ""
            said = shield(asked, self._specials) in own  # system_message=internvl_think is already the same text
            turns.insert(0, ("system", own if said else f"{asked}\n\n{own}".rstrip()))
        return self._model.render(self._tokenizer, turns, thinking)

    def _prefix_ids(self, prefix: Prefix, thinking: Thinking | None) -> list[int]:
        """Return the ids of the closed thoughts before a prefix and of the prefix.

        If the prompt has opened the thoughts, only their rest and the end mark are added.
        """
        marks = self._model.way.marks
        if prefix.thought_ids or marks is None or thinking is None:
            return [*prefix.thought_ids, *prefix.token_ids]
        opened = self._opens(thinking)
        if prefix.thoughts is None and not opened:
            return [*prefix.token_ids]
        start = [] if opened else self._raw_ids(f"{marks.start}\n")
        thoughts = self.encode(prefix.thoughts or "")
        return [*start, *thoughts, *self._raw_ids(f"\n{marks.end}\n\n"), *prefix.token_ids]

    def _opens(self, thinking: Thinking) -> bool:
        """Whether prompts end in open thoughts."""
        if thinking not in self._opened:
            marks = self._model.way.marks
            end = self._rendered((Message("user", "."),), thinking)[-_MARK_CHARS:]
            self._opened[thinking] = marks is not None and is_open(end, marks)
        return self._opened[thinking]

    def _raw_ids(self, text: str) -> list[int]:
        """Return the token ids of a text; special tokens in the text are kept as such."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return ids

    async def _tokenized(self, prompt: Prompt) -> list[int]:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self.prompt_ids, prompt)

    async def _request(self, prompt: Prompt, tries: int) -> dict[str, Any]:
        request: dict[str, Any] = {"prompt_token_ids": await self._tokenized(prompt)}
        if prompt.images:
            request["multi_modal_data"] = {"image": [image.pixels for image in prompt.images]}
            # vLLM caches processed images by these names; the same image cut into other tiles needs another name.
            tiles = "" if prompt.max_tiles is None else f" in {prompt.max_tiles}"
            # vLLM keeps this cache in two processes, which may disagree: one has an image that the other one lacks. A
            # second try under the same name would fail in the same way.
            again = f" again {tries}" if tries else ""
            request["multi_modal_uuids"] = {"image": [image.sha256 + tiles + again for image in prompt.images]}
            if prompt.max_tiles is not None:
                request["mm_processor_kwargs"] = {self._model.family.tile_argument: prompt.max_tiles}
        return request

    async def _run(self, prompt: Prompt, parameters: Any) -> Any:
        """Return the result of a request; try it `_TRIES` times if vLLM breaks it off for a reason of its own.

        Raises:
            RequestRefused: vLLM refuses the request, or breaks it off each time and is still alive.
            EngineDead: vLLM has ended.
        """
        for tries in range(_TRIES):
            if tries:
                await asyncio.sleep(_PAUSE_S * 2**tries)
            try:
                result = await self._once(prompt, parameters, tries)
            except Exception as error:
                if self._llm.errored or type(error).__name__ == "EngineDeadError":
                    raise EngineDead(last_error_line() or str(error)) from error
                if not _may_pass(error):
                    raise _refusal(error) from error
                fault = str(error) or type(error).__name__
                continue
            if result is None:
                raise EngineDead("vLLM ended a request without a result")
            broken = {output.finish_reason for output in result.outputs} & _BROKEN_OFF
            if not broken:
                return result
            fault = f"finish_reason {', '.join(sorted(broken))}"
        if self._llm.errored:
            raise EngineDead(last_error_line() or fault)
        raise RequestRefused(Reason.ENGINE_REFUSED, f"{fault} ({_TRIES} times)")

    async def _once(self, prompt: Prompt, parameters: Any, tries: int) -> Any:
        with self.clock.preparing():
            (rendered,) = await self._llm.renderer.render_cmpl_async([await self._request(prompt, tries)])
        name = f"{prompt.stage}-{next(self._numbers)}"
        with self.clock.serving():
            more = {"priority": prompt.priority} | ({"lora_request": self._lora} if self._lora is not None else {})
            async for result in self._llm.generate(rendered, parameters, name, **more):
                if result.finished:
                    return result
        return None

    def _parameters(self, sampling: Sampling) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            n=sampling.n,
            temperature=sampling.temperature,
            top_k=sampling.top_k,
            top_p=sampling.top_p,
            max_tokens=sampling.max_tokens,
            # vLLM adds the index of a response within the request, so this is the seed of the first one.
            seed=None if sampling.seed is None else sampling.seed + sampling.first,
            stop_token_ids=sorted(self._stops),
            thinking_token_budget=sampling.max_thought_tokens,
            logprobs=0 if sampling.scored else None,  # of the sampled tokens alone
            flat_logprobs=True,  # vLLM would keep a dict per token
            detokenize=False,  # `_text_after` decodes once, with the same call that decodes prefixes
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    def _response(self, prompt: Prompt, output: Any, sampling: Sampling) -> Response:
        try:
            finish = Finish(output.finish_reason)
        except ValueError:
            raise RequestRefused(Reason.ENGINE_REFUSED, f"finish_reason {output.finish_reason!r}") from None
        ids = tuple(output.token_ids)
        if ids and ids[-1] in self._stops:  # the end of turn is no part of a text, and a prefix must not contain it
            ids = ids[:-1]
        index = sampling.first + output.index
        seed = None if sampling.seed is None else sampling.seed + index
        thoughts, n_thoughts = self._thoughts(prompt, ids)
        text = self._text_after(prompt, ids[n_thoughts:])
        response = Response(
            prompt.question_id, prompt.stage, index, text, (), len(output.token_ids), finish, seed, thoughts=thoughts
        )
        if prompt.stage not in _KEEPS_IDS and not sampling.scored:
            return response
        scored = tuple(output.logprobs.logprobs[n_thoughts : len(ids)]) if sampling.scored else ()
        return replace(response, token_ids=ids[n_thoughts:], thought_ids=ids[:n_thoughts], logprobs=scored)

    def _thoughts(self, prompt: Prompt, ids: tuple[int, ...]) -> tuple[str | None, int]:
        """Return the thoughts at the start of a response and the number of their ids; (None, 0) after a prefix."""
        marks = self._model.way.marks
        if prompt.thinking is None or prompt.prefix is not None or marks is None:
            return None, 0
        opened = self._opens(prompt.thinking)
        return split_ids(ids, marks, is_open=opened, decode=self._tokenizer.decode, end_id=self._end_id)

    def _text_after(self, prompt: Prompt, ids: tuple[int, ...]) -> str:
        if prompt.prefix is None:
            return self.decode(ids)
        whole = self.decode(prompt.prefix.token_ids + ids)
        if not whole.startswith(prompt.prefix.text):
            raise RequestRefused(
                Reason.PREFIX_CHANGED, "prefix and completion decode to a text that does not begin with the prefix"
            )
        return whole[len(prompt.prefix.text) :]

    async def count_tokens(self, text: str) -> int:
        return len(self.encode(text))

    def encode(self, text: str) -> tuple[int, ...]:
        pieces = shield(text, self._specials).split(SHIELD)
        return tuple(i for p in pieces if p for i in self._tokenizer.encode(p, add_special_tokens=False))

    def decode(self, token_ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(
            list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def pulse(self) -> Pulse:
        warning = f"the model's family is not known; assumed: {UNKNOWN.assumed}" if self.family is UNKNOWN else ""
        return self.clock.on(replace(self._meter.pulse(), memory_bytes=_memory_bytes(), warning=warning))

    async def close(self) -> None:
        if self._llm is None:  # an actor calls this for each lease that finds its engine dead
            return
        reader = self._llm.output_handler
        self._llm.shutdown()
        if reader is not None:
            await asyncio.wait([reader])  # a cancelled task, which keeps the engine and its sockets until it ends
        self._threads.shutdown(wait=False, cancel_futures=True)
        kill_descendants()
        delete_all(self._shared)
        self._llm = None  # deleted now: when the interpreter exits, vLLM's destructor would print a traceback


async def start_vllm(options: EngineOptions) -> VllmEngine:
    """Start an engine; takes 20 to 30 s, for a large model some minutes.

    Raises:
        EngineStartError: one line with the real cause, also if vLLM itself only says "see root cause above".
    """
    os.environ.update(_environment(options))
    name_shared_memory(os.getpid())
    sweep_shared_memory()
    phases = StartPhases(options.model)
    # vLLM starts in another thread, because this thread's event loop must go on: the actor answers pulses. vLLM's
    # processes end with the thread that started them (`die_with_parent`); threads of `to_thread` live as long as the
    # event loop.
    starting = asyncio.ensure_future(asyncio.to_thread(_start, options))
    while not (await asyncio.wait([starting], timeout=_LOOK_S))[0]:
        report_phase(phases.now())
    engine = starting.result()
    try:
        await engine.check_limits(_limits(options, engine))
    except EngineStartError:
        await engine.close()
        raise
    return engine


def _limits(options: EngineOptions, engine: VllmEngine) -> list[str]:
    """Return the names of the image processor's arguments that limit tiles or pixels in this run."""
    own = [name for name in options.vllm.get("mm_processor_kwargs") or {} if name in LIMITS]
    tile = engine.family.tile_argument if options.max_tiles is not None else None
    return own if tile is None or tile in own else [tile, *own]


def _start(options: EngineOptions) -> VllmEngine:
    from vllm import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    try:
        # `_started` is a function of its own so that the engine can be freed. A module of vLLM keeps this frame for
        # ever, through the traceback of an import that failed.
        return _started(AsyncLLM, AsyncEngineArgs(**start_arguments(options)), options)
    except EngineStartError as error:
        raise EngineStartError(f"model {options.model!r}: {error}") from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 vLLM raises errors of any type
        kill_descendants()
        raise EngineStartError(f"model {options.model!r}: {_cause(error)}") from None


def _started(async_llm: Any, arguments: Any, options: EngineOptions) -> VllmEngine:
    from vllm.usage.usage_lib import UsageContext

    meter = _Meter()
    # The batch sizes of `vllm.LLM`, which suit throughput. The defaults of AsyncLLM are much smaller: on an H100, 128
    # sequences and 2,048 tokens per step in place of 1,024 and 16,384.
    llm = async_llm.from_engine_args(
        arguments,
        usage_context=UsageContext.LLM_CLASS,
        stat_loggers=[_stat_logger(meter), *_ray_loggers(options)],
    )
    give_way(_NICENESS)
    return VllmEngine(llm, meter, options.lora)


class StartPhases:
    """What vLLM does while it starts, as read from its log and from the Hub's cache.

    Args:
        model: a path, or a name on the Hub.
        log: the file to which this process and those of vLLM write; None: the file of standard output, if it is one.
    """

    def __init__(self, model: str, log: Path | None = None) -> None:
        self._log = log or Path(os.path.realpath("/proc/self/fd/1"))
        self._blobs = f"models--{model.replace('/', '--')}/blobs"
        self._from = self._size()

    def now(self) -> str:
        """Describe the present phase, such as "downloading weights, 3.1 GB so far"."""
        text = ""
        if (size := self._size()) > self._from:
            with self._log.open("rb") as lines:
                lines.seek(max(self._from, size - _LOG_BYTES))
                text = lines.read().decode(errors="replace")
        last = max(_PHASES, key=text.rfind)
        found = _PHASES[last] if last in text else _FIRST_PHASE
        if found in (_FIRST_PHASE, _LOADING) and (n_bytes := self._coming()):
            return f"downloading weights, {n_bytes / 1e9:.1f} GB so far"
        return found

    def _size(self) -> int:
        return self._log.stat().st_size if self._log.is_file() else 0

    def _coming(self) -> int:
        """Return the size in bytes of the files that the Hub's client is downloading now."""
        from huggingface_hub.constants import HF_HUB_CACHE

        n_bytes = 0
        for file in Path(HF_HUB_CACHE, self._blobs).glob("*.incomplete"):
            with suppress(FileNotFoundError):  # the download has just finished
                n_bytes += file.stat().st_size
        return n_bytes


def _lora_request(folder: str) -> Any:
    from vllm.lora.request import LoRARequest

    return LoRARequest(Path(folder).name, 1, folder)


def _environment(options: EngineOptions) -> dict[str, str]:
    """Return the environment variables for vLLM; values that the user has set take precedence."""
    wanted = {ENGINE_PARENT: str(os.getpid()), "VLLM_NO_USAGE_STATS": "1"}
    if options.on_cpu:
        # 1 GiB of KV cache is enough for a model that a CPU can serve. Threads are not bound to cores, because Ray's
        # tasks and sometimes other engines use the same cores.
        wanted |= {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    return {name: os.environ.get(name, value) if name != ENGINE_PARENT else value for name, value in wanted.items()}


def _cause(error: BaseException) -> str:
    message = f"{type(error).__name__}: {error}".splitlines()[0]
    return last_error_line() or message if "root cause" in message else message


def last_error_line() -> str | None:
    """Return the last line with an error in the file of standard error; vLLM's child writes there why it ended."""
    log = Path(os.path.realpath("/proc/self/fd/2"))
    if not log.is_file():
        return None
    with log.open("rb") as lines:
        lines.seek(max(0, log.stat().st_size - 100_000))
        found = _ERROR_LINE.findall(lines.read().decode(errors="replace"))
    # These lines name no cause: "RuntimeError: Engine core initialization failed. See root cause above."
    named = [line for line in found if "root cause" not in line and "EngineDeadError" not in line]
    return named[-1] if named else None


def _memory_bytes() -> int:
    """Return the memory in bytes of this process and its descendants; a process that ends during the count adds 0."""
    own = psutil.Process()
    held = 0
    for process in (own, *own.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            held += process.memory_info().rss
    return held


def _may_pass(error: Exception) -> bool:
    """Whether the same request may succeed at the next try.

    The errors are compared by name, because some of them exist only since vLLM 0.33.
    """
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"RetryableRequestError", "GenerationError", "QueueOverflowError", "MaxQueuedTokensError"})


def _mean_logprob(logprobs: Sequence[Any] | None, token_ids: Sequence[int]) -> float:
    """Return the mean log-probability of a prompt's last tokens, in nats per token.

    Raises:
        RequestRefused: vLLM returned none, or those of other tokens.
    """
    last = (logprobs or [])[-len(token_ids) :]
    try:
        return float(sum(of[token].logprob for of, token in zip(last, token_ids, strict=True)) / len(token_ids))
    except (TypeError, KeyError, ValueError, AttributeError, ZeroDivisionError):
        raise RequestRefused(Reason.ENGINE_REFUSED, "vLLM did not return a log-probability for each token") from None


def _refusal(error: Exception) -> RequestRefused:
    message = str(error).splitlines()[0] if str(error) else type(error).__name__
    cause = f"{message} ({error.__cause__})" if error.__cause__ and not str(error) else message
    too_long = "max_model_len" in message or "maximum model length" in message or "context length" in message
    return RequestRefused(Reason.PROMPT_TOO_LONG if too_long else Reason.ENGINE_REFUSED, cause)


def _assert_prefix(prompt: Prompt, ran: Sequence[int]) -> None:
    """Check that the prompt that ran ends in the prefix's ids: vLLM may tokenize a prompt with images again.

    Raises:
        RequestRefused: PREFIX_CHANGED: it does not.
    """
    ids = (*prompt.prefix.thought_ids, *prompt.prefix.token_ids) if prompt.prefix else ()
    if ids and tuple(ran[-len(ids) :]) != ids:
        raise RequestRefused(Reason.PREFIX_CHANGED, "the tokens that the engine ran are not those of the prefix")


def _image_placeholder(model_config: Any) -> str:
    """Return the text that vLLM replaces by an image: InternVL's `<image>`, Qwen2-VL's three vision tokens."""
    from vllm.model_executor.model_loader import get_model_cls

    placeholder = getattr(get_model_cls(model_config), "get_placeholder_str", None)
    return (placeholder and placeholder("image", 1)) or IMAGE_TAG


def _special_texts(tokenizer: Any) -> tuple[str, ...]:
    added = {str(token) for token in tokenizer.added_tokens_decoder.values()}
    return tuple(sorted(added | set(tokenizer.all_special_tokens), key=len, reverse=True))


def _first_token(tokenizer: Any, specials: Sequence[str], rendered: str, answer: str) -> int:
    """Return the single token of an answer at the start of a reply.

    Args:
        rendered: a rendered prompt, up to where the reply begins.
        answer: the text of the answer, such as "A".

    Raises:
        RequestRefused: the answer is not a single token.
    """
    end = max((rendered.rfind(special) + len(special) for special in specials if special in rendered), default=0)
    before = tokenizer.encode(rendered[end:], add_special_tokens=False)
    whole = tokenizer.encode(rendered[end:] + answer, add_special_tokens=False)
    if whole[:-1] == before:
        return int(whole[-1])
    alone = tokenizer.encode(answer, add_special_tokens=False)
    if len(alone) != 1:
        raise RequestRefused(Reason.ENGINE_REFUSED, f"{answer!r} is not a single token of this model")
    return int(alone[0])


def _stop_ids(model_config: Any, tokenizer: Any, stops: Sequence[str]) -> frozenset[int]:
    """Return the ids that end a response.

    They are the end of text, those that the checkpoint's generation_config lists, and the family's ends of a turn.
    """
    stated = model_config.try_get_generation_config().get("eos_token_id")
    vocabulary = tokenizer.get_vocab()
    found = (tokenizer.eos_token_id, *(stated if isinstance(stated, list) else [stated]), *map(vocabulary.get, stops))
    return frozenset(i for i in found if i is not None)
