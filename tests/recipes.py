"""Recipes for tests, by the short names of settings, and questions of the pocket world."""

from dataclasses import asdict, fields, replace
from pathlib import Path

from mmpr.builder.answer import AskRecipe
from mmpr.dropout import DropoutOptions
from mmpr.images import Loader
from mmpr.prompts import PromptOptions
from mmpr.rounds import SamplingOptions
from mmpr.sources import index, open_source, ranges, read_range
from pipelines.pocket.questions import write_questions


def make_recipe(*, prompt=None, max_tiles=None, video_tiles=None, **settings):
    """What is asked how; tokens are sampled from all, as small models do."""
    settings = {"top_k": 0, "min_side_tokens": 4, **settings}
    parts = []
    for record in (SamplingOptions, DropoutOptions):
        names = {field.name for field in fields(record)} & settings.keys()
        parts.append(record(**{name: settings.pop(name) for name in names}))
    assert not settings, settings
    return AskRecipe(prompt or PromptOptions(), *parts, max_tiles=max_tiles, video_tiles=video_tiles)


def changed_recipe(recipe, **settings):
    """The recipe with other settings by their short names."""
    parts = {}
    for part in ("sampling", "dropout"):
        record = getattr(recipe, part)
        parts[part] = replace(record, **{name: settings.pop(name) for name in asdict(record) if name in settings})
    return replace(recipe, **parts, **settings)


def pocket_questions(folder, *, n, open_fraction, seed):
    """Questions of the pocket world, and what loads their images."""
    write_questions(folder, n=n, open_fraction=open_fraction, seed=seed)
    source = open_source(str(folder / "vqa.jsonl"))
    questions = [question for span in ranges(index(source)) for question in read_range(source, span)]
    return questions, Loader(Path(source.image_root))
