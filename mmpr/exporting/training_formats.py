"""Convert examples to rows of training sets, one function per format.

Checked against verl 0.9.1, TRL 1.16.0, ms-swift 4.6.0, EasyR1 (2026-07), OpenRLHF 0.11 (2026-08) and LLaMA-Factory
0.9.5.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from mmpr.exporting.export_records import Format
from mmpr.exporting.training_records import LabelledResponse, TrainingExample, difficulty
from mmpr.run.columns import IMAGES_TYPE, TURNS_TYPE, content_parts, with_features
from mmpr.run.json_records import JsonObject
from mmpr.types import Message, Response

Row = JsonObject
REWARD_FILE = "reward.py"
SETTINGS_FILE = "settings.yaml"  # of rollouts: the settings that paired the run


@dataclass(frozen=True, slots=True)
class TrainingShape:
    """One format.

    Args:
        rows: returns an example's rows. The images are given as the rows hold them, bytes or paths; `number` is the
            index of the first row in its split.
        load: how to point the trainer at the folder, in one line, with placeholders for the folder and its files.
        schema: of Parquet with embedded images; None: JSON lines with images as files.
        files: further files by name: `reward.py` if the trainer loads its reward function from a file.
        absolute: image paths are absolute, for a trainer that opens them from another directory.
    """

    rows: Callable[[TrainingExample, Sequence[object], int], list[Row]]
    load: str
    schema: pa.Schema | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    absolute: bool = False

    def loading(self, root: Path) -> str:
        """Return `load` for a folder, with paths quoted for a shell; `raw` is the unquoted folder."""
        names = {"parquet": "train.parquet", "lines": "train.jsonl", "reward": REWARD_FILE, "settings": SETTINGS_FILE}
        quoted = {place: shlex.quote(str(root / name)) for place, name in names.items()}
        return self.load.format(**quoted, root=shlex.quote(str(root)), raw=root)


# -- what all rows have ------------------------------------------------------------------------------------------------

_FIGURES = [
    ("question_id", pa.string()),
    ("source", pa.string()),
    ("source_row", pa.int64()),
    ("accuracy", pa.float64()),
    ("n_correct", pa.int32()),
    ("n_wrong", pa.int32()),
    ("n_undecided", pa.int32()),
    ("difficulty", pa.string()),
    ("model", pa.string()),
]


def _figures(example: TrainingExample) -> Row:
    """Return where a question comes from, and how hard it was for the model.

    Accuracy is null if nothing was decided.
    """
    first = example.first
    return {
        "question_id": example.question.id,
        "source": example.question.source,
        "source_row": example.question.row,
        "accuracy": first.accuracy,
        "n_correct": first.n_correct,
        "n_wrong": first.n_wrong,
        "n_undecided": first.n_undecided,
        "difficulty": difficulty(first).value,
        "model": example.model,
    }


def _plain_turns(turns: Sequence[Message]) -> list[Row]:
    """Return turns whose content is text with `<image>` tags."""
    return [{"role": turn.role, "content": turn.text} for turn in turns]


def _part_turns(turns: Sequence[Message]) -> list[Row]:
    """Return turns whose content is a list of parts, one per image, as in the run's pairs."""
    return [{"role": turn.role, "content": content_parts(turn.text)} for turn in turns]


def _one_text(turns: Sequence[Message]) -> str:
    """Join the whole conversation for a trainer that takes one text."""
    return "\n\n".join(turn.text for turn in turns)


# -- prompts -----------------------------------------------------------------------------------------------------------


def verl_rows(example: TrainingExample, images: Sequence[object], number: int) -> list[Row]:
    """Return one row; `mmpr.rewards.compute_score` reads `ground_truth`."""
    extra = {
        "split": example.split,
        "index": number,
        "question": example.question.text,
        "answer": " | ".join(example.question.answer or ()),
        **_figures(example),
    }
    row: Row = {
        "data_source": example.question.source,
        "prompt": _plain_turns(example.turns),
        "images": list(images),
        "ability": example.kind or "",
        "reward_model": {"style": "rule", "ground_truth": example.reference},
        "extra_info": extra,
    }
    return [row]


def grpo_rows(example: TrainingExample, images: Sequence[object], number: int) -> list[Row]:
    """Return one row; TRL passes every column to `mmpr.rewards.reward_func`, which reads `reference`."""
    prompt = _part_turns(example.turns)
    return [{"prompt": prompt, "images": list(images), "reference": example.reference, **_figures(example)}]


def easyr1_rows(example: TrainingExample, images: Sequence[object], number: int) -> list[Row]:
    """Return one row with EasyR1's default keys; its prompt is one text that starts with system message and history."""
    prompt = _one_text(example.turns)
    return [{"prompt": prompt, "answer": example.reference, "images": list(images), **_figures(example)}]


def swift_grpo_rows(example: TrainingExample, images: Sequence[object], number: int) -> list[Row]:
    """Return one line; ms-swift passes `solution` to the reward."""
    messages = _plain_turns(example.turns)
    return [{"messages": messages, "images": list(images), "solution": example.reference, **_figures(example)}]


def openrlhf_rows(example: TrainingExample, images: Sequence[object], number: int) -> list[Row]:
    """Return one line; OpenRLHF opens images when it needs them, and reads the data source from `datasource`."""
    row = {"input": _plain_turns(example.turns), "images": list(images), "label": example.reference}
    return [{**row, "datasource": example.question.source, **_figures(example)}]


# -- responses ---------------------------------------------------------------------------------------------------------


def kto_rows(example: TrainingExample, images: Sequence[object], number: int) -> list[Row]:
    """Return one row per response, labelled as desirable or not."""
    prompt, kind = _part_turns(example.turns), "dropout_ntp" if example.question.answer is None else "correctness"
    return [
        {
            "images": list(images),
            "prompt": prompt,
            "completion": _part_turns([Message("assistant", one.text)]),
            "label": one.label,
            "kind": kind,
            **_figures(example),
        }
        for one in example.responses
    ]


def sft_rows(example: TrainingExample, images: Sequence[object], number: int) -> list[Row]:
    """Return one line per response that is proven right: the whole conversation."""
    asked = _plain_turns(example.turns)
    return [
        {"messages": [*asked, {"role": "assistant", "content": one.text}], "images": list(images), **_figures(example)}
        for one in example.responses
    ]


def orm_rows(example: TrainingExample, images: Sequence[object], number: int) -> list[Row]:
    """Return one line per response with its outcome and the rule that decided."""
    return [
        {
            "prompt": _plain_turns(example.turns),
            "response": one.text,
            "label": one.label,
            "images": list(images),
            **_verdict(one),
            **_figures(example),
        }
        for one in example.responses
    ]


def rollouts_rows(example: TrainingExample, images: Sequence[object], number: int) -> list[Row]:
    """Return one line per response, right or wrong, with its question; `mmpr import` makes a run from these."""
    question, (version, form) = example.question, example.asked
    asked = {
        "id": question.id,
        "source": question.source,
        "source_row": question.row,
        "system": question.system,
        "history": [list(pair) for pair in question.history] or None,
        "question": question.text,
        "images": list(images),
        "choices": list(question.choices) or None,
        "answer": list(question.answer or ()),
        "minority_answers": list(question.minority_answers) or None,
        "answer_kind": question.answer_kind,
        "language": question.language,
        "prompt_version": version,
        "answer_form": form,
    }
    return [{**asked, **_given(one.response, example.model)} for one in example.responses]


def _given(response: Response, model: str | None) -> Row:
    """Return a response in the form that `mmpr.sources.given_responses` reads, without unknown fields."""
    found = {
        "response": response.text,
        "response_index": response.index,
        "round": response.round,
        "n_tokens": response.n_tokens,
        "finish_reason": response.finish_reason.value if response.finish_reason else None,
        "seed": response.seed,
        "gain": response.gain,
        "thoughts": response.thoughts,
        "model": response.model or model,
    }
    return {name: value for name, value in found.items() if value is not None}


def _verdict(one: LabelledResponse) -> Row:
    verdict = one.verdict
    if verdict is None:
        return {}
    certainty = verdict.certainty.value if verdict.certainty else "proven"
    return {"outcome": verdict.outcome.value, "certainty": certainty, "rule": str(verdict.rule)}


# -- the table ---------------------------------------------------------------------------------------------------------


def _schema(*columns: tuple[str, pa.DataType]) -> pa.Schema:
    return with_features(pa.schema([("images", IMAGES_TYPE), *columns]))


_PLAIN_TURNS = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
_VERL = _schema(
    ("data_source", pa.string()),
    ("prompt", _PLAIN_TURNS),
    ("ability", pa.string()),
    ("reward_model", pa.struct([("style", pa.string()), ("ground_truth", pa.string())])),
    (
        "extra_info",
        pa.struct(
            [
                ("split", pa.string()),
                ("index", pa.int64()),
                ("question", pa.string()),
                ("answer", pa.string()),
                *_FIGURES,
            ]
        ),
    ),
)
_GRPO = _schema(("prompt", TURNS_TYPE), ("reference", pa.string()), *_FIGURES)
_EASYR1 = _schema(("prompt", pa.string()), ("answer", pa.string()), *_FIGURES)
_KTO = _schema(
    ("prompt", TURNS_TYPE), ("completion", TURNS_TYPE), ("label", pa.bool_()), ("kind", pa.string()), *_FIGURES
)

_VERL_REWARD = "from mmpr.rewards import compute_score\n"
_EASYR1_REWARD = """from mmpr.rewards import easyr1_compute_score as compute_score

REWARD_NAME, REWARD_TYPE = "mmpr", "batch"
"""
_SWIFT_REWARD = """from swift.rewards import orms

from mmpr.rewards import SwiftReward

orms["mmpr"] = SwiftReward
"""
_OPENRLHF_REWARD = "from mmpr.rewards import openrlhf_reward_func as reward_func\n"
_LLAMAFACTORY_TAGS = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
_LLAMAFACTORY_INFO = {
    "mmpr": {
        "file_name": "train.jsonl",
        "formatting": "sharegpt",
        "columns": {"messages": "messages", "images": "images"},
        "tags": {**_LLAMAFACTORY_TAGS, "system_tag": "system"},
    }
}


_DATASETS = 'datasets.load_dataset("parquet", data_files="{raw}/train.parquet", split="train")'
# EasyR1 must not add its own format prompt: the prompt has an instruction already
_EASYR1_KEYS = "data.prompt_key=prompt data.answer_key=answer data.format_prompt=null"
_OPENRLHF_KEYS = "--data.input_key input --data.label_key label --data.apply_chat_template"
_SWIFT_GRPO = "swift rlhf --rlhf_type grpo --dataset {lines} --external_plugins {reward} --reward_funcs mmpr"

SHAPES: dict[Format, TrainingShape] = {
    Format.VERL: TrainingShape(
        verl_rows,
        "data.train_files={parquet} reward.custom_reward_function.path={reward}",
        _VERL,
        {REWARD_FILE: _VERL_REWARD},
    ),
    Format.GRPO: TrainingShape(grpo_rows, f"reward_funcs=mmpr.rewards.reward_func, train_dataset={_DATASETS}", _GRPO),
    Format.EASYR1: TrainingShape(
        easyr1_rows,
        f"data.train_files={{parquet}} {_EASYR1_KEYS} worker.reward.reward_function={{reward}}:compute_score",
        _EASYR1,
        {REWARD_FILE: _EASYR1_REWARD},
    ),
    Format.SWIFT_GRPO: TrainingShape(
        swift_grpo_rows, f"ROOT_IMAGE_DIR={{root}} {_SWIFT_GRPO}", None, {REWARD_FILE: _SWIFT_REWARD}
    ),
    Format.OPENRLHF: TrainingShape(
        openrlhf_rows,
        f"--data.prompt_dataset {{lines}} {_OPENRLHF_KEYS} --reward.remote_url {{reward}}",
        None,
        {REWARD_FILE: _OPENRLHF_REWARD},
        absolute=True,
    ),
    Format.KTO: TrainingShape(kto_rows, _DATASETS, _KTO),
    Format.SFT: TrainingShape(
        sft_rows,
        "ROOT_IMAGE_DIR={root} swift sft --dataset {lines}",
        None,
        {"dataset_info.json": json.dumps(_LLAMAFACTORY_INFO)},
    ),
    Format.ORM: TrainingShape(orm_rows, "{raw}/train.jsonl, images relative to {raw}"),
    Format.ROLLOUTS: TrainingShape(rollouts_rows, "mmpr import {lines} --config {settings} --out RUN"),
}
