"""The columns of the dataset: the row of a pair, and the schema that trainers require.

Each of these rules comes from a test with trainers: `images` is a nullable list of exactly (bytes, path); the Hugging
Face features are written in the literal form that every version reads; content parts have no field `image`; no column
has a name that a trainer interprets (messages, completion, label, tools ...).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from mmpr.errors import LawBroken
from mmpr.image_tags import IMAGE_TAG
from mmpr.pairing import first_round, of_policy
from mmpr.prompts import count_tags, is_frame
from mmpr.run.commit_records import Side, StoredImage, StoredQuestion, StoredResponse
from mmpr.run.json_records import JsonObject
from mmpr.run.selection import Selection
from mmpr.types import Message, Pair, PairKind, Reason, Response, Skip, Stage, TableRow

IMAGES_TYPE = pa.list_(pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())]))
_PARTS = pa.list_(pa.struct([("type", pa.string()), ("text", pa.string())]))
TURNS_TYPE = pa.list_(pa.struct([("role", pa.string()), ("content", _PARTS)]))
TEXTS = ("question", "chosen_text", "rejected_text", "answer")  # plain columns of any length
# Estimated bytes of a row besides its texts and images; used to plan shards.
_ROW_BYTES = 512


@dataclass(frozen=True, slots=True)
class RunColumns:
    """Values that are the same for every pair of a run; None if unknown.

    `policy` is the model that the pairs train, if several models answered.
    """

    model: str | None
    model_revision: str | None
    prompt_version: str
    temperature: float | None
    keep_fraction: float
    policy: str | None = None


def _as_committed(committed: StoredQuestion) -> StoredQuestion:
    return committed


def _no_kind(_: StoredQuestion) -> None:
    return None


@dataclass(frozen=True, slots=True)
class DatasetRecipe:
    """How committed responses become rows; picklable, so give module functions or `functools.partial`s of them.

    Args:
        pair: returns at least one pair in order of rank, or the skip.
        messages: returns the messages as sent with the images; they have one `<image>` tag per image.
        columns: the values of the run.
        keep_thoughts: whether both sides have their thoughts in front.
        embed_images: whether `images` holds bytes; otherwise it holds the path of each unchanged local file.
        view: applied to each committed question first, for example to judge it again under other settings.
        kind: returns the kind of a question's reference answer, for counting; None if unknown.
        selection: the decisions about the whole run.
        min_margin: smallest margin of a verifier's answer that counts, in nats.
        members: for a merged run: the first chunk of each member and the member's recipe, in ascending order.
    """

    pair: Callable[[StoredQuestion], list[Pair] | Skip]
    messages: Callable[[StoredQuestion], tuple[Message, ...]]
    columns: RunColumns
    keep_thoughts: bool = False
    embed_images: bool = True
    view: Callable[[StoredQuestion], StoredQuestion] = _as_committed
    kind: Callable[[StoredQuestion], str | None] = _no_kind
    selection: Selection = field(default_factory=Selection)
    min_margin: float = 0.0
    members: tuple[tuple[int, DatasetRecipe], ...] = ()

    def of_chunk(self, chunk: int) -> DatasetRecipe:
        """Return the recipe of one chunk: its member's recipe with the selection of the whole run."""
        # the last member that begins at this chunk or before
        own = next((recipe for first, recipe in reversed(self.members) if first <= chunk), self)
        return replace(own, selection=self.selection)


def arrow_schema() -> pa.Schema:
    """Return the schema of `data/train-*.parquet`, with the Hugging Face features in its metadata."""
    return with_features(pa.schema(_fields()))


def with_features(schema: pa.Schema) -> pa.Schema:
    """Return the schema with the Hugging Face features in its metadata: a list of `IMAGES_TYPE` becomes images."""
    features = {field.name: _feature(field.type) for field in schema}
    return schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def dataset_features(*, decode: bool) -> list[JsonObject]:
    """Return `dataset_info.features` for the card's front matter; `decode` is false for the config `raw`."""
    return [{"name": field.name, **_yaml_feature(field.type, decode=decode)} for field in _fields()]


def pair_id(source: str, row: int, pair: Pair) -> str:
    """Return 20 hex digits from the place, the kind and both responses: unique in a dataset."""
    chosen, rejected = ((stage.value, index) for stage, index in (pair.chosen, pair.rejected))
    place = json.dumps([source, row, pair.kind.value, chosen, rejected], ensure_ascii=True)
    return hashlib.sha256(place.encode()).hexdigest()[:20]


def pairs_of(committed: StoredQuestion, recipe: DatasetRecipe) -> list[Pair] | Skip:
    """Return the question's pairs or its skip.

    A prompt with more or fewer tags than images becomes a skip, because every trainer rejects such a row.

    Raises:
        LawBroken: the recipe returns neither pairs nor a skip, or the same pair twice.
    """
    place = f"{committed.question.source}:{committed.question.row}"
    pairs = recipe.pair(committed)
    if isinstance(pairs, Skip):
        return pairs
    if not pairs:
        raise LawBroken(f"{place} has neither a pair nor a skip")
    if len({(pair.kind, pair.chosen, pair.rejected) for pair in pairs}) != len(pairs):
        raise LawBroken(f"{place} has the same pair twice")
    n_tags, n_images = count_tags(m.text for m in recipe.messages(committed)), len(committed.images)
    if n_tags != n_images:
        detail = f"{n_images} images, but the prompt has {n_tags} image tags"
        return Skip(committed.question.id, Stage.SELECT, Reason.IMAGE_TAGS, detail)
    shown = [image.sha256 for image in committed.images]
    if excluded := recipe.selection.exclusion.skip(committed.question, shown):
        return excluded
    if not recipe.selection.thresholds:
        return pairs
    return recipe.selection.keep(committed.question, named(committed, pairs))


def side_of(committed: StoredQuestion, recipe: DatasetRecipe) -> str:
    """Return the split of a question: `train` or `validation`."""
    return recipe.selection.split.side(committed.question, [image.sha256 for image in committed.images])


def named(committed: StoredQuestion, pairs: Sequence[Pair]) -> list[tuple[Pair, str]]:
    """Return each pair with its id."""
    return [(pair, pair_id(committed.question.source, committed.question.row, pair)) for pair in pairs]


def weigh(committed: StoredQuestion, pairs: Sequence[Pair], recipe: DatasetRecipe) -> list[int]:
    """Estimate the bytes of each pair's row in memory; needs no image's bytes."""
    shared = sum(image.n_bytes for image, path in _placed(committed, recipe) if path is None) + _ROW_BYTES
    # each text is in two columns: `prompt` and `question`, `chosen` and `chosen_text`
    shared += 2 * sum(len(message.text.encode()) for message in recipe.messages(committed))
    texts = (sides_texts(committed, pair, recipe) for pair in pairs)
    return [shared + 2 * (len(chosen.encode()) + len(rejected.encode())) for chosen, rejected in texts]


def sides_of(row: TableRow) -> tuple[Side, Side]:
    """Return the chosen and the rejected side of a dataset row, as its pair names them."""
    blind = row["pair_kind"] == PairKind.DROPOUT_NTP
    stages = (Stage.DRAFT, Stage.COMPLETION) if blind else (Stage.SAMPLE, Stage.SAMPLE)
    return (stages[0], row["chosen_index"]), (stages[1], row["rejected_index"])


def pair_rows(committed: StoredQuestion, pairs: Sequence[Pair], recipe: DatasetRecipe) -> list[TableRow]:
    """Return the rows of one question's pairs, with the bytes of its images."""
    shared = _question_columns(committed, recipe)
    return [{**shared, **_pair_columns(committed, pair, recipe)} for pair in pairs]


def sides_texts(committed: StoredQuestion, pair: Pair, recipe: DatasetRecipe) -> tuple[str, str]:
    """Return the chosen and the rejected text of a pair as its row has them."""
    chosen, rejected = (committed.text_of(side, thoughts=recipe.keep_thoughts) for side in (pair.chosen, pair.rejected))
    return chosen, rejected


def _fields() -> list[pa.Field]:
    strings = pa.list_(pa.string())
    types = {
        "images": IMAGES_TYPE,
        **dict.fromkeys(("prompt", "chosen", "rejected"), TURNS_TYPE),
        **dict.fromkeys(TEXTS, pa.string()),
        **dict.fromkeys(("pair_id", "question_id", "pair_kind", "source"), pa.string()),
        "source_row": pa.int64(),
        **dict.fromkeys(("image_sha256", "original_sha256"), strings),
        **dict.fromkeys(("chosen_answer", "rejected_answer", "rule", "rejected_rule"), pa.string()),
        "accuracy": pa.float64(),
        **dict.fromkeys(("accuracy_n", "n_responses", "chosen_index", "rejected_index", "rank"), pa.int32()),
        **dict.fromkeys(("model", "model_revision", "prompt_version"), pa.string()),
        "temperature": pa.float64(),
        "seed": pa.int64(),
        "keep_fraction": pa.float64(),
        **dict.fromkeys(("prefix_chars", "chosen_tokens", "rejected_tokens"), pa.int32()),
        **dict.fromkeys(("chosen_finish_reason", "rejected_finish_reason", "continued"), pa.string()),
        "rejected_view": pa.string(),
        "rejected_image_sha256": strings,
        **dict.fromkeys(("chosen_score", "rejected_score"), pa.float64()),
        # Schema 2: null where nothing sets a value; a dataset of an older mmpr does not have these columns.
        **dict.fromkeys(("n_correct", "n_wrong", "n_undecided"), pa.int32()),
        "certainty": pa.string(),
        "off_format": pa.bool_(),
        **dict.fromkeys(("chosen_by", "rejected_by"), pa.string()),
        "judge_version": pa.int32(),
        "verifier_margin": pa.float64(),
        **dict.fromkeys(("chosen_model", "rejected_model"), pa.string()),
        "on_policy": pa.bool_(),
    }
    return [pa.field(name, kind) for name, kind in types.items()]


def _feature(kind: pa.DataType) -> object:
    if kind == IMAGES_TYPE.value_type:
        return {"_type": "Image"}
    if pa.types.is_list(kind):
        return [_feature(kind.value_type)]
    if pa.types.is_struct(kind):
        return {child.name: _feature(child.type) for child in kind}
    return {"dtype": _dtype(kind), "_type": "Value"}


def _yaml_feature(kind: pa.DataType, *, decode: bool) -> JsonObject:
    if kind == IMAGES_TYPE:
        return {"list": "image" if decode else {"image": {"decode": False}}}
    if pa.types.is_list(kind):
        inner = _yaml_feature(kind.value_type, decode=decode)
        return {"list": inner.get("struct") or inner.get("dtype") or inner}
    if pa.types.is_struct(kind):
        return {"struct": [{"name": child.name, **_yaml_feature(child.type, decode=decode)} for child in kind]}
    return {"dtype": _dtype(kind)}


def _dtype(kind: pa.DataType) -> str:
    return {"double": "float64"}.get(str(kind), str(kind))


def _question_columns(committed: StoredQuestion, recipe: DatasetRecipe) -> TableRow:
    question, messages = committed.question, recipe.messages(committed)
    first = first_round(of_policy(committed.judged, recipe.columns.policy))
    return {
        "images": [
            {"bytes": image.encoded if path is None else None, "path": path}
            for image, path in _placed(committed, recipe)
        ],
        "prompt": [{"role": m.role, "content": content_parts(m.text)} for m in messages],
        "question": "\n\n".join(m.text for m in messages if m.role != "system"),
        "answer": None if question.answer is None else " | ".join(question.answer),
        "question_id": question.id,
        "source": question.source,
        "source_row": question.row,
        "image_sha256": [image.sha256 for image in committed.images],
        "original_sha256": [image.original_sha256 for image in committed.images],
        "accuracy": first.accuracy,
        "accuracy_n": first.n_correct + first.n_wrong,
        **(asdict(first) if committed.judged else {}),
        "model": recipe.columns.model,
        "model_revision": recipe.columns.model_revision,
        "prompt_version": recipe.columns.prompt_version,
        "temperature": recipe.columns.temperature,
    }


def _placed(committed: StoredQuestion, recipe: DatasetRecipe) -> Iterator[tuple[StoredImage, str | None]]:
    """Yield each image with its path if the row stores the path, else with None: the bytes are embedded.

    Only a local file whose bytes the model saw unchanged is stored by its path. A file that was turned upright or
    converted, a video frame, a fetched image and a data URI are always embedded.
    """
    if recipe.embed_images:
        yield from ((image, None) for image in committed.images)
        return
    for image, reference in zip(committed.images, committed.question.images, strict=True):
        is_file = reference.startswith("/") and not is_frame(reference)
        yield image, reference if is_file and image.sha256 == image.original_sha256 else None


def image_bytes(image: TableRow) -> bytes | None:
    """Return the bytes of one entry of `images`, embedded or read from its path; None if that file is gone."""
    embedded: bytes | None = image["bytes"]
    if embedded is not None or not image["path"]:
        return embedded
    try:
        return Path(image["path"]).read_bytes()
    except OSError:
        return None


def _pair_columns(committed: StoredQuestion, pair: Pair, recipe: DatasetRecipe) -> TableRow:
    chosen, rejected, columns = committed.find(pair.chosen), committed.find(pair.rejected), recipe.columns
    texts = sides_texts(committed, pair, recipe)
    splice = rejected.splice
    # the prefix is counted from the chosen text's start, thoughts included where they are kept
    before = len(texts[0]) - len(chosen.response.text) if splice and splice.prefix_chars else 0
    chosen_score, rejected_score = (splice.scores if splice else None) or (None, None)
    return {
        "chosen": [{"role": "assistant", "content": [{"type": "text", "text": texts[0]}]}],
        "rejected": [{"role": "assistant", "content": [{"type": "text", "text": texts[1]}]}],
        "chosen_text": texts[0],
        "rejected_text": texts[1],
        "pair_id": pair_id(committed.question.source, committed.question.row, pair),
        "pair_kind": pair.kind.value,
        "chosen_answer": chosen.verdict.answer if chosen.verdict else None,
        "rejected_answer": rejected.verdict.answer if rejected.verdict else None,
        "rule": chosen.verdict.rule if chosen.verdict else None,
        "rejected_rule": rejected.verdict.rule if rejected.verdict else None,
        "n_responses": len(committed.of_stage(pair.chosen[0])),
        "chosen_index": pair.chosen[1],
        "rejected_index": pair.rejected[1],
        "rank": pair.rank,
        "seed": chosen.response.seed,
        "keep_fraction": columns.keep_fraction if pair.kind is PairKind.DROPOUT_NTP else None,
        "prefix_chars": splice.prefix_chars + before if splice else None,
        "chosen_tokens": committed.tokens_of(pair.chosen),
        "rejected_tokens": committed.tokens_of(pair.rejected),
        "chosen_finish_reason": _ended(chosen.response),
        "rejected_finish_reason": _ended(rejected.response),
        "continued": splice.continued if splice else None,
        "rejected_view": splice.view if splice else None,
        "rejected_image_sha256": (list(splice.shown_sha256) or None) if splice else None,
        "chosen_score": chosen_score,
        "rejected_score": rejected_score,
        **_model_columns(chosen.response, rejected.response, columns),
        **_judging_columns(chosen, rejected),
    }


def _ended(response: Response) -> str | None:
    return response.finish_reason.value if response.finish_reason else None


def _model_columns(chosen: Response, rejected: Response, columns: RunColumns) -> TableRow:
    """Name the models of both sides; a pair is on-policy if both are the policy. Null without several models."""
    models = [chosen.model or columns.policy, rejected.model or columns.policy]
    on_policy = all(model == columns.policy for model in models) if columns.policy else None
    return {"chosen_model": models[0], "rejected_model": models[1], "on_policy": on_policy}


def _judging_columns(chosen: StoredResponse, rejected: StoredResponse) -> TableRow:
    """Say who judged both sides and how certain that is; empty for Dropout-NTP pairs, which are not judged."""
    if chosen.verdict is None or rejected.verdict is None:
        return {}
    margins = [v.verifier_margin for v in (chosen.verdict, rejected.verdict) if v.verifier_margin is not None]
    return {
        "certainty": rejected.verdict.certainty.value if rejected.verdict.certainty else None,
        "off_format": rejected.verdict.off_format,
        "chosen_by": chosen.verdict.judged_by.value,
        "rejected_by": rejected.verdict.judged_by.value,
        "judge_version": rejected.judge_version,
        "verifier_margin": min(margins, default=None),
    }


def text_of_parts(parts: Sequence[TableRow], tag: str = IMAGE_TAG) -> str:
    """Join content parts, the inverse of `content_parts`: an image is a tag on its own line."""
    text = "".join(f"{tag}\n" if part["type"] == "image" else part["text"] or "" for part in parts)
    return text.removesuffix("\n") if parts and parts[-1]["type"] == "image" else text


def content_parts(text: str) -> list[dict[str, str | None]]:
    """Split a turn's text into content parts: one image part per tag, without the line break after the tag."""
    first, *others = text.split(IMAGE_TAG)
    parts: list[dict[str, str | None]] = [{"type": "text", "text": first}] if first.strip() else []
    for other in others:
        parts.append({"type": "image", "text": None})
        if other.strip():
            parts.append({"type": "text", "text": other.removeprefix("\n")})
    return parts or [{"type": "text", "text": text}]
