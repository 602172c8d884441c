"""Check that trainers read mmpr's output: each consumer reads it with its own code, in its own environment.

TRL trains on the pairs and the prompts, verl, LLaMA-Factory and ms-swift read their exports, `datasets` reads run
folders.

    python benchmarks/consumers.py
    python benchmarks/consumers.py --run runs/demo --only trl --environments ~/consumers
    python benchmarks/consumers.py --only easyr1 --easyr1 ~/EasyR1

EasyR1 and InternVL are not packages, so they are used from clones (`--easyr1`, `--internvl`). OpenRLHF cannot be
installed without CUDA; its rows are read by its schema.

Without `--run`, a run is made in which 1,200 pairs without an image precede those with one image, with two, and with a
whole conversation. Every pair that a consumer reads is compared with the run: its turns, both answers, and its images.
The exit code is 1 if anything differs. The environments need about 3 GB and are deleted at the end, unless
`--environments` names a folder.
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
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
# These may be CUDA builds next to a torch for the CPU, and neither texts nor images need them.
UNWANTED = ("torchvision", "torchaudio")
# mmpr.rewards needs these.
REWARDS = ("babel", "rapidfuzz")
# (question, chosen, rejected, one value per image)
Read = tuple[str, str, str, tuple[Any, ...]]


@dataclass(frozen=True)
class Reading:
    """One way of reading.

    Args:
        format: the export that is read, or `run` for the run folder itself.
        read: a function that runs in the consumer's environment, on that folder.
        asked: what it returns as the question: the question's `text` with tags, `all` texts with the system message,
            all `turns` with their roles, or `nothing`.
        shown: what it returns for an image: its `size`, or the sha256 of its `bytes` or its `pixels`.
        rows: what it reads: `pairs`, `prompts` (undecided responses have reward 0; `prompts-none`: None), `kto` or
            `sft`.
    """

    format: str
    read: Callable[[str], Iterator[Read]]
    asked: str = "text"
    shown: str = "size"
    rows: str = "pairs"


@dataclass(frozen=True)
class Consumer:
    """A program that reads, and its readings.

    `packages`: installed in its environment. `home`: the consumer whose environment it shares. `clone`: the environment
    variable with the path of its code.
    """

    packages: tuple[str, ...]
    readings: tuple[Reading, ...]
    home: str | None = None
    clone: str | None = None


def read_swift(folder: str) -> Iterator[Read]:
    """Read as `swift rlhf` does: its strict loader, then the inputs of its template, then its image reader."""
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
    """Read as `llamafactory-cli train` with `stage: dpo` does: its loader and converter, then its checks of images."""
    for row, sizes in importlib.import_module("consumer_training").llamafactory_rows(folder, "rm"):
        chosen, rejected = (message["content"] for message in row["_response"])
        yield "\n\n".join(message["content"] for message in row["_prompt"]), chosen, rejected, sizes


def read_trl_export(folder: str) -> Iterator[Read]:
    """Read the `trl` export with this environment's `datasets`; its questions have parts instead of tags."""
    for row in importlib.import_module("datasets").load_dataset(folder, split="train"):
        chosen, rejected = (row[side][0]["content"][0]["text"] for side in ("chosen", "rejected"))
        parts = [part["type"] for turn in row["prompt"] for part in turn["content"]]
        assert parts.count("image") == len(row["images"])
        yield "", chosen, rejected, tuple(image.size for image in row["images"])


def train_trl(folder: str) -> Iterator[Read]:
    """Train with `DPOTrainer` on a run folder, then yield the pairs as it tokenized them."""
    yield from importlib.import_module("consumer_trl").train_on(folder)


def read_default(folder: str) -> Iterator[Read]:
    """Read the config `default` of a run folder, with decoded images."""
    yield from _both_styles(folder, "default", lambda image: _sha256(image.tobytes()))


def read_raw(folder: str) -> Iterator[Read]:
    """Read the config `raw` of a run folder, with the images' bytes as in the files."""
    yield from _both_styles(folder, "raw", lambda image: _sha256(image["bytes"]))


def _both_styles(folder: str, config: str, show: Callable[[Any], str]) -> Iterator[Read]:
    """Yield the rows of every split of a config; reading map-style and streaming must give the same rows."""
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
    """Return the oldest version of a package that pyproject.toml allows."""
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]
    declared = {*project["dependencies"], *chain(*project["optional-dependencies"].values())}
    (bound,) = (line.partition(">=")[2] for line in declared if line.startswith(f"{package}>="))
    return f"{package}=={bound}"


def _training(name: str) -> Callable[[str], Iterator[Read]]:
    """Return a reader of `consumer_training`, which is imported in the consumer's environment only."""

    def read(folder: str) -> Iterator[Read]:
        yield from getattr(importlib.import_module("consumer_training"), name)(folder)

    read.__name__ = name
    return read


_EXPORTED = Reading("trl", read_trl_export, asked="nothing")
_CONFIGS = (Reading("run", read_default, shown="pixels"), Reading("run", read_raw, shown="bytes"))
_TRL = ("trl==1.16.0", "transformers==5.19.0", "torch", "pillow")
CONSUMERS = {
    "datasets-oldest": Consumer((_oldest("datasets"), "pillow"), _CONFIGS),
    "datasets-newest": Consumer(
        ("datasets", "pillow"), (*_CONFIGS, Reading("openrlhf", _training("read_openrlhf"), "all", rows="prompts"))
    ),
    "trl": Consumer(
        _TRL,
        (
            Reading("run", train_trl, asked="turns", shown="bytes"),
            _EXPORTED,
            Reading("grpo", _training("train_grpo"), asked="turns", rows="prompts-none"),
            Reading("kto", _training("read_kto"), asked="turns", rows="kto"),
        ),
    ),
    "easyr1": Consumer(
        _TRL, (Reading("easyr1", _training("read_easyr1"), "all", rows="prompts"),), home="trl", clone="EASYR1"
    ),
    "internvl": Consumer(
        _TRL,
        tuple(Reading("internvl", _training(name), "all") for name in ("read_internvl", "read_internvl35")),
        home="trl",
        clone="INTERNVL",
    ),
    "verl": Consumer(
        ("verl==0.9.1", "torch", "pillow"), (Reading("verl", _training("read_verl"), "all", rows="prompts"),)
    ),
    "swift": Consumer(
        ("ms-swift==4.6.0", "torch"),
        (
            Reading("swift", read_swift),
            _EXPORTED,
            Reading("swift-grpo", _training("read_swift_grpo"), "all", rows="prompts"),
            Reading("sft", _training("read_swift_sft"), "all", rows="sft"),
        ),
    ),
    "llamafactory": Consumer(
        ("llamafactory==0.9.5", "torch"),
        (
            Reading("llamafactory", read_llamafactory),
            _EXPORTED,
            Reading("sft", _training("read_llamafactory_sft"), "all", rows="sft"),
        ),
    ),
}


def read_and_tell(name: str, exports: Path, run: str) -> None:
    """Read in a consumer's environment, and write the rows to files, which the caller compares."""
    for number, reading in enumerate(CONSUMERS[name].readings):
        found = list(reading.read(run if reading.format == "run" else str(exports / reading.format)))
        (exports / f"{name}-{number}.json").write_text(json.dumps(found))


def make_run(folder: Path) -> str:
    """Make a run with rows of every shape, those without images first, and with its card."""
    making, run, report = _tests("run.making"), _tests("mmpr.run"), _tests("mmpr.reporting.report_files")
    shown = [making.image(seed, side=16 + seed) for seed in range(20)]
    rows = [making.sampled(row) for row in range(300)]
    rows += [making.sampled(row, [shown[row % 20]]) for row in range(300, 340)]
    rows += [making.drafted(row, shown[:2]) for row in range(340, 360)]
    talk = making.sampled(360, shown[:2])
    earlier = (("What is this?", "A picture."), ("Of what?", "Of noise: 数据."))
    rows.append(replace(talk, question=replace(talk.question, system="You are terse.", history=earlier)))
    made = making.new_run(str(folder))
    making.commit_all(made, rows, size=128)
    totals, files = run.cut_dataset(made, making.recipe())
    report.write_reports(made, totals, files)
    run.write_manifest(made, files, ("README.md", "report.html", "report.json"))
    return str(folder)


def make_training_run(folder: Path) -> str:
    """Make a run with judged responses to questions with every kind of answer; those without an image come first."""
    signals = _tests("exporting.signals")
    rows = [signals.asked(row) for row in range(20 * len(signals.ASKED))]
    rows.sort(key=lambda row: len(row.images) > 0)
    rows = [replace(row, question=replace(row.question, row=place)) for place, row in enumerate(rows)]
    return str(signals.make(folder, rows, size=16).store.url)


def _tests(name: str) -> Any:  # noqa: ANN401
    """Import a module of the package or of its tests."""
    sys.path[:0] = [place for place in (str(HERE.parent / "tests"), str(HERE.parent)) if place not in sys.path]
    return importlib.import_module(name)


def expected(run: str) -> list[dict[str, Any]]:
    """Return the run's own rows in every form that a reading may return, read with pyarrow and Pillow only."""
    parquet = importlib.import_module("pyarrow.parquet")
    image = importlib.import_module("PIL.Image")
    rows: list[dict[str, Any]] = []
    for path in sorted(Path(run, "data").glob("*.parquet")):
        for row in parquet.read_table(path).to_pylist():
            encoded = [decoded["bytes"] for decoded in row["images"]]
            opened = [image.open(io.BytesIO(content)) for content in encoded]
            rows.append(
                {
                    "asked": {
                        "text": row["question"],
                        "turns": _turns(row["prompt"]),
                        "nothing": "",
                        "all": "\n\n".join([*_system(row["prompt"]), row["question"]]),
                    },
                    "answers": (row["chosen_text"], row["rejected_text"]),
                    "shown": {
                        "size": tuple(decoded.size for decoded in opened),
                        "bytes": tuple(map(_sha256, encoded)),
                        "pixels": tuple(_sha256(decoded.tobytes()) for decoded in opened),
                    },
                }
            )
    return rows


def _system(prompt: list[dict[str, Any]]) -> list[str]:
    return [turn["content"][0]["text"] for turn in prompt if turn["role"] == "system"]


def expected_training(run: str) -> dict[str, list[dict[str, Any]]]:
    """Return the rows that readings of training sets should return, by `Reading.rows`.

    They are computed from the run's questions and responses.
    """
    recipes, stored_settings = _tests("mmpr.builder.run_recipes"), _tests("mmpr.builder.stored_settings")
    rewards, pairing, mmpr_run = _tests("mmpr.rewards"), _tests("mmpr.pairing"), _tests("mmpr.run")
    folder = mmpr_run.RunFolder(run)
    config = stored_settings.stored_settings(folder.load_run(), [])
    recipe, rule = recipes.run_recipe(config, (), folder.commits()), config.pairs
    rows: dict[str, list[dict[str, Any]]] = {"prompts": [], "prompts-none": [], "kto": [], "sft": []}
    for commit in folder.commits():
        for one in map(recipe.view, mmpr_run.read_chunk(folder, commit)):
            if one.skip is not None:
                continue
            shared = _shared(recipe.messages(one), [image.encoded for image in one.images])
            if one.question.answer is None:
                pairs = found if isinstance(found := recipe.pair(one), list) else []
                sides = {(pair.chosen, "True") for pair in pairs} | {(pair.rejected, "False") for pair in pairs}
                rows["kto"] += [{**shared, "answers": (one.text_of(side), label)} for side, label in sides]
                continue
            reference = rewards.write_reference(one.question, recipes.judge_options(config))
            earned = [rewards.reward_of(verdict).accuracy for _, verdict in one.judged]
            rows["prompts-none"].append({**shared, "answers": (reference, json.dumps(earned))})
            zero = [0.0 if reward is None else reward for reward in earned]
            rows["prompts"].append({**shared, "answers": (reference, json.dumps(zero))})
            right, *wrong = pairing.sides(one.judged, rule)
            rows["sft"] += [{**shared, "answers": (response.text, "")} for response, _ in right]
            labelled = [(True, right), *((False, side) for side in wrong)]
            rows["kto"] += [
                {**shared, "answers": (response.text, str(label))} for label, side in labelled for response, _ in side
            ]
    return rows


def said_in(run: str) -> dict[str, list[str]]:
    """Return the texts of all judged responses of a run by question id."""
    mmpr_run = _tests("mmpr.run")
    folder = mmpr_run.RunFolder(run)
    every = (one for commit in folder.commits() for one in mmpr_run.read_chunk(folder, commit, images=False))
    return {one.question.id: [response.text for response, _ in one.judged] for one in every}


def _shared(turns: Any, encoded: list[bytes]) -> dict[str, Any]:  # noqa: ANN401
    """Return what all rows of one question have in common, in every form that a reading may return."""
    image, parts = importlib.import_module("PIL.Image"), _tests("mmpr.run.columns").content_parts
    prompt = [{"role": turn.role, "content": parts(turn.text)} for turn in turns]
    text = "\n\n".join(turn.text for turn in turns)
    sizes = tuple(image.open(io.BytesIO(content)).size for content in encoded)
    return {"asked": {"all": text, "turns": _turns(prompt)}, "shown": {"size": sizes}}


def _turns(prompt: list[dict[str, Any]]) -> str:
    """Render a prompt like the chat template of `consumer_trl`."""
    return "".join(
        f"<|{turn['role']}|>" + "".join(part["text"] or "<image>" for part in turn["content"]) + "<|end|>"
        for turn in prompt
    )


def install(name: str, environments: Path) -> Path:
    """Return the Python of a consumer's environment, which is made if it does not exist yet."""
    home = environments / name
    python = home / "bin" / "python"
    done = home / "installed"
    if not done.exists():
        packages = (*CONSUMERS[name].packages, *REWARDS)
        print(f"installing {packages[0]} into an environment of its own", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        pip = [str(python), "-m", "pip", "--quiet"]
        # One command for all packages, because torchvision may need another torch. Only some indexes have CPU builds
        # of torch; elsewhere the second command is tried.
        for_cpu = ["torch==2.13.0+cpu" if package == "torch" else package for package in packages]
        if subprocess.run([*pip, "install", *for_cpu], check=False).returncode:
            subprocess.run([*pip, "install", *packages], check=True)
        subprocess.run([*pip, "uninstall", "--yes", *UNWANTED], check=True)
        done.touch()
    return python


def compare(reading: Reading, result: Path, known: dict[str, list[dict[str, Any]]]) -> bool:
    """Print the result of a reading, and return whether it is equal to the rows of the run."""
    rows = known[reading.rows]
    wanted = Counter((row["asked"][reading.asked], *row["answers"], row["shown"][reading.shown]) for row in rows)
    found = Counter(
        (asked, chosen, rejected, tuple(tuple(one) if isinstance(one, list) else one for one in shown))
        for asked, chosen, rejected, shown in json.loads(result.read_text())
    )
    by_images: Counter[int] = Counter()
    for (*_, images), n in found.items():
        by_images[len(images)] += n
    shapes = ", ".join(f"{n:,} with {images} images" for images, n in sorted(by_images.items()))
    what = f"{reading.read.__name__.strip('_')}: {found.total():,} of {len(rows):,} rows ({shapes})"
    print(f"  {what}: {'all the same' if found == wanted else 'DIFFERENT'}, images by their {reading.shown}")
    if found != wanted:
        print(f"    read, not in the run: {list(found - wanted)[:1]}")
        print(f"    in the run, not read: {list(wanted - found)[:1]}")
    return found == wanted


def ask(name: str, python: Path, exports: Path, run: str, known: dict[str, list[dict[str, Any]]]) -> bool:
    """Run a consumer's readings, print their results, and return whether all are equal to the run."""
    caches = {"HF_HOME": str(exports / f"hf-{name}"), "MODELSCOPE_CACHE": str(exports / "modelscope")}
    place = {"ROOT_IMAGE_DIR": str(exports / "swift"), "HF_HUB_OFFLINE": "1", "DISABLE_VERSION_CHECK": "1"}
    place["PYTHONPATH"] = str(HERE.parent)  # for mmpr.rewards
    command = [str(python), str(HERE / "consumers.py"), "--read", name, "--exports", str(exports), "--run", run]
    done = subprocess.run(
        command, env={**os.environ, **caches, **place}, cwd=exports, capture_output=True, text=True, check=False
    )
    print(f"{name}: {_versions(python)}")
    if done.returncode:
        print(f"  FAILED:\n{done.stderr[-3000:]}")
        return False
    for line in done.stdout.splitlines():
        if line.startswith("note: "):
            print(f"  {line.removeprefix('note: ')}")
    readings = enumerate(CONSUMERS[name].readings)
    verdicts = [compare(reading, exports / f"{name}-{number}.json", known) for number, reading in readings]
    return all(verdicts)


def _versions(python: Path) -> str:
    """Return the versions of the relevant packages in an environment."""
    wanted = ("trl", "verl", "ms-swift", "llamafactory", "datasets", "transformers", "pyarrow", "pillow")
    listed = subprocess.run(
        [str(python), "-m", "pip", "list", "--format", "json"], capture_output=True, text=True, check=True
    )
    versions = {package["name"].lower().replace("_", "-"): package["version"] for package in json.loads(listed.stdout)}
    return ", ".join(f"{name} {versions[name]}" for name in wanted if name in versions)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", help="a finished run folder; else one is made")
    parser.add_argument("--only", choices=CONSUMERS, help="one consumer")
    parser.add_argument("--environments", type=Path, help="where the environments are kept, for another time")
    parser.add_argument("--read", choices=CONSUMERS, help=argparse.SUPPRESS)
    parser.add_argument("--exports", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--easyr1", type=Path, help="a clone of EasyR1; without it, EasyR1 is left out")
    parser.add_argument("--internvl", type=Path, help="a clone of InternVL; without it, InternVL is left out")
    given = parser.parse_args()
    if given.read:
        read_and_tell(given.read, given.exports, given.run)
        return 0
    for name, clone in (("EASYR1", given.easyr1), ("INTERNVL", given.internvl)):
        if clone:
            os.environ[name] = str(clone.resolve())
    names = [given.only] if given.only else list(CONSUMERS)
    for name in [name for name in names if (clone := CONSUMERS[name].clone) and clone not in os.environ]:
        print(f"{name}: not read, for it needs --{name} PATH of a clone", file=sys.stderr)
        names.remove(name)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        run = str(Path(given.run).resolve()) if given.run else make_run(root / "run")
        training = run if given.run else make_training_run(root / "training")
        exports = _export(root, names, run, training)
        known = {"pairs": expected(run), **expected_training(training)}
        environments = (given.environments or root / "environments").resolve()
        homes = [install(CONSUMERS[name].home or name, environments) for name in names]
        verdicts = [ask(name, python, exports, run, known) for name, python in zip(names, homes, strict=True)]
    return 0 if all(verdicts) else 1


def _export(root: Path, names: list[str], run: str, training: str) -> Path:
    """Write every export that the consumers read, and the run's responses next to them."""
    export_run = _tests("mmpr.exporting").export_run
    readings = {reading.format: reading for name in names for reading in CONSUMERS[name].readings}
    exports = root / "exports"
    exports.mkdir()
    for format, reading in sorted(readings.items()):
        if format != "run":
            export_run(run if reading.rows == "pairs" else training, format, exports / format, strict=True)
    (exports / "answers.json").write_text(json.dumps(said_in(training)), encoding="utf-8")
    return exports


if __name__ == "__main__":
    raise SystemExit(main())
