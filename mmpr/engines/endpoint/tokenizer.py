"""The tokenizer interface of vLLM serve: `/tokenize` and `/detokenize` under the server's root."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmpr.engines.endpoint.server import Server
from mmpr.engines.endpoint.wire import Json
from mmpr.errors import EngineDead, EngineError


class Tokenizer:
    """The server's tokenizer. Each method sends requests and raises the errors of `Server.post`."""

    def __init__(self, server: Server, model: str) -> None:
        self._server, self._model = server, model

    async def encode(self, text: str) -> tuple[int, ...]:
        """Return the token ids of a text; no special tokens are added."""
        return await self._tokens({"prompt": text, "add_special_tokens": False})

    async def encode_chat(self, messages: list[Json], extra: Mapping[str, Any] | None = None) -> tuple[int, ...]:
        """Return the token ids of messages in the server's chat template, up to where the answer begins.

        Args:
            extra: further fields of the request, such as `chat_template_kwargs`.
        """
        return await self._tokens({"messages": messages, **(extra or {})})

    async def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of token ids."""
        body = {"model": self._model, "tokens": list(token_ids)}
        return await self._server.post("/detokenize", body, _read_text)

    async def is_there(self) -> bool:
        """Whether the server has this interface.

        Raises:
            EngineDead: the server does not answer.
        """
        try:
            return (await self.decode(await self.encode("a word"))).strip() == "a word"
        except EngineDead:
            raise
        except EngineError:
            return False

    async def _tokens(self, body: Json) -> tuple[int, ...]:
        return await self._server.post("/tokenize", {"model": self._model, **body}, _read_ids)


def _read_ids(answer: Json) -> tuple[int, ...]:
    return tuple(int(i) for i in answer["tokens"])


def _read_text(answer: Json) -> str:
    return str(answer["prompt"])
