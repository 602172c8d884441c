"""How to reach a server, and what was found out about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """Which server to ask, and how.

    Args:
        url: the base URL as OpenAI's clients take it; usually ends in /v1.
        model: the model's name on the server.
        key_env: the environment variable that holds the key; None sends no key.
        continues: `exact` (token ids), `text`, `none` (no blind completions), or `auto`: the first of exact and text
            that the server can do.
        image_tag: what stands where an image goes amid a text; `parts`: the text is cut there, as OpenAI has it;
            `auto`: what the server is known to take.
        max_tiles: tiles an image, told to vLLM and LMDeploy with each request; other servers have their own.
        top_k: the run's, tried at the start; 0 means no limit.
        concurrency: most requests at once.
        timeout_s: for one request.
        patience_s: how long a server that answers nothing at all is asked again before it counts as dead.
        pause_s: before a request is tried for the second time; doubled with every further time.
        body: further fields of every request that generates.
    """

    url: str
    model: str
    key_env: str | None = None
    continues: str = "auto"
    image_tag: str = "auto"
    max_tiles: int | None = None
    top_k: int = 0
    concurrency: int = 64
    timeout_s: float = 600.0
    patience_s: float = 300.0
    pause_s: float = 0.5
    body: Mapping[str, Any] = field(default_factory=dict)


class Way(StrEnum):
    """How a server goes on from the beginning of an answer.

    IDS: vLLM's `/v1/completions` takes token ids. FLAG: vLLM's and SGLang's `continue_final_message`. TURN: a trailing
    assistant turn alone, as LMDeploy has it. NONE: not asked to.
    """

    IDS = "ids"
    FLAG = "flag"
    TURN = "turn"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Profile:
    """What the start found out about a server.

    Args:
        owner: who the server says it is: `vllm`, `lmdeploy`, anything.
        way: how it continues a prefix.
        image_tag: what stands where an image goes amid a text; None: the text is cut there.
        stop_ids: tokens that end a turn, where the model's own settings may lack them.
    """

    owner: str
    way: Way
    image_tag: str | None = None
    stop_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ServerChoice:
    """One response as the server gave it; `ids` without the token that ended it, None where the server tells none."""

    text: str
    finish: str
    n_tokens: int
    ids: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back for one request; `prompt_ids` are those that really ran, None where the server tells none."""

    choices: tuple[ServerChoice, ...]
    prompt_ids: tuple[int, ...] | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
