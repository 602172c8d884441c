"""The types of settings that several of them share, with what each refuses."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from mmpr.prompts import SYSTEM_MESSAGES, template_fault

_URL = re.compile(r"https?://[^\s/@?#]+(?:/[^\s?#@]*)?")
_PLACE = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

UNKNOWN_MODEL = "unknown"  # of responses of which nobody says who wrote them

Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]


def _ascending(window: tuple[float, float]) -> tuple[float, float]:
    if window[0] > window[1]:
        raise ValueError("must be [low, high] with low at most high")
    return window


def _moment_text(value: object) -> object:
    """YAML reads 12:30 as the number 750, and 2027-01-31 06:00 as a date."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value // 60:02}:{value % 60:02}"
    return value.isoformat() if isinstance(value, date) else value


def _template(by_language: dict[str, str]) -> dict[str, str]:
    if by_language.keys() != {"en", "zh"}:
        raise ValueError("must have a text for en and one for zh")
    for fault in filter(None, map(template_fault, by_language.values())):
        raise ValueError(fault)
    return by_language


def _system_message(text: str) -> str:
    if text.isascii() and not re.search(r"\s", text) and text not in SYSTEM_MESSAGES:
        raise ValueError(f"no system message is named so: {', '.join(SYSTEM_MESSAGES)}, or a text")
    return text


Template = Annotated[dict[str, str], AfterValidator(_template)]
SystemMessage = Annotated[str, AfterValidator(_system_message)]
Window = Annotated[tuple[Fraction, Fraction], AfterValidator(_ascending)]


def _plain_url(url: str) -> str:
    if not _URL.fullmatch(url):
        raise ValueError("must be http(s)://host[:port][/path] without a password or a query: keys come by variable")
    return url


def _variable(name: str) -> str:
    if not _VARIABLE.fullmatch(name):
        raise ValueError("must be the name of an environment variable, not the key itself")
    return name


def _importable(place: str) -> str:
    if not _PLACE.fullmatch(place):
        raise ValueError("must be module:name of a judge that every node can import")
    return place


OwnJudgePlace = Annotated[str, AfterValidator(_importable)]
EndpointUrl = Annotated[str, AfterValidator(_plain_url)]
Variable = Annotated[str, AfterValidator(_variable)]
Moment = Annotated[str, BeforeValidator(_moment_text)]
