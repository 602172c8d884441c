"""How to reach a server, and what was found out about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mmpr.types import Thinking


class Way(StrEnum):
    """How a server continues the beginning of an answer.

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
        stop_ids: tokens that end a turn; the model's own settings may not have them.
        tile_argument: of vLLM's image processor, the most tiles of an image.
        opens: under which switch of thinking a prompt ends in open thoughts; None: it lends no tokenizer to see it.
    """

    owner: str
    way: Way
    image_tag: str | None = None
    stop_ids: tuple[int, ...] = ()
    tile_argument: str = "max_dynamic_patch"
    opens: frozenset[Thinking] | None = None


@dataclass(frozen=True, slots=True)
class ServerChoice:
    """One response as the server gave it; `ids` without the token that ended it, None where the server gives none.

    `thoughts`: where the server itself takes them off the text.
    """

    text: str
    finish: str
    n_tokens: int
    ids: tuple[int, ...] | None = None
    thoughts: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back for one request; `prompt_ids` are those that really ran, None where the server gives none."""

    choices: tuple[ServerChoice, ...]
    prompt_ids: tuple[int, ...] | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
