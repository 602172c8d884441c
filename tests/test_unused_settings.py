"""Settings without effect are said, one line each; which they are is declared beside each option."""

from pathlib import Path

import pytest

from mmpr.options import Needs
from mmpr.settings.config import BuildConfig, load, settings_by_name, unused_settings
from mmpr.settings.presets import preset_names

DECLARED = {name: one for name, one in settings_by_name().items() if one.needs is not None}
OTHER = {
    "max_thought_tokens": 20,
    "audit": 0.5,
    "both_orders": False,
    "exclude_texts": False,
    "verifier_revision": "abc",
}
# What makes each need unmet or met, as overrides.
UNMET = {
    "without a verifier": [],
    "without verifier_url": ["verifier=self"],
    "without a verifier that has engines of its own": ["verifier=self"],
    "without engine=endpoint": [],
    "without adaptive=true": ["adaptive=false"],
    "with thinking=off": ["thinking=off"],
    "without format_pairs=true": ["format_pairs=false"],
    "without exclude": [],
    "without allowed_hosts": [],
}
MET = {
    "without a verifier": ["verifier=self"],
    "without verifier_url": ["verifier=m", "verifier_url=http://h/v1"],
    "without a verifier that has engines of its own": ["verifier=owner/name"],
    "without engine=endpoint": ["engine=endpoint", "endpoint_url=http://h/v1"],
    "without adaptive=true": [],
    "with thinking=off": ["thinking=on"],
    "without format_pairs=true": [],
    "without exclude": ["exclude=list.txt"],
    "without allowed_hosts": ["allowed_hosts=[example.org]"],
}


def other_value(name):
    """A valid value of a setting that is not its default."""
    if name in OTHER:
        return OTHER[name]
    section, field = DECLARED[name].place
    usual = getattr(getattr(BuildConfig(), section), field)
    if isinstance(usual, bool):
        return not usual
    if isinstance(usual, dict):
        return {"x": 1}
    if isinstance(usual, int | float):
        return usual + 1
    return 0.5 if "fraction" in name else "none"


def words_of(name):
    value = other_value(name)
    return f"{name}={{x: 1}}" if isinstance(value, dict) else f"{name}={str(value).lower()}"


@pytest.mark.parametrize("name", DECLARED)
def test_a_setting_without_effect_is_said_and_one_with_an_effect_is_not(name):
    otherwise = DECLARED[name].needs.otherwise
    unmet = load(None, [*UNMET[otherwise], words_of(name)], pocket=True)
    assert f"{name}: has no effect {otherwise}" in unused_settings(unmet)
    met = load(None, [*MET[otherwise], words_of(name)], pocket=True)
    assert not [line for line in unused_settings(met) if line.startswith(f"{name}:")]


@pytest.mark.parametrize("name", [*preset_names(), *map(str, Path(__file__).parents[1].glob("configs/*.yaml"))])
def test_presets_set_nothing_without_effect(name):
    config = load(Path(name), [], pocket=False)
    assert unused_settings(config) == []


def test_a_need_that_one_source_meets_is_met():
    own = {"a": {"source": "a.jsonl", "thinking": "off"}, "b": {"source": "b.jsonl"}}
    assert unused_settings(BuildConfig(sources=own, max_thought_tokens=20)) == []
    own["b"]["thinking"] = "off"
    found = unused_settings(BuildConfig(sources=own, max_thought_tokens=20))
    assert found == ["max_thought_tokens: has no effect with thinking=off"]


def test_every_need_names_an_option_or_a_property():
    for setting in DECLARED.values():
        assert isinstance(setting.needs, Needs)
        setting.needs.are_met(BuildConfig())  # raises for a name that is none
