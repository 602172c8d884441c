"""TRL trains on mmpr's pairs, LLaMA-Factory and ms-swift read its exports, `datasets` old and new its folders.

Each does so with its own code, in an environment of its own.

    python benchmarks/consumers.py
    python benchmarks/consumers.py --run runs/demo --only trl --environments ~/consumers

Without `--run` a run is made on the spot in which 1,200 pairs without an image come before those with one, two, or a
whole conversation. Every pair that comes out at the other end is compared with the run: its turns, both answers, and
its images. Exit 1 if anything differs. The environments take about 3 GB and are deleted at the end unless
`--environments` names a place.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import io
import json
import os
import subprocess
import sys
import tempfile
import tomllib
import types
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
# What pulls in CUDA builds beside a torch for the CPU, and is needed for neither texts nor images.
UNWANTED = ("torchvision", "torchaudio")
# What was asked, chosen, rejected, and one value an image.
Read = tuple[str, str, str, tuple[Any, ...]]


@dataclass(frozen=True)
class Reading:
    """One way of reading.

    Args:
        format: which export is read, or `run`: the run folder as it is.
        read: runs in the consumer's environment, on that folder.
        asked: what it gives as asked: the question's `text` with tags, all `turns` with their roles, or `nothing`.
        shown: what it gives of an image: its `size`, or the sha256 of its `bytes` or its `pixels`.
    """

    format: str
    read: Callable[[str], Iterator[Read]]
    asked: str = "text"
    shown: str = "size"


@dataclass(frozen=True)
class Consumer:
    """Who reads, and how."""

    packages: tuple[str, ...]
    readings: tuple[Reading, ...]


def read_swift(folder: str) -> Iterator[Read]:
    """What `swift rlhf` trains on: its loader, strict, then the template's inputs, then its image reader."""
    load_dataset = importlib.import_module("swift.dataset").load_dataset
    inputs = importlib.import_module("swift.template.template_inputs").TemplateInputs
    load_image = importlib.import_module("swift.template.vision_utils").load_image
    rows, _ = load_dataset([f"{folder}/train.jsonl"], strict=True)
    for row in rows:
        both = inputs.from_dict(row)
        *asked, chosen = [message["content"] for message in both.chosen.messages]
        *asked_again, rejected = [message["content"] for message in both.rejected.messages]
        assert asked == asked_again and both.chosen.images == both.rejected.images
        images = [load_image(image["path"]) for image in both.chosen.images]
        assert sum(text.count("<image>") for text in asked) == len(images)
        yield "\n\n".join(asked), chosen, rejected, tuple(decoded.size for decoded in images)


def read_llamafactory(folder: str) -> Iterator[Read]:
    """What `llamafactory-cli train` with `stage: dpo` sees: its loader and converter, then its checks of images."""
    importlib.import_module("transformers.utils.import_utils").is_torchaudio_available()  # remembers that it is not
    sys.modules["torchaudio"] = types.ModuleType("torchaudio")  # imported for sound alone
    hparams = importlib.import_module("llamafactory.hparams")
    merged = importlib.import_module("llamafactory.data.loader")._get_merged_dataset
    plugin = importlib.import_module("llamafactory.data.mm_plugin").get_mm_plugin("base", image_token="<image>")
    settings = hparams.DataArguments(dataset="mmpr", dataset_dir=folder, template="empty")
    model = hparams.ModelArguments(model_name_or_path="none")
    training = types.SimpleNamespace(local_process_index=0, seed=0)
    for row in merged(settings.dataset, model, settings, training, stage="rm"):
        chosen, rejected = (message["content"] for message in row["_response"])
        images = row["_images"] or []
        plugin._validate_messages([*row["_prompt"], row["_response"][0]], images, [], [])
        plugin._validate_messages([*row["_prompt"], row["_response"][1]], images, [], [])
        regular = plugin._regularize_images(images, image_max_pixels=10**8, image_min_pixels=1)
        sizes = tuple(decoded.size for decoded in regular["images"])
        yield "\n\n".join(message["content"] for message in row["_prompt"]), chosen, rejected, sizes


def read_trl_export(folder: str) -> Iterator[Read]:
    """The `trl` export through this environment's `datasets`; its questions have parts instead of tags."""
    for row in importlib.import_module("datasets").load_dataset(folder, split="train"):
        chosen, rejected = (row[side][0]["content"][0]["text"] for side in ("chosen", "rejected"))
        parts = [part["type"] for turn in row["prompt"] for part in turn["content"]]
        assert parts.count("image") == len(row["images"])
        yield "", chosen, rejected, tuple(image.size for image in row["images"])


def train_trl(folder: str) -> Iterator[Read]:
    """What `DPOTrainer` tokenises of a run folder, after it has trained on it."""
    yield from importlib.import_module("consumer_trl").train_on(folder)


def read_default(folder: str) -> Iterator[Read]:
    """A run folder's config `default`: images decoded."""
    yield from _both_styles(folder, "default", lambda image: _sha256(image.tobytes()))


def read_raw(folder: str) -> Iterator[Read]:
    """A run folder's config `raw`: images as they are in the files."""
    yield from _both_styles(folder, "raw", lambda image: _sha256(image["bytes"]))


def _both_styles(folder: str, config: str, show: Callable[[Any], str]) -> Iterator[Read]:
    """Every split of a config, map-style and streaming, which must not differ."""
    load = importlib.import_module("datasets").load_dataset
    mapped, streamed = (load(folder, config, streaming=streaming) for streaming in (False, True))
    assert list(mapped) == list(streamed)
    for rows in zip(chain(*mapped.values()), chain(*streamed.values()), strict=True):
        (shown, row), again = ((tuple(map(show, row.pop("images"))), row) for row in rows)
        assert (shown, row) == again
        yield row["question"], row["chosen_text"], row["rejected_text"], shown


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _oldest(package: str) -> str:
    """The oldest version that pyproject.toml allows."""
    declared = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]["dependencies"]
    (bound,) = (line.partition(">=")[2] for line in declared if line.startswith(f"{package}>="))
    return f"{package}=={bound}"


_EXPORTED = Reading("trl", read_trl_export, asked="nothing")
_CONFIGS = (Reading("run", read_default, shown="pixels"), Reading("run", read_raw, shown="bytes"))
CONSUMERS = {
    "datasets-oldest": Consumer((_oldest("datasets"), "pillow"), _CONFIGS),
    "datasets-newest": Consumer(("datasets", "pillow"), _CONFIGS),
    "trl": Consumer(
        ("trl==1.16.0", "transformers==5.19.0", "torch", "pillow"),
        (Reading("run", train_trl, asked="turns", shown="bytes"), _EXPORTED),
    ),
    "swift": Consumer(("ms-swift==4.6.0", "torch"), (Reading("swift", read_swift), _EXPORTED)),
    "llamafactory": Consumer(("llamafactory==0.9.5", "torch"), (Reading("llamafactory", read_llamafactory), _EXPORTED)),
}


def read_and_tell(name: str, exports: Path, run: str) -> None:
    """Runs in a consumer's environment: what it reads goes to files, for the caller to compare."""
    for number, reading in enumerate(CONSUMERS[name].readings):
        found = list(reading.read(run if reading.format == "run" else str(exports / reading.format)))
        (exports / f"{name}-{number}.json").write_text(json.dumps(found))


def make_run(folder: Path) -> str:
    """A run of every shape, texts first, with its card."""
    sys.path[:0] = [str(HERE.parent / "tests"), str(HERE.parent)]
    making = importlib.import_module("shards.making")
    shards, report = importlib.import_module("mmpr.run"), importlib.import_module("mmpr.reporting")
    shown = [making.decoded(seed, side=16 + seed) for seed in range(20)]
    rows = [making.sampled(row) for row in range(300)]
    rows += [making.sampled(row, [shown[row % 20]]) for row in range(300, 340)]
    rows += [making.drafted(row, shown[:2]) for row in range(340, 360)]
    talk = making.sampled(360, shown[:2])
    earlier = (("What is this?", "An image."), ("Of what?", "Of noise: 数据."))
    rows.append(replace(talk, question=replace(talk.question, system="You are terse.", history=earlier)))
    run = making.new_run(str(folder))
    making.commit_all(run, rows, size=128)
    totals, files = shards.cut_dataset(run, making.recipe())
    report.write_reports(run, totals, files)
    shards.write_manifest(run, files, ("README.md", "report.html", "report.json"))
    return str(folder)


def expected(run: str) -> list[dict[str, Any]]:
    """The run's own rows, each in every form that a reading may give, by pyarrow and Pillow alone."""
    parquet = importlib.import_module("pyarrow.parquet")
    image = importlib.import_module("PIL.Image")
    rows: list[dict[str, Any]] = []
    for path in sorted(Path(run, "data").glob("*.parquet")):
        for row in parquet.read_table(path).to_pylist():
            encoded = [decoded["bytes"] for decoded in row["images"]]
            opened = [image.open(io.BytesIO(content)) for content in encoded]
            rows.append(
                {
                    "asked": {"text": row["question"], "turns": _turns(row["prompt"]), "nothing": ""},
                    "answers": (row["chosen_text"], row["rejected_text"]),
                    "shown": {
                        "size": tuple(decoded.size for decoded in opened),
                        "bytes": tuple(map(_sha256, encoded)),
                        "pixels": tuple(_sha256(decoded.tobytes()) for decoded in opened),
                    },
                }
            )
    return rows


def _turns(prompt: list[dict[str, Any]]) -> str:
    """A prompt as the chat template of `consumer_trl` renders it."""
    return "".join(
        f"<|{turn['role']}|>" + "".join(part["text"] or "<image>" for part in turn["content"]) + "<|end|>"
        for turn in prompt
    )


def install(name: str, environments: Path) -> Path:
    """The Python of a consumer's environment, made where there is none yet."""
    home = environments / name
    python = home / "bin" / "python"
    done = home / "installed"
    if not done.exists():
        packages = CONSUMERS[name].packages
        print(f"installing {packages[0]} into an environment of its own", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        pip = [str(python), "-m", "pip", "--quiet"]
        # In one command, for torchvision may ask for another torch; only some indexes have the CPU's.
        for_cpu = ["torch==2.13.0+cpu" if package == "torch" else package for package in packages]
        if subprocess.run([*pip, "install", *for_cpu], check=False).returncode:
            subprocess.run([*pip, "install", *packages], check=True)
        subprocess.run([*pip, "uninstall", "--yes", *UNWANTED], check=True)
        done.touch()
    return python


def compare(reading: Reading, told: Path, rows: list[dict[str, Any]]) -> bool:
    """Print what came out of a reading, and whether that is what the run holds."""
    wanted = Counter((row["asked"][reading.asked], *row["answers"], row["shown"][reading.shown]) for row in rows)
    found = Counter(
        (asked, chosen, rejected, tuple(tuple(one) if isinstance(one, list) else one for one in shown))
        for asked, chosen, rejected, shown in json.loads(told.read_text())
    )
    by_images: Counter[int] = Counter()
    for (*_, images), n in found.items():
        by_images[len(images)] += n
    shapes = ", ".join(f"{n:,} with {images} images" for images, n in sorted(by_images.items()))
    what = f"{reading.read.__name__.strip('_')}: {found.total():,} of {len(rows):,} pairs ({shapes})"
    print(f"  {what}: {'all the same' if found == wanted else 'DIFFERENT'}, images by their {reading.shown}")
    if found != wanted:
        print(f"    read, not in the run: {list(found - wanted)[:1]}")
        print(f"    in the run, not read: {list(wanted - found)[:1]}")
    return found == wanted


def ask(name: str, python: Path, exports: Path, run: str, rows: list[dict[str, Any]]) -> bool:
    """One consumer's verdict."""
    caches = {"HF_HOME": str(exports / f"hf-{name}"), "MODELSCOPE_CACHE": str(exports / "modelscope")}
    place = {"ROOT_IMAGE_DIR": str(exports / "swift"), "HF_HUB_OFFLINE": "1", "DISABLE_VERSION_CHECK": "1"}
    command = [str(python), str(HERE / "consumers.py"), "--read", name, "--exports", str(exports), "--run", run]
    done = subprocess.run(
        command, env={**os.environ, **caches, **place}, cwd=exports, capture_output=True, text=True, check=False
    )
    print(f"{name}: {_versions(python)}")
    if done.returncode:
        print(f"  FAILED:\n{done.stderr[-3000:]}")
        return False
    for line in done.stdout.splitlines():
        if line.startswith("told: "):
            print(f"  {line.removeprefix('told: ')}")
    readings = enumerate(CONSUMERS[name].readings)
    verdicts = [compare(reading, exports / f"{name}-{number}.json", rows) for number, reading in readings]
    return all(verdicts)


def _versions(python: Path) -> str:
    """What of interest an environment has."""
    wanted = ("trl", "ms-swift", "llamafactory", "datasets", "transformers", "pyarrow", "pillow")
    told = subprocess.run(
        [str(python), "-m", "pip", "list", "--format", "json"], capture_output=True, text=True, check=True
    )
    versions = {package["name"].lower().replace("_", "-"): package["version"] for package in json.loads(told.stdout)}
    return ", ".join(f"{name} {versions[name]}" for name in wanted if name in versions)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", help="a finished run folder; else one is made")
    parser.add_argument("--only", choices=CONSUMERS, help="one consumer")
    parser.add_argument("--environments", type=Path, help="where the environments are kept, for another time")
    parser.add_argument("--read", choices=CONSUMERS, help=argparse.SUPPRESS)
    parser.add_argument("--exports", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.read:
        read_and_tell(given.read, given.exports, given.run)
        return 0
    from mmpr.exporting import export_run

    with tempfile.TemporaryDirectory() as temporary:
        exports = Path(temporary, "exports")
        run = str(Path(given.run).resolve()) if given.run else make_run(Path(temporary, "run"))
        names = [given.only] if given.only else list(CONSUMERS)
        formats = {reading.format for name in names for reading in CONSUMERS[name].readings} - {"run"}
        exports.mkdir()
        for format in sorted(formats):
            export_run(run, format, exports / format, strict=True)
        environments = (given.environments or Path(temporary, "environments")).resolve()
        rows = expected(run)
        verdicts = [ask(name, install(name, environments), exports, run, rows) for name in names]
    return 0 if all(verdicts) else 1


if __name__ == "__main__":
    raise SystemExit(main())
