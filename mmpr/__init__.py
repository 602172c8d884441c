"""mmpr builds multimodal preference pairs: correctness, format and Dropout-NTP (arXiv 2411.10442).

`import mmpr` imports nothing else; each name below is loaded when it is first used. `docs/api.md` shows them all.
"""

from __future__ import annotations

import importlib

__version__ = "0.1.0"

TYPE_CHECKING = False  # as in `typing`, whose import takes longer than everything that a signal handler of `mmpr` needs
if TYPE_CHECKING:
    from mmpr.api import (
        ask_verifier,
        build,
        compare,
        evaluate,
        export,
        import_rollouts,
        merge,
        open_run,
        pair,
        read_source,
        verify,
    )
    from mmpr.builder.verifier_session import Verifier
    from mmpr.errors import (
        ConfigError,
        EngineError,
        EngineStartError,
        HubError,
        ImageError,
        JudgeError,
        MissingExtra,
        MmprError,
        ResumeError,
        RunFailing,
        RunFolderError,
        RunStopped,
        SourceError,
    )
    from mmpr.judging import Judge, JudgeOptions
    from mmpr.judging.judge_session import judge_response as judge
    from mmpr.opened_run import Evaluation, Run, RunTable
    from mmpr.reporting.evaluation_report import ComparisonReport, EvaluationReport
    from mmpr.reporting.report_record import Report
    from mmpr.types import (
        Certainty,
        Finish,
        Message,
        Outcome,
        Pair,
        PairKind,
        Prompt,
        Question,
        Reason,
        Response,
        Skip,
        Stage,
        Verdict,
    )

_HOMES = {
    "mmpr.api": (
        *("ask_verifier", "build", "compare", "evaluate", "export", "import_rollouts", "merge", "open_run", "pair"),
        *("read_source", "verify"),
    ),
    "mmpr.builder.verifier_session": ("Verifier",),
    "mmpr.errors": (
        *("ConfigError", "EngineError", "EngineStartError", "HubError", "ImageError", "JudgeError", "MissingExtra"),
        *("MmprError", "ResumeError", "RunFailing", "RunFolderError", "RunStopped", "SourceError"),
    ),
    "mmpr.judging": ("Judge", "JudgeOptions", "judge"),
    "mmpr.opened_run": ("Evaluation", "Run", "RunTable"),
    "mmpr.reporting.evaluation_report": ("ComparisonReport", "EvaluationReport"),
    "mmpr.reporting.report_record": ("Report",),
    "mmpr.types": (
        *("Certainty", "Finish", "Message", "Outcome", "Pair", "PairKind", "Prompt", "Question", "Reason"),
        *("Response", "Skip", "Stage", "Verdict"),
    ),
}
_INSIDE = {"judge": "judge_response"}  # names that differ in their module
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Certainty",
    "ComparisonReport",
    "ConfigError",
    "EngineError",
    "EngineStartError",
    "Evaluation",
    "EvaluationReport",
    "Finish",
    "HubError",
    "ImageError",
    "Judge",
    "JudgeError",
    "JudgeOptions",
    "Message",
    "MissingExtra",
    "MmprError",
    "Outcome",
    "Pair",
    "PairKind",
    "Prompt",
    "Question",
    "Reason",
    "Report",
    "Response",
    "ResumeError",
    "Run",
    "RunFailing",
    "RunFolderError",
    "RunStopped",
    "RunTable",
    "Skip",
    "SourceError",
    "Stage",
    "Verdict",
    "Verifier",
    "__version__",
    "ask_verifier",
    "build",
    "compare",
    "evaluate",
    "export",
    "import_rollouts",
    "judge",
    "merge",
    "open_run",
    "pair",
    "read_source",
    "verify",
]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'mmpr' has no attribute {name!r}")
    from mmpr.extras import named_extras

    with named_extras():
        found = getattr(importlib.import_module(_HOME_OF[name]), _INSIDE.get(name, name))
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
