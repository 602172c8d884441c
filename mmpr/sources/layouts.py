"""How published data sets name their columns: one small record per layout, the most specific ones first.

A source is recognised once, by the columns of its schema or of its first rows: the first layout counts whose `marks`
all exist. Names match in any spelling: `imageId`, `image_id` and `Image ID` are equal. A new layout needs about ten
lines: its name, its marks, and what differs from `PLAIN`; docs/sources.md lists them.

A column may be a group: `image_#` stands for `image_1`, `image_2`, .. in order, `choice_@` for `choice_a`, `choice_b`,
.., and `@` for the columns A, B, C, ..; `left_image&right_image` stands for both. A dot selects a field of a struct:
`reward_model.ground_truth`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

Columns = tuple[str, ...]  # tried in order: the first one with a value counts


class AnswerRule(StrEnum):
    """How an answer names one of its options.

    LETTER and TEXT both accept a letter and an option's text. If an answer is both (options `C, A, B`, answer `A`),
    LETTER reads the letter and TEXT the text. EITHER, for a source that mixes both, accepts neither then.
    """

    LETTER = "letter"
    TEXT = "text"
    EITHER = "letter or text"
    INDEX0 = "index0"
    INDEX1 = "index1"


_QUESTION = (
    *("question", "query", "problem", "instruction", "question_text", "question_string", "problem_text", "prompt"),
    "text",
)
_IMAGE = (
    *("image", "images", "decoded_image", "image_#", "image_path", "image_paths", "img", "imgs", "img_path", "imgname"),
    *("image_filename", "image_file", "image_name", "img_name", "file_name", "filename", "image_url", "image_urls"),
    *("img_url", "picture", "pictures", "photo", "pic", "figure", "image_base64", "image_bytes", "file_path"),
    *("image_list", "img_list", "input_image", "input_images", "input_image_path", "figure_path"),
)
_OPTIONS = (
    *("choices", "options", "candidates", "multiple_choices", "answer_choices", "answer_options", "option_list"),
    *("choice_@", "option_@", "choice_#", "option_#", "@", "option", "answer_@", "ans_#", "op_@"),
    *("opt_@", "opt_#", "alternative_@", "alternative_#"),
)
_ANSWER = (
    *("answer", "answers", "correct_answer", "correct_choice_idx", "correct_choice", "correct_option", "answer_idx"),
    *("answer_index", "correct_idx", "correct_index", "label", "ground_truth", "gt_answer", "gt", "gold", "target"),
    *("multiple_choice_answer", "direct_answers", "reward_model.ground_truth", "answer_letter", "answer_key", "cop"),
    *("final_answer", "solution"),
)


@dataclass(frozen=True, slots=True)
class RowLayout:
    """One way to lay out a row.

    Args:
        name: the name that `mmpr check` reports.
        marks: columns that a file must have, all of them; `a|b` is either, `!a` is one that it must not have.
        question, image, options, answer, hint, id, source: the places of our columns; a hint is put before the
            question.
        more: columns that are appended to the question.
        turns: the column of turns, if its name is neither `conversations` nor `messages`.
        draft: the column of the reply in a row without an answer.
        rule: how an answer names an option, unless the rows prove another way; None: the setting `answer_index` or the
            rows decide.
        votes: several answers are those of annotators, of whom a fraction must agree; otherwise each one is accepted.
        kinds: what the values of the column `kind` mean for the answer.
        kind: the column that names the kind of a row's answer.
        unit: the column of the answer's unit.
        files: patterns for the path of an image that is not named by its path; the first one with a file is used.
        withheld: texts that mean a withheld answer, besides nothing, `?` and, with options, -1.
        open: a row without an answer is a question for Dropout-NTP; otherwise its answer is withheld.
        asked: the question of rows whose image contains their question.
        words: what answers stand for: 1 for yes.
        comma: options may be one text, separated by commas.
        chat: the question is a whole prompt as a chat template wrote it; its turns are read.
        rollouts: other systems write this layout, with responses to the questions.
        formats: formats of files that may have this layout; empty: all. `table` is Parquet or Arrow.
        alone: a file has no other columns than its marks. These are common names, so each row that proves another rule
            than `rule` counts.
    """

    name: str
    marks: Columns = ()
    question: Columns = _QUESTION
    image: Columns = _IMAGE
    options: Columns = _OPTIONS
    answer: Columns = _ANSWER
    hint: Columns = ()
    more: Columns = ()
    turns: str = ""
    draft: Columns = ()
    id: Columns = ("id", "question_id", "qid", "pid", "index")
    source: Columns = ("source",)
    rule: AnswerRule | None = None
    votes: bool = False
    kind: str = ""
    kinds: tuple[tuple[str, str], ...] = ()
    unit: str = ""
    files: Columns = ()
    withheld: Columns = ()
    open: bool = False
    asked: str = ""
    words: tuple[tuple[str, str], ...] = ()
    comma: bool = False
    chat: bool = False
    rollouts: bool = False
    formats: Columns = ()
    alone: bool = False


_INDEX0, _LETTER = AnswerRule.INDEX0, AnswerRule.LETTER
_MATHVISTA_KINDS = (("integer", "number"), ("float", "number"), ("list", "list"))
_COCO = (
    *("COCO_{data_subtype}_{image_id:012}.jpg", "{data_subtype}/COCO_{data_subtype}_{image_id:012}.jpg"),
    *("{data_subtype}/{image_id:012}.jpg", "{split}2017/{image_id:012}.jpg", "{image_id:012}.jpg"),
)
_COCO_IMAGE = (*_IMAGE, "image_id")  # the number in a file's name, if no column holds the image
_YES_NO = (("0", "No"), ("1", "Yes"))
_IN_IMAGE = "Answer the question that is shown in the image."
PLAIN = RowLayout("plain", id=("id",), open=True)

LAYOUTS = (
    RowLayout("mmpr-rollouts", ("source_row", "response_index", "response"), rule=_LETTER, id=("id",), rollouts=True),
    RowLayout(
        "internvl-rollouts", ("question_orig", "response"), question=("question_orig",), id=("id",), rollouts=True
    ),
    RowLayout(
        "verl-rollouts",
        ("input", "output", "gts"),
        question=("input",),
        answer=("gts",),
        id=("uid",),
        chat=True,
        rollouts=True,
    ),
    RowLayout(
        "lmms-eval-samples",
        ("doc_id", "target", "resps|filtered_resps"),
        question=("doc.question", "doc.query", "input"),
        image=("doc.image", "doc.image_path"),
        options=("doc.options", "doc.choices"),
        answer=("target",),
        id=("doc_id",),
        rollouts=True,
    ),
    RowLayout(
        "mathvista",
        ("pid", "answer_type"),
        question=("query", "question"),
        image=("decoded_image", "image"),
        id=("pid",),
        source=("metadata.source",),
        kind="answer_type",
        kinds=_MATHVISTA_KINDS,
        unit="unit",
        rule=AnswerRule.TEXT,
    ),
    RowLayout(
        "blink",
        ("sub_task", "image_1", "choices"),
        question=("question",),
        image=("image_#",),
        id=("idx",),
        rule=_LETTER,
        withheld=("hidden",),  # of its test split
    ),
    RowLayout("mmmu", ("image_1", "options"), image=("image_#",), rule=_LETTER),
    RowLayout("mmmu-pro-vision", ("image", "options", "answer", "subject", "!question"), asked=_IN_IMAGE, rule=_LETTER),
    RowLayout(
        "mathverse",
        ("problem_version", "question", "answer"),
        question=("question", "query_wo"),
        asked=_IN_IMAGE,
        id=("sample_index",),
        kind="question_type",
        kinds=(("multi-choice", "choice"),),
        rule=_LETTER,
    ),
    RowLayout(
        "mathvision", ("options", "decoded_image|level", "subject"), image=("decoded_image", "image"), rule=_LETTER
    ),
    RowLayout(
        "a-okvqa",
        ("choices", "correct_choice_idx|direct_answers"),
        image=_COCO_IMAGE,
        answer=("correct_choice_idx",),
        rule=_INDEX0,
        files=_COCO,
    ),
    RowLayout(
        "a-okvqa-direct",
        # the cell is a list of ten answers, in the Hub's files as the text of a Python list
        ("direct_answers", "!choices"),
        image=_COCO_IMAGE,
        answer=("direct_answers",),
        votes=True,
        files=_COCO,
    ),
    RowLayout(
        # its `answer` is a number, which would be read as a value without this layout
        "scienceqa",
        ("choices|options", "answer", "hint", "lecture|skill|topic|task|grade"),
        hint=("hint",),
        rule=_INDEX0,
        files=("{image}", "{split}/{id}/{image}", "images/{split}/{id}/{image}"),
    ),
    # its `answer` is a text such as "2": the index of an option and not an option
    RowLayout("ai2d", ("question", "options", "answer", "image"), rule=_INDEX0, formats=("table",), alone=True),
    RowLayout(
        "geoqa",
        ("choices", "label", "manual_program|target_number|formal_point|problem_form|choice_nums"),
        answer=("label",),
        rule=_INDEX0,
    ),
    RowLayout("aqua", ("options", "correct", "rationale"), answer=("correct",), rule=_LETTER),
    RowLayout(
        "olympiadbench",
        ("final_answer", "solution", "is_multiple_answer|subfield"),
        answer=("final_answer",),
        hint=("context",),
        unit="unit",
    ),
    RowLayout("m3cot", ("choices", "answer", "context", "rationale|topic|domain"), hint=("context",), rule=_LETTER),
    RowLayout(
        "seed-bench",
        ("choice_a", "choice_b", "answer"),
        image=(*_IMAGE, "data_id"),
        rule=_LETTER,
        options=("choice_@",),
    ),
    RowLayout(
        "vlmevalkit",
        ("index", "image|image_path"),
        image=("image", "image_path"),
        id=("index",),
        hint=("hint",),
        options=("@",),
        answer=("answer",),
        rule=_LETTER,
        formats=("csv",),
    ),
    RowLayout(
        "vlmevalkit-predictions",
        ("index", "question", "prediction"),
        image=("image", "image_path"),
        id=("index",),
        hint=("hint",),
        options=("@",),
        rule=_LETTER,
        files=("{index}.jpg", "{index}.png", "images/{index}.jpg"),  # with columns.image=index
        rollouts=True,
    ),
    RowLayout(
        "mmbench",
        ("question", "A", "B", "answer"),
        options=("@",),
        hint=("hint", "context"),
        id=("index", "id"),
        rule=_LETTER,
    ),
    RowLayout("mmstar", ("index", "question", "answer", "l2_category|meta_info"), id=("index",), rule=_LETTER),
    RowLayout(
        "tabmwp",
        ("question", "table", "table_title|table_for_pd|ans_type"),
        answer=("answer",),
        hint=("table",),
        unit="unit",
        rule=AnswerRule.TEXT,
    ),
    RowLayout(
        "iconqa",
        ("question", "answer", "ques_type|choice_image_0|query_image"),
        id=("question_id", "id", "pid"),
        image=("query_image", "image"),
        options=("choice_image_#", "choices", "options"),
        answer=("answer",),
        rule=_INDEX0,
        comma=True,
    ),
    RowLayout(
        "mmvp",
        ("index", "question", "options", "correct_answer", "!image"),
        image=("index",),
        answer=("correct_answer",),
        rule=_LETTER,
        files=("MMVP Images/{index}.jpg", "images/{index}.jpg", "{index}.jpg"),
    ),
    RowLayout("mmiu", ("input_image_path", "options", "output"), answer=("output",), rule=_LETTER),
    RowLayout(
        "hallusionbench",
        ("gt_answer", "visual_input", "question"),
        image=("image", "filename"),
        answer=("gt_answer",),
        id=("question_id",),
        words=_YES_NO,
    ),
    RowLayout(
        "figureqa",
        ("image_index", "question_string", "answer", "color1_id|color1_name"),
        image=("image_index",),
        id=(),
        words=_YES_NO,
        files=("png/{image_index}.png", "{image_index}.png"),
    ),
    RowLayout(
        "plotqa",
        ("image_index", "question_string", "answer"),
        image=("image_index",),
        id=(),
        files=("png/{image_index}.png", "{image_index}.png"),
    ),
    RowLayout("nlvr2", ("left_image", "right_image", "question"), image=("left_image&right_image",)),
    RowLayout(
        "vqav2",
        ("answers", "multiple_choice_answer"),
        image=_COCO_IMAGE,
        answer=("answers", "multiple_choice_answer"),
        votes=True,
        files=_COCO,
    ),
    RowLayout(
        "vqa-originals",
        # not TextVQA, whose rows have `image_classes`
        ("question_id", "image_id", "question", "!image", "!choices", "!answer", "!label", "!image_classes"),
        image=("image_id",),
        answer=("answers",),
        votes=True,
        files=_COCO,
    ),
    RowLayout(
        "textvqa",
        ("answers", "ocr_tokens|image_classes|flickr_original_url"),
        image=("image", "image_id"),
        votes=True,
        files=("{image_id}.jpg", "train_images/{image_id}.jpg", "test_images/{image_id}.jpg"),
    ),
    RowLayout(
        "docvqa",
        ("questionId", "answers", "docId|data_split|question_types|image_local_name|operation/reasoning|ocr|image_url"),
        id=("questionId",),
        image=("image", "image_local_name", "images"),
    ),
    RowLayout("st-vqa", ("file_path", "question", "answers"), image=("file_path",)),
    RowLayout("vizwiz", ("answers", "answerable"), votes=True, files=("{image}", "train/{image}", "val/{image}")),
    RowLayout("vizwiz-hub", ("answers", "question_id", "category"), votes=True),
    RowLayout(
        "ok-vqa",
        ("answers", "question_id", "answer_type|question_type|confidence"),
        image=_COCO_IMAGE,
        votes=True,
        files=_COCO,
    ),
    RowLayout(
        "gqa",
        ("imageId", "question", "fullAnswer|isBalanced|semantic|semanticStr"),
        image=("image", "imageId"),
        id=("id", "question_id"),
        answer=("answer",),
        files=("{imageId}.jpg", "images/{imageId}.jpg"),
    ),
    RowLayout(
        "clevr",
        ("image_filename", "question"),
        image=("image_filename",),
        answer=("answer",),
        id=("question_index",),
        files=(
            "{image_filename}",
            "images/{split}/{image_filename}",
            "images/{image_filename}",
            "{split}/{image_filename}",
        ),
    ),
    RowLayout(
        "chartqa-originals",
        ("imgname", "query", "label"),
        answer=("label",),
        id=(),
        files=("{imgname}", "png/{imgname}"),
    ),
    RowLayout("chartqa", ("query", "label", "image"), answer=("label",), id=()),
    RowLayout("ocrbench", ("question", "answer|answers", "dataset|dataset_name", "question_type|type"), id=("id",)),
    RowLayout("pope", ("text", "label", "image", "question_id"), question=("text",), answer=("label",)),
    RowLayout("clevr-math", ("template", "question", "label", "image"), answer=("label",)),
    RowLayout("the-cauldron", ("texts", "images"), turns="texts", open=True, id=()),
    RowLayout("reasoning", ("problem", "solution|answer"), question=("problem",), id=("id",)),
    RowLayout(
        "alpaca",
        ("instruction", "output"),
        question=("instruction",),
        more=("input",),
        draft=("output",),
        open=True,
        id=("id",),
    ),
    RowLayout("query-response", ("query", "response"), question=("query",), draft=("response",), open=True, id=("id",)),
    RowLayout("llava", ("conversations",), open=True, id=("id",)),
    RowLayout("messages", ("messages",), open=True, id=("id",)),
    RowLayout("conversation", ("conversation", "!question"), turns="conversation", open=True, id=("id",)),
)


def layout_named(name: str) -> RowLayout:
    """Return the layout with this name; `PLAIN` if there is none."""
    return _BY_NAME.get(name, PLAIN)


_BY_NAME = {layout.name: layout for layout in LAYOUTS}
