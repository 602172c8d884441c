"""Judge whether a response's final answer is the reference answer. `docs/judge.md` lists every rule with examples."""

from __future__ import annotations

from mmpr.judging.judge_session import Judge, form_of, judge, judge_response, normal_form
from mmpr.judging.option_lists import JudgeOptions
from mmpr.judging.own_judge import JudgesResponses, OwnJudge, judge_key, open_judge
from mmpr.judging.reference import Reference, compile_reference
from mmpr.judging.rules import VERSION
from mmpr.types import Outcome, Verdict

__all__ = [
    "VERSION",
    "Judge",
    "JudgeOptions",
    "JudgesResponses",
    "Outcome",
    "OwnJudge",
    "Reference",
    "Verdict",
    "compile_reference",
    "form_of",
    "judge",
    "judge_key",
    "judge_response",
    "normal_form",
    "open_judge",
]
