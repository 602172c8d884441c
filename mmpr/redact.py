"""Find secrets in settings, so that none is stored in a run folder, and remove them from printed text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

HIDDEN = "[hidden]"
# Names of settings, in any case: `hf_token`, `api-key`, `awsSecretAccessKey`; not `pad_token`, which is text.
_NAME = re.compile(
    r"(?i)^(?:(?:hf|hub|auth|access|api|bearer|session|refresh|security|git(?:hub|lab)|wandb)[_-]?)?token$"
    r"|(?:api|access|private|account|subscription)[_-]?key$|passw|secret|credentials?$|^(?:proxy-)?authorization$|cookie$"
)
# Names in texts. More tokens are secrets there, because a text is only hidden and not refused.
_NAME_IN_TEXT = re.compile(
    r"(?i)(?:token|signature|secret|credentials?|passw(?:or)?d|passphrase|pwd|(?:secret|signing|wandb)[_-]key)$"
    r"|(?-i:[A-Z0-9]_KEY$)"
)
_OF_TEXT = re.compile(
    r"(?i)(?:pad|eos|bos|unk|sep|cls|mask|image|img|video|audio|vision|stop|start|end|keep|think|context)[_-]token$"
)
_IN_QUERY = frozenset(("sig", "key", "auth", "apikey"))  # of an address: `?key=...`
_USERINFO = re.compile(r"(?<=://)[^/\s@'\"]+@")  # https://user:password@host
_VALUE = r"(\"[^\"]*\"|'[^']*'|[^&\s'\",;]+)"
# `?sig=...` in an address and `vllm.hf_token=...` in a command; in `/data/token=clip/part.parquet` it is a folder.
_ASSIGNED = re.compile(rf"(?<![/\w.%-])([\w.%-]++)(=){_VALUE}")
_OPTION = re.compile(rf"(?<![\w-])(--[\w.-]++)(\s+)(?!-){_VALUE}")
_MEMBER = re.compile(r"(\"[\w.-]++\"|'[\w.-]++')(\s*:\s*)(\"[^\"]*\"|'[^']*')")
_HEADER = re.compile(r"(?<![/\w.-])([\w.-]++)(:\s*)(?=[\w.~+/=-]*\d)([\w.~+/=-]{6,})")  # not `api_key: give one`
_AUTHORIZATION = re.compile(
    r"(?i)\b(authorization['\"]?[:=]\s*['\"]?(?:bearer|basic|token|digest|apikey|negotiate))\s+(?!\$)[^\s'\",;]+"
)
_BEARER = re.compile(r"(?i)\b(bearer)\s+(?=[\w.~+/=-]*\d)[\w.~+/=-]{16,}")  # not `bearer certificates`
_COOKIE = re.compile(r"(?i)\b((?:set-)?cookie['\"]?:)\s*[\w.'\"-]+=[^\r\n'\"]+")
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
_WHOLE = re.compile(
    r"(?s)\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*|(?<=hooks\.slack\.com/services/)[\w/]+"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
)
_PIECE = re.compile(r"[a-z]+|[A-Z]+|\d+")
_LONGEST_PIECES = 2.3


def redacted(text: str) -> str:
    """Remove passwords in addresses, signed queries, secret headers and settings, and well-known keys from a text."""
    text = _USERINFO.sub(f"{HIDDEN}@", text)
    for header in (_AUTHORIZATION, _COOKIE, _BEARER):
        text = header.sub(rf"\1 {HIDDEN}", text)
    for form in (_ASSIGNED, _OPTION, _MEMBER, _HEADER):
        text = form.sub(_without_value, text)
    text = _WHOLE.sub(HIDDEN, _KEY.sub(HIDDEN, text))
    return _LONG_KEY.sub(lambda found: HIDDEN if _is_random(found[1]) else found[0], text)


def _without_value(found: re.Match[str]) -> str:
    """Return a name with its value, which is hidden if the name is one of a secret; `$NAME` is none."""
    name, value = unquote(found[1]).strip("\"'"), found[3]
    quote = value[0] if value[0] in "\"'" else ""
    in_query = found.string[found.start() - 1 : found.start()] in ("?", "&") and name.lower() in _IN_QUERY
    secret = in_query or ((_NAME.search(name) or _NAME_IN_TEXT.search(name)) and not _OF_TEXT.search(name))
    if not secret or value.strip("\"'")[:1] in ("", "$", "["):
        return found[0]
    return f"{found[1]}{found[2]}{quote}{HIDDEN}{quote}"


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
            continue
        each = value if isinstance(value, list | tuple) else [value]
        for one in each:
            if isinstance(one, Mapping):
                yield from secrets_in(one, here)
        if any(isinstance(one, str) and (_is_named(str(name), one) or redacted(one) != one) for one in each):
            yield here


def _is_named(name: str, value: str) -> bool:
    return bool(value) and re.match(r"(?:\w+ )?\$", value) is None and _NAME.search(name) is not None
