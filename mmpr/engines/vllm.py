"""`Engine` on vLLM's AsyncLLM; the only file that imports vllm.

Prompts are token ids that we make ourselves, so that nothing in a question can end its turn and a prefix is exactly the
draft's tokens. Responses are decoded once, at their end, from all their tokens.
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

from mmpr._processes import ENGINE_PARENT, give_way, kill_descendants, name_shared_memory, sweep_shared_memory
from mmpr.engines.engine_options import EngineOptions
from mmpr.engines.families import LIMITS, UNKNOWN, Family, ThinkingWay, described, family_of, is_open, thinking_way
from mmpr.engines.protocol import AnswerScores, EngineClock, Pulse, Sampling, check_tags, report_phase
from mmpr.engines.thoughts import split_ids
from mmpr.errors import EngineDead, EngineError, EngineStartError, RequestRefused
from mmpr.image_tags import IMAGE_TAG
from mmpr.prompts import SHIELD, shield
from mmpr.types import Continues, Finish, Message, Prefix, Prompt, Reason, Response, Stage, Thinking

_NICENESS = (
    10  # of the actor, once its engine is up: where cores are few, the engine's scheduler takes precedence over images
)
_TOKENIZING = 2  # prompts at once
_TRIES = 4  # of a request that vLLM itself breaks off
_PAUSE_S = 0.1  # before the second try; then twice as long each time
_BROKEN_OFF = frozenset({"error", "abort"})
_KEEPS_IDS = frozenset({Stage.DRAFT, Stage.COMPLETION})
_LOOK_S = 0.5  # how often a start's log is looked at
_LOG_BYTES = 1_000_000  # of it, its end
_FIRST_PHASE, _LOADING = "starting vLLM", "loading weights"
_PHASES = {  # by what vLLM logs as it begins each
    "Starting to load model": _LOADING,
    "Starting torch.compile": "compiling",
    "Warming up model": "compiling",
    "Profiling CUDA graph memory": "capturing CUDA graphs",
}
_GREETING = "Good morning."
_MARK_CHARS = 100  # of a prompt's end, where thoughts may be open
# Two limits of each kind of argument between which the image below must differ in tokens.
_TILES, _PIXELS = (1, 4), (64 * 64, 512 * 512)
_WIDE = (1024, 256)
_LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM has kernels for
_ERROR_LINE = re.compile(r"(\w*(?:Error|Exception|Killed)\b: .*)")


def engine_arguments(options: EngineOptions) -> dict[str, Any]:
    """The options as keyword arguments of vLLM's `AsyncEngineArgs`, but for what depends on the model's family."""
    arguments: dict[str, Any] = {
        "model": options.model,
        "revision": options.revision,
        "dtype": options.dtype,
        "max_model_len": options.context_tokens,
        "tensor_parallel_size": options.tensor_parallel_size,
        "gpu_memory_utilization": options.memory_fraction,
        "quantization": options.quantization,
        "trust_remote_code": options.trust_remote_code,
        "seed": int.from_bytes(os.urandom(3), "big"),  # vLLM's default 0 would let all engines draw the same
        "disable_log_stats": False,
        "scheduling_policy": "priority",
    }
    if options.lora is not None:
        rank = next((rank for rank in _LORA_RANKS if rank >= options.lora_rank), options.lora_rank)
        arguments |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": rank}
    if options.tensor_parallel_size > 1:
        arguments["distributed_executor_backend"] = "mp"  # in a placement group vLLM would pick Ray by itself
    return {name: value for name, value in arguments.items() if value is not None} | options.vllm


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What vLLM's own configuration says of a model before its weights are loaded."""

    family: Family
    way: ThinkingWay
    image: str  # what stands in a prompt where an image goes
    template: str  # of chats
    takes_parts: bool  # whether the template drops a content that is a text and not a list of parts

    def render(self, tokenizer: Any, turns: Sequence[tuple[str, str]], thinking: Thinking | None) -> str:
        """Turns of (role, text) in the chat template, up to where the answer begins."""
        return _rendered(tokenizer, self.template, turns, takes_parts=self.takes_parts, **self.way.arguments(thinking))


def served_model(model_config: Any) -> ServedModel:
    """What a model is, by vLLM's `ModelConfig`.

    Raises:
        EngineStartError: it has no chat template, or one that drops what is said.
    """
    from vllm.tokenizers import cached_tokenizer_from_config

    family = family_of(model_config.architectures, getattr(model_config.hf_text_config, "model_type", None))
    tokenizer = cached_tokenizer_from_config(model_config)
    template = _chat_template(tokenizer, model_config)
    for takes_parts in (False, True):
        rendered = _rendered(tokenizer, template, (("user", _GREETING),), takes_parts=takes_parts)
        if _GREETING in rendered:
            way = thinking_way(family, template, prompt_end=rendered[-_MARK_CHARS:])
            return ServedModel(family, way, _image_placeholder(model_config), template, takes_parts)
    raise EngineStartError("its chat template drops what the user says")


def _chat_template(tokenizer: Any, model_config: Any) -> str:
    """The tokenizer's own template, else the processor's or the one that vLLM has for such models."""
    from vllm.renderers.hf import resolve_chat_template

    try:
        own: str = tokenizer.get_chat_template()
    except ValueError:  # it has none
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
    """All engine arguments: reads the model's configuration, so that those of its family are among them.

    Raises:
        EngineStartError: as `family_arguments` does.
    """
    from vllm import AsyncEngineArgs

    arguments = engine_arguments(options)
    return arguments | family_arguments(options, served_model(AsyncEngineArgs(**arguments).create_model_config()))


def family_arguments(options: EngineOptions, model: ServedModel) -> dict[str, Any]:
    """The engine arguments that depend on the model's family; `vllm.mm_processor_kwargs` take precedence.

    Raises:
        EngineStartError: the model has nothing that a setting could be said to.
    """
    arguments: dict[str, Any] = {}
    own = options.vllm.get("mm_processor_kwargs") or {}
    if options.max_tiles is not None:
        if model.family.tile_argument is None:
            pixels = model.family.pixel_argument
            instead = f"; vllm.mm_processor_kwargs.{pixels} limits the pixels of an image" if pixels else ""
            fault = f"{model.family.name} takes no limit of tiles: give max_tiles=null{instead}"
            raise EngineStartError(f"max_tiles={options.max_tiles}: {fault}")
        arguments["mm_processor_kwargs"] = {model.family.tile_argument: options.max_tiles, **own}
    for fault in filter(None, map(model.way.fault, options.thinking)):
        raise EngineStartError(fault)
    if options.limits_thoughts:
        if model.way.marks is None:
            raise EngineStartError(f"max_thought_tokens: no marks of thoughts are known of {options.model!r}")
        marks = {"reasoning_start_str": model.way.marks.start, "reasoning_end_str": model.way.marks.end}
        arguments["reasoning_config"] = marks | (options.vllm.get("reasoning_config") or {})
    return arguments


class _Meter:
    """What vLLM's steps add up to; with n > 1 no response arrives before all do, so the pulse must come from here."""

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

    # without ray[serve], which it imports, vLLM's logger would not start, nor would the engine
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
        self._threads = ThreadPoolExecutor(_TOKENIZING, "mmpr-prompt")  # the loop's own is any library's
        self._numbers = itertools.count()
        self._answer_ids: dict[str, int] = {}

        self._opened: dict[Thinking, bool] = {}
        marks = self._model.way.marks
        self._end_id = self._tokenizer.get_vocab().get(marks.end) if marks is not None else None

    @property
    def family(self) -> Family:
        """What the model was taken for."""
        return self._model.family

    def describe(self) -> tuple[str, ...]:
        return described(self._model.family, self._model.way, self._model.image)

    async def check_limits(self, names: Sequence[str]) -> None:
        """Try each limit of an image's tiles or pixels: vLLM drops what an image processor does not know.

        Raises:
            EngineStartError: an image takes as many tokens whatever the limit is.
        """
        for name in names:
            few, many = [await self._image_tokens({name: limit}) for limit in (_PIXELS if "pixels" in name else _TILES)]
            if few == many:
                found = "it fails at it" if few is None else f"an image takes {few} tokens whatever it is"
                raise EngineStartError(
                    f"{name}: the image processor ({self.family.name}) does not know this limit: {found}; "
                    "leave it out (max_tiles=null)"
                )

    async def _image_tokens(self, limits: dict[str, int]) -> int | None:
        """Tokens of a prompt with a wide image under some limits; None where it fails."""
        from PIL import Image

        ids = self.prompt_ids(Prompt("limits", Stage.SAMPLE, (Message("user", f"{IMAGE_TAG}\n."),)))
        request = {"prompt_token_ids": ids, "multi_modal_data": {"image": [Image.new("RGB", _WIDE)]}}
        request["mm_processor_kwargs"] = limits
        try:
            (rendered,) = await self._llm.renderer.render_cmpl_async([request], skip_mm_cache=True)
        except (ValueError, TypeError):  # the processor refuses the limit, or so many tokens are too many
            return None
        return len(rendered["prompt_token_ids"])

    async def generate(self, prompt: Prompt, sampling: Sampling) -> list[Response]:
        check_tags(prompt)
        result = await self._run(prompt, self._parameters(sampling))
        _assert_prefix(prompt, result.prompt_token_ids)
        if len(result.outputs) != sampling.n:
            raise EngineError(f"vLLM returned {len(result.outputs)} of {sampling.n} responses (n > 1 lost)")
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
        # the log-probabilities of exactly these tokens, before anything is masked
        parameters = SamplingParams(
            max_tokens=1, temperature=0.0, allowed_token_ids=ids, logprobs=len(ids), logprob_token_ids=ids,
            detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY,
        )  # fmt: skip
        # a model that thinks would begin with a thought: it is told not to, and open thoughts are closed
        result = await self._run(replace(prompt, thinking=Thinking.OFF, prefix=Prefix("", ())), parameters)
        (found,) = result.outputs[0].logprobs or [{}]
        if missing := [answer for answer, token in zip(answers, ids, strict=True) if token not in found]:
            raise RequestRefused(Reason.ENGINE_REFUSED, f"vLLM gave no log-probability for {missing[0]!r}")
        return AnswerScores(tuple(float(found[token].logprob) for token in ids), len(result.prompt_token_ids))

    def _answer_id(self, answer: str) -> int:
        """The token of an answer where it begins a reply: some tokenizers have another one behind a line's end."""
        if answer not in self._answer_ids:
            rendered = self._rendered((Message("user", "?"),), Thinking.OFF)
            self._answer_ids[answer] = _first_token(self._tokenizer, self._specials, rendered, answer)
        return self._answer_ids[answer]

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """The chat template around the messages as token ids, then the prefix's own; one `<image>` an image."""
        rendered = self._rendered(prompt.messages, prompt.thinking)
        ids: list[int] = []
        line = "" if self.family.image_ends_line else "\n?"
        for piece in re.split(f"({SHIELD}|{IMAGE_TAG}{line})", rendered):
            if piece.startswith(IMAGE_TAG):
                ids += self._image_ids
            elif piece and piece != SHIELD:
                ids += self._raw_ids(piece)
        return ids + (self._prefix_ids(prompt.prefix, prompt.thinking) if prompt.prefix else [])

    def _rendered(self, messages: Sequence[Message], thinking: Thinking | None) -> str:
        """The messages in the chat template; nothing in a message can be taken for a special token."""
        turns = [(m.role, shield(m.text, self._specials)) for m in messages]
        if (asked := self._model.way.system(thinking)) is not None:
            own = turns.pop(0)[1] if turns and turns[0][0] == "system" else ""
            said = shield(asked, self._specials) in own  # the run's own system message may be this very one
            turns.insert(0, ("system", own if said else f"{asked}\n\n{own}".rstrip()))
        return self._model.render(self._tokenizer, turns, thinking)

    def _prefix_ids(self, prefix: Prefix, thinking: Thinking | None) -> list[int]:
        """The closed thoughts that stand before a prefix, and the prefix; the prompt may have opened the thoughts."""
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
        """Whether a prompt ends in open thoughts."""
        if thinking not in self._opened:
            marks = self._model.way.marks
            end = self._rendered((Message("user", "."),), thinking)[-_MARK_CHARS:]
            self._opened[thinking] = marks is not None and is_open(end, marks)
        return self._opened[thinking]

    def _raw_ids(self, text: str) -> list[int]:
        """Token ids of a text in which special tokens are meant."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return ids

    async def _tokenized(self, prompt: Prompt) -> list[int]:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self.prompt_ids, prompt)

    async def _request(self, prompt: Prompt, tries: int) -> dict[str, Any]:
        request: dict[str, Any] = {"prompt_token_ids": await self._tokenized(prompt)}
        if prompt.images:
            request["multi_modal_data"] = {"image": [image.pixels for image in prompt.images]}
            tiles = "" if prompt.max_tiles is None else f" in {prompt.max_tiles}"  # cut otherwise, it is another input
            # its cache is kept twice and may drift: the name under which an image was missing would miss again
            again = f" again {tries}" if tries else ""
            request["multi_modal_uuids"] = {"image": [image.sha256 + tiles + again for image in prompt.images]}
            if prompt.max_tiles is not None:
                request["mm_processor_kwargs"] = {self._model.family.tile_argument: prompt.max_tiles}
        return request

    async def _run(self, prompt: Prompt, parameters: Any) -> Any:
        """A request's result; asked again where vLLM ends it for a cause of its own.

        Raises:
            RequestRefused: vLLM refuses it, or fails at it again and again while it lives.
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
            seed=None if sampling.seed is None else sampling.seed + sampling.first,
            stop_token_ids=sorted(self._stops),
            thinking_token_budget=sampling.max_thought_tokens,
            detokenize=False,  # decoded once at the end, by the same call that decodes prefixes
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    def _response(self, prompt: Prompt, output: Any, sampling: Sampling) -> Response:
        try:
            finish = Finish(output.finish_reason)
        except ValueError:
            raise RequestRefused(Reason.ENGINE_REFUSED, f"finish_reason {output.finish_reason!r}") from None
        ids = tuple(output.token_ids)
        if ids and ids[-1] in self._stops:
            ids = ids[:-1]
        index = sampling.first + output.index
        seed = None if sampling.seed is None else sampling.seed + index
        thoughts, n_thoughts = self._thoughts(prompt, ids)
        text = self._text_after(prompt, ids[n_thoughts:])
        response = Response(
            prompt.question_id, prompt.stage, index, text, (), len(output.token_ids), finish, seed, thoughts=thoughts
        )
        if prompt.stage not in _KEEPS_IDS:
            return response
        return replace(response, token_ids=ids[n_thoughts:], thought_ids=ids[:n_thoughts])

    def _thoughts(self, prompt: Prompt, ids: tuple[int, ...]) -> tuple[str | None, int]:
        """The thoughts that a response begins with, and how many of its ids they take; behind a prefix come none."""
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
                Reason.PREFIX_CHANGED, "prefix and completion decode to a text that the prefix does not begin"
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
        warning = f"the model is of no known family; assumed: {UNKNOWN.assumed}" if self.family is UNKNOWN else ""
        return self.clock.on(replace(self._meter.pulse(), memory_bytes=_memory_bytes(), warning=warning))

    async def close(self) -> None:
        if self._llm is None:  # an actor closes its engine once for each lease that finds it dead
            return
        reader = self._llm.output_handler
        self._llm.shutdown()
        if reader is not None:
            await asyncio.wait([reader])  # it was cancelled; until it ends it holds the engine and its sockets
        self._threads.shutdown(wait=False, cancel_futures=True)
        kill_descendants()
        self._llm = None  # its destructor writes a traceback where it first runs at the end of the interpreter


async def start_vllm(options: EngineOptions) -> VllmEngine:
    """Start an engine; takes 20-30 s or, for a large model, minutes.

    Raises:
        EngineStartError: with the real cause in one line, also where vLLM only says "see root cause above".
    """
    os.environ.update(_environment(options))
    name_shared_memory(os.getpid())
    sweep_shared_memory()
    phases = StartPhases(options.model)
    # Not in this thread: its event loop answers meanwhile. vLLM's processes die with the thread that started them
    # (`die_with_parent`); a loop keeps the threads of `to_thread` until it is closed.
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
    """Names of the arguments by which an image's tiles or pixels are limited."""
    own = [name for name in options.vllm.get("mm_processor_kwargs") or {} if name in LIMITS]
    tile = engine.family.tile_argument if options.max_tiles is not None else None
    return own if tile is None or tile in own else [tile, *own]


def _start(options: EngineOptions) -> VllmEngine:
    from vllm import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    try:
        # in a frame of its own: a module of vLLM keeps this one for good, through the traceback of a failed import
        return _started(AsyncLLM, AsyncEngineArgs(**start_arguments(options)), options)
    except EngineStartError as error:
        raise EngineStartError(f"model {options.model!r}: {error}") from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 vLLM raises anything here; a start has one meaning of failure
        kill_descendants()
        raise EngineStartError(f"model {options.model!r}: {_cause(error)}") from None


def _started(async_llm: Any, arguments: Any, options: EngineOptions) -> VllmEngine:
    from vllm.usage.usage_lib import UsageContext

    meter = _Meter()
    # Sizes of batches that suit throughput, as `vllm.LLM` takes them: AsyncLLM by itself takes those of a server that
    # nobody has sized, on an H100 128 sequences and 2,048 tokens a step in place of 1,024 and 16,384.
    llm = async_llm.from_engine_args(
        arguments,
        usage_context=UsageContext.LLM_CLASS,
        stat_loggers=[_stat_logger(meter), *_ray_loggers(options)],
    )
    give_way(_NICENESS)
    return VllmEngine(llm, meter, options.lora)


class StartPhases:
    """What vLLM does while it starts, as its log and the Hub's cache show it.

    Args:
        model: a path, or a name of the Hub.
        log: where this process and vLLM's own write; None for where standard output leads, if that is a file.
    """

    def __init__(self, model: str, log: Path | None = None) -> None:
        self._log = log or Path(os.path.realpath("/proc/self/fd/1"))
        self._blobs = f"models--{model.replace('/', '--')}/blobs"
        self._from = self._size()

    def now(self) -> str:
        """In words."""
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
        """Bytes of the files that the Hub's client is fetching now."""
        from huggingface_hub.constants import HF_HUB_CACHE

        n_bytes = 0
        for file in Path(HF_HUB_CACHE, self._blobs).glob("*.incomplete"):
            with suppress(FileNotFoundError):  # it has just come
                n_bytes += file.stat().st_size
        return n_bytes


def _lora_request(folder: str) -> Any:
    from vllm.lora.request import LoRARequest

    return LoRARequest(Path(folder).name, 1, folder)


def _environment(options: EngineOptions) -> dict[str, str]:
    """What vLLM reads from the environment; what a user has set goes first."""
    wanted = {ENGINE_PARENT: str(os.getpid()), "VLLM_NO_USAGE_STATS": "1"}
    if options.on_cpu:
        # 1 GiB of keys and values is plenty for a model that a CPU can serve; threads unbound, for Ray's tasks share
        # the cores and several engines may.
        wanted |= {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    return {name: os.environ.get(name, value) if name != ENGINE_PARENT else value for name, value in wanted.items()}


def _cause(error: BaseException) -> str:
    message = f"{type(error).__name__}: {error}".splitlines()[0]
    return last_error_line() or message if "root cause" in message else message


def last_error_line() -> str | None:
    """The last line of this process's error log that names an error: where vLLM's child says why it ended."""
    log = Path(os.path.realpath("/proc/self/fd/2"))
    if not log.is_file():
        return None
    with log.open("rb") as lines:
        lines.seek(max(0, log.stat().st_size - 100_000))
        found = _ERROR_LINE.findall(lines.read().decode(errors="replace"))
    named = [line for line in found if "root cause" not in line and "EngineDeadError" not in line]
    return named[-1] if named else None


def _memory_bytes() -> int:
    """What this process and those it started hold; one that ends meanwhile counts nothing."""
    own = psutil.Process()
    held = 0
    for process in (own, *own.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            held += process.memory_info().rss
    return held


def _may_pass(error: Exception) -> bool:
    """Whether vLLM says that the same request may be answered the next time; by name, for 0.33 has new ones."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"RetryableRequestError", "GenerationError", "QueueOverflowError", "MaxQueuedTokensError"})


def _mean_logprob(logprobs: Sequence[Any] | None, token_ids: Sequence[int]) -> float:
    """Mean log-probability of the last tokens of a prompt.

    Raises:
        RequestRefused: vLLM gave none, or not those.
    """
    last = (logprobs or [])[-len(token_ids) :]
    try:
        return float(sum(of[token].logprob for of, token in zip(last, token_ids, strict=True)) / len(token_ids))
    except (TypeError, KeyError, ValueError, AttributeError, ZeroDivisionError):
        raise RequestRefused(Reason.ENGINE_REFUSED, "vLLM gave no log-probability for each token") from None


def _refusal(error: Exception) -> RequestRefused:
    message = str(error).splitlines()[0] if str(error) else type(error).__name__
    cause = f"{message} ({error.__cause__})" if error.__cause__ and not str(error) else message
    too_long = "max_model_len" in message or "maximum model length" in message or "context length" in message
    return RequestRefused(Reason.PROMPT_TOO_LONG if too_long else Reason.ENGINE_REFUSED, cause)


def _assert_prefix(prompt: Prompt, ran: Sequence[int]) -> None:
    """vLLM may decode and encode a prompt with images again: what ran must end in the prefix's own ids."""
    ids = (*prompt.prefix.thought_ids, *prompt.prefix.token_ids) if prompt.prefix else ()
    if ids and tuple(ran[-len(ids) :]) != ids:
        raise RequestRefused(Reason.PREFIX_CHANGED, "the engine ran other tokens than those of the prefix")


def _image_placeholder(model_config: Any) -> str:
    """What vLLM looks for where an image goes: InternVL's `<image>`, Qwen2-VL's three tokens of vision."""
    from vllm.model_executor.model_loader import get_model_cls

    placeholder = getattr(get_model_cls(model_config), "get_placeholder_str", None)
    return (placeholder and placeholder("image", 1)) or IMAGE_TAG


def _special_texts(tokenizer: Any) -> tuple[str, ...]:
    added = {str(token) for token in tokenizer.added_tokens_decoder.values()}
    return tuple(sorted(added | set(tokenizer.all_special_tokens), key=len, reverse=True))


def _first_token(tokenizer: Any, specials: Sequence[str], rendered: str, answer: str) -> int:
    """The one token that an answer is as the first of a reply; `rendered` is a prompt up to there.

    Raises:
        RequestRefused: it is no single token.
    """
    end = max((rendered.rfind(special) + len(special) for special in specials if special in rendered), default=0)
    before = tokenizer.encode(rendered[end:], add_special_tokens=False)
    whole = tokenizer.encode(rendered[end:] + answer, add_special_tokens=False)
    if whole[:-1] == before:
        return int(whole[-1])
    alone = tokenizer.encode(answer, add_special_tokens=False)
    if len(alone) != 1:
        raise RequestRefused(Reason.ENGINE_REFUSED, f"{answer!r} is no single token of this model")
    return int(alone[0])


def _stop_ids(model_config: Any, tokenizer: Any, stops: Sequence[str]) -> frozenset[int]:
    """End of text, what the checkpoint's generation_config says ends one, and a family's own ends of a turn."""
    stated = model_config.try_get_generation_config().get("eos_token_id")
    vocabulary = tokenizer.get_vocab()
    found = (tokenizer.eos_token_id, *(stated if isinstance(stated, list) else [stated]), *map(vocabulary.get, stops))
    return frozenset(i for i in found if i is not None)
