"""Files of responses in the exact shape of the systems that write them; 10 questions, 4 responses each, half right."""

import csv
import io
import json
import zipfile
from xml.sax.saxutils import escape

from PIL import Image

N_QUESTIONS, N_RESPONSES = 10, 4


def answer(question):
    return question % 4 + 2


def text(question, response):
    """Every second one right; each says something else."""
    value = answer(question) + (response % 2) * (1 + response)
    return f"Counting them in turn gives {response} and more.\n\nFinal Answer: {value}"


def draw(folder):
    for q in range(N_QUESTIONS):
        Image.new("RGB", (30, 20), (q * 20, 80, 160)).save(folder / f"{q}.png")


def lines(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def internvl(folder):
    """`reasoning_data_pipeline`: a response a row, one round after another, the prompt beside the question."""
    rows = []
    for r in range(N_RESPONSES):
        for q in range(N_QUESTIONS):
            asked = f"How many discs are there, number {q}?"
            prompt = f"Your task is to answer the question below. .. Question:\n\n{asked}"
            row = {"image": f"{q}.png", "question": prompt, "answer": str(answer(q)), "question_orig": asked}
            rows.append({**row, "response": text(q, r), "prompt_version": "en"})
    return lines(folder / "internvl.jsonl", rows)


VLMEVAL = ("index", "question", "A", "B", "C", "D", "answer", "category", "prediction")


def vlmeval_rows():
    for q in range(N_QUESTIONS):
        options = [str(answer(q) + i) for i in (1, 0, 2, 3)]
        for r in range(N_RESPONSES):
            said = (
                f"It is option {'BACD'[r]}.\n\nFinal Answer: {'BACD'[r]}"
                if r
                else "Looking closely.\n\nFinal Answer: B"
            )
            yield [q, f"How many discs in number {q}?", *options, "B", "counting", said]


def vlmeval_tsv(folder):
    """VLMEvalKit's predictions have no image; an index is a question's."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter="\t", lineterminator="\n")
    writer.writerows([VLMEVAL, *vlmeval_rows()])
    path = folder / "Model_MMBench.tsv"
    path.write_text(out.getvalue())
    return path


def vlmeval_xlsx(folder):
    return workbook(folder / "Model_MMBench.xlsx", [VLMEVAL, *vlmeval_rows()])


def workbook(path, rows, *, merged=(), shared=True, sheets=1):
    """A workbook as pandas and xlsxwriter write it: shared texts, numbers as numbers."""
    texts, body = {}, []
    for number, row in enumerate(rows, start=1):
        cells = []
        for place, value in enumerate(row):
            at = f"{chr(ord('A') + place)}{number}"
            if value is None:
                cells.append(f'<c r="{at}"/>')
            elif isinstance(value, bool):
                cells.append(f'<c r="{at}" t="b"><v>{int(value)}</v></c>')
            elif isinstance(value, int | float):
                cells.append(f'<c r="{at}"><v>{value}</v></c>')
            elif shared:
                cells.append(f'<c r="{at}" t="s"><v>{texts.setdefault(value, len(texts))}</v></c>')
            else:
                cells.append(f'<c r="{at}" t="inlineStr"><is><t xml:space="preserve">{escape(value)}</t></is></c>')
        body.append(f'<row r="{number}">{"".join(cells)}</row>')
    space = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    merges = "".join(f'<mergeCell ref="{ref}"/>' for ref in merged)
    merges = f"<mergeCells>{merges}</mergeCells>" if merged else ""
    sheet = f"<worksheet {space}><sheetData>{''.join(body)}</sheetData>{merges}</worksheet>"
    relation = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    names = "".join(f'<sheet name="Sheet{n}" sheetId="{n}" r:id="rId{n}"/>' for n in range(1, sheets + 1))
    targets = "".join(
        f'<Relationship Id="rId{n}" Type="{relation}/worksheet" Target="worksheets/sheet{n}.xml"/>'
        for n in range(1, sheets + 1)
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "xl/workbook.xml", f'<workbook {space} xmlns:r="{relation}"><sheets>{names}</sheets></workbook>'
        )
        package = "http://schemas.openxmlformats.org/package/2006/relationships"
        archive.writestr("xl/_rels/workbook.xml.rels", f'<Relationships xmlns="{package}">{targets}</Relationships>')
        for n in range(1, sheets + 1):
            archive.writestr(f"xl/worksheets/sheet{n}.xml", sheet)
        if shared:
            items = "".join(f'<si><t xml:space="preserve">{escape(one)}</t></si>' for one in texts)
            archive.writestr("xl/sharedStrings.xml", f"<sst {space}>{items}</sst>")
    return path


def verl(folder):
    """`_dump_generations`: prompts decoded without special tokens, `gts`, `score`, `step`."""
    rows = [
        {
            "input": f"system\nYou are a helpful assistant.\nuser\nHow many discs in number {q}?\nassistant\n",
            "output": text(q, r),
            "gts": str(answer(q)),
            "score": 1.0 - r % 2,
            "step": 3,
        }
        for q in range(N_QUESTIONS)
        for r in range(N_RESPONSES)
    ]
    return lines(folder / "3.jsonl", rows)


def swift(folder):
    """`swift sample`: the positive as the last turn, a negative in `rejected_response`."""
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"<image>How many discs in number {q}?"},
                {"role": "assistant", "content": text(q, r)},
            ],
            "images": [f"{q}.png"],
            "ground_truth": str(answer(q)),
            "rejected_response": text(q, r + 1),
        }
        for q in range(N_QUESTIONS)
        for r in (0, 2)
    ]
    return lines(folder / "sampled.jsonl", rows)


def listed(folder):
    """Ours and everybody's: a list of responses a row."""
    rows = [
        {
            "id": f"q{q}",
            "image": f"{q}.png",
            "question": f"How many discs in number {q}?",
            "answer": answer(q),
            "responses": [text(q, r) for r in range(N_RESPONSES)],
        }
        for q in range(N_QUESTIONS)
    ]
    return lines(folder / "listed.jsonl", rows)


def harness(folder):
    """lmms-eval's `samples_*.jsonl`."""
    rows = [
        {
            "doc_id": q,
            "doc": {"question": f"How many discs in number {q}?", "image": f"{q}.png"},
            "target": str(answer(q)),
            "resps": [[text(q, r) for r in range(N_RESPONSES)]],
            "arguments": {},
        }
        for q in range(N_QUESTIONS)
    ]
    return lines(folder / "samples_counting.jsonl", rows)


def api(folder):
    """Chat completions kept beside their questions."""
    rows = [
        {
            "image": f"{q}.png",
            "question": f"How many discs in number {q}?",
            "answer": str(answer(q)),
            "response": {
                "model": "maker/model",
                "choices": [
                    {"message": {"role": "assistant", "content": text(q, r)}, "finish_reason": "stop"}
                    for r in range(N_RESPONSES)
                ],
            },
        }
        for q in range(N_QUESTIONS)
    ]
    return lines(folder / "answers.jsonl", rows)


SHAPES = {
    "internvl": internvl,
    "vlmeval-tsv": vlmeval_tsv,
    "vlmeval-xlsx": vlmeval_xlsx,
    "verl": verl,
    "swift": swift,
    "listed": listed,
    "harness": harness,
    "api": api,
}
