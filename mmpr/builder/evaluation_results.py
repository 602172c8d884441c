"""Turn a committed question of an evaluation into its result or a skip; chunks and the final report share this."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable

from mmpr.errors import JudgeError
from mmpr.evaluation import Result, result
from mmpr.judging import JudgeOptions, compile_reference, form_of
from mmpr.run import StoredQuestion
from mmpr.types import Reason, Skip, Stage


def no_answer(question_id: str) -> Skip:
    """Return the skip of a question without a reference answer."""
    return Skip(question_id, Stage.READ, Reason.NO_ANSWER, "no answer to judge responses by: give `answer`")


def result_of(committed: StoredQuestion, options: JudgeOptions) -> Result | Skip:
    """Return the result of a committed question, or the skip that explains why it has none."""
    question = committed.question
    if committed.skip is not None:
        return committed.skip
    if question.answer is None:
        return no_answer(question.id)
    try:
        reference = compile_reference(question, options=options)
    except JudgeError as error:
        # an imported run, or other judge settings than those that the chunk was built with
        return Skip(question.id, Stage.JUDGE, Reason.NONE_JUDGED, " ".join(str(error).split()))
    images = [image.original_sha256 for image in committed.images]
    form = functools.partial(form_of, reference)
    found = result(question, committed.judged, kind=reference.kind, images=images, form=form)
    return found or Skip(question.id, Stage.JUDGE, Reason.NONE_JUDGED, "the judge decided on none of its responses")


def count_results(committed: Iterable[StoredQuestion], options: JudgeOptions) -> tuple[dict[str, int], dict[str, int]]:
    """Count results: `evaluated` questions, `responses` and `right` ones; and skips by reason."""
    counts: Counter[str] = Counter(evaluated=0)
    skips: Counter[str] = Counter()
    for one in committed:
        found = result_of(one, options)
        if isinstance(found, Skip):
            skips[found.reason.value] += 1
        else:
            counts.update(evaluated=1, responses=found.n, right=found.right)
    return dict(counts), dict(skips)
