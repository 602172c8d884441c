"""Compare answers of several parts: by label, else by the question's names for them, else by position."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mmpr.judging.cues import Cues, singular
from mmpr.judging.forms import Form
from mmpr.judging.numbers import plain_numbers
from mmpr.judging.rules import Rule, Ruling, ambiguous, correct, incorrect
from mmpr.judging.sequences import Compile, split

_LABEL = re.compile(
    r"(?:^|(?<=[\s,;.、，；]))\(?\s{0,4}([a-hA-H]|[1-9]|i{1,3}|iv|v|[①-⑨])\s{0,4}(?:\)|(?<=[a-hA-H1-9])[.:](?=\s))\s{0,4}"
    r"(?:[:=.]\s{0,4})?|(?:part|question|第)\s{0,4}\(?([a-hA-H]|[1-9])\)?\s{0,4}(?:[:=]|问|题|is\b)\s{0,4}:?\s{0,4}",
    re.I,
)
_WORD = re.compile(r"[a-z]{1,40}|[\u3400-\u9fff]+")
_NAMED = re.compile(r"^\s{0,4}([A-Za-z\u3400-\u9fff][\w\s'-]{0,40}?)\s{0,4}(?:[:：=]|\bis\b|\bare\b)\s{0,4}(.+)$")
_STOP_TEXT = "a an the and of in are is there how many much what which picture image number do does it for to"
_STOP = frozenset(_STOP_TEXT.split())


def labelled(text: str) -> list[tuple[str, str]]:
    """Split `(a) 3 (b) 5` into [(a, 3), (b, 5)]; empty if there are no labels."""
    found = list(_LABEL.finditer(text))
    if not found or text[: found[0].start()].strip(" :,;."):
        return []
    ends = [m.start() for m in found[1:]] + [len(text)]
    return [
        ((m.group(1) or m.group(2)).lower(), text[m.end() : end].strip(" ,;.、，；"))
        for m, end in zip(found, ends, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Multipart:
    """A reference of several parts, each under its own kind."""

    labels: tuple[str, ...]
    parts: tuple[Form, ...]
    texts: tuple[str, ...]
    names: tuple[frozenset[str], ...]
    kind: str = "multipart"

    def compare(self, answer: str) -> Ruling:
        given, extra = self._assigned(answer)
        if given is None:
            return incorrect(Rule.MULTIPART)
        outcomes = [part.compare(text).outcome for part, text in zip(self.parts, given, strict=True)]
        if "incorrect" in outcomes:
            return incorrect(Rule.MULTIPART)
        if any(outcome != "correct" for outcome in outcomes):
            return ambiguous(Rule.MULTIPART)
        return ambiguous(Rule.MULTIPART_EXTRA) if extra else correct(Rule.MULTIPART)

    def normal(self, answer: str) -> str | None:
        given, _ = self._assigned(answer)
        if given is None:
            return None
        return "; ".join(
            t if p.compare(g).outcome == "correct" else g for p, t, g in zip(self.parts, self.texts, given, strict=True)
        )

    def show(self) -> str:
        return "; ".join(f"({label}) {text}" for label, text in zip(self.labels, self.texts, strict=True))

    def _assigned(self, answer: str) -> tuple[list[str] | None, bool]:
        """Return the answer's text for each part, and whether there is more; None if a part is missing."""
        given = labelled(answer)
        if given:
            return self._by_label(given)
        pieces = split(re.sub(r"\s{0,4}[;；\n]\s{0,4}", ", ", answer))
        return self._by_name(pieces) or self._by_position(pieces)

    def _by_label(self, given: list[tuple[str, str]]) -> tuple[list[str] | None, bool]:
        by_label = dict(given)
        if len(by_label) < len(given):
            return None, False
        if set(self.labels) <= set(by_label):
            return [self._bare(by_label[label], i) for i, label in enumerate(self.labels)], len(by_label) > len(
                self.labels
            )
        if len(given) == len(self.labels) and not set(by_label) & set(self.labels):  # (1) (2) for (a) (b)
            return [self._bare(text, i) for i, (_, text) in enumerate(given)], False
        return None, False

    def _by_name(self, pieces: list[str]) -> tuple[list[str] | None, bool] | None:
        """Assign `5 dogs, 3 cats` by the question's name for each part; None if the names do not decide."""
        if not all(self.names):
            return None
        found: dict[int, str] = {}
        unnamed = 0
        for piece in pieces:
            words = {singular(w) for w in _WORD.findall(piece.casefold())}
            owners = [i for i, names in enumerate(self.names) if words & names]
            if len(owners) == 1 and owners[0] not in found:
                found[owners[0]] = self._bare(piece, owners[0])
            else:
                unnamed += 1
        if not found:
            return None
        if len(found) < len(self.parts):
            return (None, False) if not unnamed else None
        return [found[i] for i in range(len(self.parts))], unnamed > 0

    def _by_position(self, pieces: list[str]) -> tuple[list[str] | None, bool]:
        if len(pieces) == len(self.parts):
            return [self._bare(piece, i) for i, piece in enumerate(pieces)], False
        return None, False

    def _bare(self, piece: str, index: int) -> str:
        """Return a part without its name: `cats: 3` and `3 cats` are `3`."""
        named = _NAMED.match(piece)
        if named is not None:
            return named.group(2).strip()
        words = [w for w in _WORD.findall(piece) if singular(w.casefold()) in self.names[index]]
        for word in words if any(c.isdigit() for c in plain_numbers(piece)) else ():
            piece = piece.replace(word, " ")
        return " ".join(piece.split()).removeprefix("there are ").strip()


def compile_multipart(text: str, cues: Cues, compiled: Compile, *, forced: bool) -> Multipart | None:
    """Compile the reference as labelled parts (`(a) 3 (b) 5`) or named ones (`cats: 3, dogs: 5`)."""
    given = labelled(text)
    if len(given) >= 2 and all(part for _, part in given):
        labels, texts = zip(*given, strict=True)
        return _built(labels, texts, _names(cues.low, labels), compiled)
    pieces = [_NAMED.match(piece) for piece in split(re.sub(r"\s{0,4}[;；\n]\s{0,4}", "; ", text))]
    named = [m for m in pieces if m is not None and ":" in m.group()]
    if len(named) >= 2 and len(named) == len(pieces):
        names = tuple(frozenset(singular(w) for w in _WORD.findall(m.group(1).casefold())) - _STOP for m in named)
        labels = _labels(len(named))
        return _built(labels, tuple(m.group(2) for m in named), _distinct(names), compiled)
    if forced and len(pieces) >= 2:
        texts = tuple(split(text))
        return _built(_labels(len(texts)), texts, (frozenset(),) * len(texts), compiled)
    return None


def _labels(count: int) -> tuple[str, ...]:
    return tuple(chr(ord("a") + i) if i < 26 else str(i + 1) for i in range(count))


def _built(
    labels: tuple[str, ...], texts: tuple[str, ...], names: tuple[frozenset[str], ...], compiled: Compile
) -> Multipart:
    return Multipart(labels, tuple(compiled(text) for text in texts), texts, names)


def _names(question: str, labels: tuple[str, ...]) -> tuple[frozenset[str], ...]:
    """Return the question's words in each labelled part, without the words of several parts."""
    asked = dict(_question_parts(question))
    if not set(labels) <= set(asked):
        return tuple(frozenset() for _ in labels)
    words = tuple(frozenset(singular(w) for w in _WORD.findall(asked[label])) - _STOP for label in labels)
    return _distinct(words)


def _question_parts(question: str) -> list[tuple[str, str]]:
    found = list(_LABEL.finditer(question))
    ends = [*(m.start() for m in found[1:]), len(question)]
    return [((m.group(1) or m.group(2)).lower(), question[m.end() : end]) for m, end in zip(found, ends, strict=False)]


def _distinct(names: tuple[frozenset[str], ...]) -> tuple[frozenset[str], ...]:
    return tuple(
        own - frozenset().union(*(other for j, other in enumerate(names) if j != i)) for i, own in enumerate(names)
    )
