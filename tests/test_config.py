import json
import re
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from mmpr.cli.settings_verb import file_schema
from mmpr.errors import ConfigError
from mmpr.settings.config import BuildConfig, Mark, load, merge, of_sources, part, settings_by_name, short_name
from mmpr.settings.presets import preset_names

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))


def test_every_setting_has_its_sentence_and_one_short_name():
    settings = settings_by_name().values()
    assert [one.name for one in settings if not one.description] == []
    assert len({one.full_name for one in settings}) == len(settings) > 80
    for one in settings:
        assert short_name(one.full_name) == short_name(one.name) == one.name


def test_a_setting_means_the_same_in_its_section_and_by_its_short_name(tmp_path):
    path = tmp_path / "c.yaml"
    sections = {"pairs": {"max_uses": 1}, "source": {"path": "a.jsonl"}, "engine": {"vllm": {"block_size": 64}}}
    path.write_text(yaml.safe_dump({**sections, "dropout": {"completions": 2}}))
    short = ["max_uses=1", "source=a.jsonl", "vllm.block_size=64", "endings=2"]
    full = ["pairs.max_uses=1", "source.path=a.jsonl", "engine.vllm.block_size=64", "dropout.completions=2"]
    assert load(path, [], pocket=False) == load(path, short, pocket=False) == load(path, full, pocket=False)
    assert merge({}, short) == merge({}, full) == BuildConfig(**yaml.safe_load(path.read_text()))
    whole = [
        "pairs={max_uses: 1}",
        "source={path: a.jsonl}",
        "engine={vllm: {block_size: 64}}",
        "dropout.completions=2",
    ]
    assert merge({}, whole) == merge({}, short)
    entry = {"source": "b.jsonl", "images": {"max_tiles": 2}, "judge": {"relative_tolerance": 0.05}}
    (one,) = of_sources(BuildConfig(sources={"b": entry}))
    assert (one.config.images.max_tiles, one.config.judge.relative_tolerance) == (2, 0.05)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("pairs=3", "pairs: expected `setting: value` lines, because this name is a section"),
        ("pairs.max_usess=3", "no setting is named 'pairs.max_usess'; did you mean 'max_uses'?"),
        ("pairs.n=3", "no setting is named 'pairs.n'"),
        ("pairs.max_uses=0", "max_uses: Input should be greater than or equal to 1 (got 0)"),
        ("judge.box_band=0.1", "no setting is named 'judge.box_band'"),
        ("engines=many", "engines: Input should be"),
        ("judge=not a place", "judge: must be module:name"),
    ],
)
def test_a_wrong_name_in_a_section_is_named(override, says):
    with pytest.raises(ConfigError) as raised:
        load(None, [override], pocket=True)
    assert says in str(raised.value)


def test_the_three_parts_are_the_whole():
    config = BuildConfig()
    names = [name for mark in Mark for name in part(config, mark)]
    assert sorted(names) == sorted(settings_by_name())


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_a_shipped_file_loads_and_opens_with_its_command_and_an_override(path):
    load(path, [], pocket=False)
    head = [line for line in path.read_text().splitlines() if line.startswith("#")]
    command = next(line for line in head if "mmpr build" in line)
    override = command.split()[-1]
    assert str(path.relative_to(path.parents[1])) in command
    load(path, [override], pocket=False)


@pytest.mark.parametrize("name", ["pocket", "internvl2-8b"])
def test_the_defaults_in_the_package_are_the_files_in_configs(name):
    shipped = Path(__file__).parents[1] / "configs" / f"{name}.yaml"
    assert load(None, [], pocket=name == "pocket") == BuildConfig(**yaml.safe_load(shipped.read_text()))


def test_every_preset_loads_and_names_a_model_of_its_own():
    models = {name: load(Path(name), [], pocket=False).engine.model for name in preset_names()}
    assert len(set(models.values())) == len(models) == 80
    for name, model in models.items():
        if found := re.fullmatch(r"(internvl(?:2|2_5|3))-(\d+b)(-mpo)?", name):
            family, size, mpo = found.groups()
            assert model.lower().replace("internvl2-llama3-76b", "internvl2-76b") == f"opengvlab/{name}"
            assert load(Path(name), [], pocket=False).prompt.system_message == family
            assert not mpo or f"{family}-{size}" in models


@pytest.mark.parametrize(
    ("name", "gpus", "context"),
    [
        ("internvl2_5-38b-mpo", 2, 16384),
        ("internvl2-76b", 4, None),
        ("internvl3-78b", 4, 16384),
        ("internvl3-1b", 1, 16384),
    ],
)
def test_a_preset_has_the_family_members_size(name, gpus, context):
    config = load(Path(name), ["max_tiles=12"], pocket=False)
    assert (config.engine.tensor_parallel_size, config.engine.context_tokens, config.images.max_tiles) == (
        gpus,
        context,
        12,
    )
    assert (config.sampling.n, config.sampling.top_k, config.engine.trust_remote_code) == (32, 50, True)


def test_a_preset_of_the_default_models_is_the_default():
    assert load(Path("internvl2-8b"), [], pocket=True) == load(None, [], pocket=False)
    assert load(Path("pocket"), [], pocket=False) == load(None, [], pocket=True)


def test_a_preset_that_is_not_there_is_told_from_a_near_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"no such configuration file; did you mean the preset internvl2_5-38b-mpo\?"):
        load(Path("InternVL2_5-38B-MPO"), [], pocket=False)
    with pytest.raises(ConfigError, match=r"^configs/internvl2-8b.yaml: .*; did you mean the preset internvl2-8b\?"):
        load(Path("configs/internvl2-8b.yaml"), [], pocket=False)  # where there is no clone
    Path("internvl3-8b").write_text("n: 3")
    assert load(Path("internvl3-8b"), [], pocket=False).sampling.n == 3  # a file of that name goes first


def test_a_template_file_is_kept_by_its_contents(tmp_path):
    (tmp_path / "ask.txt").write_text("Think of {x}, then answer.\n\n{question}\n")
    config = load(None, [f"prompt_template={tmp_path}/ask.txt"], pocket=True)
    assert config.prompt.template == dict.fromkeys(("en", "zh"), "Think of {x}, then answer.\n\n{question}")
    assert merge(part(config, Mark.IDENTITY), []).prompt.template == config.prompt.template


def test_a_template_file_may_have_a_text_a_language(tmp_path):
    (tmp_path / "ask.yaml").write_text("en: 'Solve: {question}'\nzh: '解答:{question}'\n")
    assert load(None, [f"prompt_template={tmp_path}/ask.yaml"], pocket=True).prompt.template == {
        "en": "Solve: {question}",
        "zh": "解答:{question}",
    }
    (tmp_path / "ask.yaml").write_text("en: 'Solve: {question}'\n")
    assert (
        load(None, [f"prompt_template={tmp_path}/ask.yaml"], pocket=True).prompt.template["zh"] == "Solve: {question}"
    )


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.txt", b"Answer.", "must say {question} once, where the question goes; it says so 0 times"),
        ("a.txt", b"{question} {question}", "it says so 2 times"),
        ("a.txt", b"<image>\n{question}", "must have no <image> or <video> tag"),
        ("a.txt", b"\xff{question}", "not readable as text"),
        ("a.yaml", b"de: 'x {question}'", "expected `en: text` and `zh: text`"),
        ("a.yaml", b"- x", "expected `en: text` and `zh: text`"),
        ("a.yaml", b"en: [1]", "`en` is not a text"),
        ("a.yaml", b"en: [", "not readable as YAML"),
        (None, b"", "no such file"),
    ],
)
def test_a_fault_of_a_template_file_is_one_line_that_names_it(tmp_path, name, content, says):
    path = tmp_path / (name or "gone.txt")
    if name:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as raised:
        load(None, [f"prompt_template={path}"], pocket=True)
    assert says in str(raised.value) and str(path) in str(raised.value) and "\n" not in str(raised.value)


def test_a_system_message_is_a_text_or_a_name_that_exists():
    assert load(None, ["system_message=You see well."], pocket=True).prompt.system_message == "You see well."
    assert load(None, ["system_message=internvl_think"], pocket=True).prompt.system_message == "internvl_think"
    with pytest.raises(ConfigError, match="internvl2, internvl2_5, internvl3, internvl_think, or a text"):
        load(None, ["system_message=internvl4"], pocket=True)


def test_the_8b_file_has_the_papers_numbers():
    config = load(None, [], pocket=False)
    assert (config.sampling.n, config.sampling.temperature, config.sampling.top_k) == (32, 1.0, 50)
    assert (config.pairs.pairs_per_question, config.pairs.max_uses) == (15, None)
    assert (config.dropout.keep_fraction, config.images.max_tiles, config.engine.context_tokens) == (0.5, 6, 16384)


def test_an_override_goes_over_the_file_and_reaches_into_mappings():
    config = load(None, ["n=3", "vllm.block_size=64", "max_uses=null"], pocket=True)
    assert (config.sampling.n, config.engine.vllm["block_size"], config.pairs.max_uses) == (3, 64, None)
    assert config.engine.vllm["max_num_seqs"] == 128


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("nn=3", "did you mean 'n'"),
        ("n=0", "n: Input should be greater than or equal to 1 (got 0)"),
        ("n=many", "got 'many'"),
        ("n", "expected key=value"),
        ("n.x=1", "n is not a mapping"),
        ("prompt_version=haiku", "'final', 'boxed', 'think' or 'given'"),
        ("n=[", "not YAML"),
    ],
)
def test_a_wrong_override_is_named_with_what_it_may_be(override, says):
    with pytest.raises(ConfigError) as raised:
        load(None, [override], pocket=True)
    assert says in str(raised.value)


def test_a_wrong_file_is_named(tmp_path):
    path = tmp_path / "c.yaml"
    with pytest.raises(ConfigError, match=r"c\.yaml: no such configuration file"):
        load(path, [], pocket=True)
    path.write_text("- 1")
    with pytest.raises(ConfigError, match="expected `name: value` lines"):
        load(path, [], pocket=True)
    path.write_text("a: [")
    with pytest.raises(ConfigError, match="not readable as YAML"):
        load(path, [], pocket=True)


def test_stored_settings_come_back_the_same():
    config = load(None, ["vllm.block_size=64"], pocket=True)
    assert merge({**part(config, Mark.IDENTITY), **part(config, Mark.SELECTION)}, []) == config


def test_a_window_is_low_then_high_and_survives_storage():
    config = load(None, ["accuracy_window=[0.2, 0.8]", "strategy=hardest"], pocket=True)
    assert config.pairs.accuracy_window == (0.2, 0.8)
    assert merge({**part(config, Mark.IDENTITY), **part(config, Mark.SELECTION)}, []) == config
    with pytest.raises(ConfigError, match="low at most high"):
        load(None, ["accuracy_window=[0.8, 0.2]"], pocket=True)


def test_the_fault_comes_first_and_the_file_after_it(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("n: many\n")
    with pytest.raises(ConfigError, match=r"^n: .*got 'many'\) \(in .*c\.yaml\)$"):
        load(path, ["temperature=0.5"], pocket=True)
    with pytest.raises(ConfigError, match=r"^temperature: .*\(got 'x'\)$"):
        load(None, ["n=3", "temperature=x", "top_k=7"], pocket=True)
    path.write_text("sources: 3\n")
    with pytest.raises(ConfigError, match=r"^sources: expected a list.*\(in .*c\.yaml\)$"):
        load(path, [], pocket=True)


def without_words(schema):
    if isinstance(schema, dict):
        return {
            name: without_words(part)
            for name, part in schema.items()
            if name != "description" or not isinstance(part, str)
        }
    return [without_words(part) for part in schema] if isinstance(schema, list) else schema


def test_the_schema_for_editors_is_up_to_date_and_takes_every_shipped_file():
    path = CONFIGS[0].with_name("settings.schema.json")
    remedy = "make it again: mmpr settings --schema > configs/settings.schema.json"
    assert without_words(json.loads(path.read_text())) == without_words(file_schema()), remedy
    validator = Draft202012Validator(file_schema())
    for config in CONFIGS:
        assert "# yaml-language-server: $schema=settings.schema.json" in config.read_text().splitlines()
        assert list(validator.iter_errors(yaml.safe_load(config.read_text()))) == []


@pytest.mark.parametrize(
    ("text", "sound"),
    [
        ("n: 3\ntemperature: 0.5", True),
        ("n: many", False),
        ("temprature: 1", False),
        ("prompt_template: ask.txt", True),
        ("sources: [{source: a.jsonl, max_tiles: 6, weight: 2}]", True),
        ("sources: {a: {source: a.jsonl, prompt_template: ask.txt}}", True),
        ("sources: [{max_tiles: 6}]", False),
        ("sources: [{source: a.jsonl, model: x}]", False),
        ("deadline: 12:30", True),
        ("accuracy_window: [0.2, 0.8]", True),
        ("accuracy_window: [0.2]", False),
        ("pairs: {max_uses: 1}", True),
        ("pairs: {max_uses: 0}", False),
        ("pairs: {n: 1}", False),
        ("source: {path: a.jsonl}", True),
        ("source: a.jsonl", True),
        ("engine: endpoint", True),
        ("engine: {kind: endpoint}", True),
    ],
)
def test_the_schema_takes_what_a_file_may_say(text, sound):
    assert Draft202012Validator(file_schema()).is_valid(yaml.safe_load(text)) is sound


def test_every_setting_has_a_sentence():
    assert [name for name, one in settings_by_name().items() if not one.description] == []
