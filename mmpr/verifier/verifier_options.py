"""The settings of the verifier: which model is asked about open verdicts, and when its answer counts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mmpr.errors import ConfigError
from mmpr.options import Needs, is_server_url, is_variable_name, option
from mmpr.verifier.verifier_prompts import format_for

NONE, SELF = "none", "self"  # values of `VerifierOptions.model`
_VERIFIER = Needs("verifier.asks", "without a verifier")
_SERVER = Needs("verifier.url", "without verifier_url")
_OWN_ENGINES = Needs("verifier.has_engines", "without a verifier that has engines of its own")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,20}://|[A-Za-z0-9.-]{1,253}:[0-9]{1,5}(?:/|$)")


def looks_like_url(text: str) -> bool:
    """Whether a text is meant as a server's address: it has a scheme, or a host and a port."""
    return _ADDRESS.match(text) is not None


class VerifierKind(StrEnum):
    """Where a verifier runs: in the engines that answer, in separate engines, or on a server."""

    SELF = "self"
    MODEL = "model"
    ENDPOINT = "endpoint"


@dataclass(frozen=True, slots=True)
class VerifierOptions:
    """Which verifier is asked, and when its answers count.

    Raises:
        ConfigError: the settings do not fit together, or `url` or `key_env` would store a key.
    """

    model: str = option(
        NONE,
        "the model that is asked about verdicts that the rules leave open: none, self (the model that answers), a "
        "checkpoint folder, a Hub repository, or the name that the server at verifier_url serves",
    )
    url: str | None = option(None, "base URL of an OpenAI-compatible server that serves the verifier")
    key_env: str | None = option(
        None,
        "name of the environment variable with that server's key; it must be set wherever engines run",
        needs=_SERVER,
    )
    timeout_s: float = option(120.0, "seconds for one request to that server", gt=0, needs=_SERVER)
    patience_s: float = option(
        120.0, "seconds without any answer after which that server counts as dead", gt=0, needs=_SERVER
    )
    revision: str | None = option(None, "commit of the verifier's repository; None: the newest", needs=_OWN_ENGINES)
    tensor_parallel_size: int = option(
        1, "GPUs for one engine of the verifier, all on one node", ge=1, needs=_OWN_ENGINES
    )
    context_tokens: int = option(
        4096, "most tokens of a verifier's prompt, for engines of its own", ge=64, needs=_OWN_ENGINES
    )
    vllm: dict[str, Any] = option(
        {}, "further engine arguments of vLLM, for engines of the verifier's own", needs=_OWN_ENGINES
    )
    both_orders: bool | None = option(
        None,
        "ask with the letters in both orders and count agreement only; None: if the verifier knows both",
        needs=_VERIFIER,
    )
    audit: float = option(
        0.02,
        "fraction of the proven verdicts that the verifier is asked about too, to measure both",
        ge=0,
        le=1,
        needs=_VERIFIER,
    )
    min_margin: float = option(
        2.0, "least margin, in nats between the likeliest letter and the next, at which an answer counts", ge=0
    )

    def __post_init__(self) -> None:
        if self.model not in (NONE, SELF) and self.model.strip().lower() in ("", NONE, SELF):
            raise ConfigError("verifier: give none, self or a model's name")
        if not self.model.isprintable() or self.model != self.model.strip():
            raise ConfigError(
                "verifier: a model's name is one line, without control characters and without blanks around it"
            )
        if looks_like_url(self.model):
            raise ConfigError("verifier: this is an address; give verifier_url=http://.. and verifier=MODEL")
        # The messages do not repeat the value: a user may have given the key itself by mistake.
        if self.url is not None and not is_server_url(self.url):
            raise ConfigError("verifier_url: must be http(s)://host[:port][/path] without a password or a query")
        if self.key_env is not None and not is_variable_name(self.key_env):
            raise ConfigError("verifier_key_env: must be the name of an environment variable, not the key itself")
        if self.url is not None and self.model in (NONE, SELF):
            raise ConfigError("verifier_url: name the model that the server serves: verifier=NAME")
        if self.both_orders and not format_for(self.model).swaps:
            raise ConfigError(f"both_orders: {self.model} was trained on one order of its letters; leave it out")

    @property
    def asks(self) -> bool:
        """Whether a verifier is asked at all."""
        return self.model != NONE

    @property
    def kind(self) -> VerifierKind:
        """Where the verifier runs; meaningless if `asks` is false."""
        if self.url is not None:
            return VerifierKind.ENDPOINT
        return VerifierKind.SELF if self.model == SELF else VerifierKind.MODEL

    @property
    def has_engines(self) -> bool:
        """Whether engines of its own run."""
        return self.asks and self.kind is VerifierKind.MODEL

    @property
    def swaps(self) -> bool:
        """Whether each request is asked in both orders of the letters."""
        return format_for(self.model).swaps if self.both_orders is None else self.both_orders
