"""The fixed texts of the card: how to use the pairs and how they were made."""

from __future__ import annotations

from mmpr.reporting.report_record import Report
from mmpr.reporting.safe_text import visible_line
from mmpr.run.json_records import JsonObject
from mmpr.run.run_record import Settings

COLUMNS = {
    "images": "list of images, embedded (or by path: `embed_images: false`); empty where there is none",
    "prompt": "the turns before the answer, with one `image` part for each image (TRL)",
    "chosen": "the preferred answer as one assistant turn (TRL)",
    "rejected": "the other answer as one assistant turn (TRL)",
    "question": "the prompt as one text with `<image>` tags",
    "chosen_text": "the preferred answer as text",
    "rejected_text": "the other answer as text",
    "answer": "accepted answers, a vertical bar between them; null where none was known",
    "pair_id": "unique; made of the place, the kind and both responses",
    "question_id": "the question's own id, or `source:row`",
    "pair_kind": "`correctness`, `format` or `dropout_ntp`",
    "source": "name of the source",
    "source_row": "row in the source",
    "image_sha256": "of the embedded images",
    "original_sha256": "of the images' files",
    "chosen_answer": "final answer found in the chosen side",
    "rejected_answer": "final answer found in the rejected side",
    "rule": "judge's rule that decided the chosen side",
    "rejected_rule": "judge's rule that decided the rejected side",
    "accuracy": "fraction of right responses in the question's first round, which was requested before any verdict",
    "accuracy_n": "how many of those could be judged: `n_correct` + `n_wrong`",
    "n_responses": "responses the pair was chosen from",
    "chosen_index": "which response is chosen",
    "rejected_index": "which response is rejected",
    "rank": "place among the question's pairs, best first",
    "model": "who answered",
    "model_revision": "commit of the model's repository",
    "prompt_version": "wording of the instruction",
    "temperature": "of sampling",
    "seed": "of the chosen side's request, null if it had none",
    "keep_fraction": "Dropout-NTP: share of the draft's tokens kept; 0: the rejected side is a whole new answer",
    "prefix_chars": "Dropout-NTP: characters that both sides share",
    "chosen_tokens": "length",
    "rejected_tokens": "length",
    "chosen_finish_reason": "`stop`, `length` or `repetition`",
    "rejected_finish_reason": "`stop`, `length` or `repetition`",
    "continued": "Dropout-NTP: `exact` if the engine continued from the prefix's token ids, else `text`",
    "rejected_view": "Dropout-NTP, what the rejected completion was written with: `blind` (no image), `image_kept` "
    "(the same), `shuffled_tiles` or `other_picture`; `images` are the question's own in every case",
    "rejected_image_sha256": "of the images that the rejected completion was written with, where they are not the "
    "question's",
    "chosen_score": "mean log-probability per token, given the images, of the draft's own rest",
    "rejected_score": "the same of the rejected completion",
    "n_correct": "right ones among the question's first responses",
    "n_wrong": "wrong ones among them, those without a final answer included",
    "n_undecided": "those among them that the judge left undecided: accuracy lies between `n_correct` / all and "
    "(`n_correct` + `n_undecided`) / all",
    "certainty": "how sure it is that the rejected side is wrong: `proven` or `likely`; null of other kinds",
    "off_format": "whether the rejected side's answer is clear, but in another form than was asked for",
    "chosen_by": "what decided on the chosen side: `rule`, or `verifier` (a model)",
    "rejected_by": "the same of the rejected side",
    "judge_version": "version of the judge's rules",
    "verifier_margin": "the smaller margin of a verifier's decisions, nats",
    "chosen_model": "the model that wrote the chosen side, if it is not the run's `model`",
    "rejected_model": "the same of the rejected side",
    "on_policy": "whether the run's own model wrote both sides, if several models wrote",
}

LOADING = """\
## Load

Two configs over the same files: `default` decodes images, `raw` leaves their bytes untouched. `FOLDER_OR_REPO` is
this folder, or its repository on the Hub. Where a trainer wants files of its own, `mmpr export` writes them from this
folder alone, and leaves out and counts rows that would break that trainer.

```python
from datasets import load_dataset

pairs = load_dataset("FOLDER_OR_REPO", "default", split="train")  # PIL images
pairs = load_dataset("FOLDER_OR_REPO", "raw", split="train", streaming=True)  # bytes
```

**TRL** reads the config `default` as it is; the losses of MPO:

```python
from trl import DPOConfig, DPOTrainer

config = DPOConfig(
    loss_type=["sigmoid", "bco_pair", "sft"],
    loss_weights=[0.8, 0.2, 1.0],
    beta=0.1,
    max_length=None,  # cutting a prompt would cut its image
    output_dir="mpo",
)
DPOTrainer(model=model, args=config, processing_class=processor, train_dataset=pairs).train()
```

`mmpr export FOLDER --format trl --to DIR` keeps the four columns that it reads and no other.

**InternVL** (`internvl_chat_mpo.py`) wants a `meta.json` with annotations and images:

```bash
mmpr export FOLDER --format internvl --to DIR
# then, among the arguments of its training script:
#   --meta_path DIR/meta.json
```

**LLaMA-Factory** from its own files:

```bash
mmpr export FOLDER --format llamafactory --to DIR
# then, in the training's YAML:
#   dataset_dir: DIR
#   dataset: mmpr
#   stage: dpo
```

or from the Hub, with this entry in its `dataset_info.json`:

```json
{
  "mmpr": {
    "hf_hub_url": "REPO",
    "subset": "raw",
    "ranking": true,
    "columns": {"prompt": "question", "chosen": "chosen_text", "rejected": "rejected_text", "images": "images"}
  }
}
```

**ms-swift** from its own files:

```bash
mmpr export FOLDER --format swift --to DIR
ROOT_IMAGE_DIR=DIR swift rlhf --rlhf_type dpo --dataset DIR/train.jsonl
```

or from the Hub (an unmapped `rejected` would be ignored silently):

```bash
swift rlhf --rlhf_type dpo --use_hf true --dataset REPO:raw \\
  --columns '{"question": "query", "chosen_text": "response", "rejected_text": "rejected_response"}'
```

**Anything else**: `mmpr export FOLDER --format jsonl --to DIR` writes one JSON object per pair, with image paths."""

_LICENCE = """\
## Licence

{whole}

| part | licence | where it is stated |
| --- | --- | --- |
| images | TODO | |
| questions and reference answers ({source}) | TODO | |
| responses ({model}) | TODO: the model's terms for what it writes | |"""

_UNLICENSED = """\
No licence is given yet: `license: other` above is a placeholder. Before you publish, run
`mmpr pair FOLDER license=cc-by-4.0 pretty_name="My pairs"` with a licence that the licences of the parts allow."""

# The ids that the Hub accepts as `license`; any other licence is `other` with a `license_name`.
_LICENSE_IDS = """
    afl-3.0 agpl-3.0 apache-2.0 apple-ascl apple-amlr artistic-2.0 bigcode-openrail-m bigscience-bloom-rail-1.0
    bigscience-openrail-m bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5
    cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
    cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0
    cdla-permissive-2.0 cdla-sharing-1.0 creativeml-openrail-m deepfloyd-if-license ecl-2.0 epl-1.0 epl-2.0 etalab-2.0
    eupl-1.1 eupl-1.2 gemma gfdl gpl gpl-2.0 gpl-3.0 intel-research isc lgpl lgpl-2.1 lgpl-3.0 lgpl-lr llama2 llama3
    llama3.1 llama3.2 llama3.3 lppl-1.3c mit mpl-2.0 ms-pl ncsa odbl odc-by ofl-1.1 openrail openrail++ osl-3.0 pddl
    postgresql unknown unlicense wtfpl zlib
"""
_HUB_LICENSES = frozenset(_LICENSE_IDS.split())

_CITATION = """\
## Citation

```bibtex
@article{wang2024mpo,
  title   = {Enhancing the Reasoning Ability of Multimodal Large Language Models via Mixed Preference Optimization},
  author  = {Wang, Weiyun and Chen, Zhe and Wang, Wenhai and Cao, Yue and Liu, Yangzhou and Gao, Zhangwei and
             Zhu, Jinguo and Zhu, Xizhou and Lu, Lewei and Qiao, Yu and Dai, Jifeng},
  journal = {arXiv preprint arXiv:2411.10442},
  year    = {2024}
}
```"""


def license_fields(given: str | None) -> JsonObject:
    """Return the licence fields of the front matter; a placeholder without a licence."""
    # The Hub refuses a card with an unknown licence id.
    if given is not None and given.lower() in _HUB_LICENSES:
        return {"license": given.lower()}
    return {"license": "other", "license_name": given or "to-be-filled-in"}


def licence(source: str, model: str, given: str | None) -> str:
    """Format the dataset's licence, a table to fill in for its parts, and the citation.

    Args:
        source, model: escaped names.
        given: the setting `license`, one line.
    """
    whole = _UNLICENSED
    if given is not None:
        whole = f"This dataset: `{given.replace('`', '')}`. Its parts have licences of their own; name them here."
    return f"{_LICENCE.format(whole=whole, source=source, model=model)}\n\n{_CITATION}"


def recipe(report: Report) -> str:
    """Return every setting that shaped the pairs, as a configuration file that builds them again."""
    if report.members:
        return _recipes(report)
    shown = _settings(report.identity, report.selection)
    source = "" if report.identity.get("sources") else " --source YOUR_SOURCE"
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    return (
        "## Made again\n\nSave this as `pairs.yaml`:\n\n"
        f"{fenced(shown, 'yaml')}\n\n"
        f"{fenced(f'mmpr build{source} --out DIR --config pairs.yaml', 'bash')}\n\n"
        f"Made with {versions}. The same responses give the same pairs, byte for byte; sampling again gives other "
        "responses unless requests are seeded on the same hardware."
    )


def _recipes(report: Report) -> str:
    """Return the same for a merged run: a configuration per member, and the merge command."""
    parts = ["## Made again", "Save these, one file for each run that was merged:"]
    for number, member in enumerate(report.members, start=1):
        head = f"# run{number}.yaml: {visible_line(member.name)}, from {visible_line(member.source)}\n"
        parts.append(fenced(head + _settings(member.identity, report.selection), "yaml"))
    numbers = range(1, len(report.members) + 1)
    commands = [f"mmpr build --source YOUR_SOURCE_{n} --out run{n} --config run{n}.yaml" for n in numbers]
    commands.append(f"mmpr merge {' '.join(f'run{n}' for n in numbers)} --out DIR")
    return "\n\n".join([*parts, fenced("\n".join(commands), "bash")])


def _settings(identity: Settings, selection: Settings) -> str:
    import yaml

    return str(yaml.safe_dump({**identity, **selection}, sort_keys=False, allow_unicode=True, width=1000))


def fenced(text: str, language: str) -> str:
    """Format a code block that the text in it cannot close."""
    fence = "```"
    # YAML of a user's prompt template may contain a code block
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"
