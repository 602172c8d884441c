"""Finished runs with settings and verdicts of their own: what training sets are made of."""

from dataclasses import replace

from run import making

from mmpr.builder.run_recipes import judge_options, run_recipe
from mmpr.judging import judge_key, open_judge
from mmpr.run import (
    RunFolder,
    RunLayout,
    RunRecord,
    StoredQuestion,
    StoredResponse,
    cut_dataset,
    new_attempt,
    read_chunk,
    write_manifest,
)
from mmpr.run.stored_verdicts import with_verdicts
from mmpr.settings.config import BuildConfig, Mark, part
from mmpr.types import Certainty, Finish, Outcome, Question, Response, Stage, Verdict

FIRST, SECOND, LAST = (making.image(seed) for seed in range(3))
# What is asked: the question's fields, its images, and what was answered.
ASKED = [
    ({"text": "How many cars?", "answer": ("3", "three")}, [FIRST], ["3", "4", "3", "perhaps 3 or 4", None, "3"]),
    (
        {"text": "Which animal?", "choices": ("a cat", "a dog", "a bird"), "answer": ("B",)},
        [FIRST, SECOND],
        ["B", "a dog", "C", "a cat", "(A)"],
    ),
    ({"text": "Is it red?", "answer": ("yes",), "answer_kind": "yes_no"}, [], ["Yes", "no", "yes", "No."]),
    (
        {
            "text": "How heavy is it in kg?",
            "answer": ("1.5",),
            "system": "You are terse.",
            "history": (("What is this?", "A stone."), ("Of what?", "Of granite: 花岗岩.")),
        },
        [LAST],
        ["1.5 kg", "1.51", "1500 g", "2 kg", "1.5"],
    ),
    ({"text": "What is \\(x\\)?", "answer": ("\\frac{1}{2}",), "language": "en"}, [SECOND], ["0.5", "1/2", "2"]),
    (
        {"text": "What colour is it?", "answer": ("red",), "minority_answers": ("pink",)},
        [LAST],
        ["red", "pink", "blue"],
    ),
    ({"text": "What does the sign say?", "answer": ("Hôtel “Zum Löwen”",)}, [], ["a shop", "Hôtel “Zum Löwen”"]),
]


def text(index, answer):
    reasoning = f"Response {index} looks at every corner in turn, {'and again ' * index}until it is sure."
    return reasoning if answer is None else f"{reasoning}\n\nFinal Answer: {answer}"


def asked(row, **changed):
    """One question of `ASKED` with its responses, without verdicts."""
    fields, shown, answers = ASKED[row % len(ASKED)]
    references = tuple(f"images/{image.sha256[:8]}.png" for image in shown)
    question = Question(f"q{row}", "vqa", row, images=references, **{**fields, **changed})
    responses = [
        StoredResponse(Response(question.id, Stage.SAMPLE, i, text(i, said), (), len(text(i, said)), Finish.STOP))
        for i, said in enumerate(answers)
    ]
    return StoredQuestion(question, tuple(shown), tuple(responses))


def answered(row, texts, *, gains=(), finish=Finish.STOP, shown=(FIRST,), **fields):
    """A question with responses of one's own, by default `How many cars?` with the reference answer 3."""
    references = tuple(f"images/{image.sha256[:8]}.png" for image in shown)
    question = Question(
        f"q{row}", "vqa", row, **{"text": "How many cars?", "answer": ("3",), **fields}, images=references
    )
    responses = [
        Response(question.id, Stage.SAMPLE, i, said, (), len(said), finish, gain=gains[i] if gains else None)
        for i, said in enumerate(texts)
    ]
    return StoredQuestion(question, tuple(shown), tuple(map(StoredResponse, responses)))


def every_kind():
    """All of `ASKED`, an open question, and a row that could not be read."""
    return [*map(asked, range(len(ASKED))), making.drafted(len(ASKED), [FIRST, SECOND]), making.skipped(len(ASKED) + 1)]


def config(**settings):
    return BuildConfig(**{"source": "vqa.jsonl", "model": "pocket", "n": 4, **settings})


def says_three(question, response):
    """A judge of one's own."""
    return Verdict(
        Outcome.CORRECT if "three" in response else Outcome.INCORRECT, response, "own", None, Certainty.PROVEN
    )


says_three.name, says_three.version = "says-three", "1"


def make(path, rows=None, *, size=4, judge=None, own_judge=None, **settings):
    """A finished run of the rows, judged as its settings say.

    Args:
        judge: what its commits say of the judge, where that is another one than this mmpr's.
        own_judge: the setting `judge`.
    """
    chosen = config(**settings, **({"judge": own_judge} if own_judge else {}))
    run = RunFolder(str(path))
    run.create_run(
        RunRecord(
            format=1,
            source="vqa.jsonl",
            layout=RunLayout(chunk_questions=size),
            identity=part(chosen, Mark.IDENTITY),
            selection=part(chosen, Mark.SELECTION),
            versions={"mmpr": "0.1.0"},
        )
    )
    options = judge_options(chosen)
    with open_judge(options) as one:
        rows = [with_verdicts(row, one) for row in (every_kind() if rows is None else rows)]
    for first in range(0, len(rows), size):
        chunk = rows[first : first + size]
        account = making.account(chunk, judge=judge or judge_key(options))
        run.commit_chunk(first // size, new_attempt(), chunk, account)
    caps = replace(chosen.dataset, exclude=None)  # whoever wants a list writes it later
    _, files = cut_dataset(run, run_recipe(chosen, (), run.commits()), options=caps)
    write_manifest(run, files)
    return run


def committed_in(run):
    """Every question of a run as it is stored, by id."""
    found = [one for commit in run.commits() for one in read_chunk(run, commit)]
    return {one.question.id: one for one in found}
