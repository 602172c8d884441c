"""Derive from the settings which verifier is asked, in which engines, and under which name its answers are stored."""

from __future__ import annotations

import functools
import os
from dataclasses import replace

from mmpr.builder.engine_choice import checkpoint_revision, is_alone, placement, ray_address, require_checkpoint
from mmpr.engines.engine_options import UNKNOWN_MODEL, EndpointOptions, EngineOptions
from mmpr.engines.verifier_requests import VerifierAsk
from mmpr.errors import ConfigError, MissingExtra
from mmpr.extras import is_installed, named_extras
from mmpr.pocket import POCKET, checkpoint_path
from mmpr.pool import MakeEngine, Placement
from mmpr.run import RunRecord
from mmpr.run.verifier_files import AskedVerifier
from mmpr.settings.config import BuildConfig, load
from mmpr.verifier.verifier_options import VerifierKind, VerifierOptions
from mmpr.verifier.verifier_prompts import format_for


def asked_verifier(config: BuildConfig, run: RunRecord) -> AskedVerifier:
    """Return the verifier and how it is asked, as the commits of its answers store it.

    Raises:
        ConfigError: `self` in a run with an unknown model or several models.
    """
    options = config.verifier
    model, revision = options.model, options.revision
    if options.kind is VerifierKind.SELF:
        named = run.identity.get("model")
        if named in (None, UNKNOWN_MODEL) or run.members:
            raise ConfigError("verifier: self needs a run that one known model answered; name a verifier's model")
        model, revision = config.engine.answering, _text(run.identity.get("revision"))
    elif options.kind is VerifierKind.MODEL and revision is None:
        revision = checkpoint_revision(_path(options))
    form = format_for(model)
    # `self` may be a model that was trained on one order
    both = form.swaps if options.both_orders is None else options.both_orders and form.swaps
    return AskedVerifier(options.kind, model, revision, form.name, both, options.audit)


def verifier_ask(by: AskedVerifier) -> VerifierAsk:
    """Return how this verifier is asked."""
    return VerifierAsk(by.model, format_for(by.model), by.both_orders)


def verifier_maker(config: BuildConfig) -> MakeEngine:
    """Return the function that starts an engine of a verifier that is not the run's own model.

    Raises:
        ConfigError: the model is a local path without a checkpoint, or the server's key is not in the environment.
        MissingExtra: engines would run on this machine, and vLLM is not installed here.
    """
    if config.verifier.kind is VerifierKind.ENDPOINT:
        with named_extras():
            from mmpr.engines.endpoint import start_endpoint

        return functools.partial(start_endpoint, verifier_endpoint(config.verifier))
    if ray_address(config) is None and not is_installed("vllm"):
        raise MissingExtra("vllm is not installed: pip install 'mmpr[gpu]', or give verifier_url")
    from mmpr.engines.vllm import start_vllm

    return functools.partial(start_vllm, verifier_engine(config.verifier, config.engine, on_cpu=is_alone(config)))


def verifier_endpoint(options: VerifierOptions) -> EndpointOptions:
    """Return how to reach the server; its key is read when an engine starts."""
    if options.key_env is not None and not os.environ.get(options.key_env):
        raise ConfigError("verifier_key_env: this environment variable is not set; name the one that holds the key")
    return EndpointOptions(
        options.url,
        options.model,
        options.key_env,
        # a verifier answers with one letter and continues no prefix
        continues="none",
        image_tag="parts",
        timeout_s=options.timeout_s,
        patience_s=options.patience_s,
    )


def verifier_engine(options: VerifierOptions, beside: EngineOptions, *, on_cpu: bool) -> EngineOptions:
    """Return how to start a verifier's engine; its memory fraction is that of the engines that it replaces."""
    path = _path(options)
    require_checkpoint(path, "verifier")
    if options.model == POCKET:
        own = load(None, [], pocket=True).engine
        return replace(own, model=path, on_cpu=True, vllm={**own.vllm, **options.vllm})
    return EngineOptions(
        model=path,
        revision=options.revision,
        dtype="auto",
        context_tokens=options.context_tokens,
        tensor_parallel_size=options.tensor_parallel_size,
        memory_fraction=beside.memory_fraction,
        vllm=options.vllm,
        on_cpu=on_cpu,
    )


def verifier_placement(config: BuildConfig) -> Placement:
    """Return how many engines to run and what each needs of a node; for `self`, the same as the answering engines."""
    options, usual = config.verifier, placement(config)
    if options.kind is VerifierKind.SELF:
        return usual
    if options.kind is VerifierKind.ENDPOINT or options.model == POCKET or is_alone(config):
        return replace(usual, engines=usual.engines or 1, gpus=0)
    return replace(usual, gpus=options.tensor_parallel_size)


def _path(options: VerifierOptions) -> str:
    return str(checkpoint_path()) if options.model == POCKET else options.model


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
