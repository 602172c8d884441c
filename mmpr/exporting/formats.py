"""Write the pairs in each trainer's format.

A writer takes batches in order, then writes the files that name the others. Checked against InternVL's
`internvl_chat_mpo.py` (2025-09), LLaMA-Factory 0.9.5, ms-swift 4.6.0 and TRL 1.16.0.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import shlex
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from mmpr.exporting.export_records import Batch, FitPair, Format
from mmpr.exporting.files import LineFiles, ParquetFiles
from mmpr.prompts import SYSTEM_MESSAGES
from mmpr.run.columns import arrow_schema
from mmpr.run.json_records import JsonObject, to_json

_TRAIN = "train"
_TRL_COLUMNS = ("images", "prompt", "chosen", "rejected")
_ALPACA = {name: name for name in ("prompt", "chosen", "rejected", "system", "history", "images")}
_ALPACA_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("prompt", "chosen", "rejected", "system")),
        ("history", pa.list_(pa.list_(pa.string()))),
        ("images", pa.list_(pa.string())),
    ]
)


class Writer(Protocol):
    """One format. `embeds`: images are embedded; `load`: how to point the trainer at the export, in one line."""

    embeds: bool
    load: str

    def add(self, batch: Batch) -> None:
        """Write the pairs of one row group."""

    def end(self) -> None:
        """Finish the last file and write the files that name the others."""

    def close(self) -> None:
        """Close open files, also after an error."""


def writer_for(format: Format, root: Path, *, max_tiles: int | None) -> Writer:
    """Return the writer of a format.

    Args:
        root: the folder of the export.
        max_tiles: tiles per image in the run's engine; None if unknown.
    """
    if format is Format.INTERNVL:
        return InternVL(root, max_tiles=max_tiles)
    plain: dict[Format, type[LlamaFactory | Swift | Trl | JsonLines]] = {
        Format.LLAMAFACTORY: LlamaFactory,
        Format.SWIFT: Swift,
        Format.TRL: Trl,
        Format.JSONL: JsonLines,
    }
    return plain[format](root)


class InternVL:
    """Writes `meta.json` and `annotations/<source>_<kind>.jsonl`.

    `image` is a path for one image (a list of one gets no `<image>` tag), a list for several, and absent for none (null
    raises an error, and the trainer then takes another random row). The trainer opens annotations in the locale's
    encoding, so they are ASCII, and relative to its working directory, so `meta.json` has absolute paths. Rows with
    several images are in a separate file for each number of images: the trainer divides `max_dynamic_patch` by that
    number, but the engine cut every image into that many tiles. A row holds one text: earlier turns are put before the
    question, and so is a system message, unless the trainer reads it from its own field (`internvl_row`).
    """

    embeds = False

    def __init__(self, root: Path, *, max_tiles: int | None) -> None:
        self._root = root
        self._max_tiles = max_tiles
        self._names = SafeNames()
        self._n_images: dict[str, int] = {}
        self._lines = LineFiles(root, ascii_only=True)
        self.load = f"--meta_path {shlex.quote(str(root / 'meta.json'))}"

    def add(self, batch: Batch) -> None:
        rows: dict[str, list[JsonObject]] = defaultdict(list)
        for pair in batch.pairs:
            # see the class: `max_dynamic_patch` is divided by the number of images
            several = f"_{len(pair.images)}images" if len(pair.images) > 1 else ""
            name = self._names.of(pair.columns["source"], f"{pair.columns['pair_kind']}{several}")
            self._n_images[name] = max(1, len(pair.images))
            folder = "annotations" if batch.split == _TRAIN else f"annotations/{batch.split}"
            rows[f"{folder}/{name}.jsonl"].append(internvl_row(pair))
        for name, found in rows.items():
            self._lines.add(name, found)

    def end(self) -> None:
        # an export without a pair has a `meta.json` too
        by_split: dict[str, JsonObject] = {"meta.json": {}}
        for name, n_rows in sorted(self._lines.n_rows.items()):
            split = name.split("/")[1] if name.count("/") > 1 else _TRAIN
            index = "meta.json" if split == _TRAIN else f"meta_{split}.json"
            by_split.setdefault(index, {})[Path(name).stem] = self._entry(name, n_rows)
        for index, entries in by_split.items():
            (self._root / index).write_bytes(to_json(entries))

    def close(self) -> None:
        pass

    def _entry(self, name: str, n_rows: int) -> JsonObject:
        root = self._root.resolve()
        entry = {"root": str(root), "annotation": str(root / name), "repeat_time": 1, "data_augment": False}
        n_images = self._n_images[Path(name).stem]
        tiles = {} if self._max_tiles is None else {"max_dynamic_patch": self._max_tiles * n_images}
        return {**entry, **tiles, "length": n_rows}


class LlamaFactory:
    """Writes `dataset_info.json` and one Parquet file per split: alpaca columns, ranking, paths relative to the folder.

    Parquet stores its types; those of JSON are guessed from the first rows. Pairs with images come first, because
    LLaMA-Factory's own conversion guesses the type of `images` from its first 1,000 rows.
    """

    embeds = False

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files = ParquetFiles(root)
        self.load = f"dataset_dir: {root}, dataset: mmpr, stage: dpo"

    def add(self, batch: Batch) -> None:
        rows = [alpaca_row(pair) for pair in batch.pairs]
        self._files.add(f"{batch.split}.parquet", pa.Table.from_pylist(rows, schema=_ALPACA_SCHEMA))

    def end(self) -> None:
        self._files.close()
        entries = {
            "mmpr" if name == "train.parquet" else f"mmpr_{Path(name).stem}": {
                "file_name": name,
                "formatting": "alpaca",
                "ranking": True,
                "columns": _ALPACA,
            }
            for name in self._files.n_rows
        }
        (self._root / "dataset_info.json").write_bytes(to_json(entries))

    def close(self) -> None:
        self._files.close()


class Swift:
    """Writes one JSONL file per split in ms-swift's own form."""

    embeds = False

    def __init__(self, root: Path) -> None:
        self._lines = LineFiles(root)
        folder, file = shlex.quote(str(root)), shlex.quote(str(root / "train.jsonl"))
        self.load = f"ROOT_IMAGE_DIR={folder} swift rlhf --rlhf_type dpo --dataset {file}"

    def add(self, batch: Batch) -> None:
        self._lines.add(f"{batch.split}.jsonl", map(swift_row, batch.pairs))

    def end(self) -> None:
        pass

    def close(self) -> None:
        pass


class Trl:
    """Writes the run's Parquet files with only the four columns that `DPOTrainer` reads."""

    embeds = True

    def __init__(self, root: Path) -> None:
        self._files = ParquetFiles(root)
        self._schema = _trl_schema()
        self.load = f'datasets.load_dataset("{root}", split="train")'

    def add(self, batch: Batch) -> None:
        # the stored rows, without decoding: images stay the same bytes
        self._files.add(batch.path, batch.rows.select(_TRL_COLUMNS).cast(self._schema))

    def end(self) -> None:
        self._files.close()

    def close(self) -> None:
        self._files.close()


class JsonLines:
    """Writes one JSONL file per split with every column; images are paths relative to the folder.

    It is for programs that read lines. JSON has no types, so `datasets` should load the run itself.
    """

    embeds = False

    def __init__(self, root: Path) -> None:
        self._lines = LineFiles(root)
        self.load = f"{root / 'train.jsonl'}, images relative to {root}"

    def add(self, batch: Batch) -> None:
        self._lines.add(f"{batch.split}.jsonl", map(plain_row, batch.pairs))

    def end(self) -> None:
        pass

    def close(self) -> None:
        pass


# The trainer adds the family's greeting itself; InternVL3.5's `internvl_think` is an instruction and stays.
_GREETINGS = frozenset(text for name, text in SYSTEM_MESSAGES.items() if name != "internvl_think")
_READS_SYSTEM_PROMPT = re.compile(r"internvl[-_]?3[._-]5", re.I)


def internvl_row(pair: FitPair) -> JsonObject:
    """Return a line of an annotation. InternVL3.5's trainer reads `system_prompt`; earlier ones ignore that field."""
    system = [turn.text for turn in pair.turns if turn.role == "system" and turn.text not in _GREETINGS]
    apart = bool(system) and _READS_SYSTEM_PROMPT.search(pair.columns["model"] or "") is not None
    question = pair.columns["question"] if apart else "\n\n".join([*system, pair.columns["question"]])
    row: JsonObject = {"question": question, **_answers(pair)}
    if apart:
        row["system_prompt"] = "\n\n".join(system)
    if pair.images:
        row["image"] = pair.images[0] if len(pair.images) == 1 else list(pair.images)
    return row


def alpaca_row(pair: FitPair) -> JsonObject:
    """Return a row for LLaMA-Factory; earlier turns are pairs of question and answer."""
    spoken = [turn.text for turn in pair.turns if turn.role != "system"]
    return {
        "prompt": spoken[-1],
        **_answers(pair),
        "system": "\n\n".join(turn.text for turn in pair.turns if turn.role == "system"),
        # questions and answers alternate: (question, answer), (question, answer)
        "history": [list(turns) for turns in zip(spoken[:-1:2], spoken[1::2], strict=True)],
        "images": list(pair.images),
    }


def swift_row(pair: FitPair) -> JsonObject:
    """Return a line for ms-swift; the chosen answer is the last message."""
    answers = _answers(pair)
    messages = [{"role": turn.role, "content": turn.text} for turn in pair.turns]
    messages.append({"role": "assistant", "content": answers["chosen"]})
    return {"messages": messages, "rejected_response": answers["rejected"], "images": list(pair.images)}


def plain_row(pair: FitPair) -> JsonObject:
    """Return every column; infinite numbers become null, because JSON has none."""
    endless = {name: None for name, x in pair.columns.items() if isinstance(x, float) and not math.isfinite(x)}
    return {**pair.columns, **endless}


def _answers(pair: FitPair) -> Mapping[str, str]:
    return {"chosen": pair.columns["chosen_text"], "rejected": pair.columns["rejected_text"]}


def _trl_schema() -> pa.Schema:
    whole = arrow_schema()
    features = json.loads(whole.metadata[b"huggingface"])["info"]["features"]
    kept = {name: features[name] for name in _TRL_COLUMNS}
    schema = pa.schema([whole.field(name) for name in _TRL_COLUMNS])
    return schema.with_metadata({"huggingface": json.dumps({"info": {"features": kept}})})


# -- file names from source names, which may be anything: `../x`, 4,000 characters, an emoji, `VQA` beside `vqa` -----

_LONGEST_NAME = 80
_UNSAFE_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


class SafeNames:
    """Gives each (source, kind) its own file name; the same order of questions gives the same names."""

    def __init__(self) -> None:
        self._given: dict[tuple[str, str], str] = {}
        self._taken: set[str] = set()

    def of(self, source: str, kind: str) -> str:
        """Return `<source>_<kind>` made of letters, digits, dots, dashes and underscores.

        The name gets a part of the source's hash if the source had to be changed, or if its name is taken already
        (ignoring case, as some disks do).
        """
        if (source, kind) not in self._given:
            name = next(name for name in _safe_names(source, kind) if name.casefold() not in self._taken)
            self._given[source, kind] = name
            self._taken.add(name.casefold())
        return self._given[source, kind]


def _safe_names(source: str, kind: str) -> list[str]:
    safe = _UNSAFE_IN_NAMES.sub("_", source).strip("._-")[:_LONGEST_NAME] or "source"
    # a name may hold half a surrogate pair, which strict UTF-8 cannot encode
    sha256 = hashlib.sha256(source.encode(errors="surrogatepass")).hexdigest()
    marked = [f"{safe}-{sha256[:8]}_{kind}", f"{safe}-{sha256}_{kind}"]
    return [f"{safe}_{kind}", *marked] if safe == source else marked
