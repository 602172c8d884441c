"""Print everything about one pair in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mmpr.reporting.pair_story import Story
from mmpr.reporting.peek import pair_line, side_title
from mmpr.reporting.plain_names import accuracy_label, kind_label, view_label
from mmpr.reporting.safe_text import visible_line
from mmpr.reporting.terminal import CHOSEN, REJECTED, SOFT, heading, is_plain, labelled, print_indented, sides, styled
from mmpr.run import Splice, StoredResponse
from mmpr.run.columns import sides_of
from mmpr.types import JudgedBy, Outcome, PairKind, Stage, TableRow, Verdict, View

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

_COLUMNS = ("", "verdict", "answer", "rule", "ended", "tokens", "pairs", "")
_TABLE = 100  # smallest width at which a table of responses breaks no word
_STYLES = {Outcome.CORRECT: CHOSEN, Outcome.INCORRECT: REJECTED, Outcome.UNPARSED: REJECTED}
_ORDERS = {
    "random": "the pairs whose responses are used least go first, a hash decides among equals",
    "length_matched": "the pairs whose sides are closest in tokens go first",
    "hardest": "the wrong responses closest in words to a right one go first",
    "grounded": "the right responses that gain most from the image, in nats, go first",
}


def print_story(console: Console, story: Story, *, texts: bool = False) -> None:
    """Print the question, all responses, and why these two became the pair.

    Args:
        texts: print the whole text of every response too.
    """
    heading(console, _place(story) if story.row is None else pair_line(story.row))
    _print_question(console, story)
    console.print()
    heading(console, _counted(story))
    _print_responses(console, story)
    if texts:
        for stored in story.committed.responses:
            if stored.response.thoughts is not None:
                labelled(console, f"{_name(stored)}, its thoughts", stored.response.thoughts)
            labelled(console, _name(stored), stored.response.text or "(no answer stands behind the thoughts)")
    if story.row is not None:
        _print_pair(console, story, story.row)


def _print_pair(console: Console, story: Story, row: TableRow) -> None:
    console.print()
    heading(console, "This pair")
    for line in _why(story, row):
        console.print(styled(line))
    console.print()
    titles = (side_title(row, "chosen"), side_title(row, "rejected"))
    both, view = (row["chosen_text"], row["rejected_text"]), row.get("rejected_view")
    sides(console, titles, both, kept_chars=row["prefix_chars"], view=view)


def _print_question(console: Console, story: Story) -> None:
    question = story.committed.question
    if question.system:
        labelled(console, "System", question.system)
    for asked, answered in question.history:
        labelled(console, "Earlier", f"{asked}\n{answered}")
    labelled(console, "Question", question.text)
    if question.choices:
        labelled(console, "Choices", "\n".join(question.choices))
    known = " | ".join(question.answer) if question.answer is not None else "none: a draft and another completion of it"
    labelled(console, "Known answer", known)
    if compiled := _compiled(story):
        labelled(console, "Compared as", compiled)
    for number, (image, reference) in enumerate(_images(story), start=1):
        labelled(console, f"Image {number}", image)
        labelled(console, "  file", reference)
    labelled(console, "Asked as", visible_line(f"question {question.id!r}, {_chunk(story)}"))


def _images(story: Story) -> Iterator[tuple[str, str]]:
    references = story.committed.question.images
    for index, image in enumerate(story.committed.images):
        size = f"{image.width:,} × {image.height:,} {image.format}, {image.n_bytes:,} bytes"
        changed = "" if image.sha256 == image.original_sha256 else f" (file: {image.original_sha256})"
        reference = references[index] if index < len(references) else "–"
        yield f"{size}, sha256 {image.sha256}{changed}", visible_line(reference)


def _chunk(story: Story) -> str:
    account = story.commit.account
    where = f", now in {story.path}" if story.path else ""
    return f"chunk {story.commit.chunk} on {account.host}, {account.engine}{where}"


def _place(story: Story) -> str:
    """Return a question's place and its number of pairs as one line."""
    question, n = story.committed.question, len(story.siblings)
    return visible_line(f"{question.source}, row {question.row} · {n} pair{'' if n == 1 else 's'}")


def _compiled(story: Story) -> str | None:
    # in their order: a set would print another one of two forms in each run
    references = dict.fromkeys(stored.verdict.reference for stored in story.committed.responses if stored.verdict)
    # a compiled form that equals an accepted answer is printed as the known answer already
    return next(
        (
            reference
            for reference in references
            if reference and reference not in (story.committed.question.answer or ())
        ),
        None,
    )


def _counted(story: Story) -> str:
    n = len(story.committed.responses)
    right = sum(stored.verdict.outcome is Outcome.CORRECT for stored in story.committed.responses if stored.verdict)
    accuracy = accuracy_label(story.row) if story.row is not None else None
    return f"All {n} responses" + (f", {right} right; accuracy: {accuracy}" if accuracy else "")


def _print_responses(console: Console, story: Story) -> None:
    """Print one row per response; a narrow terminal gets two lines per response."""
    uses = story.uses()
    rows = [
        tuple(map(styled, (*_cells(one), str(uses[one.response.stage, one.response.index] or "–"), _mark(story, one))))
        for one in story.committed.responses
    ]
    if console.width >= _TABLE or is_plain(console):
        console.print(_table(rows, plain=is_plain(console)))
        return
    for name, *values, mark in rows:
        console.print(styled("").join([name, styled("  "), mark]))
        found = [styled(f"{column} ") + value for column, value in zip(_COLUMNS[1:-1], values, strict=True)]
        print_indented(console, styled(", ").join(found))


def _table(rows: Sequence[Sequence[Text]], *, plain: bool) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=None if plain else box.SIMPLE_HEAD, pad_edge=False, header_style="dim", show_edge=False)
    for name in _COLUMNS:
        table.add_column(name, justify="right" if name in ("tokens", "pairs") else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _mark(story: Story, stored: StoredResponse) -> str | tuple[str, str]:
    """Return which side of the pair a response is, or which earlier response has the same words."""
    side = (stored.response.stage, stored.response.index)
    if side in story.sides():
        chosen = side == story.sides()[0]
        return ("◀ chosen", f"bold {CHOSEN}") if chosen else ("◀ rejected", f"bold {REJECTED}")
    words = stored.response.text.split()
    # white space does not count: two responses that differ only in blanks are one to the reader
    equal = next(one for one in story.committed.responses if one.response.text.split() == words)
    return "" if equal is stored else (f"= {_name(equal)}", SOFT)


def _cells(stored: StoredResponse) -> tuple[str | tuple[str, str], ...]:
    response, verdict = stored.response, stored.verdict
    ended = response.finish_reason.value + (": cut off" if response.is_cut else "") if response.finish_reason else "–"
    tokens = "–" if response.n_tokens is None else f"{response.n_tokens:,}"
    if verdict is None:
        return (_name(stored), "–", "–", "–", ended, tokens)
    answer = "–" if verdict.answer is None else visible_line(verdict.answer)
    sure = f"{verdict.certainty} " if verdict.certainty else ""
    form = " (off format)" if verdict.off_format else ""
    outcome = (f"{sure}{verdict.outcome}{form}", _STYLES.get(verdict.outcome, "yellow"))
    return (_name(stored), outcome, answer, visible_line(_decided_by(stored, verdict)), ended, tokens)


def _decided_by(stored: StoredResponse, verdict: Verdict) -> str:
    """Return who decided and the verifier's opinion: the rule, or the verifier with the rules' own verdict."""
    if stored.answer is None:
        return verdict.rule
    opinion = stored.answer.opinion
    if opinion is None:
        return f"{verdict.rule}; verifier: {stored.answer.fault}"
    said = f"{opinion.decision.value.replace('_', ' ')}, margin {opinion.margin:.1f}"
    if verdict.judged_by is JudgedBy.VERIFIER and stored.ruled is not None:
        return f"verifier: {said}; rules: {stored.ruled.outcome} ({stored.ruled.rule})"
    return f"{verdict.rule}; verifier: {said}"


def _name(stored: StoredResponse) -> str:
    model = f" ({visible_line(stored.response.model)})" if stored.response.model else ""
    return f"{stored.response.stage.value} {stored.response.index}{model}"


def _why(story: Story, row: TableRow) -> Iterator[str]:
    n_pairs = len(story.siblings)
    kind = PairKind(row["pair_kind"])
    yield f"Kind: {kind_label(kind, [row.get('rejected_view') or View.BLIND])}."
    yield f"Rank: {row['rank'] + 1} of {n_pairs} in its question, best first (`rank` {row['rank']})."
    if kind is PairKind.DROPOUT_NTP:
        yield from _why_cut(story, row)
        return
    selection, uses, (chosen, rejected) = story.selection, story.uses(), sides_of(row)
    strategy = str(selection.get("strategy", "random"))
    yield f"Order: strategy {strategy}: {_ORDERS.get(strategy, 'as its name says')}."
    if (gain := story.committed.find(chosen).response.gain) is not None:
        yield f"Chosen side: {_gained(gain)} than without."
    yield f"These two: {_compared(row)}."
    most = selection.get("max_uses")
    yield (
        f"Uses: the chosen side is in {uses[chosen]}, the rejected one in {uses[rejected]} of these pairs; "
        f"{'any number' if most is None else f'at most {most}'} (max_uses), and "
        f"{selection.get('pairs_per_question', 'any number of')} pairs per question (pairs_per_question)."
    )


def _gained(gain: float) -> str:
    return f"{gain:+.3f} nats per token likelier with the image"


def _compared(row: dict[str, object]) -> str:
    from rapidfuzz.distance import Indel

    chosen, rejected = str(row["chosen_text"]).split(), str(row["rejected_text"]).split()
    in_tokens = row["chosen_tokens"] is not None and row["rejected_tokens"] is not None
    sizes = (row["chosen_tokens"], row["rejected_tokens"]) if in_tokens else (row["chosen_text"], row["rejected_text"])
    gap = int(str(sizes[0])) - int(str(sizes[1])) if in_tokens else len(str(sizes[0])) - len(str(sizes[1]))
    unit = "tokens" if in_tokens else "characters"
    lengths = (
        "equally long" if not gap else f"the {'chosen' if gap > 0 else 'rejected'} side is {abs(gap):,} {unit} longer"
    )
    return f"{Indel.normalized_distance(chosen, rejected):.0%} of their words differ, {lengths}"


def _why_cut(story: Story, row: TableRow) -> Iterator[str]:
    splice = story.committed.find(sides_of(row)[1]).splice
    draft = story.committed.find((Stage.DRAFT, splice.draft_index if splice else 0)).response
    if draft.gain is not None:
        n = len(story.committed.of_stage(Stage.DRAFT))
        yield f"Draft: of {n} the one that gains most from the image: {_gained(draft.gain)}."
    if splice is not None:
        yield (
            f"Cut: {splice.prefix_tokens:,} of the draft's {draft.tokens:,} tokens stay ({splice.prefix_chars:,} "
            f"characters; keep_fraction {row['keep_fraction']:g}), moved back to where the text can be cut."
            if splice.prefix_tokens
            else "Cut: nothing of the draft stays (keep_fraction 0)."
        )
        yield _seen(splice)
    if row["chosen_score"] is not None:
        yield (
            f"Grounding: mean log-probability per token, with the image: {row['chosen_score']:.3f} of the draft's "
            f"own rest, {row['rejected_score']:.3f} of the rejected completion."
        )


def _seen(splice: Splice) -> str:
    """Describe what the rejected completion continued, and which image the model saw."""
    exact = "from the prefix's own token ids" if splice.continued == "exact" else "from the prefix given as text"
    begun = exact if splice.prefix_tokens else "from the beginning"
    if splice.view == View.BLIND:
        return f"Blind: the completion was written {begun}, without the image, its tag or its label."
    shown = f" (sha256 {', '.join(splice.shown_sha256)})" if splice.shown_sha256 else ""
    return f"View {splice.view}: the completion was written {begun}, {view_label(splice.view)}{shown}; tags stayed."
