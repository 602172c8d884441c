"""Read the settings that a run was made with, and apply overrides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from mmpr.engines.engine_options import UNKNOWN_MODEL, EngineOptions
from mmpr.errors import ConfigError
from mmpr.pairing import ANY, SAME, PairOptions
from mmpr.run import RunRecord
from mmpr.run.run_record import Settings, rollouts_of
from mmpr.settings.config import BuildConfig, merge

NOWHERE = "http://nobody-asks-it"


def stored_settings(run: RunRecord, overrides: list[str]) -> BuildConfig:
    """Return the settings of `run.json` with `key=value` overrides.

    Args:
        run: from `RunFolder.load_run`.
        overrides: of any setting; a caller that allows only some of them checks the result.

    Raises:
        ConfigError: names the setting and its allowed values.
    """
    values = run.settings
    if values.get("engine") == "endpoint":
        values["endpoint_url"] = NOWHERE  # a server's address is not stored, and nothing is requested from it again
    return merge(values, overrides)


def answering_models(identities: Sequence[Settings]) -> list[str]:
    """Return the model that answered in each run; two states of one model are distinguished by their revisions."""
    models = [_answering(identity) for identity in identities]
    states = {(model, identity.get("revision")) for model, identity in zip(models, identities, strict=True)}
    several = {model for model, n in Counter(model for model, _ in states).items() if n > 1}
    # Two revisions of a model, for example before and after a round of DPO, are two models.
    return [
        f"{model}@{str(identity.get('revision'))[:25]}" if model in several else model
        for model, identity in zip(models, identities, strict=True)
    ]


def refuse_unknown_models(run: RunRecord, pairs: PairOptions) -> None:
    """Raise `ConfigError` if `policy` or `chosen_from` names a model that did not answer in this run."""
    models = {*answering_models([member.identity for member in run.members] or [run.identity])}
    for facts in rollouts_of(run):
        named = facts.get("models")
        models |= {name for name in named if name} if isinstance(named, Mapping) else set()
    if any(model.endswith(" models") for model in models):
        return  # too many models: their names are not stored
    models |= {name for model in models for name in model.split(" + ")} - {UNKNOWN_MODEL}
    for name, given, words in (("policy", pairs.policy, set()), ("chosen_from", pairs.chosen_from, {ANY, SAME})):
        if given is not None and given not in models | words:
            listed = ", ".join(sorted(models | words))
            raise ConfigError(f"{name}: no response of this run is of {given!r}; it may be {listed}")


def _answering(identity: Settings) -> str:
    lora = identity.get("lora")
    asked = EngineOptions(str(identity.get("model") or UNKNOWN_MODEL), lora=None if lora is None else str(lora))
    return asked.answering
