"""Compare a whole build with the bare engine: tokens per second of `mmpr build` and of `vllm.LLM.generate`.

    python -m benchmarks.bench_engine
    python -m benchmarks.bench_engine --questions 1000 --runs 5 --chunk-questions 32 128 --json engine.json

Both arms answer the same questions with the pocket model: n responses to each question with a reference answer, a draft
and its blind completion for the others. The bare arm gets finished prompts with decoded images, in three calls (drafts,
samples, completions). `bound` gives one core to the engine (vLLM's own processes: scheduler and worker) and the other
core to everything else, in both arms; `shared` binds nothing. `steady` is tokens per second without the first and the
last 5 % of the tokens; `end to end` is from the first token to the end of the engine's work. The arms alternate: each
bare run is between builds of other chunk sizes. A ratio is the median over the runs of a build to its bare run.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import io
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
from tqdm import tqdm  # type: ignore[import-untyped]

from mmpr import images
from mmpr.builder.answer import AskRecipe
from mmpr.builder.build_flow import build
from mmpr.builder.engine_choice import engine_options, recipe
from mmpr.dropout import Cut, completion_budget, completion_prompt, cut_draft, draft_fault
from mmpr.engines.engine_options import EngineOptions
from mmpr.engines.protocol import Sampling
from mmpr.engines.vllm import VllmEngine, _Meter, start_arguments, start_vllm
from mmpr.prompts import ask
from mmpr.settings.config import BuildConfig, load
from mmpr.sources import index, open_source, ranges, read_hashed
from mmpr.types import Prompt, Question, Response, Stage
from pipelines.pocket.questions import write_questions

_TRIM = 0.05
Series = list[tuple[float, float]]  # (seconds, tokens so far)


@dataclass(frozen=True)
class Line:
    """One pair of runs: rates in tokens per second, numbers of tokens, and seconds."""

    cores: str
    chunk_questions: int
    build: float
    bare: float
    build_tokens: float
    bare_tokens: float
    build_s: float
    bare_s: float

    @property
    def ratio(self) -> float:
        return self.build / self.bare

    @property
    def end_to_end(self) -> float:
        return (self.build_tokens / self.build_s) / (self.bare_tokens / self.bare_s)


# -- the arms, each in its own process -----------------------------------------------------------------------------


def bind_engine() -> None:
    """Bind all threads of vLLM's processes below this one to core 0, if cores are bound."""
    if os.environ.get("VLLM_CPU_OMP_THREADS_BIND", "nobind") == "nobind":
        return
    for process in psutil.Process().children(recursive=True):
        for thread in process.threads():
            with suppress(ProcessLookupError):  # the thread has just ended
                os.sched_setaffinity(thread.id, {0})


async def metered_engine(settings: EngineOptions, log: Path) -> VllmEngine:
    """Start a vLLM engine that writes its number of generated tokens to `log`, ten times per second."""
    engine = await start_vllm(settings)
    bind_engine()
    _WRITING.append(asyncio.create_task(_write(engine, log)))
    return engine


_WRITING: list[asyncio.Task[None]] = []  # asyncio keeps no reference to a task, so it could be collected


async def _write(engine: VllmEngine, log: Path) -> None:
    with log.open("w") as lines:
        while True:
            lines.write(f"{time.time()} {engine._meter.generated}\n")  # `pulse()` is slower: it measures the memory too
            lines.flush()
            await asyncio.sleep(0.1)


def settings_of(room: Path, *overrides: str) -> BuildConfig:
    """Return the pocket model's own settings, with 8 responses to each question."""
    return load(None, [f"source={room / 'questions' / 'vqa.jsonl'}", "adaptive=false", *overrides], pocket=True)


def run_build(room: Path, log: Path, settings: Sequence[str]) -> None:
    """Run the build, with an engine that logs its tokens."""
    config = settings_of(room, *settings)
    build(config, str(log.with_suffix(".run")), functools.partial(metered_engine, engine_options(config), log))


class Clock(tqdm):  # type: ignore[misc]
    """vLLM's progress bars, hidden: records when how many responses were finished.

    The bar around the prompts is ignored.
    """

    def __init__(self, *prompts: object, finished: list[tuple[float, int]], **bar: object) -> None:
        super().__init__(*prompts, **{**bar, "file": io.StringIO()})
        self._finished = finished if not prompts else []

    def update(self, n: float | None = 1) -> bool | None:
        self._finished.append((time.time(), int(n or 0)))
        return bool(super().update(n))


class Bare:
    """`LLM.generate` alone, with the number of its tokens over time.

    The progress bar counts responses, so each response counts as the mean length of its call.
    """

    def __init__(self, settings: EngineOptions) -> None:
        from vllm import LLM

        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
        self._llm = LLM(**{**start_arguments(settings), "disable_log_stats": True})
        bind_engine()
        # Makes token ids of prompts in the same way as the build; it uses the tokenizer only.
        self.words = VllmEngine(self._llm, _Meter())
        self.series: Series = [(time.time(), 0)]

    def generate(self, prompts: Sequence[Prompt], samplings: Sequence[Sampling]) -> list[list[Response]]:
        """Make one call and return the responses to each prompt."""
        asked: list[Any] = [{"prompt_token_ids": self.words.prompt_ids(p), **_shown(p)} for p in prompts]
        finished: list[tuple[float, int]] = []
        outputs = self._llm.generate(
            asked, [self.words._parameters(s) for s in samplings], use_tqdm=functools.partial(Clock, finished=finished)
        )
        mean = sum(len(o.token_ids) for one in outputs for o in one.outputs) / sum(n for _, n in finished)
        for at, n in finished:
            self.series.append((at, self.series[-1][1] + n * mean))
        together = zip(prompts, outputs, samplings, strict=True)
        return [[self.words._response(p, output, s) for output in one.outputs] for p, one, s in together]

    def close(self) -> None:
        """End vLLM's processes; otherwise the interpreter would wait for them when it exits."""
        self._llm.llm_engine.engine_core.shutdown()


def _shown(prompt: Prompt) -> dict[str, Any]:
    return {"multi_modal_data": {"image": [p.pixels for p in prompt.images]}} if prompt.images else {}


def run_bare(room: Path, log: Path) -> None:
    """Answer the same prompts with `LLM.generate`; blind completions continue this arm's own drafts."""
    config = settings_of(room)
    how = recipe(config)
    prompts = [prompt for _, prompt in asked(config)]
    drafts, samples = ([p for p in prompts if p.stage is stage] for stage in (Stage.DRAFT, Stage.SAMPLE))
    bare = Bare(engine_options(config))
    bare.series = [(time.time(), 0)]
    answers = bare.generate(drafts, [one_request(how, 1, how.dropout.draft_max_tokens)] * len(drafts))
    bare.generate(samples, [one_request(how, how.sampling.n, how.sampling.max_tokens)] * len(samples))
    cuts = [_cut(draft, bare.words, how) for (draft,) in answers]
    completions = [(prompt, cut) for prompt, cut in zip(drafts, cuts, strict=True) if cut is not None]
    blind = [completion_prompt(p, cut) for p, cut in completions]
    bare.generate(blind, [one_request(how, 1, completion_budget(cut)) for _, cut in completions])
    bare.close()
    log.write_text("".join(f"{at} {tokens}\n" for at, tokens in bare.series))


def asked(config: BuildConfig) -> list[tuple[Question, Prompt]]:
    """Return all questions of the source with their prompts, images decoded."""
    source = open_source(config.source.path)
    found: list[tuple[Question, Prompt]] = []
    for lease in ranges(index(source)):
        for question, _ in read_hashed(source, lease)[0]:
            shown = tuple(images.load(r, root=Path(source.image_root)) for r in question.images)
            stage = Stage.DRAFT if question.answer is None else Stage.SAMPLE
            found.append((question, Prompt(question.id, stage, ask(question, config.prompt), shown)))
    return found


def one_request(how: AskRecipe, n: int, max_tokens: int) -> Sampling:
    """Return the sampling values of one request, without a seed."""
    options = how.sampling
    return Sampling(n, options.temperature, options.top_k, options.top_p, max_tokens)


def _cut(draft: Response, words: VllmEngine, how: AskRecipe) -> Cut | None:
    if draft_fault(draft):
        return None
    cut = cut_draft(
        draft, decode=words.decode, keep_fraction=how.dropout.keep_fraction, min_side_tokens=how.dropout.min_side_tokens
    )
    return cut if isinstance(cut, Cut) else None


# -- measuring -----------------------------------------------------------------------------------------------------


def run_arm(arm: str, room: Path, settings: Sequence[str] = (), *, bound: bool) -> tuple[Series, Path]:
    """Run one arm in its own process; return its number of tokens over time, and the build's run folder."""
    log = room / f"{arm}-{time.monotonic_ns()}.log"
    command = [sys.executable, "-m", "benchmarks.bench_engine", "--arm", arm, "--room", str(room), "--log", str(log)]
    environment = {**os.environ, "VLLM_CPU_OMP_THREADS_BIND": "0" if bound else "nobind"}
    others = ["taskset", "-c", "1"] if bound else []
    command = [*others, *command, *(f"--set={setting}" for setting in settings)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{arm}: {done.stderr[-3000:]}")
    series = [(float(at), float(n)) for at, n in (line.split() for line in log.read_text().splitlines())]
    return series, log.with_suffix(".run")


def steady_rate(series: Series) -> float:
    """Return tokens per second without the first and the last 5 % of the tokens."""
    total = series[-1][1]
    inner = [(at, n) for at, n in series if _TRIM * total <= n <= (1 - _TRIM) * total]
    return (inner[-1][1] - inner[0][1]) / (inner[-1][0] - inner[0][0])


def whole(series: Series) -> tuple[float, float]:
    """Return the number of tokens, and the seconds from the last moment with none to the first with all."""
    total = series[-1][1]
    began = max(at for at, n in series if n == 0)
    ended = min(at for at, n in series if n == total)
    return total, ended - began


def measure(room: Path, chunks: Sequence[int], *, bound: bool) -> list[Line]:
    """Run a build of each chunk size, and the bare engine after the first one."""
    builds = []
    bare: Series = []
    for chunk in chunks:
        builds.append((chunk, run_arm("build", room, [f"chunk_questions={chunk}"], bound=bound)[0]))
        bare = bare or run_arm("bare", room, bound=bound)[0]
    return [_line(chunk, series, bare, bound=bound) for chunk, series in builds]


def _line(chunk_questions: int, series: Series, bare: Series, *, bound: bool) -> Line:
    (build_tokens, build_s), (bare_tokens, bare_s) = whole(series), whole(bare)
    return Line(
        "bound" if bound else "shared",
        chunk_questions,
        steady_rate(series),
        steady_rate(bare),
        build_tokens,
        bare_tokens,
        build_s,
        bare_s,
    )


def table(lines: Sequence[Line]) -> str:
    """Return a Markdown table with medians over the runs."""
    printed = ["| cores | chunk | runs | steady, build / bare | end to end, build / bare |", "|---|---|---|---|---|"]
    for key in dict.fromkeys((line.cores, line.chunk_questions) for line in lines):
        same = [line for line in lines if (line.cores, line.chunk_questions) == key]
        steady = [line.ratio for line in same]
        printed.append(
            f"| {key[0]} | {key[1]} | {len(same)} | {statistics.median(steady):.3f} ({min(steady):.3f} to "
            f"{max(steady):.3f}) | {statistics.median(line.end_to_end for line in same):.3f} |"
        )
    return "\n".join(printed)


def main() -> None:
    """Parse the command line; run one arm, or compare all."""
    parser = argparse.ArgumentParser(description="A whole build against the bare engine.")
    parser.add_argument("--questions", type=int, default=400)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--chunk-questions", type=int, nargs="+", default=[32])
    parser.add_argument("--cores", choices=["bound", "shared"], nargs="+", default=["bound", "shared"])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--arm", choices=["build", "bare"], help=argparse.SUPPRESS)
    parser.add_argument("--set", action="append", default=[], help=argparse.SUPPRESS)
    parser.add_argument("--room", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--log", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.arm == "build":
        run_build(given.room, given.log, given.set)
    elif given.arm == "bare":
        run_bare(given.room, given.log)
    else:
        _compare(given)


def _compare(given: argparse.Namespace) -> None:
    lines = []
    with TemporaryDirectory() as folder:
        room = Path(folder)
        write_questions(room / "questions", n=given.questions, open_fraction=0.35, seed=66)
        for _ in range(given.runs):
            for cores in given.cores:
                for line in measure(room, given.chunk_questions, bound=cores == "bound"):
                    lines.append(line)
                    print(f"{line.ratio:.3f} {line}", file=sys.stderr)
    print(table(lines))
    if given.json:
        given.json.write_text(json.dumps([asdict(line) for line in lines], indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
