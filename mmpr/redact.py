"""Find secrets in settings, so that none is stored in a run folder, and remove them from printed text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

HIDDEN = "[hidden]"
# Names of keys, in any case: `hf_token`, `api-key`, `awsSecretAccessKey`; not `pad_token`, which is text.
_NAME = re.compile(r"(?i)^(?:(?:hf|hub|auth|access|api|bearer|session|refresh)[_-]?)?token$|api[_-]?key$|passw|secret")
_USERINFO = re.compile(r"(?<=://)[^/\s@'\"]+@")  # https://user:password@host
# `?sig=...` in an address and `vllm.hf_token=...` in a command; in `/data/token=clip/part.parquet` it is a folder.
_NAMED = re.compile(
    r"(?i)((?<![/\w.-])[\w.-]*(?:token|signature|secret|credential|password|api_?key)=|[?&](?:sig|key)=)[^&\s'\",;]+"
)
_AUTHORIZATION = re.compile(r"(?i)\b(authorization:\s*\w+)\s+[\w.~+/=-]{8,}")
_BEARER = re.compile(r"(?i)\b(bearer)\s+(?=[\w.~+/=-]*\d)[\w.~+/=-]{16,}")  # not `bearer certificates`
# Keys by their exact form, which no name has by accident: `sk-vqa_train_full_dataset` is a name.
_KEY = re.compile(
    r"(?<![A-Za-z0-9])(?:hf_[A-Za-z0-9]{34}|gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}"
    r"|A[KS]IA[A-Z2-7]{16}|AIza[A-Za-z0-9_-]{35}|glpat-[A-Za-z0-9_-]{20}|gsk_[A-Za-z0-9]{52}|r8_[A-Za-z0-9]{37}"
    r"|nvapi-[A-Za-z0-9_-]{64}|xai-[A-Za-z0-9]{80}|pplx-[A-Za-z0-9]{48}|xox[abeprs]-\d{9,}-[A-Za-z0-9-]{20,}"
    r"|sk-[A-Za-z0-9]{48}|sk-(?:or-v1-)?(?:[0-9a-f]{32}){1,2}|sk-(?:lf-)?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    r")(?![A-Za-z0-9_-])"
)
# Longer keys vary in length and contain separators, so the rest must look random.
_LONG_KEY = re.compile(r"(?<![A-Za-z0-9])sk-(?:proj|svcacct|admin|ant|None)-([A-Za-z0-9_-]{40,})")
_PIECE = re.compile(r"[a-z]+|[A-Z]+|\d+")
_LONGEST_PIECES = 2.3


def redacted(text: str) -> str:
    """Remove passwords in addresses, signed queries, bearer headers and well-known tokens from a text."""
    text = _USERINFO.sub(f"{HIDDEN}@", text)
    text = _NAMED.sub(rf"\1{HIDDEN}", text)
    for header in (_AUTHORIZATION, _BEARER):
        text = header.sub(rf"\1 {HIDDEN}", text)
    text = _KEY.sub(HIDDEN, text)
    return _LONG_KEY.sub(lambda found: HIDDEN if _is_random(found[1]) else found[0], text)


def _is_random(key: str) -> bool:
    """Whether small letters, capitals and digits alternate as in random text.

    In keys, a run of one sort has 1.6 characters on average; in names (`ScienceQAv2Train2024`), 2.5 or more.
    """
    pieces = _PIECE.findall(key)
    sorts = {"0" if c.isdigit() else "A" if c.isupper() else "a" for c in key if c.isalnum()}
    return len(sorts) == 3 and sum(map(len, pieces)) / len(pieces) < _LONGEST_PIECES


def secrets_in(values: Mapping[str, Any], place: str = "") -> Iterator[str]:
    """Yield the names of values that look like secrets: `vllm.hf_token`, `source`."""
    for name, value in values.items():
        here = f"{place}.{name}" if place else str(name)
        if isinstance(value, Mapping):
            yield from secrets_in(value, here)
        elif isinstance(value, str) and (_is_named(str(name), value) or redacted(value) != value):
            yield here


def _is_named(name: str, value: str) -> bool:
    return bool(value) and not value.startswith("$") and _NAME.search(name) is not None
