"""Rows written as turns: LLaVA's `conversations` and OpenAI's `messages` -> the columns that they stand for.

- The last human turn is the question, earlier ones with their replies are `history`, system turns are `system`.
- A reply to the last turn is the given draft (`chosen`) where the row has no answer. But where that turn asks for a few
  words ("Answer the question using a single word or phrase."), the reply cannot be cut like a draft: it is the answer.
- What the row has in columns of its own (`answer`, `chosen`, `history`, `system`, `image`, `video`) goes before these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mmpr.image_tags import IMAGE_TAG
from mmpr.prompts import VIDEO_TAG, strip_suffix
from mmpr.sources.row_faults import NumberText, RowFault, wrong
from mmpr.types import Reason

_ROLES = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant", "chatgpt", "bot", "model"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
}

Turn = tuple[str, str]  # role, text


@dataclass(frozen=True, slots=True)
class _Media:
    """The addresses that the parts of a row's turns name, as they are found."""

    images: list[str]
    videos: list[str]


def columns_of(name: str, value: object, ours: Mapping[str, object]) -> dict[str, object]:
    """The columns that a row's turns stand for; those it has itself are left out.

    Raises:
        RowFault: the turns are of another shape, or do not alternate.
    """
    media = _Media([], [])
    turns = [_turn(name, turn, media) for turn in _list(name, value)]
    system = "\n\n".join(text for role, text in turns if role == "system")
    spoken = [turn for turn in turns if turn[0] != "system"]
    for i, (role, _) in enumerate(spoken):
        if role != ("user", "assistant")[i % 2]:
            expected = "turns that alternate, the first one human"
            raise RowFault(Reason.BAD_ROW, f"`{name}`: turn {i + 1} is of {role!r}: give {expected}")
    reply = spoken.pop()[1] if len(spoken) % 2 == 0 and spoken else ""
    question = spoken.pop()[1] if spoken else ""
    texts = [text for _, text in spoken]
    found: dict[str, object] = {
        "question": question,
        "history": [list(pair) for pair in zip(texts[::2], texts[1::2], strict=True)] or None,
        "system": system or None,
        "image": _addresses(name, "image", media.images, ours),
        "video": _addresses(name, "video", media.videos, ours),
        **_reply(question, reply, ours),
    }
    return {column: own for column, own in found.items() if ours[column] is None}


def _reply(question: str, reply: str, ours: Mapping[str, object]) -> dict[str, object]:
    if not reply.strip() or ours["answer"] is not None:
        return {}
    return {"answer" if strip_suffix(question) != question.rstrip() else "chosen": reply}


def _addresses(name: str, column: str, addresses: list[str], ours: Mapping[str, object]) -> list[str] | None:
    if addresses and ours[column] is not None:
        raise RowFault(Reason.BAD_ROW, f"addresses both in `{column}` and in `{name}`: name them in one place")
    return addresses or None


def _list(name: str, value: object) -> list[object]:
    if not isinstance(value, list):
        raise wrong(name, value, "a list of turns")
    return value


def _turn(name: str, turn: object, media: _Media) -> Turn:
    expected = "turns like {from, value} or {role, content}"
    if not isinstance(turn, dict):
        raise wrong(name, turn, expected)
    role, content = (turn.get(a, turn.get(b)) for a, b in (("from", "role"), ("value", "content")))
    if not isinstance(role, str) or role.lower() not in _ROLES:
        raise wrong(name, role, "turns of human, gpt or system; user, assistant or system")
    if isinstance(content, list):
        content = _joined([_part(name, part, media) for part in content])
    if content is None:
        content = ""
    if not isinstance(content, str) or isinstance(content, NumberText):
        raise wrong(name, content, expected)
    return _ROLES[role.lower()], content


def _joined(parts: list[str]) -> str:
    """A line a part, as the chat templates of most models have it."""
    return "\n".join(parts)


def _part(name: str, part: object, media: _Media) -> str:
    """A part's text; an image's is its tag. An image without an address is one of the row's `image`, a video too."""
    found = {key: own for key, own in part.items() if own is not None} if isinstance(part, dict) else {}
    if isinstance(text := found.get("text"), str) and found.get("type") in ("text", "input_text", None):
        return text
    kind = str(found.get("type")).removeprefix("input_").removesuffix("_url")
    if kind not in ("image", "video"):
        raise wrong(name, part, "parts of type text, image, image_url, video or video_url")
    address = found.get(f"{kind}_url", found.get(kind, found.get("url")))
    if isinstance(address, dict):
        address = address.get("url")
    if isinstance(address, str) and address:
        (media.images if kind == "image" else media.videos).append(address)
    return IMAGE_TAG if kind == "image" else VIDEO_TAG
