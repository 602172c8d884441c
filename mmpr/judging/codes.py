"""Compare strings that are read off an image: exact after width, case and blanks are normalised."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mmpr.judging import guards
from mmpr.judging.cues import Cues, singular
from mmpr.judging.prose import HAN, STOP, core, near
from mmpr.judging.rules import Rule, Ruling, ambiguous, correct, incorrect

_LABEL_WORDS = re.compile(
    r"^(?:the\s{1,4})?([\w\s./'-]{1,60}?)\s{0,4}(?::|#|\bis\b|\breads\b|\bsays\b)\s{0,4}:?\s{0,4}|^((?:[a-z]{1,40}\s{1,4}){0,3}"
    r"(?:number|no\.?))\s{1,4}(?=\S*\d)"
)
_RANGE = re.compile(r"^\d{1,60}+\s{0,4}-\s{0,4}\d{1,60}+$")
_CODE_TRIM = " \t.,;:!?\"'`<>()[]{}#"
_SCHEME = re.compile(r"https?://")
# Words of a label that the question need not contain.
_LABELS_TEXT = "text it sign no number tel telephone phone fax fy url website email id code date"
_LABELS = frozenset(_LABELS_TEXT.split())


@dataclass(frozen=True, slots=True)
class Code:
    """A string that is read off an image: exact after width, case and blanks are normalised."""

    text: str
    cues: Cues
    kind: str = "ocr"

    def compare(self, answer: str) -> Ruling:
        if self._is(answer):
            return correct(Rule.OCR)
        low = answer.casefold()
        if guards.refuses(low) and not guards.refuses(self.text.casefold()):
            return ambiguous(Rule.REFUSAL) if self.text.casefold() in low else incorrect(Rule.REFUSAL)
        if re.search(r"\bnot\b|不是", low) and not re.search(r"\bnot\b|不是", self.text.casefold()):
            return incorrect(Rule.NEGATED)
        if any(self._is(reading) for reading in self._readings(answer)):
            return correct(Rule.OCR)
        if re.search(r"\bor\b|或", low) and not re.search(r"\bor\b|或", self.text.casefold()):
            return incorrect(Rule.SEVERAL)
        return self._near(answer)

    def normal(self, answer: str) -> str | None:
        return self.text.casefold() if self.compare(answer).outcome == "correct" else "".join(answer.casefold().split())

    def show(self) -> str:
        return self.text

    def _is(self, answer: str) -> bool:
        return _same_code(answer, self.text) or (self.cues.has(_TELEPHONE) and _same_number(answer, self.text))

    def _readings(self, answer: str) -> list[str]:
        found = _LABEL_WORDS.match(answer.casefold())
        readings = []
        while found is not None:
            words = re.findall(r"[a-z]{1,40}|[\u3400-\u9fff]", (found.group(1) or found.group(2)))
            if all(
                w in STOP or w in self.cues.words() or singular(w) in self.cues.words() or w in _LABELS for w in words
            ):
                answer = answer[found.end() :]
                readings.append(answer)
                found = _LABEL_WORDS.match(answer.casefold()) if answer else None
            else:
                break
        words = answer.split()
        while len(words) > 1 and words[0].casefold().strip(":#.") in (self.cues.words() | STOP | _LABELS):
            words = words[1:]
            readings.append(" ".join(words))
        han = re.match(r"^[^:是为着]{0,20}(?:是|为|写着:?|:)", answer)
        if han is not None and HAN.search(han.group()):
            readings.append(answer[han.end() :])
        if _RANGE.match(self.text) is not None:  # `from 1990 to 2000` is 1990-2000
            ends = re.sub(r"^\W{0,8}(?:from|between|ages?|aged)\s{1,4}", "", answer.casefold())
            ends = re.sub(r"\s{0,4}years?(?: old| of age)?$", "", ends)
            readings.append(re.sub(r"\s{0,4}(?:\bto\b|\buntil\b|\band\b|-|~|至|到)\s{0,4}", "-", ends))
        readings.append(core(answer))
        return readings

    def _near(self, answer: str) -> Ruling:
        got, wanted = _squeezed(answer), _squeezed(self.text)
        if got == wanted and got:
            return ambiguous(Rule.OCR_NEAR)
        if wanted and wanted in got and len(got) > len(wanted) and " " in answer:
            whole = rf"(?<!\w){re.escape(self.text.casefold())}(?!\w)"
            held = re.search(whole, " ".join(answer.casefold().split())) is not None
            return ambiguous(Rule.OCR_NEAR) if held else incorrect(Rule.OCR)
        if (
            not any(c.isdigit() for c in got + wanted)
            and "@" not in self.text
            and "." not in self.text
            and near(got, wanted)
        ):
            return ambiguous(Rule.OCR_NEAR)
        return incorrect(Rule.OCR)


def _same_code(a: str, b: str) -> bool:
    a, b = (_SCHEME.sub("", text.strip(_CODE_TRIM).casefold()).rstrip("/") for text in (a, b))
    bare_a, bare_b = "".join(a.split()).replace("'", ""), "".join(b.split()).replace("'", "")
    return a == b or (bare_a == bare_b != "")  # blanks and apostrophes are no part of the content


_TELEPHONE = re.compile(r"\b(?:tele)?phone|\bfax\b|\bmobile\b|\bcontact number|电话|手机号")
_DIALLED = re.compile(r"[\d\s().+/-]{7,30}$")


def _same_number(a: str, b: str) -> bool:
    """Whether two phone numbers are equal: `(555) 123-4567`, `555.123.4567`, `+1 555 123 4567`."""
    dialled = sorted((re.sub(r"\D", "", text) for text in (a, b) if _DIALLED.match(text) is not None), key=len)
    country = len(dialled) == 2 and len(dialled[0]) >= 9 and len(dialled[1]) <= len(dialled[0]) + 3
    return len(dialled) == 2 and (dialled[0] == dialled[1] or (country and dialled[1].endswith(dialled[0])))


def _squeezed(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.casefold())


def compile_code(text: str, cues: Cues) -> Code:
    """Compile a reference that must be compared letter by letter."""
    return Code(text, cues)
