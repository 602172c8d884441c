"""The options of engines: vLLM engines that mmpr starts, or a server that runs already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from mmpr.errors import ConfigError
from mmpr.options import Needs, derived, is_server_url, is_variable_name, option
from mmpr.types import Thinking

_ENDPOINT = Needs("endpoint.url", "without engine=endpoint")
UNKNOWN_MODEL = "unknown"  # the model of imported responses that name none

# Fields of a request that mmpr sets from other settings; `endpoint_body` may not set them.
_OWN_FIELDS = frozenset(
    ("model", "messages", "prompt", "n", "temperature", "top_p", "top_k", "max_tokens", "seed", "stream")
)


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How to start one vLLM engine.

    `on_cpu`: run without a GPU. `ray_metrics`: pass vLLM's own metrics to Ray, which exports them beside those of mmpr
    (`ray_vllm_...`); only in an actor. `max_tiles`: the largest `max_tiles` of all sources. `lora_rank`: the largest
    rank in the adapter. `thinking`: the values of `thinking` that the sources use. `limits_thoughts`: whether
    requests may have a limit for thoughts.
    """

    model: str = option("OpenGVLab/InternVL2-8B", "the model: a checkpoint folder, a Hub repository, or pocket")
    revision: str | None = option(None, "commit of the model's repository; None: the newest")
    lora: str | None = option(None, "folder of a LoRA adapter (PEFT files) to serve with the model, without merging")
    dtype: str = option("bfloat16", "type of the weights, in vLLM's notation")
    quantization: str | None = option(None, "quantization method, in vLLM's notation; None: as the checkpoint states")
    trust_remote_code: bool = option(
        False,
        "run the Python files of the model's repository in every engine, with the rights of Ray's workers; pin "
        "revision to a commit that you have read",
    )
    context_tokens: int | None = option(
        16384, "most tokens of prompt and response together; None: the model's limit", ge=1
    )
    kind: Literal["vllm", "endpoint"] = option(
        "vllm", "vllm: mmpr runs vLLM in Ray actors; endpoint: mmpr asks the server at endpoint_url"
    )
    tensor_parallel_size: int = option(1, "GPUs for one engine, all on one node", ge=1)
    memory_fraction: float = option(0.9, "fraction of a GPU's memory that an engine may use", gt=0, le=1)
    vllm: dict[str, Any] = option({}, "further engine arguments of vLLM")
    max_tiles: int | None = derived(None)
    on_cpu: bool = derived(False)
    ray_metrics: bool = derived(False)
    lora_rank: int = derived(0)
    thinking: tuple[Thinking, ...] = derived(())
    limits_thoughts: bool = derived(False)

    @property
    def answering(self) -> str:
        """The name of the responding model in columns and reports: the model, and its adapter if it has one."""
        return self.model if self.lora is None else f"{self.model} + {self.lora}"


@dataclass(frozen=True, slots=True)
class EndpointOptions:
    """Which server with OpenAI's HTTP interface to ask, and how.

    `continues`: `exact` (token ids), `text`, `none` (no blind completions), or `auto`: the first of exact and text that
    the server supports. `image_tag`: the tag for an image inside a text; `parts`: the text is divided at the image, as
    in OpenAI's own interface; `auto`: what this server is known to accept. `model`, `max_tiles` and `top_k` come from
    the run; vLLM and LMDeploy get `max_tiles` with each request, other servers keep the tiling that they were started
    with. `pause_s`: seconds before the second try; each later pause is twice as long.

    Raises:
        ConfigError: `url`, `key_env` or `body` would store a key, or set something that has its own setting.
    """

    url: str | None = option(None, "base URL of an OpenAI-compatible server, such as http://host:8000/v1")
    model: str = derived("")
    key_env: str | None = option(
        None,
        "name of the environment variable with the server's key; it must be set wherever engines run",
        needs=_ENDPOINT,
    )
    continues: Literal["auto", "exact", "text", "none"] = option(
        "auto",
        "how a prefix is continued: exact (token ids), text, or none; auto: what the server supports",
        needs=_ENDPOINT,
    )
    image_tag: str = option(
        "auto",
        "tag that stands for an image inside a text; parts: send text and images as separate parts",
        needs=_ENDPOINT,
    )
    body: dict[str, Any] = option(
        {}, "further fields of each request; no keys, because the run stores them", needs=_ENDPOINT
    )
    concurrency: int = option(64, "most requests that one engine has open at a time", ge=1, needs=_ENDPOINT)
    timeout_s: float = option(600.0, "seconds for one request", gt=0, needs=_ENDPOINT)
    patience_s: float = option(
        300.0, "seconds without any answer after which a failing server counts as dead", gt=0, needs=_ENDPOINT
    )
    max_tiles: int | None = derived(None)
    thinking: tuple[Thinking, ...] = derived(())
    max_thought_tokens: int | None = derived(None)
    top_k: int = derived(0)
    pause_s: float = derived(0.5)

    def __post_init__(self) -> None:
        # The errors do not repeat the value: a user may have typed the key itself.
        if self.url is not None and not is_server_url(self.url):
            rule = "http(s)://host[:port][/path] without a password or a query: keys come by variable"
            raise ConfigError(f"endpoint_url: must be {rule}")
        if self.key_env is not None and not is_variable_name(self.key_env):
            raise ConfigError("endpoint_key_env: must be the name of an environment variable, not the key itself")
        if own := sorted(_OWN_FIELDS & self.body.keys()):
            raise ConfigError(f"endpoint_body may not contain {own[0]!r}, which mmpr sets itself")
