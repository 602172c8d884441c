"""The judge as a reward function for reinforcement learning: right 1, wrong 0, undecided no reward.

A reference answer is one line of JSON (`write_reference`) with everything that its verdicts depend on, so that a reward
equals the verdict that the run itself would give. All functions are thread-safe and compile a reference answer once.
Other arguments of a trainer are ignored.

| trainer | its function |
|---|---|
| verl | `compute_score` |
| TRL | `reward_func` |
| EasyR1 | `easyr1_compute_score` |
| ms-swift | `SwiftReward` |
| OpenRLHF | `openrlhf_reward_func` |

Each one takes `format_weight`, the fraction of a reward for the requested form (0 by default: only the answer counts).
If a trainer accepts only numbers, its function takes `undecided`, the reward of an undecided response. In TRL that is
None, which `GRPOTrainer` reads as "no reward from this function".
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from threading import Lock
from typing import Any, TypeAlias

from mmpr.errors import ConfigError, JudgeError
from mmpr.judging import JudgeOptions, OwnJudge, Reference
from mmpr.judging.judge_session import compiled, judge_compiled
from mmpr.judging.symbolic import SymbolicProcess
from mmpr.types import Outcome, Question, Verdict

REFERENCE_VERSION = 1
# The reward of an undecided response for trainers that accept only numbers.
UNDECIDED = 0.0

_MARK = "mmpr_reference"
_COMPILED = 8192  # compiled reference answers in the cache: the prompts of a step, many times
_SECOND_READER_S = 1.0
_LINE_REWARDS = 1024
_log = logging.getLogger(__name__)

# A reference answer as a trainer passes it: from `write_reference`, or plain accepted answers.
GroundTruth: TypeAlias = str | float | Sequence[str | float]


# -- the reference answer ---------------------------------------------------------------------------------------------


def write_reference(question: Question, options: JudgeOptions) -> str:
    """Return a question's reference answer as one line of JSON: accepted answers, options, kind, tolerance.

    Args:
        question: has at least one accepted answer. Its text is included, because it says what is asked (a unit, a
            year).
        options: how answers of its source are judged.
    """
    stored = {
        _MARK: REFERENCE_VERSION,
        "answer": list(question.answer or ()),
        "choices": list(question.choices),
        "answer_kind": question.answer_kind,
        "minority_answers": list(question.minority_answers),
        "question": question.text,
        "options": asdict(options),
    }
    return json.dumps(stored, ensure_ascii=False)


def read_reference(text: str) -> tuple[Question, JudgeOptions]:
    """Read what `write_reference` wrote: a question that is judged like the run's own, and the judge options.

    Raises:
        JudgeError: it is damaged, or a newer mmpr wrote it.
    """
    try:
        stored = json.loads(text)
        version = stored[_MARK]
        if version != REFERENCE_VERSION:
            raise JudgeError(
                f"a reference answer has version {version}, this mmpr reads {REFERENCE_VERSION}; update it"
            )
        question = Question(
            id="reward",
            source="",
            row=0,
            text=stored["question"],
            choices=tuple(stored["choices"]),
            answer=tuple(stored["answer"]),
            answer_kind=stored["answer_kind"],
            minority_answers=tuple(stored["minority_answers"]),
        )
        # a newer mmpr may have stored further options
        known = {field.name for field in fields(JudgeOptions)}
        options = JudgeOptions(**{name: value for name, value in stored["options"].items() if name in known})
    except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        raise JudgeError(f"a reference answer is damaged ({text[:60]!r}); export the run again") from error
    return question, options


_ALLOWED_JUDGES: set[str] = set()


def allow_judge(place: str) -> None:
    """Allow reference answers that name this custom judge, as their run did.

    Without this call they are refused: a data set must not decide which code a trainer runs.

    Args:
        place: `module:name`, as in the run's setting `judge`.
    """
    _ALLOWED_JUDGES.add(place)
    # a reference may have been compiled as an error before the call
    _compiled.cache_clear()


@dataclass(frozen=True, slots=True)
class _OwnReference:
    """A question whose run was judged by a custom judge."""

    question: Question
    judge: OwnJudge


@lru_cache(maxsize=_COMPILED)
def _compiled(reference: str | tuple[str, ...]) -> Reference | Verdict | _OwnReference:
    """Return a compiled reference answer, or the verdict on every response if it cannot be used."""
    if isinstance(reference, str) and reference.lstrip().startswith(f'{{"{_MARK}"'):
        question, options = read_reference(reference)
        if options.judge is None:
            return compiled(question, options)
        if options.judge not in _ALLOWED_JUDGES:
            remedy = f'mmpr.rewards.allow_judge("{options.judge}") where the reward function is loaded'
            raise JudgeError(f"the run was judged by {options.judge}, which a data set may not name: call {remedy}")
        return _OwnReference(question, OwnJudge(options.judge))
    # plain answers of another data set: nothing says which form was requested
    answer = (reference,) if isinstance(reference, str) else reference
    return compiled(Question(id="reward", source="", row=0, text="", answer=answer), JudgeOptions(format="any"))


def _hashable(reference: GroundTruth) -> str | tuple[str, ...]:
    if isinstance(reference, str):
        return reference
    return tuple(map(str, reference)) if isinstance(reference, Sequence) else str(reference)


# -- one response -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reward:
    """The reward of a response.

    Args:
        accuracy: 1: right; 0: wrong or without a final answer; None: undecided.
        format: 1 if the final answer has the requested form, else 0.
    """

    accuracy: float | None
    format: float

    def total(self, *, undecided: float = UNDECIDED, format_weight: float = 0.0) -> float:
        """Return one number; `undecided` replaces an unknown accuracy."""
        accuracy = undecided if self.accuracy is None else self.accuracy
        return (1.0 - format_weight) * accuracy + format_weight * self.format


_ACCURACY = {Outcome.CORRECT: 1.0, Outcome.INCORRECT: 0.0, Outcome.UNPARSED: 0.0}


def reward_of(verdict: Verdict) -> Reward:
    """Convert a verdict to a reward; a response without a final answer is wrong, as in `accuracy`."""
    in_form = verdict.answer is not None and not verdict.off_format
    return Reward(_ACCURACY.get(verdict.outcome), float(in_form))


def verdict_on(response: str, reference: GroundTruth) -> Verdict:
    """Return the verdict on one response.

    Args:
        response: the whole text of the model.
        reference: from `write_reference`; or the accepted answer, or a sequence of accepted ones, which are judged
            without the question's text and in any form.

    Raises:
        JudgeError: the reference answer is damaged, of a newer mmpr, or names a judge that is not allowed.
    """
    known = _compiled(_hashable(reference))
    if isinstance(known, _OwnReference):
        return known.judge.judge(known.question, response)
    return known if isinstance(known, Verdict) else judge_compiled(known, response, opinion=_SECOND_READER)


class _SharedReader:
    """One second reader of mathematics for all threads, started at the first expression that the rules cannot read.

    A forked process starts its own: two processes on one pipe would read each other's replies.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Forget the worker without ending it; after a fork it belongs to the parent."""
        self._lock = Lock()
        self._worker = SymbolicProcess(time_limit_s=_SECOND_READER_S)
        self._starts = True

    def equal(self, reference: str, answer: str) -> bool | None:
        """Like `SymbolicProcess.equal`, one thread at a time; None if no worker starts."""
        with self._lock:
            if not self._starts:
                return None
            try:
                return self._worker.equal(reference, answer)
            # A training step must not fail because math-verify is missing; the warning comes once.
            except (EOFError, OSError):
                self._starts = False
                self._worker.close()
                _log.warning("no second reader of mathematics (is math-verify installed?): such answers stay undecided")
                return None


_SECOND_READER = _SharedReader()
os.register_at_fork(after_in_child=_SECOND_READER.begin)


class _ShareLog:
    """Logs the undecided fraction for trainers that pass one response per call and take no metrics."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Start counting; in a forked process too."""
        self._lock = Lock()
        self._pending: list[Reward] = []

    def add(self, reward: Reward) -> None:
        """Count one reward; print a line after every 1,024."""
        with self._lock:
            self._pending.append(reward)
            if len(self._pending) < _LINE_REWARDS:
                return
            counted, self._pending = self._pending, []
        undecided_share(counted)


_SHARE_LOG = _ShareLog()
os.register_at_fork(after_in_child=_SHARE_LOG.begin)


# -- trainers ---------------------------------------------------------------------------------------------------------


def _rewards(responses: Sequence[str], references: Sequence[GroundTruth]) -> list[Reward]:
    return [reward_of(verdict_on(text, given)) for text, given in zip(responses, references, strict=True)]


def undecided_share(rewards: Sequence[Reward]) -> float:
    """Return the fraction of undecided responses, 0 to 1, and log it."""
    share = sum(reward.accuracy is None for reward in rewards) / max(1, len(rewards))
    _log.info("%.1f %% of %d responses undecided", 100 * share, len(rewards))
    return share


def compute_score(
    data_source: str = "",
    solution_str: str = "",
    ground_truth: GroundTruth = "",
    extra_info: Mapping[str, Any] | None = None,
    *,
    undecided: float = UNDECIDED,
    format_weight: float = 0.0,
    **_: object,
) -> dict[str, float]:
    """Score one response for verl's `custom_reward_function`.

    Returns:
        `score`, and for verl's metrics `acc`, `format` and `undecided`, each 0 or 1.
    """
    reward = reward_of(verdict_on(solution_str, ground_truth))
    _SHARE_LOG.add(reward)
    return {
        "score": reward.total(undecided=undecided, format_weight=format_weight),
        "acc": reward.accuracy or 0.0,
        "format": reward.format,
        "undecided": float(reward.accuracy is None),
    }


def reward_func(
    completions: Sequence[str | Sequence[Mapping[str, Any]]],
    reference: Sequence[GroundTruth] | None = None,
    *,
    solution: Sequence[GroundTruth] | None = None,
    format_weight: float = 0.0,
    log_metric: Callable[[str, float], object] | None = None,
    log_extra: Callable[[str, list[str]], object] | None = None,
    **_: object,
) -> list[float | None]:
    """Score a batch for TRL's `reward_funcs`. To set `format_weight`, pass a `functools.partial`.

    Args:
        completions: texts, or conversations of one assistant turn.
        reference: the column of this name, which `mmpr export --format grpo` writes.
        solution: the same for a data set with this column name.
        format_weight: fraction of a reward for the requested form.
        log_metric: from TRL; receives the fraction of undecided responses at each step.
        log_extra: from TRL; receives the rule that decided on each response.

    Returns:
        One reward per completion; None if the judge cannot decide.

    Raises:
        JudgeError: there is neither column, or a reference answer is damaged.
    """
    references = solution if reference is None else reference
    if references is None:
        raise JudgeError("the data set has neither a column `reference` nor `solution`: export the run with grpo")
    verdicts = [verdict_on(_text(given), known) for given, known in zip(completions, references, strict=True)]
    rewards = [reward_of(verdict) for verdict in verdicts]
    share = undecided_share(rewards)
    if log_metric is not None:
        log_metric("mmpr/undecided", share)
    if log_extra is not None:
        log_extra("verdict", [f"{verdict.outcome} ({verdict.rule})" for verdict in verdicts])
    return [None if one.accuracy is None else one.total(format_weight=format_weight) for one in rewards]


def _text(completion: str | Sequence[Mapping[str, Any]]) -> str:
    """Return the text of a completion, or of its last turn, whose content may be a list of parts."""
    if isinstance(completion, str):
        return completion
    content = completion[-1]["content"] if completion else ""
    if isinstance(content, str) or content is None:
        return content or ""
    return "".join(part.get("text") or "" for part in content)


def easyr1_compute_score(
    reward_inputs: Sequence[Mapping[str, Any]], *, undecided: float = UNDECIDED, format_weight: float = 0.0
) -> list[dict[str, float]]:
    """Score a batch for EasyR1's reward function of type `batch`.

    Args:
        reward_inputs: each with `response` and `ground_truth`.
        undecided: reward of an undecided response.
        format_weight: fraction of a reward for the requested form.

    Returns:
        For each response `overall`, `format`, `accuracy` and `undecided`; EasyR1 logs their means at every step.
    """
    rewards = _rewards([one["response"] for one in reward_inputs], [one["ground_truth"] for one in reward_inputs])
    return [
        {
            "overall": one.total(undecided=undecided, format_weight=format_weight),
            "format": one.format,
            "accuracy": undecided if one.accuracy is None else one.accuracy,
            "undecided": float(one.accuracy is None),
        }
        for one in rewards
    ]


class SwiftReward:
    """ms-swift's outcome reward: `orms["mmpr"] = SwiftReward`.

    Args:
        args: from ms-swift; not used.
        undecided: reward of an undecided response.
        format_weight: fraction of a reward for the requested form.
    """

    def __init__(
        self, args: object = None, *, undecided: float = UNDECIDED, format_weight: float = 0.0, **_: object
    ) -> None:
        self._undecided, self._format_weight = undecided, format_weight

    def __call__(self, completions: Sequence[str], solution: Sequence[GroundTruth], **_: object) -> list[float]:
        """Return one reward per completion; `solution` is the column of that name."""
        rewards = _rewards([_text(completion) for completion in completions], solution)
        undecided_share(rewards)
        return [one.total(undecided=self._undecided, format_weight=self._format_weight) for one in rewards]


def openrlhf_reward_func(
    queries: Sequence[str],
    prompts: Sequence[str],
    labels: Sequence[GroundTruth],
    *,
    undecided: float = UNDECIDED,
    format_weight: float = 0.0,
    **_: object,
) -> dict[str, Any]:
    """Score a batch for OpenRLHF's `reward_func`.

    Args:
        queries: prompt and response as one text, special tokens included.
        prompts: the prompts alone.
        labels: reference answers.
        undecided: reward of an undecided response.
        format_weight: fraction of a reward for the requested form.

    Returns:
        `rewards`, `scores` (accuracy, 0 to 1) and `extra_logs`, as tensors.

    Raises:
        JudgeError: a query does not contain its prompt.
    """
    import torch

    rewards = _rewards([_response_of(*both) for both in zip(queries, prompts, strict=True)], labels)
    totals = [one.total(undecided=undecided, format_weight=format_weight) for one in rewards]
    for one in rewards:  # OpenRLHF passes one response per call
        _SHARE_LOG.add(one)
    scores = [undecided if one.accuracy is None else one.accuracy for one in rewards]
    unknown = [float(one.accuracy is None) for one in rewards]
    return {
        "rewards": torch.tensor(totals),
        "scores": torch.tensor(scores),
        "extra_logs": {"undecided": torch.tensor(unknown), "format": torch.tensor([one.format for one in rewards])},
    }


_END_TOKENS = re.compile(r"(?:\s*(?:<\|[^<>|\s]{1,40}\|>|</s>|<eos>|<pad>|<end_of_turn>))+\s*$")
_TAIL_CHARS = (400, 100, 40)


def _response_of(query: str, prompt: str) -> str:
    """Return the text after the prompt, without the tokens that end a turn.

    The query of a vision model differs from its prompt, because one image tag became hundreds of image tokens. Then the
    text after the end of the prompt is returned.
    """
    if query.startswith(prompt):
        return _END_TOKENS.sub("", query[len(prompt) :])
    # long ends first: a short one may occur in the prompt twice
    for n_chars in _TAIL_CHARS:
        before, tail, response = query.partition(prompt[-n_chars:])
        if tail and before:
            return _END_TOKENS.sub("", response)
    raise JudgeError(f"a query does not contain its prompt, which ends in {prompt[-40:]!r}")
