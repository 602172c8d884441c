"""Where a response's final answer stands. The last trigger counts; nothing falls back to "the last number"."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mmpr.judging.clean import brace_end, clean, fold
from mmpr.judging.limits import MAX_ANSWER_CHARS, MAX_NESTING, nesting
from mmpr.judging.rules import Rule

# Triggers looked at, from the end: a response that repeats them more often is a loop anyway.
_MAX_TRIGGERS = 40
# The same final line so often is a loop; three times is a nervous model.
_LOOP_LINES = 6


@dataclass(frozen=True, slots=True)
class Extraction:
    """`answer` as written, or None and the rule that says why not."""

    answer: str | None
    rule: Rule | None = None


@dataclass(frozen=True, slots=True)
class _Trigger:
    start: int
    end: int
    form: str  # colon | heading | box | is
    strong: bool


_MARKS = r"[*_`#\s\"~]*"
_COLON = re.compile(
    r"[*_`\" \t]*(?:\([^()\n]{0,60}\)|\[[^\[\]\n]{0,40}\])?[*_`\" \t]*(?:is|are|为|是)?[*_`\" \t]*(?:[:：]|=>"
    r"|->|→|—|\\colon)[*_` \t]*"
)
_HEADING = re.compile(r"[*_`#= \t.]*(?=\n|$)")
_BOX = re.compile(r"[*_` \t]*(?:is|are|=|为|是)?[*_` \t]*(?=\$*\s?\\(?:boxed|fbox))")
_IS = re.compile(r"[*_` \t]+(?:is|are|would be|should be|must be|=)[ \t]+(?:then |thus |therefore |simply |just )?")
_IS_ZH = re.compile(r"[*_` \t]*(?:应该|应当|应)?(?:就)?(?:为|是)[ \t]*")
_FINAL = re.compile(r"(?:^|[^a-z])final[\s*_]+(?:and correct |correct )?$")
_LINE_HEAD = re.compile(r"(?:^|\n)[\s>#*_`\-•]*(?:(?:the|my|our|so|thus|hence|therefore|correct|right|short),? *)*$")
_AFTER_THE = re.compile(r"\b(?:the|my|correct) $")
_FINAL_ZH = re.compile(r"(?:最终|最后)(?:的)?$")
# What an "is" without a colon must begin with to be more than prose ("the final answer is in cm").
_VALUED = re.compile(r"[*_`$\\(\[{\"'+\-±≈]*(?:\d|\\boxed|\\frac|\\sqrt|[A-J](?![a-zA-Z]))|\*\*|\$|\\boxed|\\\(")
_PROMPT_QUOTE = re.compile(r"[\"'“‘]\s*$")


def _triggers(text: str, low: str) -> list[_Trigger]:
    """The last triggers of the text, last first."""
    found: list[_Trigger] = []
    end = len(low)
    for _ in range(_MAX_TRIGGERS):
        at = max(low.rfind("answer", 0, end), low.rfind("答案", 0, end))
        if at < 0:
            break
        end = at
        trigger = _chinese(text, at) if text[at] == "答" else _english(text, low, at)
        if trigger is not None:
            found.append(trigger)
            if trigger.strong and trigger.form != "is":
                break
    return found


def _english(text: str, low: str, at: int) -> _Trigger | None:
    head = low[max(0, at - 48) : at]
    if head.endswith(("<", "</")):
        return None
    final = _FINAL.search(head) is not None
    after = at + 6
    if (match := _BOX.match(text, after)) is not None:
        return _Trigger(at, match.end(), "box", True)
    if (match := _COLON.match(text, after)) is not None:
        boxed = text.startswith(("\\boxed", "$\\boxed"), match.end())
        if final or boxed:
            return _Trigger(at, match.end(), "colon", True)
        if _LINE_HEAD.search(head) is not None or _AFTER_THE.search(head) is not None:
            return _Trigger(at, match.end(), "colon", False)
        return None
    if final and (match := _HEADING.match(text, after)) is not None and _LINE_HEAD.search(head[: head.rfind("final")]):
        return _Trigger(at, match.end(), "heading", True)
    if (match := _IS.match(text, after)) is not None:
        boxed = "\\boxed" in _line(text, match.end())
        if final or boxed:
            return _Trigger(at, match.end(), "box" if boxed else "is", True)
    return None


def _chinese(text: str, at: int) -> _Trigger | None:
    after = at + 2
    if (match := _BOX.match(text, after)) is not None or (match := _COLON.match(text, after)) is not None:
        return _Trigger(at, match.end(), "colon", True)
    if (match := _HEADING.match(text, after)) is not None and _LINE_HEAD.search(
        _FINAL_ZH.sub("", text[max(0, at - 24) : at])
    ):
        return _Trigger(at, match.end(), "heading", True)
    if (match := _IS_ZH.match(text, after)) is not None:
        return _Trigger(at, match.end(), "is", True)
    return None


def _choose(text: str, triggers: list[_Trigger]) -> _Trigger | None:
    """The last clear trigger; "is" counts after a clear one only where a value follows it."""
    clear = next((t for t in triggers if t.strong and t.form != "is"), None)
    spoken = next((t for t in triggers if t.strong and t.form == "is"), None)
    if spoken is not None and (clear is None or (spoken.start > clear.start and _VALUED.match(text, spoken.end))):
        return spoken
    return clear or next(iter(triggers), None)


def _line(text: str, start: int) -> str:
    end = text.find("\n", start)
    return text[start:] if end < 0 else text[start:end]


_ONLY_MARKS = re.compile(r"[\s*_`#>~\-:]*$")
# `The value of x is:` goes on in the next line.
_UNFINISHED = re.compile(r"(?:\w\s*[:：]|\b(?:is|are|be|equals))[\s*_$]*$")
_BULLET = re.compile(r"\s*(?:[-*•+]|\d{1,2}[.)]|\(?[a-h]\)|\(?(?:i{1,3}|iv|v)\))\s+\S", re.IGNORECASE)
_BULLET_MARK = re.compile(r"^\s*[-*•+]\s+")


def _span(text: str, start: int) -> str:
    """The rest of the line, or the next non-empty line, block or list."""
    rest = _line(text, start)
    if _ONLY_MARKS.match(rest) is None and (_UNFINISHED.search(rest) is None or not text[start + len(rest) :].strip()):
        return _whole_box(text, start, rest)
    at = start + len(rest)
    while at < len(text):
        line = _line(text, at)
        unfinished = _UNFINISHED.search(line) is not None and text[at + len(line) :].strip()
        if line.strip() and _ONLY_MARKS.match(line) is None and not unfinished:
            return _block(text, at, line)
        at += len(line) + 1
    return ""


def _block(text: str, at: int, line: str) -> str:
    bare = line.strip()
    for opener, closer in (("$$", "$$"), ("\\[", "\\]")):
        if bare.startswith(opener) and closer not in bare[2:]:
            end = text.find(closer, text.find(opener, at) + 2)
            return " ".join(text[at : end + 2 if end >= 0 else len(text)].split())
    lines = [line]
    while _BULLET.match(lines[0]) is not None:
        at += len(lines[-1]) + 1
        following = _line(text, at) if at < len(text) else ""
        if _BULLET.match(following) is None or len(lines) > 40:
            break
        lines.append(following)
    if len(lines) > 1:
        return "; ".join(_BULLET_MARK.sub("", one).strip() for one in lines)
    return _whole_box(text, at, line)


def _whole_box(text: str, start: int, line: str) -> str:
    """The line, prolonged to the end of a box that begins on it and ends on a later one."""
    at = line.rfind("\\boxed")
    if at < 0:
        return line
    brace = text.find("{", start + at)
    end = brace_end(text, brace) if 0 <= brace < start + at + 10 else -1
    if end >= start + len(line) and end - start < MAX_ANSWER_CHARS:
        return text[start : end + 1]
    return line


_BOXED = re.compile(r"\\(?:boxed|fbox)\s*")


def _open_boxes(span: str) -> str | None:
    """The span with every box replaced by its content; None where a box is cut."""
    for _ in range(20):
        found = _BOXED.search(span)
        if found is None:
            return span
        if not span.startswith("{", found.end()):
            single = span[found.end() : found.end() + 1]
            if not single:
                return None
            span = span[: found.start()] + span[found.end() :]
            continue
        end = brace_end(span, found.end())
        if end < 0:
            return None
        span = span[: found.start()] + " " + span[found.end() + 1 : end] + " " + span[end + 1 :]
    return span


_PLACEHOLDER = re.compile(
    r"[\s.…*_\"'`$?\-–—:#]*$"
    r"|\\?\$?FINAL_?ANSWER\$?$"
    r"|[\[<{(]\s*(?:(?:your|the|insert|put|fill in|write|my)\s+)*(?:final\s+|correct\s+)?(?:answer|response"
    r"|result|value|option|letter|choice|number)?"
    r"(?:\s+(?:here|goes here|above))?\s*[\]>})]$"
    r"|(?:(?:your|insert|put|write)\s+)+(?:final\s+)?(?:answer|response)(?:\s+here)?$"
    r"|[\[<{(]?\s*(?:你的|您的|在此填写|填写|此处填写)?\s*(?:最终)?答案\s*[\]>})]?$"
    r"|[\[<{(]?\s*\.\.+\s*[\]>})]?$"
    r"|\\(?:boxed|text|frac)?$|(?:tbd|xxx+|todo|null|undefined)$",
    re.IGNORECASE,
)
_REPEAT = re.compile(r"(.{3,80}?)\1{5,}", re.DOTALL)
_TAGGED = re.compile(r"<answer>(.*?)</answer>", re.IGNORECASE | re.DOTALL)


def extract(response: str, *, form: str = "final") -> Extraction:
    """The final answer of a response.

    Args:
        form: `final`, `boxed` (a box is required) or `think` (a closed think block and a box are).
    """
    text = fold(response)
    if "<think>" in text or "</think>" in text:
        said = _without_thought(text)
        if said is None:
            return Extraction(None, Rule.THINK)
        text = said
    elif form == "think":
        return Extraction(None, Rule.THINK)
    if not text.strip():
        return Extraction(None, Rule.EMPTY)
    return _extract_from(text, boxed=form != "final")


def _without_thought(text: str) -> str | None:
    closed = text.rfind("</think>")
    opened = text.rfind("<think>")
    return None if opened > closed else text[closed + 8 :]


def _extract_from(text: str, *, boxed: bool) -> Extraction:
    low = text.lower()
    if len(low) != len(text):  # a few letters grow in lower case: positions would shift
        low = "".join(c.lower() if len(c.lower()) == 1 else c for c in text)
    trigger = _choose(text, _triggers(text, low))
    tagged = _TAGGED.search(text, trigger.end if trigger else 0) if "</answer>" in low else None
    if tagged is not None and "\n" not in tagged.group(1).strip():
        span: str = tagged.group(1)
    elif trigger is not None:
        span = _span(text, trigger.end)
    else:
        at = text.rfind("\\boxed")
        if at < 0:
            return Extraction(None, Rule.NO_ANSWER)
        span = _last_box(text, at)
    if boxed and "\\boxed" not in span:
        return Extraction(None, Rule.NO_BOX)
    return _finish(text, span)


def _last_box(text: str, at: int) -> str:
    """The last box without a trigger; several on one line belong together."""
    start = text.rfind("\n", 0, at) + 1
    line = _line(text, start)
    if line.count("\\boxed") > 1:
        return line[line.find("\\boxed") :]
    end = brace_end(text, text.find("{", at)) if "{" in text[at : at + 10] else -1
    return text[at : end + 1] if end >= 0 else text[at:]


def _finish(text: str, span: str) -> Extraction:
    span = span.strip()
    if len(span) > MAX_ANSWER_CHARS or nesting(span) > MAX_NESTING:
        return Extraction(span[:MAX_ANSWER_CHARS], Rule.LIMIT)
    opened = _open_boxes(span)
    if opened is None or _is_cut(text, opened) or (_UNFINISHED.search(opened) and text.rstrip().endswith(span)):
        return Extraction(None, Rule.CUT)
    answer = opened.strip().lstrip("}").rstrip("# ").strip()
    bare = clean(answer)
    if not bare or _PLACEHOLDER.match(bare) is not None or _PLACEHOLDER.match(answer) is not None:
        return Extraction(None, Rule.PLACEHOLDER if answer else Rule.EMPTY)
    if _loops(text, span):
        return Extraction(None, Rule.LOOP)
    return Extraction(answer.strip("*` \t"), None)


def _is_cut(text: str, span: str) -> bool:
    """More brackets opened than closed at the very end of a response."""
    if span.count("{") > span.count("}"):
        return True
    opened = span.count("(") + span.count("[") - span.count(")") - span.count("]")
    return opened > 0 and text.rstrip().endswith(span)


def _loops(text: str, span: str) -> bool:
    if len(span) > 60 and _REPEAT.search(span) is not None:
        return True
    return text.count(span) >= _LOOP_LINES and sum(line.endswith(span) for line in text.splitlines()) >= _LOOP_LINES * 2
