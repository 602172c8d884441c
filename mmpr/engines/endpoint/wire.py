"""Turn prompts into the JSON of OpenAI's interface, and its replies into records. Pure."""

from __future__ import annotations

import base64
import math
import re
import sys
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any

from mmpr.engines.endpoint.server_records import Profile, Reply, ServerChoice, Way
from mmpr.engines.families import SWITCH
from mmpr.engines.protocol import Sampling
from mmpr.errors import RequestRefused
from mmpr.image_tags import IMAGE_TAG
from mmpr.types import Message, Prompt, Reason, Thinking

Json = dict[str, Any]

# Tags at the start of a text, one per line: every server puts images there, so they need no tag or division.
_LEADING = re.compile(rf"(?:{IMAGE_TAG}\n)+(?=[^\n])")
# The special tokens of chat templates and of InternVL's tokenizers. mmpr's vLLM engine divides such texts before it
# tokenizes them; a server would read `<|im_end|>` in a question as the end of the turn.
_CHAT_TOKENS = re.compile(r"<\|[^|<>\s]{1,40}\|>|</?s>|</?img>|<IMG_CONTEXT>|<IMAGE_TOKEN>")
_TOO_LONG = re.compile(r"(?i)context.length|max_model_len|maximum model length|(?:prompt|input).{0,30} too long")
# For these servers, `top_k` 0 means "no limit". Without the field they would use the model's generation_config.
_ZERO_TOP_K = frozenset({"vllm", "lmdeploy"})
_MOST_TOKENS = 2**31
_ROUNDING = 0.1  # above 0: servers that compute in bfloat16 give such log-probabilities
_FLAG = {"continue_final_message": True, "add_generation_prompt": False}


def refuse_chat_tokens(prompt: Prompt) -> None:
    """Refuse a prompt with a text that the server's tokenizer would read as a special token of the chat.

    Raises:
        RequestRefused: there is one; the message names the first.
    """
    texts = [message.text for message in prompt.messages] + ([prompt.prefix.text] if prompt.prefix else [])
    found = next((hit[0] for hit in map(_CHAT_TOKENS.search, texts) if hit), None)
    if found:
        raise RequestRefused(
            Reason.ENGINE_REFUSED, f"{found} in a text: a server would read it as the start or end of a turn"
        )


def chat_body(prompt: Prompt, profile: Profile, *, closed: str = "", max_tiles: int | None = None) -> Json:
    """Return the fields of a chat completion with the messages, the prefix and the images.

    Args:
        closed: the closed thoughts before the prefix, with their marks.
    """
    body: Json = {"messages": chat_messages(prompt, profile, max_tiles=max_tiles)}
    if prompt.prefix is not None:
        body["messages"].append({"role": "assistant", "content": closed + prompt.prefix.text})
        body |= {} if profile.way is Way.TURN else _FLAG
    if profile.owner == "vllm":
        body["return_token_ids"] = True
        if prompt.images and (tiles := _tiles(prompt, max_tiles)) is not None:
            body["mm_processor_kwargs"] = {profile.tile_argument: tiles}
    return body


def template_fields(thinking: Thinking | None, body: Json) -> Json:
    """Return the field that turns thinking on or off; `chat_template_kwargs` in `body` take precedence."""
    own = body.get("chat_template_kwargs") or {}
    switch = {} if thinking in (None, Thinking.AUTO) else {SWITCH: thinking is Thinking.ON}
    return {"chat_template_kwargs": switch | own} if switch or own else {}


def chat_messages(prompt: Prompt, profile: Profile, *, max_tiles: int | None = None) -> list[Json]:
    """Return the messages without the prefix; images are data URIs with the bytes that the dataset embeds."""
    tiles = _tiles(prompt, max_tiles) if profile.owner == "lmdeploy" else None
    options = {} if tiles is None else {"max_dynamic_patch": tiles}
    parts = iter([image_part(f"image/{p.format.lower()}", p.encoded, **options) for p in prompt.images])
    return [{"role": m.role, "content": _content(m, parts, profile.image_tag)} for m in prompt.messages]


def _tiles(prompt: Prompt, max_tiles: int | None) -> int | None:
    return max_tiles if prompt.max_tiles is None else prompt.max_tiles


def image_part(media_type: str, encoded: bytes, **options: object) -> Json:
    """Return an image as a content part of a message."""
    url = f"data:{media_type};base64,{base64.b64encode(encoded).decode()}"
    return {"type": "image_url", "image_url": {"url": url, **options}}


def text_part(text: str) -> Json:
    """Return a text as a content part of a message."""
    return {"type": "text", "text": text}


def _content(message: Message, images: Iterator[Json], image_tag: str | None) -> str | list[Json]:
    n_tags = message.text.count(IMAGE_TAG)
    if n_tags == 0:
        return message.text
    own = [next(images) for _ in range(n_tags)]
    leading = _LEADING.match(message.text)
    if leading and leading[0].count(IMAGE_TAG) == n_tags:
        return [*own, text_part(message.text[leading.end() :])]
    if image_tag is not None:  # the tags mark the places, so the images may follow the text
        return [text_part(message.text.replace(IMAGE_TAG, image_tag)), *own]
    first, *others = message.text.split(IMAGE_TAG)
    parts = [text_part(first)] if first else []
    for image, text in zip(own, others, strict=True):
        parts += [image, text_part(text)] if text else [image]
    return parts


def sampling_body(sampling: Sampling, owner: str, stop_ids: Sequence[int] = ()) -> Json:
    """Return the fields of sampling; all are sent, because the defaults of servers differ."""
    body: Json = {
        "n": sampling.n,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
    }
    if sampling.top_k or owner in _ZERO_TOP_K:
        body["top_k"] = sampling.top_k
    if sampling.seed is not None:
        body["seed"] = sampling.seed + sampling.first
    if sampling.max_thought_tokens is not None:
        body["thinking_token_budget"] = sampling.max_thought_tokens
    return body | ({"stop_token_ids": list(stop_ids)} if stop_ids else {})


def read_reply(answer: Json) -> Reply:
    """Read the reply of a chat completion or a completion.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: the JSON is no such reply.
    """
    usage, choices = answer["usage"], sorted(answer["choices"], key=lambda choice: _count(choice["index"]))
    if not choices:
        raise ValueError("no choices")
    if len({choice["index"] for choice in choices}) < len(choices):
        raise ValueError("two choices have the same index: one response would count twice")
    texts = [_text_of(choice) for choice in choices]
    ids = [choice.get("token_ids") for choice in choices]
    counts = [len(own) for own in ids if own is not None]
    if len(counts) < len(choices):  # without token ids, only the sum of all choices is known
        counts = share_out(_count(usage["completion_tokens"]), [len(text) for text in texts])
    ran = answer.get("prompt_token_ids") or choices[0].get("prompt_token_ids")
    return Reply(
        tuple(
            ServerChoice(text, str(choice["finish_reason"]), count, _without_stop(choice, own), _thoughts_of(choice))
            for choice, text, count, own in zip(choices, texts, counts, ids, strict=True)
        ),
        prompt_ids=tuple(map(_count, ran)) if ran else None,
        prompt_tokens=_count(usage["prompt_tokens"]),
        cached_tokens=_count((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0),
    )


def read_scored(answer: Json) -> tuple[Reply, list[float]]:
    """Read a chat completion and the log-probability of each token of its prompt; that of the first token is 0.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: the JSON is no such reply.
    """
    given = [next(iter(of.values()))["logprob"] if of else 0.0 for of in answer["prompt_logprobs"]]
    logprobs = list(map(_log_probability, given))
    if -math.inf in logprobs:
        raise ValueError("a token of the given text has probability 0")
    return read_reply(answer), logprobs


def read_likeliest(answer: Json) -> tuple[Reply, list[tuple[str, float]]]:
    """Read a chat completion and its likeliest first tokens with their log-probabilities; empty if it has none.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: the JSON is no such reply.
    """
    content = (answer["choices"][0].get("logprobs") or {}).get("content") or []
    listed = content[0]["top_logprobs"] if content else []
    if not all(isinstance(one["token"], str) for one in listed):
        raise ValueError("a token is not a text")
    return read_reply(answer), [(one["token"], _log_probability(one["logprob"])) for one in listed]


def _log_probability(value: object) -> float:
    """Return a log-probability as a float; -inf is probability 0.

    Raises:
        ValueError: it is a text, a bool, NaN, above 0 by more than rounding, or an integer that no float can hold.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("a log-probability is not a number")
    if value != -math.inf and not -sys.float_info.max <= value <= _ROUNDING:
        raise ValueError("a number cannot be a log-probability")
    return float(value)


def scores_of(listed: Sequence[tuple[str, float]], answers: Sequence[str]) -> tuple[float, ...]:
    """Return the log-probability of each answer, from a list of tokens.

    The tokens "A" and " A" both count for the answer "A"; their probabilities are added. An answer that is not listed
    gets the smallest log-probability of the list.

    Raises:
        RequestRefused: no answer is listed.
    """
    found = {answer: [logprob for token, logprob in listed if token.strip() == answer] for answer in answers}
    if not any(found.values()):
        raise RequestRefused(Reason.ENGINE_REFUSED, f"none of {', '.join(answers)} is among the likeliest tokens")
    least = min(logprob for _, logprob in listed)
    return tuple(_log_sum(found[answer]) if found[answer] else least for answer in answers)


def _log_sum(logprobs: Sequence[float]) -> float:
    top = max(logprobs)
    return top if top == -math.inf else top + math.log(sum(math.exp(one - top) for one in logprobs))


def _text_of(choice: Json) -> str:
    return _checked(choice["message"].get("content") if "message" in choice else choice["text"]) or ""


def _thoughts_of(choice: Json) -> str | None:
    """Return the thoughts that the server's parser found: `reasoning`, or `reasoning_content` of older servers."""
    message = choice.get("message") or {}
    thoughts = _checked(message.get("reasoning")) or _checked(message.get("reasoning_content"))
    return None if thoughts is None else thoughts.strip()


def _checked(text: object) -> str | None:
    if text is not None and not isinstance(text, str):
        raise ValueError("a text is not a string")
    (text or "").encode()  # a lone surrogate raises a ValueError: no UTF-8 file can hold it
    return text


def _count(value: object) -> int:
    """Return a number of tokens or a token id from a reply.

    Raises:
        ValueError: it is not a whole number from 0 to 2**31 - 1.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _MOST_TOKENS:
        raise ValueError("a number of tokens is not a number")
    return value


def _without_stop(choice: Json, ids: Sequence[int] | None) -> tuple[int, ...] | None:
    """Return the ids of a response without the token that ended it.

    A response that stopped has that token at its end, unless a stop string ended it.
    """
    if ids is None:
        return None
    ids = [_count(one) for one in ids]
    stopped = choice["finish_reason"] == "stop" and not isinstance(choice.get("stop_reason"), str)
    return tuple(ids[:-1] if stopped else ids)


def share_out(total: int, lengths: Sequence[int]) -> list[int]:
    """Divide a number of tokens among responses, in proportion to their lengths in characters.

    Some servers count only the tokens of all n responses together.
    """
    whole = sum(lengths)
    if not whole:
        return [total // len(lengths)] * len(lengths)
    ends = [round(total * end / whole) for end in accumulate(lengths, initial=0)]
    return [end - start for start, end in pairwise(ends)]


def refusal(words: str) -> RequestRefused:
    """Return the refusal of one request; its reason is chosen by the server's message."""
    return RequestRefused(Reason.PROMPT_TOO_LONG if _TOO_LONG.search(words) else Reason.ENGINE_REFUSED, words)
