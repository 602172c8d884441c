"""The `Engine` on a server whose abilities `server_start` has found out."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from mmpr.dropout import follows
from mmpr.engines.endpoint.server import Server
from mmpr.engines.endpoint.server_records import Profile, Reply, ServerChoice, Way
from mmpr.engines.endpoint.tokenizer import Tokenizer
from mmpr.engines.endpoint.wire import (
    Json,
    chat_body,
    chat_messages,
    read_likeliest,
    read_reply,
    read_scored,
    refuse_chat_tokens,
    sampling_body,
    scores_of,
    template_fields,
)
from mmpr.engines.engine_options import EndpointOptions
from mmpr.engines.families import SWITCH, marks_in
from mmpr.engines.protocol import AnswerScores, Pulse, Sampling, check_tags
from mmpr.engines.thoughts import split_ids, split_text
from mmpr.errors import EngineError, RequestRefused
from mmpr.thought_marks import THINK, ThoughtMarks
from mmpr.types import Continues, Finish, Message, Prefix, Prompt, Reason, Response, Stage, Thinking

_KEEPS_IDS = frozenset({Stage.DRAFT, Stage.COMPLETION})  # drafts are cut by token, and both are scored by token
_LIKELIEST = (20, 5)  # values of `top_logprobs` to try: OpenAI accepts 20, others only 5
# These servers accept `chat_template_kwargs` whatever the template is; others may refuse a field that they do not know.
_TAKES_SWITCH = frozenset({"vllm", "sglang", "lmdeploy"})
_MARK_TOKENS = 32  # an end mark of thoughts is searched in so many last tokens of a prompt
_THOUGHTS = ("One.", "One, two, three, four, five, six, seven, eight, nine, ten, eleven, twelve, thirteen, fourteen.")
T = TypeVar("T")


class EndpointEngine:
    """A server as an engine. Make it with `await start_endpoint(options)`.

    On vLLM serve, a blind completion continues the draft's own token ids through `/v1/completions`, with the server's
    tokenizer. Other servers, and requests with images, get the prefix as text. Then vLLM returns the ids that ran, and
    they are compared with the prefix's; with other servers, the completion must follow the prefix verbatim.
    """

    def __init__(self, server: Server, options: EndpointOptions, profile: Profile) -> None:
        self._server, self._profile = server, profile
        self.clock = server.clock
        self._tokenizer = Tokenizer(server, options.model)
        self._max_tiles = options.max_tiles
        self._body: Json = {**options.body, "model": options.model}
        self._loop = asyncio.get_running_loop()
        self._answer_ids: dict[str, tuple[int, ...]] = {}
        self._lent: bool | None = None  # whether the server has a tokenizer interface; None: not known yet
        self._choosing: Json | None = None  # the fields of `choose` that the server accepts; None: not known yet
        self._takes_n: bool | None = None  # whether a request may ask for n > 1; None: not known yet
        self._drops: dict[Thinking | None, bool] = {}  # whether the server drops thoughts before a prefix
        self._finding = asyncio.Lock()

    @property
    def continues(self) -> Continues:
        return Continues.EXACT if self._profile.way is Way.IDS else Continues.TEXT

    async def generate(self, prompt: Prompt, sampling: Sampling) -> list[Response]:
        check_tags(prompt)
        refuse_chat_tokens(prompt)
        if self._profile.way is Way.NONE and prompt.stage is Stage.DRAFT:
            raise RequestRefused(Reason.ENGINE_REFUSED, "this server makes no completions (endpoint_continues=none)")
        path, body = await self._asked(prompt)
        choices = await self._choices(prompt, path, body, sampling)
        return [await self._response(prompt, choice, sampling, sampling.first + i) for i, choice in enumerate(choices)]

    async def _asked(self, prompt: Prompt) -> tuple[str, Json]:
        """Return the path for a prompt, and the fields of the request without those of sampling."""
        if prompt.prefix is None or prompt.images or self._profile.way is not Way.IDS:
            await self._check_kept(prompt)
            return "chat/completions", await self._chat(prompt, max_tiles=self._max_tiles)
        template = template_fields(prompt.thinking, self._body)
        ids = await self._tokenizer.encode_chat(chat_messages(prompt, self._profile), template)
        ids += await self._thought_ids(prompt, prompt.prefix) + prompt.prefix.token_ids
        return "completions", self._body | {"prompt": ids, "return_token_ids": True, "add_special_tokens": False}

    async def _chat(self, prompt: Prompt, *, max_tiles: int | None = None) -> Json:
        """Return the fields of a chat completion.

        The user's own `mm_processor_kwargs` and `chat_template_kwargs` in `endpoint_body` are merged with mmpr's.
        """
        closed = await self._closed(prompt, prompt.prefix) if prompt.prefix else ""
        body = chat_body(prompt, self._profile, closed=closed, max_tiles=max_tiles)
        for name in body.keys() & {"mm_processor_kwargs"} & self._body.keys():
            body[name] = {**body[name], **self._body[name]}
        return self._body | body | template_fields(prompt.thinking, self._body)

    def _opened(self, prompt: Prompt) -> bool:
        """Whether the rendered prompt is known to end in open thoughts."""
        return self._profile.opens is not None and prompt.thinking in self._profile.opens

    async def _closed(self, prompt: Prompt, prefix: Prefix) -> str:
        """Return the closed thoughts before a prefix with the model's own marks.

        Without thoughts they are empty if the prompt has opened thoughts. Thoughts that the model wrote keep the spaces
        around them, so that the server makes the same tokens of them.
        """
        marks, opened = self._profile.marks, self._opened(prompt)
        if prefix.thought_ids:
            return (f"{marks.start}\n" if opened else "") + await self._tokenizer.decode(prefix.thought_ids)
        return "" if prefix.thoughts is None and not opened else marks.closed(prefix.thoughts or "")

    async def _thought_ids(self, prompt: Prompt, prefix: Prefix) -> tuple[int, ...]:
        """Return the token ids of the closed thoughts before a prefix, without a start mark that the prompt has."""
        if prefix.thought_ids:
            return prefix.thought_ids
        closed = await self._closed(prompt, prefix)
        begun = f"{self._profile.marks.start}\n" if self._opened(prompt) else ""
        return await self._tokenizer.encode(closed.removeprefix(begun)) if closed else ()

    async def _check_kept(self, prompt: Prompt) -> None:
        """Check that the server keeps the thoughts before a prefix, where no token ids of them can be compared.

        Some chat templates drop the thoughts of earlier turns. Then a prompt with long thoughts has no more tokens than
        one with short thoughts.

        Raises:
            RequestRefused: PREFIX_CHANGED: the server drops them.
        """
        if prompt.prefix is None or not prompt.prefix.thoughts or prompt.prefix.thought_ids:
            return
        async with self._finding:
            if prompt.thinking not in self._drops:
                asked = Prompt("thoughts", Stage.DRAFT, (Message("user", "."),), thinking=prompt.thinking)
                both = (replace(asked, prefix=Prefix("One", (), thoughts)) for thoughts in _THOUGHTS)
                short, long = await _all(map(self._prompt_tokens, both))
                self._drops[prompt.thinking] = 0 < long <= short
        if self._drops[prompt.thinking]:
            raise RequestRefused(Reason.PREFIX_CHANGED, "the server drops the thoughts before a prefix")

    # -- n responses ----------------------------------------------------------------------------------------------

    async def _choices(self, prompt: Prompt, path: str, body: Json, sampling: Sampling) -> list[ServerChoice]:
        """Return n choices from one request; if the server refuses n > 1 or returns fewer, from single requests."""
        choices: list[ServerChoice] = []
        if sampling.n > 1 and self._takes_n is not False:
            choices += await self._together(prompt, path, body, sampling)
        singles = [replace(sampling, n=1, first=sampling.first + i) for i in range(len(choices), sampling.n)]
        for given in await _all(self._ask(prompt, path, body, single) for single in singles):
            choices += given
        return choices[: sampling.n]  # a server may return more than requested

    async def _together(self, prompt: Prompt, path: str, body: Json, sampling: Sampling) -> tuple[ServerChoice, ...]:
        """Return the choices of one request for n, perhaps fewer, and remember whether the server returned n."""
        try:
            choices = await self._ask(prompt, path, body, sampling)
        except RequestRefused:
            if self._takes_n:
                raise
            # The server may have refused n > 1 or the prompt. If it is the prompt, this request is refused too.
            choices = await self._ask(prompt, path, body, replace(sampling, n=1))
        self._takes_n = len(choices) == sampling.n
        return choices

    async def _ask(self, prompt: Prompt, path: str, body: Json, sampling: Sampling) -> tuple[ServerChoice, ...]:
        fields = sampling_body(sampling, self._profile.owner, self._profile.stop_ids)
        reply = await self._server.post(path, body | fields, read_reply)
        _check_prefix(prompt, reply)
        return reply.choices

    async def _response(self, prompt: Prompt, choice: ServerChoice, sampling: Sampling, index: int) -> Response:
        try:
            finish = Finish(choice.finish)
        except ValueError:
            raise RequestRefused(Reason.ENGINE_REFUSED, f"finish_reason {choice.finish[:40]!r}") from None
        exact = self.continues is Continues.EXACT and prompt.stage in _KEEPS_IDS
        seed = None if sampling.seed is None else sampling.seed + index
        kept = (choice.ids or ()) if exact else ()
        thoughts, n_thoughts = None, 0
        if prompt.prefix:
            text = await self._text_after(prompt.prefix, choice)
        elif prompt.thinking is None:
            text = await self._tokenizer.decode(kept) if kept and choice.thoughts is not None else _whole(choice)
        else:
            thoughts, text = self._apart(choice, prompt.thinking)
            if thoughts is not None and kept:
                n_thoughts = await asyncio.to_thread(self._n_thoughts, kept, choice, prompt.thinking)
                text = await self._tokenizer.decode(kept[n_thoughts:])
        return Response(
            prompt.question_id, prompt.stage, index, text, kept[n_thoughts:], choice.n_tokens, finish, seed,
            thoughts=thoughts, thought_ids=kept[:n_thoughts],
        )  # fmt: skip

    def _apart(self, choice: ServerChoice, thinking: Thinking) -> tuple[str | None, str]:
        """Separate the thoughts from the text, by the server's parser or else by the marks in the text.

        A parser stops at the first end mark, so the text may have further thoughts: `wait <think>9</think>2`.
        """
        marks = self._marks_of(choice.text)
        if choice.thoughts is None:
            thoughts, text = split_text(choice.text, marks, is_open=self._is_open(choice.text, thinking))
        elif marks.start in choice.text or marks.end in choice.text:
            thoughts, text = split_text(marks.closed(choice.thoughts) + choice.text, marks, is_open=True)
        else:
            return choice.thoughts, choice.text.lstrip()
        if thoughts is not None:
            self._profile = replace(self._profile, marks=marks)
        return thoughts, text

    def _marks_of(self, text: str) -> ThoughtMarks:
        """Return the marks that occur in a text, or else those that the model is known to write."""
        found = marks_in(text)
        return found if found.start in text or found.end in text else self._profile.marks

    def _is_open(self, text: str, thinking: Thinking) -> bool:
        """Whether the prompt had opened the thoughts.

        If the prompt's end is not known, an end mark without a start mark before it means yes: `so 4</think>4`.
        """
        marks, opens = self._marks_of(text), self._profile.opens
        return marks.end in text.partition(marks.start)[0] if opens is None else thinking in opens

    def _n_thoughts(self, ids: tuple[int, ...], choice: ServerChoice, thinking: Thinking) -> int:
        """Return the number of ids of the thoughts that were found in a choice, and of their marks."""
        whole = self.decode(ids)
        marks = self._marks_of(whole)
        self._profile = replace(self._profile, marks=marks)
        is_open = choice.thoughts is not None or self._is_open(whole, thinking)  # a parser needs no start mark
        return split_ids(ids, marks, is_open=is_open, decode=self.decode)[1]

    async def _text_after(self, prefix: Prefix, choice: ServerChoice) -> str:
        """Return the text that follows a prefix verbatim.

        Raises:
            RequestRefused: PREFIX_CHANGED: a space between them was lost, prefix and completion decode to another text
                together than one by one, or the server's parser has found thoughts in the completion.
        """
        if choice.text.strip() and choice.thoughts:
            raise RequestRefused(Reason.PREFIX_CHANGED, "the server's completion has thoughts of its own")
        text = choice.text or choice.thoughts or ""  # a server's parser may return the whole completion as thoughts
        if prefix.token_ids:
            whole = await self._tokenizer.decode(prefix.token_ids + (choice.ids or ()))
            if whole != prefix.text + text:
                raise RequestRefused(
                    Reason.PREFIX_CHANGED, "prefix and completion decode to another text together than one by one"
                )
        elif not follows(prefix.text, text):
            seam = f"{prefix.text[-20:]!r} and {text[:20]!r}"
            raise RequestRefused(Reason.PREFIX_CHANGED, f"the server's text does not follow the prefix: {seam}")
        return text

    # -- scores and tokens ----------------------------------------------------------------------------------------

    async def score(self, prompt: Prompt, token_ids: Sequence[int]) -> float:
        check_tags(prompt)
        refuse_chat_tokens(prompt)
        if self._profile.way is not Way.IDS:
            raise RequestRefused(Reason.ENGINE_REFUSED, "only vLLM serve returns the log-probability of a given text")
        before = prompt.prefix or Prefix("", ())
        ids = (*before.token_ids, *token_ids)
        whole = replace(prompt, prefix=replace(before, text=await self._tokenizer.decode(ids), token_ids=ids))
        body = await self._chat(whole, max_tiles=self._max_tiles) | {"max_tokens": 1, "prompt_logprobs": 0}
        reply, logprobs = await self._server.post("chat/completions", body, read_scored)
        _check_prefix(whole, reply)
        return sum(logprobs[-len(token_ids) :]) / len(token_ids)

    async def choose(self, prompt: Prompt, answers: Sequence[str]) -> AnswerScores:
        """Return the scores of some answers.

        They are exact on vLLM serve, which returns the log-probabilities of given tokens. Other servers return those
        of the likeliest tokens; an answer that is not among them gets the smallest one.

        Raises:
            EngineError: the server returns no log-probabilities.
        """
        check_tags(prompt)
        refuse_chat_tokens(prompt)
        # A thinking model would begin with a thought and not with a letter. So thinking is off, whatever
        # `endpoint_body` says, and thoughts that the chat template opens nevertheless are closed.
        behind = Prefix("", (), "") if self._profile.always_opens else None
        body = await self._chat(replace(prompt, thinking=Thinking.OFF, prefix=behind))
        body |= {"max_tokens": 1, "temperature": 0.0, "logprobs": True}
        body.pop("chat_template_kwargs")  # `_choosing_fields` has them
        if ids := await self._ids_of(answers):
            body |= {"allowed_token_ids": ids, "logprob_token_ids": ids}
        refused: RequestRefused | None = None
        for fields in self._choosing_fields() if self._choosing is None else (self._choosing,):
            try:
                reply, listed = await self._server.post("chat/completions", body | fields, read_likeliest)
            except RequestRefused as error:  # perhaps it accepts other fields
                refused = error
                continue
            if not listed:
                raise EngineError(
                    f"{self._server.url} returns no log-probabilities (logprobs, top_logprobs): a verifier needs them"
                )
            self._choosing = fields
            await self._check_no_thought(reply)
            return AnswerScores(scores_of(listed, answers), reply.prompt_tokens)
        assert refused is not None, "no fields were tried"
        raise refused

    def _choosing_fields(self) -> list[Json]:
        """Return the fields of `choose` to try: with the switch that turns thinking off, and for some servers without.

        The switch is sent although the template may have none: chat templates ignore arguments that they do not know.
        """
        own = self._body.get("chat_template_kwargs") or {}
        with_switch = [{"top_logprobs": n, "chat_template_kwargs": {**own, SWITCH: False}} for n in _LIKELIEST]
        if self._profile.owner in _TAKES_SWITCH or own:
            return with_switch
        return with_switch + [{"top_logprobs": n} for n in _LIKELIEST]

    async def _check_no_thought(self, reply: Reply) -> None:
        """Check that the first token of a reply is no part of a thought, as far as the server shows it.

        Raises:
            EngineError: the chat template opens thoughts and drops the closed ones that it was given.
            RequestRefused: the server's parser has put the token into the thoughts.
        """
        if self._profile.always_opens:
            end = await self._tokenizer.decode((reply.prompt_ids or ())[-_MARK_TOKENS:])
            if not end.rstrip().endswith(self._profile.marks.end):
                raise EngineError(
                    f"{self._server.url}: the chat template always opens thoughts and the server does not show that "
                    "they are closed: a verifier cannot read letters there"
                )
        elif self._profile.opens is None and reply.choices[0].thoughts:
            raise RequestRefused(Reason.ENGINE_REFUSED, "the model thinks before it chooses, although thinking is off")

    async def _ids_of(self, answers: Sequence[str]) -> list[int]:
        """Return the token ids of the answers on vLLM serve; an empty list on other servers, which accept no ids.

        Raises:
            RequestRefused: an answer is not a single token.
        """
        if self._lent is None:
            self._lent = self._profile.owner == "vllm" and await self._tokenizer.is_there()
        if not self._lent:
            return []
        for answer in answers:
            if answer not in self._answer_ids:
                self._answer_ids[answer] = await self._tokenizer.encode(answer)
            if len(self._answer_ids[answer]) != 1:
                raise RequestRefused(Reason.ENGINE_REFUSED, f"{answer!r} is not a single token of this model")
        return [self._answer_ids[answer][0] for answer in answers]

    async def count_tokens(self, text: str) -> int:
        """Return the number of tokens of a text, counted by the server.

        It is the difference between a prompt with the text as the beginning of the answer, and without it.
        """
        bare = Prompt("count", Stage.DRAFT, (Message("user", "."),))
        begun = replace(bare, prefix=Prefix(text, ()))
        refuse_chat_tokens(begun)
        with_text, without = await _all(self._prompt_tokens(prompt) for prompt in (begun, bare))
        return max(1, with_text - without)

    async def _prompt_tokens(self, prompt: Prompt) -> int:
        body = await self._chat(prompt) | {"max_tokens": 1}
        return (await self._server.post("chat/completions", body, read_reply)).prompt_tokens

    async def prompt_tokens(self, prompt: Prompt, image_limits: dict[str, int]) -> int:
        """Return the number of tokens of a prompt, counted by the server, with its images cut under these limits."""
        body = await self._chat(prompt) | {"max_tokens": 1, "mm_processor_kwargs": image_limits}
        return (await self._server.post("chat/completions", body, read_reply)).prompt_tokens

    def describe(self) -> tuple[str, ...]:
        owner, way = self._profile.owner or "an unnamed server", self._profile.way
        opens, marks = ", ".join(sorted(self._profile.opens or ())) or "never", self._profile.marks
        return (
            f"{owner}, continues a prefix by {way}",
            f"thoughts: from the server's parser, or else by marks, {marks.start} .. {marks.end} if no others are seen",
            "prompts end in open thoughts: " + ("not known" if self._profile.opens is None else f"thinking {opens}"),
            *self._profile.unchecked,
        )

    def encode(self, text: str) -> tuple[int, ...]:
        refuse_chat_tokens(Prompt("encode", Stage.DRAFT, (Message("assistant", text),)))
        return self._from_thread(self._tokenizer.encode(text))

    def decode(self, token_ids: Sequence[int]) -> str:
        return self._from_thread(self._tokenizer.decode(token_ids))

    def _from_thread(self, asked: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(asked, self._loop).result()

    def pulse(self) -> Pulse:
        return replace(self._server.pulse(), warning="; ".join(self._profile.unchecked))

    async def close(self) -> None:
        await self._server.close()


async def _all(asked: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run all coroutines at once and return their results; if one fails, cancel the others and raise its error."""
    tasks = [asyncio.create_task(one) for one in asked]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()


def _whole(choice: ServerChoice) -> str:
    """Return a text with its thoughts, which an instruction has asked for; a server's parser may have taken them off.

    The marks are those of the instruction, which the judge skips, whatever the model's own are. Thoughts without a text
    after them stay open, as they were never closed.
    """
    if choice.thoughts is None:
        return choice.text
    text = choice.text.lstrip()
    return THINK.closed(choice.thoughts) + text if text else f"{THINK.start}\n{choice.thoughts}"


def _check_prefix(prompt: Prompt, reply: Reply) -> None:
    """Check that the prompt that ran ends in the token ids of the prefix and of its thoughts, if it has any.

    Raises:
        RequestRefused: PREFIX_CHANGED: it does not, or the server does not return what ran.
    """
    ids = (*prompt.prefix.thought_ids, *prompt.prefix.token_ids) if prompt.prefix else ()
    if ids and (reply.prompt_ids is None or reply.prompt_ids[-len(ids) :] != ids):
        raise RequestRefused(Reason.PREFIX_CHANGED, "the tokens that the server ran are not those of the prefix")
