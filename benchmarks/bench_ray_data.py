"""Compare mmpr with ray.data.llm on the same questions and the same engine: tokens and paired questions per second.

    python -m benchmarks.bench_ray_data
    python -m benchmarks.bench_ray_data --questions 64 320 --n 8 32 --json ray_data.json

ray.data.llm returns one response per request, so n responses to a question are n rows. Its engine stage gets the text
of the prompt and the decoded image, because its own stage for images cannot be imported with vLLM 0.32. Its responses
are judged and paired by mmpr's rules afterwards, and these seconds do not count; in a build they do.

A rate is marginal. Every arm answers few questions and then more questions, each time in its own process. The
difference in tokens and pairs is divided by the difference in seconds. So the start of Python, Ray and the engine,
which takes about half a minute in both, does not count.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from benchmarks.bench_engine import asked, settings_of
from benchmarks.bench_original import is_paired
from mmpr.builder.engine_choice import engine_options
from mmpr.settings.config import BuildConfig
from mmpr.types import Finish, Prompt, Question, Response, Stage
from pipelines.pocket.questions import write_questions

_ENGINE = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_NO_USAGE_STATS": "1"}


@dataclass(frozen=True)
class Run:
    """One arm on one set of questions; `seconds` is the duration of the whole process."""

    tokens: float
    paired: int
    seconds: float


@dataclass(frozen=True)
class Rates:
    """Tokens and paired questions per second of an arm, without its start."""

    arm: str
    tokens: float
    paired: float


def built(room: Path, settings: Sequence[str]) -> Run:
    """Run a whole `mmpr build`."""
    out = room / f"run-{time.monotonic_ns()}"
    source = room / "questions" / "vqa.jsonl"
    command = [sys.executable, "-m", "mmpr", "build", "--source", str(source), "--out", str(out), *settings]
    began = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    seconds = time.monotonic() - began
    report = json.loads((out / "report.json").read_text())
    return Run(report["engine_usage"]["generated_tokens"], report["paired"], seconds)


def through_ray_data(room: Path, n: int) -> Run:
    """Answer the same questions with ray.data.llm, in its own process."""
    command = [sys.executable, "-m", "benchmarks.bench_ray_data", "--room", str(room), "--n", str(n)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **_ENGINE})
    if done.returncode:
        raise SystemExit(f"ray.data.llm: {done.stderr[-3000:]}")
    return Run(**json.loads(done.stdout.splitlines()[-1]))


def run_ray_data(room: Path, n: int) -> Run:
    """Send all rows through the engine stage; then judge and pair the responses, which is not timed."""
    import ray
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    from mmpr.engines.vllm import start_arguments

    config = settings_of(room, f"n={n}")
    questions = asked(config)
    arguments = start_arguments(engine_options(config))
    rows = _rows(config, questions, n, model=arguments["model"])
    ray.init(
        "local", num_cpus=os.cpu_count(), include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
    )
    processor = build_processor(
        vLLMEngineProcessorConfig(
            model_source=arguments.pop("model"),
            engine_kwargs=arguments,
            batch_size=64,
            concurrency=1,
            placement_group_config={"bundle_per_worker": {"CPU": 1}},
            chat_template_stage=False,
            tokenize_stage=False,
            detokenize_stage=False,
            prepare_multimodal_stage=False,
        ),
        postprocess=lambda row: {
            "question": row["question"],
            "text": row["generated_text"],
            "tokens": row["num_generated_tokens"],
        },
    )
    answered = processor(ray.data.from_items(rows)).take_all()
    seconds = time.time() - psutil.Process().create_time()
    texts: list[list[str]] = [[] for _ in questions]
    for row in answered:
        texts[row["question"]].append(row["text"])
    paired = sum(
        is_paired(question, _responses(question, own)) for (question, _), own in zip(questions, texts, strict=True)
    )
    return Run(sum(row["tokens"] for row in answered), paired, seconds)


def _rows(
    config: BuildConfig, questions: Sequence[tuple[Question, Prompt]], n: int, *, model: str
) -> list[dict[str, Any]]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=True)
    options = config.sampling
    wanted = {"temperature": options.temperature, "top_k": options.top_k, "top_p": options.top_p}
    rows: list[dict[str, Any]] = []
    for i, (_, prompt) in enumerate(questions):
        turns = [{"role": message.role, "content": message.text} for message in prompt.messages]
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        one = {
            "question": i,
            "prompt": text.removeprefix(tokenizer.bos_token),  # vLLM's tokenizer adds it
            "multimodal_data": {"image": [image.pixels for image in prompt.images]},
            "sampling_params": {**wanted, "max_tokens": options.max_tokens},
        }
        rows += [one] * n
    return rows


def _responses(question: Question, texts: Sequence[str]) -> list[Response]:
    return [Response(question.id, Stage.SAMPLE, index, text, (), 1, Finish.STOP) for index, text in enumerate(texts)]


def rates(arm: str, few: Run, many: Run) -> Rates:
    """Return the differences of tokens and pairs between two runs, divided by the difference of their seconds."""
    seconds = many.seconds - few.seconds
    return Rates(arm, (many.tokens - few.tokens) / seconds, (many.paired - few.paired) / seconds)


def measure(rooms: Sequence[Path], ns: Sequence[int]) -> list[tuple[Rates, Rates]]:
    """Measure ray.data.llm and a build for each n; then a build with adaptive sampling, compared with the first n."""
    found = []
    for n in ns:
        theirs = rates(f"ray.data.llm, {n} rows", *(through_ray_data(room, n) for room in rooms))
        ours = rates(f"mmpr, n={n}", *(built(room, (f"n={n}", "adaptive=false")) for room in rooms))
        found.append((ours, theirs))
    adaptive = rates("mmpr, adaptive up to 32", *(built(room, ("n=32", "adaptive=true")) for room in rooms))
    return [*found, (adaptive, found[0][1])]


def table(lines: Sequence[tuple[Rates, Rates]]) -> str:
    """Return a Markdown table with the ratios of mmpr to ray.data.llm."""
    shown = ["| ours | theirs | tokens a second | questions paired a second |", "|---|---|---|---|"]
    for ours, theirs in lines:
        tokens, paired = ours.tokens / theirs.tokens, ours.paired / theirs.paired
        shown.append(
            f"| {ours.arm} | {theirs.arm} | {ours.tokens:,.0f} to {theirs.tokens:,.0f}: {tokens:.2f} "
            f"| {ours.paired:.2f} to {theirs.paired:.2f}: {paired:.2f} |"
        )
    return "\n".join(shown)


def main() -> None:
    """Parse the command line; run one arm, or run all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, nargs=2, default=[64, 256], metavar=("FEW", "MANY"))
    parser.add_argument("--n", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--room", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.room:
        print(json.dumps(asdict(run_ray_data(given.room, given.n[0]))), flush=True)
        os._exit(0)  # the engine's process survives Ray's shutdown: do not wait for it
    with TemporaryDirectory() as folder:
        rooms = [Path(folder) / name for name in ("few", "many")]
        for room, n_questions in zip(rooms, given.questions, strict=True):
            write_questions(room / "questions", n=n_questions, open_fraction=0.0, seed=66)
        lines = measure(rooms, given.n)
    print(table(lines))
    if given.json:
        figures = [{"ours": asdict(ours), "theirs": asdict(theirs)} for ours, theirs in lines]
        given.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
