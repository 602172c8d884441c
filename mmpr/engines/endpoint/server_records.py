"""What the start found out about a server, and the records of its replies."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mmpr.thought_marks import THINK, ThoughtMarks
from mmpr.types import Thinking


class Way(StrEnum):
    """How a server continues the beginning of an answer.

    IDS: token ids through vLLM's `/v1/completions`. FLAG: `continue_final_message` of vLLM and SGLang. TURN: the last
    message is an assistant turn, as LMDeploy accepts it. NONE: the server is not used for completions.
    """

    IDS = "ids"
    FLAG = "flag"
    TURN = "turn"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Profile:
    """What the start found out about a server.

    Args:
        owner: `owned_by` in the server's list of models: `vllm`, `lmdeploy`, or any other text.
        way: how the server continues a prefix.
        image_tag: the tag for an image inside a text; None: the text is divided there into content parts.
        stop_ids: tokens that end a turn, sent with each request: the model's own settings may not have them.
        tile_argument: the image processor's argument for the most tiles of an image; only for vLLM.
        opens: the values of `thinking` for which prompts end in open thoughts; None: not known, because the server
            has no tokenizer interface.
        always_opens: whether prompts end in open thoughts although the chat template was asked not to think.
        marks: around thoughts; the engine replaces them when it sees others in a response.
        unchecked: what was requested and could not be checked, as lines.
    """

    owner: str
    way: Way
    image_tag: str | None = None
    stop_ids: tuple[int, ...] = ()
    tile_argument: str = "max_dynamic_patch"
    opens: frozenset[Thinking] | None = None
    always_opens: bool = False
    marks: ThoughtMarks = THINK
    unchecked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServerChoice:
    """One response as the server returned it.

    `ids` do not contain the token that ended the response; None if the server returns no ids. `thoughts`: those that
    the server itself has separated from the text.
    """

    text: str
    finish: str
    n_tokens: int
    ids: tuple[int, ...] | None = None
    thoughts: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply to one request; `prompt_ids` are the ids that really ran, None if the server does not return them."""

    choices: tuple[ServerChoice, ...]
    prompt_ids: tuple[int, ...] | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
