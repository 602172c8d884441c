"""Judge committed responses: when a chunk is written, and again when the judge's settings have changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mmpr.errors import JudgeError
from mmpr.judging import VERSION, Judge, JudgeOptions, OwnJudge, compile_reference, open_judge
from mmpr.judging.rules import Rule
from mmpr.run.commit_records import StoredQuestion, StoredResponse
from mmpr.types import Outcome, Question, Response, Stage, Verdict
from mmpr.verifier.opinions import UseVerifier, with_opinion


def verdicts_on(judge: Judge | OwnJudge, question: Question, responses: Sequence[Response]) -> list[Verdict]:
    """Return a verdict on each response of a question. Thoughts are not judged; thoughts alone are no answer."""
    judged = iter(judge.judge_all(question, [one.text for one in responses if not one.only_thinks]))
    return [Verdict(Outcome.UNPARSED, None, Rule.THINK) if one.only_thinks else next(judged) for one in responses]


def with_verdicts(committed: StoredQuestion, judge: Judge | OwnJudge) -> StoredQuestion:
    """Return the question with a new verdict on every sampled response; old verdicts are replaced."""
    samples = [stored for stored in committed.responses if stored.response.stage is Stage.SAMPLE]
    if not samples:
        return committed
    verdicts = verdicts_on(judge, committed.question, [stored.response for stored in samples])
    judged = [
        replace(stored, verdict=verdict, judge_version=VERSION, ruled=None)
        for stored, verdict in zip(samples, verdicts, strict=True)
    ]
    others = [stored for stored in committed.responses if stored.response.stage is not Stage.SAMPLE]
    return replace(committed, responses=(*judged, *others))


def with_opinions(committed: StoredQuestion, *, min_margin: float, use: UseVerifier) -> StoredQuestion:
    """Return the question with the verifier's verdicts where these count; `ruled` keeps the verdict of the rules."""

    if use is UseVerifier.NONE or all(stored.answer is None for stored in committed.responses):
        return committed

    def decided(stored: StoredResponse) -> StoredResponse:
        if stored.verdict is None or stored.answer is None:
            return stored
        verdict = with_opinion(stored.verdict, stored.answer, min_margin=min_margin, use=use)
        return stored if verdict is stored.verdict else replace(stored, verdict=verdict, ruled=stored.verdict)

    return replace(committed, responses=tuple(map(decided, committed.responses)))


def kind_of(committed: StoredQuestion, *, options: JudgeOptions) -> str | None:
    """Return the kind of the question's reference answer: `unknown` if it cannot be compiled, None if there is none."""
    if committed.question.answer is None:
        return None
    try:
        return compile_reference(committed.question, options=options).kind
    except JudgeError:
        return "unknown"


class Rejudge:
    """Judges a committed question under other settings.

    Picklable; each process opens its own judge at the first call.
    """

    def __init__(self, options: JudgeOptions, time_limit_s: float) -> None:
        self._options, self._time_limit_s = options, time_limit_s
        self._judge: Judge | OwnJudge | None = None

    def __call__(self, committed: StoredQuestion) -> StoredQuestion:
        if self._judge is None:
            self._judge = open_judge(self._options, time_limit_s=self._time_limit_s)
        return with_verdicts(committed, self._judge)

    def __reduce__(self) -> tuple[type[Rejudge], tuple[JudgeOptions, float]]:
        return Rejudge, (self._options, self._time_limit_s)  # without the judge: its worker process cannot move
