"""Check a build before it runs: read every row, open images, check the settings, and estimate the cost.

With an engine, two questions are asked as a build would ask them: the first thing to do on a GPU machine.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import heapq
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from mmpr import pool
from mmpr.builder.answer import AnsweredQuestion, AskRecipe, answer
from mmpr.builder.engine_choice import engine_maker, placement, ray_address, recipe
from mmpr.builder.layout import decided, row_limits, sources_of
from mmpr.builder.progress_views import waiting
from mmpr.builder.rejected_images import LoadImages
from mmpr.builder.row_checks import compiled, described
from mmpr.builder.run_recipes import judge_options
from mmpr.builder.work_threads import WorkThreads
from mmpr.engines.protocol import Engine
from mmpr.errors import ImageError, MissingExtra
from mmpr.images import Loader, hosts_of
from mmpr.pool import ClusterOptions, Done, Lease, WorkContext
from mmpr.prompts import ask, is_frame
from mmpr.reporting.question_view import skip_json, view_of
from mmpr.reporting.safe_text import visible, visible_line
from mmpr.settings.config import BuildConfig, changed, engine_tiles, of_sources, unused_settings
from mmpr.sources import Index, Source, index, ranges, read_hashed, read_range
from mmpr.types import Question, Reason, Skip

Say = Callable[[str], None]

_IMAGES = 200  # opened unless all are: enough to detect a wrong image root, fast on a network disk
_EXAMPLES = 3
_UNJUDGEABLE = {Reason.BAD_ANSWER.value}  # published labels have such faults: they are counted, but stop no build
_waiting = functools.partial(waiting, every_s=10.0)
# Means of the paper's data (arXiv 2411.10442, table 1), and the speed of one H100 with InternVL2-8B; estimates.
_RESPONSE_TOKENS, _DRAFT_TOKENS = 325, 211
_TOKENS_PER_SECOND_H100 = 6_500


@dataclass(slots=True)
class Findings:
    """Findings from reading the source: faults of rows and images by reason, reference answers by kind."""

    with_answer: int = 0
    without_answer: int = 0
    given_drafts: int = 0
    text_only: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    images: set[int] = field(default_factory=set)  # 64 bits of a hash each: a reference may contain a whole image
    sample: list[tuple[int, str]] = field(default_factory=list)
    with_image: Question | None = None
    without_image: Question | None = None

    def fault(self, reason: str, detail: str) -> None:
        """Count a fault and keep its first few places."""
        self.faults[reason] += 1
        if len(examples := self.examples.setdefault(reason, [])) < _EXAMPLES:
            examples.append(detail)

    def see(self, reference: str) -> bool:
        """Count an image's reference; return whether it is new."""
        number = int.from_bytes(hashlib.blake2b(reference.encode(), digest_size=8).digest(), "big")
        if number in self.images:
            return False
        self.images.add(number)
        # the smallest hashes: spread over the source, and always the same
        heapq.heappush(self.sample, (-number, reference))
        if len(self.sample) > _IMAGES:
            heapq.heappop(self.sample)
        return True

    @property
    def questions(self) -> int:
        return self.with_answer + self.without_answer


def check(
    config: BuildConfig, *, every_image: bool, with_engine: bool, say: Say, strict: bool = False, debug: bool = False
) -> bool:
    """Check the sources and settings; return True if nothing will be skipped because of a fault.

    Args:
        every_image: open all images instead of a sample.
        with_engine: also start the configured engine and ask it.
        strict: a reference answer that cannot be used is a fault too, not only counted.
        say: receives the result, one line at a time.

    Raises:
        MmprError: the source cannot be read, a setting is invalid, or the engine does not start.
    """
    with suppress(MissingExtra) if not with_engine else nullcontext():
        # without an engine, vLLM need not be installed on this machine
        engine_maker(config)  # raises if a setting is invalid
    for one in of_sources(config):
        judge_options(one.config), one.config.pairs
    parts = _parts(config)
    for part in parts:
        with _waiting(f"checking the rows and images of {visible_line(part.source.path)}"):
            opened = _look(part, every_image=every_image)
        if part.name is not None:
            say(f"source     {visible_line(part.name)}: {visible_line(part.source.path)}")
        _say_described(part, say)
        _say_findings(part.findings, part.rows, opened, say)
    for line in unused_settings(config):
        say(f"note       {line}")
    _say_estimate(config, parts, say)
    if with_engine:
        _ask_engine(config, parts, say, debug)
    faults = {reason for part in parts for reason in part.findings.faults}
    return not (faults if strict else faults - _UNJUDGEABLE)


def show(config: BuildConfig, n_rows: int, *, as_json: bool, say: Say, note: Say) -> None:
    """Print the first rows of each source as the model will see them and as they will be judged; open no image.

    Args:
        n_rows: rows per source, of those that a build would ask.
        as_json: print one JSON object per row.
        say: receives the text of each row.
        note: receives the text about each source.

    Raises:
        MmprError: as in `check`, except for the engine's settings.
    """
    for part in _parts(config):
        name = "" if part.name is None else f"{part.name}: "
        note(f"source     {visible_line(name + part.source.path)}")
        _say_described(part, note)
        leases = ranges(part.rows, limit=part.limit, seed=part.config.sampling.seed)
        rows = (row for lease in leases for row in read_hashed(part.source, lease)[0])
        for question, skipped in islice(rows, n_rows):
            _show_row(part, question, skipped, as_json=as_json, say=say)


def _say_described(part: _CheckedPart, say: Say) -> None:
    for heading, text in described(part.source, part.rows):
        say(f"{heading:10} {visible_line(text)}")


def _show_row(part: _CheckedPart, question: Question, skipped: Skip | None, *, as_json: bool, say: Say) -> None:
    found = skipped or compiled(question, part.source, judge_options(part.config))
    place = part.source.place(question.row)
    if isinstance(found, Skip):
        detail = found.detail.removeprefix(f"{place}: ")
        say(skip_json(question.row, found) if as_json else visible(f"-- {place}\nskipped    {found.reason}: {detail}"))
        return
    messages = ask(question, part.config.prompt)
    view = view_of(question, messages, found, layout=part.source.layout)
    say(view.to_json() if as_json else visible("\n".join(view.lines(place))))


@dataclass(frozen=True, slots=True)
class _CheckedPart:
    """One source of the build with its settings; `limit` of its rows are asked."""

    name: str | None
    config: BuildConfig
    source: Source
    rows: Index
    limit: int
    loader: Loader
    findings: Findings


def _parts(config: BuildConfig) -> list[_CheckedPart]:
    with _waiting("counting the source's rows"):
        sources = sources_of(config)
        counted = [index(source) for source in sources]
        sources = decided(None, config, sources, counted)
    limits = row_limits(config, [rows.n_rows for rows in counted])
    return [
        _CheckedPart(
            one.name, one.config, source, rows, limit, Loader(Path(source.image_root), one.config.images), Findings()
        )
        for one, source, rows, limit in zip(of_sources(config), sources, counted, limits, strict=True)
    ]


def _look(part: _CheckedPart, *, every_image: bool) -> int:
    """Read a source's rows and open images, all or a sample; return the number of opened images."""
    _read_rows(part, every_image=every_image)
    if every_image:
        return len(part.findings.images)
    sample = [reference for _, reference in part.findings.sample]
    _open(part, sample)
    return len(sample)


def _read_rows(part: _CheckedPart, *, every_image: bool) -> None:
    """Read every row, and open every image if requested."""
    findings, options = part.findings, judge_options(part.config)
    for lease in ranges(part.rows, limit=part.limit, seed=part.config.sampling.seed):
        unseen: list[str] = []
        for row in read_range(part.source, lease):
            if isinstance(row, Skip):
                findings.fault(row.reason.value, row.detail)
                continue
            reference = compiled(row, part.source, options)
            if isinstance(reference, Skip):
                findings.fault(reference.reason.value, reference.detail)
                continue
            if reference is not None:
                findings.kinds[reference.kind] += 1
            _count(findings, row)
            unseen += [reference for reference in _to_open(row) if findings.see(reference)]
        if every_image:
            _open(part, unseen)


def _to_open(question: Question) -> tuple[str, ...]:
    """Return a question's images; for a video only the last frame, which is missing if the file was cut short."""
    return question.images[-1:] if question.images and is_frame(question.images[-1]) else question.images


def _count(findings: Findings, question: Question) -> None:
    if question.answer is not None:
        findings.with_answer += 1
    else:
        findings.without_answer += 1
        findings.given_drafts += question.draft is not None
    findings.text_only += not question.images
    if question.images:
        findings.with_image = findings.with_image or question
    else:
        findings.without_image = findings.without_image or question


def _open(part: _CheckedPart, references: Sequence[str]) -> None:
    """Open several images at once, as an engine does; report faults in the order of the references."""
    threads = part.config.cluster
    for error in asyncio.run(_faults_of(part.loader, references, threads)) if references else ():
        if error is not None:
            part.findings.fault(error.reason.value, error.detail)


async def _faults_of(loader: Loader, references: Sequence[str], options: ClusterOptions) -> list[ImageError | None]:
    threads = WorkThreads(options)

    async def fault_of(reference: str) -> ImageError | None:
        try:
            async with threads.fetching(hosts_of([reference])):
                await threads.wait(_load, loader, reference)
        except ImageError as error:
            return error
        return None

    try:
        return await asyncio.gather(*map(fault_of, references))
    finally:
        threads.close()


def _load(loader: Loader, reference: str) -> None:
    """Load an image and release it."""
    loader.load(reference)


def _say_findings(findings: Findings, counted: Index, opened: int, say: Say) -> None:
    say(f"rows       {counted.n_rows:,}, of them {findings.questions:,} questions")
    say(f"           {findings.with_answer:,} with an answer (correctness)")
    if findings.kinds:
        say(f"           judged as {', '.join(f'{n:,} {kind}' for kind, n in findings.kinds.most_common())}")
    say(f"           {findings.without_answer:,} without one (Dropout-NTP)")
    say(f"images   {len(findings.images):,} distinct, {opened:,} opened, {findings.text_only:,} questions without")
    for reason, n in findings.faults.most_common():
        say(f"fault      {n:,} {reason}")
        for detail in findings.examples[reason]:
            say(f"           {visible_line(detail)}")


def expected_tokens(config: BuildConfig, findings: Findings) -> tuple[int, int]:
    """Estimate the number of responses and tokens that a build will generate, from the paper's mean lengths."""
    sampling, dropout = config.sampling, config.dropout
    drafts = (findings.without_answer - findings.given_drafts) * dropout.drafts
    completions = findings.without_answer * dropout.completions
    responses = findings.with_answer * sampling.n
    draft_tokens = min(_DRAFT_TOKENS, dropout.draft_max_tokens)
    tokens = responses * min(_RESPONSE_TOKENS, sampling.max_tokens) + drafts * draft_tokens
    tokens += completions * round(draft_tokens * (1 - dropout.keep_fraction))
    return responses + drafts + completions, tokens


def _expected(parts: Sequence[_CheckedPart]) -> tuple[int, int]:
    each = [expected_tokens(part.config, part.findings) for part in parts]
    return sum(responses for responses, _ in each), sum(tokens for _, tokens in each)


def _say_estimate(config: BuildConfig, parts: Sequence[_CheckedPart], say: Say) -> None:
    responses, tokens = _expected(parts)
    most = "at most " if config.sampling.adaptive and any(part.findings.with_answer for part in parts) else ""
    say(f"responses  {most}{responses:,}, about {tokens:,} tokens by the paper's mean lengths")
    if not config.is_pocket:
        hours = tokens / _TOKENS_PER_SECOND_H100 / 3600 * config.engine.tensor_parallel_size
        say(f"GPU hours  about {hours:,.1f} at {_TOKENS_PER_SECOND_H100:,} tokens/s, one H100 with an 8B model")


# -- with an engine -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EngineTrial:
    """The result of asking an engine two questions of a source.

    Args:
        place: index of the source.
        began, ended: seconds on the engine's monotonic clock.
        memory_bytes: memory of the engine's processes.
        engine: what the engine detected about its model, one line each.
    """

    place: int
    answered: list[AnsweredQuestion]
    began: float
    ended: float
    tokens: int
    memory_bytes: int
    engine: tuple[str, ...]


def _ask_engine(config: BuildConfig, parts: Sequence[_CheckedPart], say: Say, debug: bool) -> None:
    """Ask two questions of every source under the source's settings."""
    tiles = engine_tiles(config)
    ways = [(part.loader, recipe(part.config, engine_tiles=tiles)) for part in parts]
    leases = [Lease(place, (place, _to_ask(part.findings))) for place, part in enumerate(parts)]
    work = functools.partial(_probe, ways=ways)
    with pool.connected(ray_address(config), debug=debug):
        # one engine is enough for two questions, whatever the build has
        engines = pool.Pool(engine_maker(config), work, placement(changed(config, {"engines": 1})))
        try:
            probes = [event.report for event in engines.run(leases) if isinstance(event, Done)]
        finally:
            engines.close()
    _say_probe(parts, sorted(probes, key=lambda probe: probe.place), say)


def _to_ask(findings: Findings) -> list[Question]:
    questions = [q for q in (findings.with_image, findings.without_image) if q is not None]
    if findings.without_image is None and findings.with_image is not None:
        # Dropout-NTP also asks without the image, so the engine must answer a text alone
        questions.append(Question("text-only", findings.with_image.source, 0, "What is two plus two?", answer=("4",)))
    return questions


async def _probe(
    engine: Engine, lease: Lease, context: WorkContext, *, ways: Sequence[tuple[LoadImages, AskRecipe]]
) -> EngineTrial:
    began = time.monotonic()
    place, questions = lease.payload
    load, how = ways[place]
    answered = [await answer(question, engine, how, load, others=questions) for question in questions]
    tokens = sum(r.tokens for one in answered for r in one.responses)
    return EngineTrial(place, answered, began, time.monotonic(), tokens, engine.pulse().memory_bytes, engine.describe())


def _say_probe(parts: Sequence[_CheckedPart], probes: Sequence[EngineTrial], say: Say) -> None:
    for i, line in enumerate(probes[0].engine):
        say(f"{'model' if i == 0 else '':10} {visible_line(line)}")
    for probe in probes:
        name = parts[probe.place].name
        of = "" if name is None else f" of {visible_line(name)}"
        for one in probe.answered:
            what = "with an image   " if one.question.images else "without an image"
            ending = (
                visible_line(one.skip.detail) if one.skip and not one.responses else repr(one.responses[0].text[-160:])
            )
            say(f"{what}{of}  {len(one.responses)} responses, first ends: {ending}")
    answered = [one for probe in probes for one in probe.answered]
    made = sum(probe.tokens for probe in probes)
    seconds = max(probe.ended for probe in probes) - min(probe.began for probe in probes)
    rate = made / max(seconds, 1e-9)
    say(f"memory     {max(probe.memory_bytes for probe in probes) / 2**30:.1f} GiB")
    say(f"speed      {rate:,.0f} tokens/s on {len(answered)} questions; a full batch is faster")
    _, tokens = _expected(parts)
    mean = made / max(1, sum(len(one.responses) for one in answered))
    say(f"           responses had {mean:,.0f} tokens on average")
    say(f"the whole  at most {tokens / rate / 3600:,.1f} h an engine at that speed")
