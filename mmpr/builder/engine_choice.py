"""Derive from the settings which model runs where, and on how many engines."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

from mmpr.builder.answer import AskRecipe
from mmpr.engines.engine_options import EndpointOptions, EngineOptions
from mmpr.errors import ConfigError, MissingExtra
from mmpr.extras import is_installed, named_extras
from mmpr.pocket import checkpoint_path
from mmpr.pool import MakeEngine, Placement
from mmpr.settings.config import BuildConfig, engine_tiles, of_sources, short_name
from mmpr.types import Thinking

_SMALL_BYTES = 20_000_000


def ray_address(config: BuildConfig) -> str | None:
    """Return the address of the cluster to join: the setting, else RAY_ADDRESS; None: start Ray on this machine."""
    return config.cluster.ray_address or os.environ.get("RAY_ADDRESS") or None


def has_gpu() -> bool:
    """Whether this machine has an NVIDIA device file; loads no driver and no module."""
    return any(Path("/dev").glob("nvidia[0-9]*"))


def is_alone(config: BuildConfig) -> bool:
    """Whether the build runs only on this machine and it has no GPU; then engines run on its CPU."""
    return ray_address(config) is None and not has_gpu()


def default_is_pocket(overrides: list[str]) -> bool:
    """Whether the pocket model answers without `--config`: on this machine without a GPU.

    Otherwise it is InternVL2-8B.
    """
    named = {short_name(override.partition("=")[0]) for override in overrides}
    # engines on other machines may have GPUs
    elsewhere = os.environ.get("RAY_ADDRESS") or named & {"ray_address", "endpoint_url"}
    return not elsewhere and not has_gpu()


def engine_maker(config: BuildConfig) -> MakeEngine:
    """Return the function that starts one engine in its actor.

    Raises:
        ConfigError: the model is a local path without a checkpoint, or the server's key is not in the environment.
        MissingExtra: engines would run on this machine, and vLLM is not installed here.
    """
    if config.engine.kind == "endpoint":
        with named_extras():
            from mmpr.engines.endpoint import start_endpoint

        return functools.partial(start_endpoint, endpoint_options(config))
    # a driver that joins a cluster starts no engine itself and may lack vLLM
    if ray_address(config) is None and not is_installed("vllm"):
        raise MissingExtra(f"vllm is not installed: pip install 'mmpr[{'gpu' if has_gpu() else 'cpu'}]'")
    from mmpr.engines.vllm import start_vllm

    return functools.partial(start_vllm, engine_options(config))


def endpoint_options(config: BuildConfig) -> EndpointOptions:
    """Return how to reach the server. Its key is read when an engine starts, and no setting stores it."""
    asked, dropout = config.endpoint, config.dropout
    if asked.key_env is not None and not os.environ.get(asked.key_env):
        # The name is not repeated in the error: a user may have given the key itself by mistake.
        raise ConfigError("endpoint_key_env: this environment variable is not set; name the one that holds the key")
    scoring = "grounding" if dropout.grounding else "drafts" if dropout.drafts > 1 else None
    if scoring and asked.continues in ("text", "none"):
        raise ConfigError(f"{scoring}: needs token ids, so endpoint_continues: auto or exact (vLLM serve)")
    return replace(
        asked,
        model=config.engine.model,
        continues="exact" if scoring else asked.continues,
        max_tiles=engine_tiles(config),
        thinking=_thinking(config),
        max_thought_tokens=config.sampling.max_thought_tokens,
        top_k=config.sampling.top_k,
    )


def _model(config: BuildConfig) -> str:
    return str(checkpoint_path()) if config.is_pocket else config.engine.model


def engine_options(config: BuildConfig) -> EngineOptions:
    """Return how to start one vLLM engine; `pocket` becomes the path of the embedded checkpoint."""
    path = _model(config)
    require_checkpoint(path, "model")
    lora, rank = (None, 0) if config.engine.lora is None else _adapter(config.engine.lora)
    return replace(
        config.engine,
        model=path,
        max_tiles=engine_tiles(config),
        on_cpu=config.is_pocket or is_alone(config),
        ray_metrics=ray_address(config) is not None,  # the Ray of a single build has no scraper
        lora=lora,
        lora_rank=rank,
        thinking=_thinking(config),
        limits_thoughts=config.sampling.max_thought_tokens is not None,
    )


def require_checkpoint(path: str, setting: str) -> None:
    """Check that a path, unlike a name on the Hub, is a checkpoint's folder.

    vLLM would take a wrong path for a name on the Hub and report a missing repository.

    Raises:
        ConfigError: it is a path without a `config.json`; names the setting.
    """
    if path.startswith((".", "/", "~")) and not (Path(path).expanduser() / "config.json").is_file():
        raise ConfigError(f"{setting}: {path} has no config.json; name a checkpoint's folder or a Hub repository")


def _thinking(config: BuildConfig) -> tuple[Thinking, ...]:
    """Return which of thinking on and off the sources request; empty if no source says it."""
    wanted = {one.config.prompt.thinks for one in of_sources(config)}
    return tuple(thinking for thinking in (Thinking.OFF, Thinking.ON) if thinking in wanted)


def _adapter(folder: str) -> tuple[str, int]:
    """Return an adapter's absolute folder and its largest rank.

    Raises:
        ConfigError: the folder holds no adapter.
    """
    path = Path(folder).expanduser().absolute()
    # vLLM must know the largest rank before it starts; `rank_pattern` may give layers a larger one than `r`
    try:
        stored = json.loads((path / "adapter_config.json").read_text(encoding="utf-8"))
        ranks = [int(stored["r"]), *map(int, (stored.get("rank_pattern") or {}).values())]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ConfigError(
            f"lora: {path} has no adapter_config.json that names its rank: give an adapter's folder"
        ) from None
    return str(path), max(ranks)


def revision(config: BuildConfig) -> str | None:
    """Return what identifies a state of the model: the pinned revision, else a fingerprint of a local checkpoint.

    The fingerprint covers file names, file sizes and the content of small files, because reading gigabytes of weights
    at every start would take too long. An adapter's fingerprint is appended. A Hub model without a pinned revision has
    none, and neither has a server's model.

    Raises:
        ConfigError: `lora` is not the folder of an adapter.
    """
    own, asked = config.engine.revision, config.engine
    if own is None and asked.kind != "endpoint":
        own = checkpoint_revision(_model(config))
    if asked.lora is None:
        return own
    adapter = f"lora-{_fingerprint(Path(_adapter(asked.lora)[0]))}"
    return adapter if own is None else f"{own}+{adapter}"


def checkpoint_revision(model: str) -> str | None:
    """Return a fingerprint of a local checkpoint; None for a name on the Hub."""
    path = Path(model).expanduser()
    return f"local-{_fingerprint(path)}" if path.is_dir() else None


def _fingerprint(path: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(path.iterdir()):
        # what decides the answers: a new README is the same model
        if file.suffix in (".json", ".safetensors", ".py", ".model", ".bin"):
            digest.update(f"{file.name} {file.stat().st_size}\n".encode())
            if file.stat().st_size < _SMALL_BYTES:
                digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def placement(config: BuildConfig) -> Placement:
    """Return how many engines to run and what each needs of a node."""
    asked, served = config.cluster, config.engine.kind == "endpoint"
    on_cpu = served or config.is_pocket or is_alone(config)
    engines = None if asked.engines == "auto" else asked.engines
    return Placement(
        # `auto` counts GPUs, and a server or the pocket model needs none
        engines=1 if engines is None and (served or config.is_pocket) else engines,
        gpus=0 if on_cpu else config.engine.tensor_parallel_size,
        accelerator=asked.accelerator,
        leases_in_flight=asked.chunks_in_flight,
        wait_s=asked.engine_wait_s,
        stall_s=asked.stall_timeout_s,
        restarts=asked.engine_restarts,
    )


def recipe(config: BuildConfig, *, engine_tiles: int | None = None) -> AskRecipe:
    """Return how the questions of the run, or of one of its sources, are asked.

    Args:
        config: the settings of the source.
        engine_tiles: the engines' own limit of tiles; None: the settings decide.
    """
    most = config.images.max_tiles
    return AskRecipe(
        config.prompt,
        config.sampling,
        config.dropout,
        # engines cut as the source with most tiles needs; requests of other sources name their limit
        max_tiles=None if engine_tiles in (None, most) else most,
        video_tiles=None if most is None else config.images.video_tiles,
    )
