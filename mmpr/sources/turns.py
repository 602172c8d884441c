"""Convert rows of turns (LLaVA's `conversations`, OpenAI's `messages`) to our columns.

- The last human turn is the question, earlier ones with their replies are `history`, system turns are `system`.
- A reply to the last turn is the given draft (`chosen`) if the row has no answer. But if that turn asks for a few words
  ("Answer the question using a single word or phrase."), the reply is too short to be cut: it is the answer.
- A turn has its speaker in `from` or `role`, and its text in `value`, `content` or `text`; `{user, assistant}` and
  `[question, reply]` are two turns. The list may be JSON as text, or the struct of lists that Parquet makes of it.
- A turn without text is a skip; only the reply to the last turn may be empty, which means that there is none.
- The row's own columns (`answer`, `chosen`, `history`, `system`, `image`, `video`) take precedence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mmpr.image_tags import IMAGE_TAG
from mmpr.prompts import VIDEO_TAG, strip_suffix
from mmpr.sources import jsonl
from mmpr.sources.row_faults import NumberText, RowFault, wrong
from mmpr.types import Reason

_ROLES = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant", "chatgpt", "bot", "model", "ai"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
}

Turn = tuple[str, str]  # role, text
# A prompt in ChatML with its special tokens, or without them, as `decode(skip_special_tokens=True)` returns it.
_CHATML = re.compile(r"<\|im_start\|>(system|user|assistant)\n(.*?)(?:<\|im_end\|>|\Z)", re.DOTALL)
_BARE_CHAT = re.compile(r"^(system|user|assistant)\n", re.MULTILINE)
_TURNS_TEXT = re.compile(r'^\s*+\[\s*+\{\s*+"(?:role|from|content|value)"')


@dataclass(frozen=True, slots=True)
class _Media:
    """The addresses of media in a row's turns, collected while the turns are read."""

    images: list[str]
    videos: list[str]


def columns_of(name: str, value: object, ours: Mapping[str, object]) -> dict[str, object]:
    """Return the columns that a row's turns stand for, without those that the row has itself.

    Raises:
        RowFault: the turns have another form, or do not alternate.
    """
    media = _Media([], [])
    turns = [_turn(name, turn, media) for turn in _listed(name, value)]
    system = "\n\n".join(text for role, text in turns if role == "system" and text.strip())
    spoken = [turn for turn in turns if turn[0] != "system"]
    for i, (role, _) in enumerate(spoken):
        if role != ("user", "assistant")[i % 2]:
            expected = "turns that alternate, the first one human"
            raise RowFault(Reason.BAD_ROW, f"`{name}`: turn {i + 1} is of {role!r}: give {expected}")
    # an even number of turns ends with a reply
    reply = spoken.pop()[1] if len(spoken) % 2 == 0 and spoken else ""
    question = spoken.pop()[1] if spoken else ""
    for i, (role, text) in enumerate(spoken):
        if not text.strip():
            raise RowFault(Reason.BAD_ROW, f"`{name}`: turn {i + 1}, of {role!r}, is empty: give it a text")
    texts = [text for _, text in spoken]
    found: dict[str, object] = {
        "question": question,
        "history": [list(pair) for pair in zip(texts[::2], texts[1::2], strict=True)] or None,
        "system": system or None,
        "image": _addresses(name, "image", media.images, ours),
        "video": _addresses(name, "video", media.videos, ours),
        **reply_to(question, reply, ours),
    }
    return {column: own for column, own in found.items() if ours[column] is None}


def is_turns(value: object) -> bool:
    """Whether a value is a list of turns, or such a list written as text."""
    if isinstance(value, str) and not isinstance(value, NumberText) and _TURNS_TEXT.match(value):
        value = _decoded(value)
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) and _says_who(one) for one in value)


def turns_of_chat(prompt: str) -> list[dict[str, str]] | None:
    """Return the turns of a prompt that a chat template wrote, without the last empty one; None for another text."""
    found = _CHATML.findall(prompt)
    if not found:
        pieces = _BARE_CHAT.split(f"{prompt.strip()}\n")
        if pieces[0].strip() or len(pieces) < 3:
            return None
        found = list(zip(pieces[1::2], pieces[2::2], strict=True))
    turns = [{"role": role, "content": text.strip()} for role, text in found]
    # the template ends with the header of the turn that the model was to write
    while turns and turns[-1]["role"] == "assistant" and not turns[-1]["content"]:
        turns.pop()
    return turns or None


def last_reply(name: str, value: object) -> str | None:
    """Return the assistant's last turn; None if the last turn is another speaker's.

    Raises:
        RowFault: the turns have another form.
    """
    role, text = ("", "")
    for turn in _listed(name, value):
        role, text = _turn(name, turn, _Media([], []))
    return text if role == "assistant" else None


def _says_who(turn: Mapping[str, object]) -> bool:
    return isinstance(turn.get("role", turn.get("from")), str)


def reply_to(question: str, reply: str, ours: Mapping[str, object]) -> dict[str, object]:
    """Return a reply as the answer if the question asks for a few words, otherwise as the draft."""
    if not reply.strip() or ours["answer"] is not None:
        return {}
    return {"answer" if strip_suffix(question) != question.rstrip() else "chosen": reply}


def _addresses(name: str, column: str, addresses: list[str], ours: Mapping[str, object]) -> list[str] | None:
    if addresses and ours[column] is not None:
        raise RowFault(Reason.BAD_ROW, f"addresses both in `{column}` and in `{name}`: name them in one place")
    return addresses or None


def reply_of(name: str, value: object) -> object:
    """Return the text of a reply that is one turn, or several turns with the reply last; other values unchanged.

    Raises:
        RowFault: it is no turn of an assistant.
    """
    if not isinstance(value, dict | list):
        return value
    role, text = ("", "")
    for turn in _listed(name, value):
        role, text = _turn(name, turn, _Media([], []))
    if role != "assistant":
        raise wrong(name, value, "a text, or turns of which the last is the assistant's")
    return text


def _listed(name: str, value: object) -> list[object]:
    """Return one value per turn."""
    if isinstance(value, str) and not isinstance(value, NumberText) and value.lstrip().startswith(("[", "{")):
        value = _decoded(value)
    if isinstance(value, dict):
        lists = [column for column in value.values() if column is not None]
        if not lists or not all(isinstance(column, list) and len(column) == len(lists[0]) for column in lists):
            value = [value]  # one turn
        else:
            keys = [key for key, column in value.items() if column is not None]
            value = [dict(zip(keys, row, strict=True)) for row in zip(*lists, strict=True)]
    if not isinstance(value, list):
        raise wrong(name, value, "a list of turns")
    return [one for turn in value for one in _of_pair(turn)]


def _decoded(text: str) -> object:
    try:
        return jsonl.DECODER.decode(text)
    except (ValueError, RecursionError):
        return text


def _of_pair(turn: object) -> list[object]:
    """Return a question with its reply as two turns; any other turn unchanged."""
    if isinstance(turn, dict) and {"user", "assistant"} <= turn.keys():
        turn = [turn["user"], turn["assistant"]]
    if not isinstance(turn, list) or len(turn) != 2:
        return [turn]
    return [{"role": role, "content": text} for role, text in zip(("user", "assistant"), turn, strict=True)]


def _turn(name: str, turn: object, media: _Media) -> Turn:
    expected = "turns like {from, value} or {role, content}"
    if not isinstance(turn, dict):
        raise wrong(name, turn, expected)
    role = turn.get("from", turn.get("role"))
    if not isinstance(role, str) or role.lower() not in _ROLES:
        raise wrong(name, role, "turns of human, gpt or system; user, assistant or system")
    if turn.get("tool_calls"):
        raise RowFault(Reason.BAD_ROW, f"`{name}`: a turn calls a tool: only turns of text and images are read")
    keys = [key for key in ("value", "content", "text") if key in turn]
    if not keys:
        raise wrong(name, list(turn), "each turn its text as `value`, `content` or `text`")
    content = next((turn[key] for key in keys if turn[key] is not None), "")
    if isinstance(content, dict):
        content = [content]
    if isinstance(content, list):
        content = _joined([_part(name, part, media) for part in content])
    if not isinstance(content, str) or isinstance(content, NumberText):
        raise wrong(name, content, expected)
    return _ROLES[role.lower()], content


def _joined(parts: list[str]) -> str:
    """Join parts with line breaks, as the chat templates of most models do."""
    return "\n".join(parts)


def _part(name: str, part: object, media: _Media) -> str:
    """Return a part's text, or the tag of its image or video; without an address, it is one of the row's own."""
    if isinstance(part, str):
        return part
    found = {key: own for key, own in part.items() if own is not None} if isinstance(part, dict) else {}
    if isinstance(text := found.get("text"), str) and found.get("type") in ("text", "input_text", None):
        return text
    named = next((key for key in ("image", "image_url", "video", "video_url") if key in found), None)
    kind = str(found.get("type", named)).removeprefix("input_").removesuffix("_url")
    if kind not in ("image", "video"):
        raise wrong(name, part, "parts of type text, image, image_url, video or video_url")
    keys = (f"{kind}_url", kind, "url", "path", f"{kind}_path", "source")
    address = _address(next((found[key] for key in keys if key in found), None))
    if address:
        (media.images if kind == "image" else media.videos).append(address)
    return IMAGE_TAG if kind == "image" else VIDEO_TAG


def _address(value: object) -> str | None:
    """Return an address: a text, OpenAI's `{url}`, or Anthropic's `{type: base64, media_type, data}`."""
    if isinstance(value, dict):
        if isinstance(value.get("data"), str):
            return f"data:{value.get('media_type') or 'image/*'};base64,{value['data']}"
        value = value.get("url") or value.get("path")
    return value if isinstance(value, str) else None
