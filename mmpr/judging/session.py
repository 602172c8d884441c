"""A judge with a second opinion at hand: a process that can be killed, started when first needed."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from mmpr.judging.judge_session import INTERNAL, SecondOpinion, compiled, judge_compiled, normal_compiled
from mmpr.judging.option_lists import DEFAULTS, JudgeOptions
from mmpr.judging.reference import Reference
from mmpr.judging.symbolic import SymbolicProcess, TimeLimit
from mmpr.types import Question, Verdict


def form_of(reference: Reference, answer: str) -> str:
    """One text for every way to write an extracted answer; the answer itself where one of our readers fails on it."""
    try:
        return normal_compiled(reference, answer)
    except INTERNAL:
        return answer.strip().casefold()


_MAX_REMEMBERED = 20_000


class _Remembered:
    """A second opinion that is asked once for each pair, also for one that it takes too long over."""

    def __init__(self, opinion: SecondOpinion) -> None:
        self._opinion = opinion
        self._said: dict[tuple[str, str], bool | TimeLimit | None] = {}

    def equal(self, reference: str, answer: str) -> bool | None:
        pair = (reference, answer)
        if pair not in self._said:
            if len(self._said) >= _MAX_REMEMBERED:
                self._said.clear()
            try:
                self._said[pair] = self._opinion.equal(reference, answer)
            except TimeLimit as err:
                self._said[pair] = err
        said = self._said[pair]
        if isinstance(said, TimeLimit):
            raise said
        return said


class Judge:
    """Judges responses; mathematics that our reader cannot read is shown to a second one.

    Owns one worker process, started at the first symbolic comparison, killed at its time limit and replaced. Safe in a
    Ray task, off the main thread and in a subprocess: no signals, no process-wide state. Not shared between threads.

    Args:
        options: how this source's answers are judged.
        time_limit_s: seconds that the second reader may take over one response before it becomes ERROR.
        command: what to start as the worker, instead of `mmpr.judging.worker`.
        opinion: who is asked instead of a worker process.
    """

    def __init__(
        self,
        *,
        options: JudgeOptions = DEFAULTS,
        time_limit_s: float = 1.0,
        command: tuple[str, ...] | None = None,
        opinion: SecondOpinion | None = None,
    ) -> None:
        self._options = options
        self._symbolic = SymbolicProcess(time_limit_s=time_limit_s, command=command)
        self._opinion = _Remembered(opinion or self._symbolic)

    def __enter__(self) -> Judge:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def judge(self, question: Question, response: str) -> Verdict:
        """One response. A truth that does not parse is ERROR with the rule `error-truth`."""
        return self.judge_all(question, (response,))[0]

    def judge_all(self, question: Question, responses: Sequence[str]) -> list[Verdict]:
        """All responses of one question, its truth compiled once."""
        reference = compiled(question, self._options)
        if isinstance(reference, Verdict):
            return [reference for _ in responses]
        return [judge_compiled(reference, response, opinion=self._opinion) for response in responses]

    def close(self) -> None:
        """End the worker process; a later judgement would start a new one."""
        self._symbolic.close()
