"""Explanations for the names in a report."""

from __future__ import annotations

from collections.abc import Collection

from mmpr.types import PairKind, Reason, TableRow, View

POCKET_LINE = "Made by the pocket model: for trying mmpr out, not for training."

KINDS = {
    PairKind.CORRECTNESS: "chosen matches the reference answer, rejected does not",
    PairKind.FORMAT: "chosen matches the reference answer, rejected gives no clear final answer",
    PairKind.DROPOUT_NTP: "chosen is a draft written with the image, rejected is another completion of its beginning",
}

# How a rejected completion was written, by view.
VIEWS = {
    View.BLIND: "without the image",
    View.IMAGE_KEPT: "with the image once more",
    View.SHUFFLED_TILES: "with the image's tiles shuffled",
    View.OTHER_IMAGE: "with another question's image",
}

REASONS = {
    Reason.BAD_ROW: "the row could not be read",
    Reason.EMPTY_QUESTION: "the question is empty",
    Reason.BAD_ANSWER: "the given answer cannot be used",
    Reason.NO_AGREEMENT: "too few annotators agree on an answer",
    Reason.ANSWER_WITHHELD: "the data set withholds the answer",
    Reason.NO_ANSWER: "there is no answer to judge responses by",
    Reason.IMAGE_MISSING: "the image's file does not exist",
    Reason.IMAGE_UNREADABLE: "the image cannot be decoded",
    Reason.IMAGE_TOO_LARGE: "the image is over the size limit",
    Reason.IMAGE_OUTSIDE_ROOT: "the image lies outside the image root",
    Reason.IMAGE_TAGS: "image tags and images differ in number",
    Reason.IMAGE_NOT_ALLOWED: "the image is on a host that allowed_hosts does not name",
    Reason.IMAGE_UNREACHABLE: "the image's host does not answer, or refuses",
    Reason.VIDEO_UNREADABLE: "the video cannot be decoded",
    Reason.VIDEO_TOO_SHORT: "the video has fewer frames than are asked for",
    Reason.PROMPT_TOO_LONG: "the prompt does not fit the model's context",
    Reason.ENGINE_REFUSED: "the engine refused the request",
    Reason.QUARANTINED: "the question ended engines and was set aside",
    Reason.NO_IMAGE: "there is no image, which a draft and its completions need",
    Reason.NO_CORRUPTED_IMAGE: "there was no other image to show, or its tiles look the same when shuffled",
    Reason.DRAFT_UNFINISHED: "the draft ran into its length limit",
    Reason.DRAFT_TOO_SHORT: "the draft is too short to be cut",
    Reason.COMPLETION_UNFINISHED: "the completion ran into its length limit",
    Reason.COMPLETION_EQUAL: "the completion equals the draft's own",
    Reason.COMPLETION_REFUSES: "the completion says that it sees no image",
    Reason.DRAFT_REFUSES: "the draft says that it sees no image",
    Reason.PREFIX_CHANGED: "the tokenizer changes the kept prefix",
    Reason.ALL_CORRECT: "every response is right: nothing to reject",
    Reason.ALL_WRONG: "every response is wrong: nothing to choose",
    Reason.NONE_JUDGED: "no response could be judged",
    Reason.NONE_USABLE: "no two responses make a usable pair",
    Reason.GROUNDING_MARGIN: "the completion fits the image too well",
    Reason.ACCURACY_WINDOW: "too easy or too hard for the accuracy window",
    Reason.ACCURACY_UNCLEAR: "undecided responses leave open whether it is in the accuracy window",
    Reason.UNDECIDED: "responses that could have made a pair are undecided",
    Reason.EXCLUDED: "its image or text is in the list of what must not be trained on",
    Reason.SOURCE_CAP: "the source has reached its cap",
    Reason.FORMAT_FRACTION: "its source has too many format pairs",
}


def kind_label(kind: str, views: Collection[str] = ()) -> str:
    """Explain a kind of pair; for Dropout-NTP, with the views of the rejected sides."""
    words = KINDS[PairKind(kind)]
    if kind != PairKind.DROPOUT_NTP or not views:
        return words
    return f"{words}, written {' or '.join(view_label(view) for view in sorted(views))}"


def view_label(view: str | None) -> str:
    """Explain how a completion of a view was written; None, in runs from before other views existed, is blind."""
    return VIEWS[View(view or View.BLIND)]


def cut_label(view: str | None) -> str:
    """Return the label at the cut of a rejected side."""
    return "✂ image taken away" if view in (None, View.BLIND) else f"✂ {view_label(view)}"


def accuracy_label(row: TableRow) -> str | None:
    """Format accuracy: `3 of the first 4 right (1 undecided), 6 asked`; None if the responses are not judged.

    Accuracy counts only the first round, because its result decided whether later rounds were asked.

    Args:
        row: a row of the dataset; a row of an older mmpr counts only the responses that could be judged.
    """
    right, decided, undecided = row.get("n_correct"), row.get("accuracy_n") or 0, row.get("n_undecided") or 0
    # an older mmpr stored the fraction and not the count
    if right is None and row["accuracy"] is not None:
        right = round(row["accuracy"] * decided)
    if right is None or not decided + undecided:
        return None
    first, asked = decided + undecided, row["n_responses"]
    of = f"{first}" if first == asked else f"the first {first}"
    label = f"{right} of {of} right" + (f" ({undecided} undecided)" if undecided else "")
    return label if first == asked else f"{label}, {asked} asked"


def explain(reason: str) -> str:
    """Explain the reason of a skip, without a final stop; a reason without an explanation is returned as words."""
    known = {key.value: words for key, words in REASONS.items()}
    return known.get(reason, reason.replace("_", " "))


def plain(name: str) -> str:
    """Replace underscores by blanks; Dropout-NTP is written as in its paper."""
    return "Dropout-NTP" if name == PairKind.DROPOUT_NTP else name.replace("_", " ")
