"""Find the final answer of a response. The last statement counts; "the last number" is never an answer."""

from __future__ import annotations

import re
from collections import deque
from typing import NamedTuple

from mmpr.judging.clean import brace_end, cleaned, fold
from mmpr.judging.limits import MAX_ANSWER_CHARS, MAX_NESTING, nesting
from mmpr.judging.rules import Rule
from mmpr.thought_marks import ALL_MARKS, THINK

# Words that may state an answer are examined from the end; a response that repeats them more often is a loop.
_MAX_KEYS = 40
# The answer is in the last part of a response; before it is reasoning, or a loop of megabytes.
_MAX_TEXT_CHARS = 20_000
# A final line that repeats this often is a loop; three times may be emphasis.
_LOOP_LINES = 6


class Extraction(NamedTuple):
    """`answer` as written, or None with the rule that explains why. `off_format`: another form than requested."""

    answer: str | None
    rule: Rule | None = None
    off_format: bool = False


class Statement(NamedTuple):
    """A place where the response states its answer.

    `form`: `final` (a colon or heading after "final answer" or "answer"), `said` ("the answer is"), `box`, `tag`
    (`<answer>`, `【答案】`, `####`, `故选`) or `bare` (the response is nothing else). A weak statement counts after a
    strong one only where a value follows.
    """

    start: int
    end: int
    form: str
    strong: bool
    stop: int | None = None


_KEYS = ("answer", "\\boxed", "option", "choice", "####", "\\fbox")
_OTHER_KEYS = re.compile(r"\bans(?=\s?[:=])|答案|回答(?=[:：])|정답|[故应所因][以此]?选|正确的?选项")
_COLON = re.compile(
    r"[*_`\" \t]{0,20}+(?:\([^()\n]{0,60}+\)|\[[^\[\]\n]{0,40}+\])?[*_`\" \t]{0,20}+"
    r"(?:(?:is|are|为|是)?[*_`\" \t]{0,20}+[:：]|=>|->|-(?=\s)|→|—|\\colon)[*_` \t]{0,20}+"
)
_HEADING = re.compile(r"[*_`#= \t.]{0,40}+(?=\n|$)")
_BOX = re.compile(r"[*_` \t]{0,20}+(?:is|are|=|为|是)?[*_` \t]{0,20}+(?=\$?\$?\s?\\(?:boxed|fbox))")
_IS = re.compile(
    r"[*_` \t]{1,20}+(?:is|are|would be|should be|must be|=)[ \t]{1,4}(?:then |thus |therefore |simply |just |option )?"
    r"|(?: letter)?[*_` \t]{0,20}+(?:is|are)[*_ \t]{1,20}+(?:[:：])?[*_` \t]{0,20}+"
)
_DIRECT = re.compile(r"[ \t]{1,4}(?=[-+$]?\d[\d.,]{0,20}(?:\s|$))")  # `.., final answer 10`
_IS_ZH = re.compile(r"[*_` \t]{0,20}+(?:应该|应当|应)?(?:就)?(?:为|是|选|:|：)[ \t]{0,20}+")
_FINAL = re.compile(r"(?:^|[^a-z])final[\s*_]{1,20}(?:and correct |correct )?$")
_LINE_HEAD = re.compile(
    r"(?:^|\n)[\s>#*_`\-•]{0,20}+"
    r"(?:(?:the|my|our|so|thus|hence|therefore|correct|right|short|best|final|integer|numerical|numeric|is),? *)*$"
)
_MARKED = re.compile(r"(?:^|\n)[ >]{0,4}(?:#{1,6} {0,4}\*{0,2}|\*\*)(?:the |correct ){0,2}$")  # `### Answer`
_AFTER_THE = re.compile(r"\b(?:the|my|correct|best|right)[ *_]+$")
_FINAL_ZH = re.compile(r"(?:最终|最后)(?:的)?$")
# How the text after "is" without a colon must begin; otherwise it is prose ("the final answer is in cm").
_VALUED = re.compile(
    r"[*_`$\\(\[{\"'+\-±≈]{0,20}(?:\d|\\boxed|\\frac|\\sqrt|(?-i:[A-Z])(?![a-zA-Z]))|\*\*|\$|\\boxed|\\\("
)
# `The answer is clear` states no answer.
_NO_VALUE = re.compile(
    r"[*_`\s]{0,12}(?:(?-i:clear|obvious|simple|unique|as follows|correct|incorrect|wrong|right)|based|found"
    r"|given|also|therefore"
    r"|thus|then|that\b|because|in the|of the|(?-i:not) (?:in|among|listed|given|available|provided|one of)|available"
    r"|provided|one of)",
    re.I,
)
_LETTER_FOLLOWS = re.compile(r"[\s:：*_`是为]{0,8}[(（\[【]?[A-Z](?![A-Za-z])")
_DISCUSSED = re.compile(
    r"(?:option|choice|answer)\s+\(?([A-Z])\)?(?:\s+is\s+|:\s)(?:therefore |thus |indeed )?(?:the\s+)?"
    r"(?:correct|right|best)"
    r"|(?:^|[\s(,*])([A-Z])\)?\*{0,2} is (?:therefore |thus )?the (?:correct|right|best) (?:answer|option|choice)"
    r"|选项\s?([A-Z])\s?(?:是)?(?:正确|对)的?|([A-Z])\s?选项\s?(?:是)?(?:正确|对)的?",
    re.I,
)
_HASHES = re.compile(
    r"(?:^|\n)\s{0,8}####[ \t]*+(?=(?:[-+$€£]?\s?\d[\d,./:%]{0,30}\s?\w{0,12}|[A-Z]|\([A-Z]\))[.\s]{0,3}(?:\n|$))"
)
_JSON_FIELD = re.compile(r'"\s{0,4}:\s{0,4}(?:"((?:[^"\\\n]|\\.){0,400}+)"|"?([^"\n}]{0,200}))')
_CONCLUDED = re.compile(
    r"(?:^|[.!\n]\s*)(?:therefore|so|thus|hence|we choose|i(?:'d| would)? (?:choose|pick|select|go with)|我选)[:,]?\s*"
    r"(?:it(?:'s| is) |option |we choose )?\(?([A-Z])\)?(?: here)?[.!\s]*$",
    re.I,
)
_BEST_CHOICE = re.compile(
    r"(?:correct|best|right)\s+(?:choice|option|answer)\b[^.\n]{0,80}?\b(?:is|would be)\s*:?\s*\**\(([A-Z])\)"
)
# `Therefore, the number of sides is 3.` at the end of a response is its answer, if no answer is labelled.
_THEREFORE = re.compile(
    r"(?:^|[.!:]\s{1,4}|\n\s{0,4})(?:therefore|thus|hence|so|in conclusion|consequently|因此|所以),?\s[^\n.!?]{3,160}?"
    r"(?:\b(?:is|are|equals|would be)\b|=|是|为)\s{0,4}(?:equal to |approximately |about )?(?P<value>\*{0,3}\$?\(?"
    r"(?:[-+$]?\d[\d.,:/%°]{0,14}|\([-\d.,/\s]{3,30}\)|\\frac\S{3,20}|[A-Z]\)?(?![\w']))(?:\s?[\w/^%°²³\\{}]{1,14}){0,2}\$?\*{0,3})[.!\s]{0,8}$",
    re.I,
)
_SPECIAL = re.compile(
    r"(?:<\|?/?(?:s|im_start|im_end|endoftext|eot_id|end_of_turn|eos)\|?>\s{0,4}(?:user|assistant|system)?\s{0,4}){1,8}$"
)


def _statements(text: str, low: str) -> list[Statement]:
    """Yield every statement of an answer, in order."""
    found = [one for at, key in _keys(low) if (one := _stated(text, low, at, key)) is not None]
    if "</answer>" in low:
        found += [
            Statement(m.start(), m.start(1), "tag", True, m.end(1))
            for m in _TAGGED.finditer(text)
            if "\n" not in m.group(1).strip()
        ]
    return sorted(found, key=lambda one: one.start)


def _keys(low: str) -> list[tuple[int, str]]:
    """Yield the last words that may state an answer, with their places."""
    found: list[tuple[int, str]] = []
    for key in _KEYS:
        at = low.rfind(key)
        for _ in range(_MAX_KEYS):
            if at < 0:
                break
            found.append((at, key))
            at = low.rfind(key, 0, at)
    if not low.isascii() or low.count("ans") > low.count("answer"):
        found += [(m.start(), m.group()) for m in deque(_OTHER_KEYS.finditer(low), maxlen=_MAX_KEYS)]
    found.sort()
    return found[-_MAX_KEYS:]


def _stated(text: str, low: str, at: int, key: str) -> Statement | None:
    """Return the statement at one key word, or None if the word states nothing."""
    after = at + len(key)
    if (field := _JSON_FIELD.match(text, after)) is not None and text[at - 1 : at] in ('"', "_"):
        return Statement(at, field.start(field.lastindex or 0), "tag", True, field.end(field.lastindex or 0))
    if key in ("\\boxed", "\\fbox"):
        return Statement(at, at, "box", True)
    if key == "####":
        marked = _HASHES.match(text, max(0, at - 1) if at else 0)
        return None if marked is None else Statement(at, marked.end(), "tag", True)
    if key in ("answer", "ans"):
        return _answer(text, low, at, after)
    if key in ("答案", "回答", "정답"):
        return _chinese(text, at)
    if key in ("option", "choice"):
        said = _IS.match(text, after) or _COLON.match(text, after)
        named = _AFTER_THE.search(low[max(0, at - 48) : at]) is not None
        return Statement(at, said.end(), "said", False) if said and named and _lettered(text, said.end()) else None
    letter = _LETTER_FOLLOWS.match(text, after)  # 故选B
    if letter is None:
        return None
    marks = len(letter.group()) - len(letter.group().lstrip(" :：*_`是为\n\t"))
    return Statement(at, after + marks, "tag", True)


def _lettered(text: str, at: int) -> bool:
    return _LETTER_FOLLOWS.match(text, at) is not None


def _answer(text: str, low: str, at: int, after: int) -> Statement | None:
    head = low[max(0, at - 48) : at]
    if head.endswith(("<", "</")):
        return None
    final = _FINAL.search(head) is not None
    if (match := _BOX.match(text, after)) is not None:
        return Statement(at, match.end(), "final", True)
    if (match := _COLON.match(text, after)) is not None:
        spoken = match.group().strip(' *_`"').lower().startswith(("is", "are"))
        boxed = text.startswith(("\\boxed", "$\\boxed"), match.end())
        if final or boxed:
            return Statement(at, match.end(), "final", True)
        if _LINE_HEAD.search(head) is not None or _AFTER_THE.search(head) is not None:
            return Statement(at, match.end(), "said" if spoken else "final", False)
        return None
    if not final and _MARKED.search(head) is not None and (match := _HEADING.match(text, after)) is not None:
        return Statement(at, match.end(), "final", True)
    if final and (match := _HEADING.match(text, after)) is not None and _LINE_HEAD.search(head[: head.rfind("final")]):
        return Statement(at, match.end(), "final", True)
    if final and (match := _DIRECT.match(text, after)) is not None:
        return Statement(at, match.end(), "final", False)
    if (match := _IS.match(text, after)) is not None:
        if final or "\\boxed" in _line(text, match.end()):
            return Statement(at, match.end(), "final", "\\boxed" in _line(text, match.end()))
        named = _AFTER_THE.search(head) is not None or _LINE_HEAD.search(head) is not None
        if named and _NO_VALUE.match(text, match.end()) is None:
            return Statement(at, match.end(), "said", False)
    return None


def _chinese(text: str, at: int) -> Statement | None:
    after = at + 2
    if text[at - 1 : at] in "【[" and text[after : after + 1] in ("】", "]") and at:
        return Statement(
            at,
            after + 1 + len(text[after + 1 : after + 3]) - len(text[after + 1 : after + 3].lstrip(":： ")),
            "tag",
            True,
        )
    if (match := _BOX.match(text, after)) is not None or (match := _COLON.match(text, after)) is not None:
        return Statement(at, match.end(), "final", True)
    if (match := _HEADING.match(text, after)) is not None and _LINE_HEAD.search(
        _FINAL_ZH.sub("", text[max(0, at - 24) : at])
    ):
        return Statement(at, match.end(), "final", True)
    if (match := _IS_ZH.match(text, after)) is not None:
        return Statement(at, match.end(), "final" if _FINAL_ZH.search(text[:at][-4:]) else "said", True)
    return None


def _chosen(text: str, found: list[Statement]) -> Statement | None:
    """Return the last statement; a weak one after a strong one counts only if a value follows it."""
    strong = next((one for one in reversed(found) if one.strong), None)
    weak = next((one for one in reversed(found) if not one.strong), None)
    if weak is not None and (strong is None or (weak.start > strong.start and _VALUED.match(text, weak.end))):
        return weak
    if strong is None or strong.form != "box":
        return strong
    # A box belongs to the statement before it: `Final answer: $x = \\boxed{5}$`.
    owners = [one for one in found if one.form != "box" and one.start < strong.start and _reaches(text, one, strong)]
    return owners[-1] if owners else strong


def _reaches(text: str, statement: Statement, box: Statement) -> bool:
    """Whether only the rest of the line, or blank lines and the line of the box, are between the two."""
    between = text[statement.end : box.start]
    return len(between) < 400 and "\n" not in between.strip().strip("*_$ \n").replace("\n\n", "\n")


def _line(text: str, start: int) -> str:
    end = text.find("\n", start)
    return text[start:] if end < 0 else text[start:end]


_ONLY_MARKS = re.compile(r"^[\s*_`#>~\-:]*$")
# `The value of x is:` goes on in the next line.
_GOES_ON = re.compile(r"\b(?:is|are|be|equals)$", re.I)
_LAST_LETTERS = frozenset("sSeEſ")
_YES_NO_FIRST = re.compile(r"\W{0,8}(?:yes|no)\b", re.I)


def _goes_on(text: str) -> bool:
    return text[-1:] in _LAST_LETTERS and _GOES_ON.search(text[-8:]) is not None


def _unfinished(line: str) -> bool:
    """Whether a line continues in the next: `The value of x is:` does, `Yes, it is` does not."""
    bare = line.rstrip(" \t\n*_$")
    if bare.endswith((":", "：")):
        return bare[:-1].rstrip(" ")[-1:].isalnum()
    return _goes_on(bare) and _YES_NO_FIRST.match(bare) is None


_BULLET = re.compile(
    r"^\s*+(?:\*\*)?(?:[-*•+]|\(?\d{1,2}[.)]|(?-i:[A-H])[.:]|\(?[a-h]\)|\(?(?:i{1,3}|iv|v)\))\s+\S", re.IGNORECASE
)
_OPTION_MARK = re.compile(r"^[\s*]{0,20}\(?([A-H])[.:)]")
_BULLET_MARK = re.compile(r"^\s*[-*•+]\s+")
_NUMBER_MARK = re.compile(r"^\s*\d{1,2}[.)]\s+")


def _span(text: str, start: int) -> str:
    """Return the rest of the line, or the next non-empty line, block or list."""
    rest = _line(text, start)
    if rest.strip() in ("$$", "\\["):
        return _block(text, start, rest)
    if _ONLY_MARKS.match(rest) is None and (not _unfinished(rest) or not text[start + len(rest) :].strip()):
        listed = _BULLET.match(rest) is not None and _BULLET.match(_line(text, start + len(rest) + 1)) is not None
        return _block(text, start, rest) if listed else _whole_box(text, start, rest)
    at = start + len(rest)
    while at < len(text):
        line = _line(text, at)
        unfinished = _unfinished(line) and text[at + len(line) :].strip()
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
        letters = [found[1] for one in (lines[-1], following) if (found := _OPTION_MARK.match(one)) is not None]
        if _BULLET.match(following) is None or len(lines) > 40 or (len(letters) == 2 and letters[0] >= letters[1]):
            break
        lines.append(following)
    if len(lines) > 1:
        numbered = all(one.lstrip(" *").startswith((f"{i}.", f"{i})")) for i, one in enumerate(lines, start=1))
        mark = _NUMBER_MARK if numbered else _BULLET_MARK
        return "; ".join(mark.sub("", one).strip(" *_") for one in lines)
    return _BULLET_MARK.sub("", _whole_box(text, at, line))  # `- 62` in a line of its own is 62


def _whole_box(text: str, start: int, line: str) -> str:
    """Return the line, extended to the end of a box that begins on it and ends on a later line."""
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
    """Return the span with every box replaced by its content; None if a box is cut off."""
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
    r"^(?:[\s.…*_\"'`$?\-–—:#]*$"
    r"|\\?\$?FINAL_?ANSWER\$?$"
    r"|[\[<{(]\s{0,4}(?:(?:your|the|insert|put|fill in|write|my)\s{1,4}){0,6}(?:final\s{1,4}"
    r"|correct\s{1,4})?(?:answer|response"
    r"|result|value|option|letter|choice|number)?"
    r"(?:\s{1,4}(?:here|goes here|above))?\s{0,4}[\]>})]$"
    r"|(?:(?:your|insert|put|write)\s{1,4}){1,6}(?:final\s{1,4})?(?:answer|response)(?:\s{1,4}here)?$"
    r"|[\[<{(]?\s{0,4}(?:你的|您的|在此填写|填写|此处填写)?\s{0,4}(?:最终)?答案\s{0,4}[\]>})]?$"
    r"|[\[<{(]?\s{0,4}\.\.+\s{0,4}[\]>})]?$"
    r"|\\(?:boxed|text|frac)?$|(?:tbd|xxx+|todo|null|undefined)$)",
    re.IGNORECASE,
)
# The first letters of those placeholders that begin with one.
_PLACE_LETTERS = frozenset("FYIPWTXNUfyipwtxnu你您在填此最答")


def _holds_a_place(text: str) -> bool:
    """Whether a text stands where an answer should: `[your answer]`, `...`, `TBD`."""
    return (not text[:1].isalnum() or text[0] in _PLACE_LETTERS) and _PLACEHOLDER.match(text) is not None


_REPEAT = re.compile(r"(.{3,80}?)\1{5,}", re.DOTALL)
_TAGGED = re.compile(r"<answer>((?:(?!<answer>).){0,2000}?)</answer>", re.IGNORECASE | re.DOTALL)


def extract(response: str, *, form: str = "final") -> Extraction:
    """Return the final answer of a response.

    Args:
        form: the requested form: `final`, `boxed`, `think` (a closed think block and a box) or `any`.
    """
    if "◁" in response or "<|channel|>" in response:
        for mark, ours in _THOUGHT_MARKS.items():
            response = response.replace(mark, ours)
    text = response[-_MAX_TEXT_CHARS:].rstrip()
    if _BOX_MARK in text:
        text = _boxed(text)
    if (answer := _plainly_stated(text)) is not None:
        return Extraction(answer, None, form not in ("final", "any"))
    return searched(text, form, thought="</think>" in response)


# the judge reads `<think>`; other marks are turned into it
_THOUGHT_MARKS = {
    **{mark: ours for marks in ALL_MARKS for mark, ours in ((marks.start, THINK.start), (marks.end, THINK.end))},
    "<|channel|>final<|message|>": "",  # Harmony's answer without thoughts before it
}
_BOX_MARK = "<|begin_of_box|>"  # GLM-4.5V puts its answer between such marks: one value, or all that it says


def _boxed(text: str) -> str:
    """The text with `\\boxed{42}` for a value between GLM's marks; marks around a whole statement are taken off."""
    first, *others = text.split(_BOX_MARK)
    pieces = [first]
    for other in others:
        inner, end, rest = other.partition("<|end_of_box|>")
        states = "\n" in inner.strip() or _STATING_WORD.search(inner) is not None
        pieces.append(inner + rest if states else f"\\boxed{{{inner}" + ("}" if end else "") + rest)
    return "".join(pieces)


def searched(text: str, form: str, *, thought: bool) -> Extraction:
    """The same as `extract`, with a search of every statement in the text."""
    text = fold(_SPECIAL.sub("", text).rstrip() if ">" in text[-12:] else text)
    if "<think>" in text or "</think>" in text:
        said = _without_thought(text)
        if said is None:
            return Extraction(None, Rule.THINK)
        text = said
    if not text.strip():
        return Extraction(None, Rule.EMPTY)
    low = text.lower()
    if len(low) != len(text):  # a few letters get longer in lower case, which would shift positions
        low = "".join(c.lower() if len(c.lower()) == 1 else c for c in text)
    statement = _chosen(text, _statements(text, low)) or _discussed(text) or _bare(text) or _concluded(text)
    if statement is None:
        return Extraction(None, Rule.NO_ANSWER)
    span = _spanned(text, statement)
    asked = {
        "final": statement.form == "final",
        "boxed": "\\boxed" in span,
        "think": "\\boxed" in span and thought,
    }.get(form, True)
    found = _finish(text, span)
    return found if found.answer is None or asked else Extraction(found.answer, found.rule, True)


# Most responses end in `Final answer: 13 cm`, or in such a line under a heading. What could be a mark, a box, a tag, a
# placeholder or another statement takes the long way.
_STATING_LINE = re.compile(r"[*#> ]{0,6}(?:final answer|最终答案|答案)[*]{0,2}:[*]{0,2} {0,4}(?=[^\s*])", re.I)
_HEADING_LINE = re.compile(r"[*#> ]{0,6}final answer[*:]{0,4}$", re.I)
_PLAIN_ANSWER = re.compile(r"[\w(+$¥€£-](?:[^*_`\\{}\[\]<>\"#|$]{0,58}[^\W_%°)])?[)%°]?\.?$")
_STATING_WORD = re.compile("ans|option|choice|答案|回答|정답|选", re.I)


def _plainly_stated(text: str) -> str | None:
    """What the last line says, where it states a plain answer and nothing else in the text can matter."""
    start = text.rfind("\n") + 1
    line = fold(text[start:])
    if (stated := _STATING_LINE.match(line)) is not None:
        answer = line[stated.end() :]
    elif start and _HEADING_LINE.match(text, text.rfind("\n", 0, start - 1) + 1, start - 1) is not None:
        answer = _BULLET_MARK.sub("", line).strip()
    else:
        return None
    if _PLAIN_ANSWER.match(answer) is None or _goes_on(answer) or _STATING_WORD.search(answer) is not None:
        return None
    if answer.count("(") != answer.count(")") or text.count(answer) >= _LOOP_LINES or "think>" in text:
        return None
    return None if not answer[0].isdigit() and _holds_a_place(cleaned(answer)) else answer


def _without_thought(text: str) -> str | None:
    closed = text.rfind("</think>")
    opened = text.rfind("<think>")
    return None if opened > closed else text[closed + 8 :]


def _spanned(text: str, statement: Statement) -> str:
    if statement.stop is not None:
        return text[statement.end : statement.stop]
    return _last_box(text, statement.start) if statement.form == "box" else _span(text, statement.end)


def _discussed(text: str) -> Statement | None:
    """`So option B is correct`, where no other option is called so; `Therefore (D).` at the end."""
    if (last := _CONCLUDED.search(text, max(0, len(text) - 80))) is not None and last.group(1).isupper():
        return Statement(last.start(), last.start(1), "bare", False, last.end(1))
    named = {match.group(1): match for match in _BEST_CHOICE.finditer(text)}
    if len(named) == 1:
        (last,) = named.values()
        return Statement(last.start(), last.start(1), "bare", False, last.end(1))
    found = list(_DISCUSSED.finditer(text))[-_MAX_KEYS:]
    letters = {next(group for group in match.groups() if group).upper() for match in found}
    if len(letters) != 1:
        return None
    last = found[-1]
    group = next(index for index, value in enumerate(last.groups(), start=1) if value)
    return Statement(last.start(), last.start(group), "bare", False, last.end(group))


def _concluded(text: str) -> Statement | None:
    start = max(text.rfind("\n", 0, len(text.rstrip())), len(text) - 400, 0)
    found = _THEREFORE.search(text, start)
    return None if found is None else Statement(found.start(), found.start("value"), "bare", False, found.end("value"))


# Words of a sentence: a text that holds one is no bare answer.
_SENTENCE_WORD = re.compile(
    r"\b(?:is|are|was|were|be|has|have|had|do|does|did|can|cannot|could|will|would|should|may|might|must|i|i'm|you|we|it"
    r"|they|let|let's|there|this|that|these|because|since|therefore|so|if|as|shows?|appears?|seems?|provided?|sorry"
    r"|please|means?|contains?|depicts?|image|picture|question|options?)\b|[是在有请这那它我]|n't\b",
    re.I,
)
_BARE_LETTER = re.compile(
    r"[*_\s]{0,8}(?:\([A-Z]\)|[A-Z][.):](?=\s|\*|$)|[A-Z](?=\s{0,8}$))[*_]{0,8}(?:[ \t].{0,200})?$", re.M
)
_BARE_YES_NO = re.compile(r"[*_\s]{0,8}(?:yes|no)\b(?=\s{0,8}[,.!;*]|\s{0,8}$)", re.I | re.M)


def _bare(text: str) -> Statement | None:
    """Return a response that is only an answer (`E`, `(D) 4`, `40π`), or that begins with an unmistakable one."""
    start = len(text) - len(text.lstrip())
    line = _line(text, start)
    alone = not text[start + len(line) :].strip()
    opens = _BARE_LETTER.match(line) or _BARE_YES_NO.match(line)
    if _CUT_OFF.match(line) is not None or _COMPUTED.search(line) is not None:
        return None
    short = len(line) <= 80 and len(line.split()) <= 8 and _SENTENCE_WORD.search(line) is None
    if (alone and (short or opens)) or (opens and not _OTHER_LETTER.search(text, start + len(line))):
        return Statement(start, start, "bare", False, start + len(line))
    return None


_CUT_OFF = re.compile(r"[\s*_#]{0,8}(?:final|answer|the|so|thus|最终|答案?)(?:\s{1,4}\w{0,6})?[\s*_:]{0,8}$", re.I)
_COMPUTED = re.compile(r"\d\s*=|[:=]\s*$")  # `7 × 8 = 5` may be cut
_OTHER_LETTER = re.compile(r"(?:^|\n)\s{0,8}\(?[A-Z][).:]\s|\([A-Z]\)")


def _last_box(text: str, at: int) -> str:
    """Return the last box without a trigger word; several boxes on one line belong together."""
    start = text.rfind("\n", 0, at) + 1
    line = _line(text, start)
    if 1 < line.count("\\boxed") <= _MAX_KEYS:  # more are a loop; its end counts
        return line[line.find("\\boxed") :]
    end = brace_end(text, text.find("{", at)) if "{" in text[at : at + 10] else -1
    if end < 0:
        return text[at:]
    goes_on = _GOES_ON_AFTER_BOX.match(text, end + 1)
    return text[at : end + 1 if goes_on is None else goes_on.end()]


_GOES_ON_AFTER_BOX = re.compile(r"(?:\\(?:sqrt|pi|frac)|[π√^])[^$\n\s.,;]{0,40}")  # `\\boxed{12}\\sqrt{3}`


def _finish(text: str, span: str) -> Extraction:
    span = span.strip()
    if len(span) > MAX_ANSWER_CHARS or nesting(span) > MAX_NESTING:
        return Extraction(span[:MAX_ANSWER_CHARS], Rule.LIMIT)
    opened = _open_boxes(_after_correction(span))
    if opened is None or _is_cut(text, opened) or (_unfinished(opened) and text.rstrip().endswith(span)):
        return Extraction(None, Rule.CUT)
    answer = opened.strip().lstrip("}").rstrip("# ").strip()
    bare = cleaned(answer)
    if not bare or _holds_a_place(bare) or (bare != answer and _holds_a_place(answer)):
        return Extraction(None, Rule.PLACEHOLDER if answer else Rule.EMPTY)
    if _loops(text, span):
        return Extraction(None, Rule.LOOP)
    return Extraction(answer.strip("*` \t"), None)


_CORRECTION = re.compile(
    r"\b(?:no|wait|actually|rather|sorry|correction|then|instead|but|however|although)\b|不对|不是|但", re.I
)


def _after_correction(span: str) -> str:
    """`maybe \\boxed{1}... no, \\boxed{2}` -> `\\boxed{2}`: the box after the correction counts."""
    first, last = span.find("\\boxed"), span.rfind("\\boxed")
    taken_back = list(_CORRECTION.finditer(span, first, last)) if first < last else []
    return span[span.find("\\boxed", taken_back[-1].end()) :] if taken_back else span


def _is_cut(text: str, span: str) -> bool:
    """Whether more brackets are opened than closed at the very end of a response."""
    if span.count("{") > span.count("}"):
        return True
    opened = span.count("(") + span.count("[") - span.count(")") - span.count("]")
    return opened > 0 and text.rstrip().endswith(span)


def _loops(text: str, span: str) -> bool:
    if len(span) > 60 and _REPEAT.search(span) is not None:
        return True
    return text.count(span) >= _LOOP_LINES and sum(line.endswith(span) for line in text.splitlines()) >= _LOOP_LINES * 2
