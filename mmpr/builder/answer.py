"""Ask one question, from its images to its responses: the inner flow of a build, in reading order."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import fmean

from mmpr.builder.rejected_images import LoadImages, shown_images
from mmpr.builder.work_threads import WorkThreads
from mmpr.dropout import (
    Cut,
    DropoutOptions,
    completion_budget,
    completion_prompt,
    cut_draft,
    cut_text,
    draft_fault,
    given_draft,
    usable_completions,
    with_ids,
    without_images,
)
from mmpr.engines.protocol import Engine, Sampling
from mmpr.engines.thoughts import split_given
from mmpr.errors import ImageError, RequestRefused
from mmpr.images import hosts_of
from mmpr.images.decode_budget import HOLDER
from mmpr.pairing import Judged, PairOptions, may_be_chosen
from mmpr.prompts import PromptOptions, ask, is_frame
from mmpr.rounds import SamplingOptions, SourceRates, next_round
from mmpr.run import StoredImage
from mmpr.types import Continues, DecodedImage, Prefix, Prompt, Question, Reason, Response, Skip, Stage, Verdict, View

JudgeRound = Callable[[Question, Sequence[Response]], Awaitable[Sequence[Verdict]]]


@dataclass(frozen=True, slots=True)
class AskRecipe:
    """How the questions of a run, or of one of its sources, are asked.

    Args:
        max_tiles: most tiles of an image; None: the engine's own limit.
        video_tiles: most tiles of a video frame; None: the engine's own limit.
    """

    prompt: PromptOptions = PromptOptions()
    sampling: SamplingOptions = SamplingOptions()
    dropout: DropoutOptions = DropoutOptions()
    max_tiles: int | None = None
    video_tiles: int | None = None

    def tiles(self, question: Question) -> int | None:
        """Return the most tiles that the question's images are cut into; None: the engine's own limit."""
        return self.video_tiles if any(is_frame(reference) for reference in question.images) else self.max_tiles

    def request(
        self, question: Question, stage: Stage, *, n: int, max_tokens: int, first: int = 0, scored: bool = False
    ) -> Sampling:
        """Return the sampling of one request.

        The seed of a seeded run depends only on the question's place and the stage.
        """
        options, seed = self.sampling, None
        if options.seeded:
            place = f"{options.seed}\n{question.source}\n{question.row}\n{stage}"
            # 31 bits: seeds must fit a signed 32-bit integer
            seed = int.from_bytes(hashlib.sha256(place.encode()).digest()[:4], "big") >> 1
        return Sampling(
            n, options.temperature, options.top_k, options.top_p, max_tokens, seed, first, options.max_thought_tokens,
            scored,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rounds:
    """What sampling in rounds needs; see `mmpr.rounds`.

    Args:
        rule: decides what a pair is; the build's own rule.
        first: number of responses in the first round.
        judge: gives the verdicts on one round's responses, outside the event loop.
        announce: called before each round with the number of responses; admission counts them.
        rates: success rates of the sources so far; a seeded run plans each question without them.
    """

    rule: PairOptions
    first: int
    judge: JudgeRound
    announce: Callable[[int], None]
    rates: SourceRates = field(default_factory=SourceRates)


@dataclass(frozen=True, slots=True)
class AnsweredQuestion:
    """The result of one question: its responses, or the skip that ended it, or both (no completion is usable).

    Args:
        images: without pixels.
        verdicts: of the responses, if sampling in rounds gave them; otherwise empty.
        cut: where the draft was cut for its completions.
        view: what the model saw when it wrote the completions.
        shown_sha256: hashes of the images of that view, if these are not the question's.
        scores: by index of a completion: log-probabilities of the draft's own rest and of the completion, given the
            image (`Engine.score`).
        draft: index of the draft that the completions continue.
    """

    question: Question
    images: tuple[StoredImage, ...] = ()
    responses: tuple[Response, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    cut: Cut | None = None
    view: View = View.BLIND
    shown_sha256: tuple[str, ...] = ()
    scores: Mapping[int, tuple[float, float]] = field(default_factory=dict)
    draft: int = 0
    skip: Skip | None = None


async def answer(
    question: Question,
    engine: Engine,
    recipe: AskRecipe,
    load_images: LoadImages,
    rounds: Rounds | None = None,
    others: Sequence[Question] = (),
    priority: int = 0,
    opened: tuple[DecodedImage, ...] | None = None,
    threads: WorkThreads | None = None,
) -> AnsweredQuestion:
    """Ask one question: up to n responses if it has a reference answer, otherwise a draft and rejected completions.

    A bad image or a request that the engine refuses becomes a skip. `EngineDead` is raised.

    Args:
        rounds: sample in rounds; None: request all n responses at once.
        others: questions whose images `rejected_view: other_image` may show.
        priority: of all prompts of the question.
        opened: its images, if they are open already.
    """
    threads = threads or WorkThreads()
    stage = Stage.DRAFT if question.answer is None else Stage.SAMPLE
    if stage is Stage.DRAFT and not question.images:
        return AnsweredQuestion(question, skip=Skip(question.id, stage, Reason.NO_IMAGE, "no image for either side"))
    try:
        images = await open_images(question, engine, load_images, threads) if opened is None else opened
    except ImageError as error:
        return unopened(question, error)
    answered = AnsweredQuestion(question, tuple(map(StoredImage.of, images)))
    messages = ask(question, recipe.prompt)
    prompt = Prompt(
        question.id, stage, messages, images,
        max_tiles=recipe.tiles(question), priority=priority,
        # an open question has no instruction that could ask for thoughts in the answer itself
        thinking=recipe.prompt.thinks if stage is Stage.SAMPLE else recipe.prompt.thinking,
    )  # fmt: skip
    try:
        if stage is Stage.SAMPLE:
            if rounds is not None:
                return await _sample_in_rounds(answered, prompt, engine, recipe, rounds, threads)
            sampling = recipe.request(question, stage, n=recipe.sampling.n, max_tokens=recipe.sampling.max_tokens)
            return replace(answered, responses=tuple(await engine.generate(prompt, sampling)))
        # The question's own images are open already; those of another question must be fetched.
        lenders = others if recipe.dropout.rejected_view is View.OTHER_IMAGE else ()
        with engine.clock.preparing():
            async with threads.fetching(hosts_of(reference for one in lenders for reference in one.images)):
                shown = await threads.wait(
                    shown_images, question, images, recipe.dropout.rejected_view, seed=recipe.sampling.seed,
                    others=others, load=load_images,
                )  # fmt: skip
        if isinstance(shown, Skip):
            return replace(answered, skip=shown)
        drafts = await _drafts(question, prompt, engine, recipe, threads)
        answered = replace(answered, responses=tuple(drafts))
        answered = await _finish(answered, prompt, shown, engine, recipe, threads)
        scored = recipe.dropout.grounding and answered.skip is None
        return await _score(answered, prompt, engine) if scored else answered
    except RequestRefused as error:
        return replace(answered, skip=Skip(question.id, stage, error.reason, error.detail))


def unopened(question: Question, error: ImageError) -> AnsweredQuestion:
    """Return the result of a question with a bad image."""
    return AnsweredQuestion(question, skip=Skip(question.id, Stage.READ, error.reason, error.detail))


async def open_images(
    question: Question,
    engine: Engine,
    load_images: LoadImages,
    threads: WorkThreads,
    admit: Callable[[], Awaitable[object]] | None = None,
) -> tuple[DecodedImage, ...]:
    """Open a question's images; call this in the question's own task.

    Args:
        admit: awaited as soon as the image hosts have a free slot, before an image is opened.

    Raises:
        ImageError: the first bad image.
    """
    HOLDER.set(object())  # the budget of decoded bytes counts the images of one task together
    if not question.images:
        return ()
    async with threads.fetching(hosts_of(question.images)):
        if admit is not None:
            await admit()
        with engine.clock.preparing():
            return await threads.wait(load_images, question.images)


async def _sample_in_rounds(
    answered: AnsweredQuestion, prompt: Prompt, engine: Engine, recipe: AskRecipe, rounds: Rounds, threads: WorkThreads
) -> AnsweredQuestion:
    """Sample in rounds. Each round is judged before the next is planned; every generated response is kept."""
    question, judged, n_rounds = answered.question, list[Judged](), 0
    scored = recipe.dropout.grounding and bool(prompt.images)
    rates = SourceRates() if recipe.sampling.seeded else rounds.rates
    plan = partial(next_round, question, rule=rounds.rule, first=rounds.first, cap=recipe.sampling.n)
    # in a thread: pairing of long responses takes up to seconds
    while n := await threads.compute(partial(plan, prior=rates.prior(question.source)), judged):
        rounds.announce(n)
        sampling = recipe.request(
            question, prompt.stage, n=n, max_tokens=recipe.sampling.max_tokens, first=len(judged), scored=scored
        )
        try:
            given = await engine.generate(prompt, sampling)
        except RequestRefused as error:  # the earlier rounds were paid for: keep them beside the skip
            return replace(answered, skip=Skip(question.id, prompt.stage, error.reason, error.detail))
        given = [replace(response, round=n_rounds) for response in given]
        judged += zip(given, await rounds.judge(question, given), strict=True)
        if n_rounds == 0:
            rates.add(question.source, judged, rounds.rule)
        answered = replace(
            answered, responses=tuple(response for response, _ in judged), verdicts=tuple(v for _, v in judged)
        )
        n_rounds += 1
    if not scored:
        return answered
    answered = await _gains_of_right(answered, prompt, engine, threads, rounds.rule)
    # scored now: the ids of all responses of a chunk would be its largest part
    return replace(answered, responses=tuple(replace(one, token_ids=(), logprobs=()) for one in answered.responses))


async def _gains_of_right(
    answered: AnsweredQuestion, prompt: Prompt, engine: Engine, threads: WorkThreads, rule: PairOptions
) -> AnsweredQuestion:
    """Compute the gains of the responses that may be chosen, if there is something to reject."""
    # only these can be chosen, so the gain of the others would be computed for nothing
    right = [
        response
        for response, verdict in zip(answered.responses, answered.verdicts, strict=True)
        if may_be_chosen((response, verdict), rule)
    ]
    if len(right) == len(answered.responses):
        return answered
    gains = await _gains(right, prompt, engine, threads)
    if isinstance(gains, Skip):  # all responses were paid for: keep them beside the skip
        return replace(answered, skip=gains)
    return replace(answered, responses=_with_gains(answered.responses, gains))


async def _drafts(
    question: Question, prompt: Prompt, engine: Engine, recipe: AskRecipe, threads: WorkThreads
) -> Sequence[Response]:
    if question.draft is None:
        sampling = recipe.request(
            question, Stage.DRAFT, n=recipe.dropout.drafts, max_tokens=recipe.dropout.draft_max_tokens,
            scored=recipe.dropout.grounding or recipe.dropout.drafts > 1,
        )  # fmt: skip
        return await engine.generate(prompt, sampling)
    thoughts, text = split_given(question.draft)
    if engine.continues is Continues.TEXT:
        return [given_draft(question, text, thoughts, await engine.count_tokens(question.draft))]
    ids = await threads.tokenize(engine.encode, text)
    n_tokens = len(ids) if thoughts is None else len(await threads.tokenize(engine.encode, question.draft))
    draft = given_draft(question, text, thoughts, n_tokens)
    return [with_ids(draft, ids, await threads.tokenize(engine.decode, ids))]


async def _finish(
    answered: AnsweredQuestion,
    prompt: Prompt,
    shown: tuple[DecodedImage, ...],
    engine: Engine,
    recipe: AskRecipe,
    threads: WorkThreads,
) -> AnsweredQuestion:
    """Choose a draft, cut it, and request all its completions at once."""
    question, drafts = answered.question, answered.responses
    fit = await _fit(drafts, engine, recipe, threads)
    if isinstance(fit, tuple):
        return replace(answered, skip=Skip(question.id, Stage.DRAFT, *fit))
    gains = await _gains([draft for draft, _ in fit], prompt, engine, threads)
    if isinstance(gains, Skip):
        return replace(answered, skip=gains)
    drafts = _with_gains(drafts, gains)
    # the draft that depends most on the image; the first one without gains
    draft, cut = max(fit, key=lambda one: gains.get(one[0].index, 0.0))
    named = () if recipe.dropout.rejected_view is View.IMAGE_KEPT else tuple(image.sha256 for image in shown)
    answered = replace(
        answered, responses=drafts, draft=draft.index, cut=cut, view=recipe.dropout.rejected_view, shown_sha256=named
    )
    sampling = recipe.request(
        question, Stage.COMPLETION, n=recipe.dropout.completions, max_tokens=completion_budget(cut)
    )
    try:
        completions = await engine.generate(completion_prompt(prompt, cut, shown), sampling)
    except RequestRefused as error:  # the drafts were paid for: keep them beside the skip
        return replace(answered, skip=Skip(question.id, Stage.COMPLETION, error.reason, error.detail))
    usable = usable_completions(draft.text[len(cut.prefix.text) :], completions)
    skip = Skip(question.id, Stage.COMPLETION, *usable) if isinstance(usable, tuple) else None
    return replace(answered, responses=(*drafts, *completions), skip=skip)


async def _fit(
    drafts: Sequence[Response], engine: Engine, recipe: AskRecipe, threads: WorkThreads
) -> list[tuple[Response, Cut]] | tuple[Reason, str]:
    """Return the drafts that can be chosen, each with its cut; if there is none, the fault of the first draft."""
    found = [draft_fault(draft) or await _cut(draft, engine, recipe, threads) for draft in drafts]
    fit = [(draft, cut) for draft, cut in zip(drafts, found, strict=True) if isinstance(cut, Cut)]
    return fit or next(fault for fault in found if not isinstance(fault, Cut))


async def _gains(
    responses: Sequence[Response], prompt: Prompt, engine: Engine, threads: WorkThreads
) -> dict[int, float] | Skip:
    """Return by index how much likelier each response is with the image than without it, in nats per token.

    Text that the language model would have written anyway gains nothing; text that was read off the image gains most.
    Each text costs a prefill without the image. With the image, the engine knows the log-probabilities from sampling
    (else that is a second prefill). If all texts are equal, there is nothing to choose and nothing is computed.
    """
    seeing = replace(prompt, stage=Stage.SCORE)
    unseeing = without_images(seeing)

    async def gain(one: Response) -> float:
        ids = one.token_ids or await threads.tokenize(engine.encode, one.text)
        behind = None if one.thoughts is None else Prefix("", (), one.thoughts, one.thought_ids)
        seen, unseen = await asyncio.gather(
            _likelihood(engine, replace(seeing, prefix=behind), ids, one.logprobs),
            engine.score(replace(unseeing, prefix=behind), ids),
        )
        return seen - unseen

    # equal texts have equal gains: score each text once
    texts = {one.text: one for one in responses}
    if len(texts) < 2:
        return {}
    try:
        found = dict(zip(texts, await asyncio.gather(*map(gain, texts.values())), strict=True))
    except RequestRefused as error:
        return Skip(prompt.question_id, Stage.SCORE, error.reason, error.detail)
    return {one.index: found[one.text] for one in responses}


async def _likelihood(engine: Engine, prompt: Prompt, token_ids: Sequence[int], logprobs: Sequence[float]) -> float:
    """Return the mean log-probability per token as sampling gave it; if it did not, by a prefill."""
    return fmean(logprobs) if logprobs else await engine.score(prompt, token_ids)


def _with_gains(responses: Sequence[Response], gains: Mapping[int, float]) -> tuple[Response, ...]:
    return tuple(replace(one, gain=gains.get(one.index)) for one in responses)


async def _cut(draft: Response, engine: Engine, recipe: AskRecipe, threads: WorkThreads) -> Cut | tuple[Reason, str]:
    keep, least = recipe.dropout.keep_fraction, recipe.dropout.min_side_tokens
    if engine.continues is Continues.TEXT:
        return cut_text(draft, keep_fraction=keep, min_side_tokens=least)
    return await threads.tokenize(cut_draft, draft, decode=engine.decode, keep_fraction=keep, min_side_tokens=least)


async def _score(answered: AnsweredQuestion, prompt: Prompt, engine: Engine) -> AnsweredQuestion:
    """Score the draft's continuation behind the cut and each completion, given the image.

    The engine knows the log-probabilities of its own draft from sampling; a completion was generated without the image
    and costs a prefill.
    """
    draft, cut = answered.responses[answered.draft], answered.cut
    completions = [response for response in answered.responses if response.stage is Stage.COMPLETION]
    assert cut is not None, "a completion without a cut"
    usable = usable_completions(draft.text[len(cut.prefix.text) :], completions)
    assert isinstance(usable, list), "scores of a question that is a skip"
    seeing = replace(prompt, stage=Stage.SCORE, prefix=cut.prefix)
    n_kept = len(cut.prefix.token_ids)
    try:
        chosen, *rejected = await asyncio.gather(
            _likelihood(engine, seeing, draft.token_ids[n_kept:], draft.logprobs[n_kept:]),
            *(engine.score(seeing, completion.token_ids) for completion in usable),
        )
    except RequestRefused as error:  # all responses were paid for: keep them beside the skip
        skip = Skip(answered.question.id, Stage.SCORE, error.reason, error.detail)
        return replace(answered, skip=skip)
    scores = {completion.index: (chosen, score) for completion, score in zip(usable, rejected, strict=True)}
    return replace(answered, scores=scores)
