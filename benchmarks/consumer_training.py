"""Read exported training sets, and pairs for InternVL, with the trainers' own code in their own environments.

For prompts, a reading yields the reference answer and the reward of every response of the run. The trainer computes
these rewards, and loads the reward function in its own way. `answers.json` next to the exports has the responses.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import os
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Read = tuple[str, str, str, tuple[Any, ...]]


def _answers(folder: str) -> dict[str, list[str]]:
    """Return the run's responses by question id."""
    found: dict[str, list[str]] = json.loads(Path(folder, "..", "answers.json").read_text(encoding="utf-8"))
    return found


def _rounded(rewards: Sequence[float | None]) -> str:
    return json.dumps([None if reward is None or reward != reward else float(reward) for reward in rewards])


# -- verl --------------------------------------------------------------------------------------------------------------


def read_verl(folder: str) -> Iterator[Read]:
    """Read with `RLHFDataset`, and load the reward function by `reward.custom_reward_function`."""
    config = importlib.import_module("omegaconf").OmegaConf.create
    dataset = importlib.import_module("verl.utils.dataset.rl_dataset").RLHFDataset
    get_reward = importlib.import_module("verl.trainer.ppo.reward").get_custom_reward_fn
    custom = {"path": f"{folder}/reward.py", "name": "compute_score", "reward_kwargs": {}}
    score = get_reward(config({"custom_reward_function": custom, "reward": {"custom_reward_function": custom}}))
    settings = config({"filter_overlong_prompts": False, "cache_dir": f"{folder}/../verl-cache"})
    answers = _answers(folder)
    rows = dataset(f"{folder}/train.parquet", tokenizer=None, config=settings, processor=types.SimpleNamespace())
    for number in range(len(rows)):
        row = rows[number]
        shown: list[tuple[int, int]] = []
        texts: list[str] = []
        for message in row["raw_prompt"]:
            content = message["content"]
            parts: list[dict[str, Any]] = [{"type": "text", "text": content}] if isinstance(content, str) else content
            shown += [part["image"].size for part in parts if part["type"] == "image"]
            texts.append("".join("<image>" if part["type"] == "image" else part["text"] for part in parts))
        known = {"data_source": row["data_source"], "ground_truth": row["reward_model"]["ground_truth"]}
        said = answers[row["extra_info"]["question_id"]]
        found = [score(solution_str=one, extra_info=row["extra_info"], **known)["score"] for one in said]
        assert row["index"] == number
        yield "\n\n".join(texts), known["ground_truth"], _rounded(found), tuple(shown)


# -- EasyR1 ------------------------------------------------------------------------------------------------------------


def read_easyr1(folder: str) -> Iterator[Read]:
    """Read with `RLHFDataset` of a clone (`--easyr1`), and load the reward function as EasyR1 does.

    The prompts are those of its own method for messages. Two modules are stubs: `qwen_vl_utils` (videos) and EasyR1's
    tensor helpers; the rows do not reach them.
    """
    clone = Path(os.environ["EASYR1"])
    _stub("qwen_vl_utils.vision_process", fetch_video=None)
    _stub("easyr1.utils.torch_functional")
    dataset = _file(clone / "verl/utils/dataset.py", "easyr1.utils.dataset")
    rows = dataset.RLHFDataset(
        f"{folder}/train.parquet", tokenizer=None, processor=None, prompt_key="prompt", filter_overlong_prompts=False
    )
    reward = _file(Path(folder, "reward.py"), "custom_reward_fn")
    assert reward.REWARD_TYPE == "batch"
    answers = _answers(folder)
    for example in rows.dataset:
        (message,) = rows._build_messages(example)
        text = "".join("<image>" if part["type"] == "image" else part["text"] for part in message["content"])
        shown = tuple(dataset.process_image(image, None, None).size for image in example["images"])
        said = [{"response": one, "ground_truth": example["answer"]} for one in answers[example["question_id"]]]
        found = [score["overall"] for score in reward.compute_score(said)]
        yield text, example["answer"], _rounded(found), shown


def _stub(name: str, **contents: object) -> None:
    """Make a stub of a module that is imported but not used, with its parent packages."""
    parts = name.split(".")
    for length in range(1, len(parts) + 1):
        module = sys.modules.setdefault(".".join(parts[:length]), types.ModuleType(".".join(parts[:length])))
        module.__path__ = []
    for known, value in contents.items():
        setattr(sys.modules[name], known, value)


def _file(path: Path, name: str) -> Any:  # noqa: ANN401
    """Import a module from its file."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# -- InternVL ----------------------------------------------------------------------------------------------------------


def read_internvl(folder: str) -> Iterator[Read]:
    """Read with `LazySupervisedDataset` of `internvl_chat` (InternVL2 to 3)."""
    yield from _internvl(folder, "internvl_chat")


def read_internvl35(folder: str) -> Iterator[Read]:
    """Read with `LazySupervisedDataset` of `internvl_chat_gpt_oss` (InternVL3.5)."""
    yield from _internvl(folder, "internvl_chat_gpt_oss")


def _internvl(folder: str, package: str) -> Iterator[Read]:
    """Yield every row that the trainer's own class reads from `meta.json`; the class is of a clone (`--internvl`).

    Its modules import deepspeed and flash-attention, so only the class and the functions that cut images are executed.
    Two parts are stubs: the tokenizer (conversations are recorded as they arrive), and the transform of tiles to
    tensors.
    """
    torch, kept = importlib.import_module("torch"), []
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)

    def preprocess(_: str, conversations: list[list[dict[str, str]]], *__: object, **___: object) -> dict[str, Any]:
        kept.append([turn["value"] for turn in conversations[0]])
        return {name: [torch.zeros(1)] for name in ("input_ids", "labels", "attention_mask")}

    base = _internvl_classes(package, preprocess)["LazySupervisedDataset"]
    for name, entry in json.loads(Path(folder, "meta.json").read_text(encoding="ascii")).items():
        sizes: list[tuple[int, int]] = []

        def load_image(self: Any, path: str, sizes: list[tuple[int, int]] = sizes) -> Any:  # noqa: ANN401
            image = base.load_image(self, path)
            sizes.append(image.size)
            return image

        limit = entry.get("max_dynamic_patch", 12)
        recording = type("RecordingRows", (base,), {"load_image": load_image})
        rows = recording("internvl2_5", entry, None, None, name, 1, dynamic_image_size=True, max_dynamic_patch=limit)
        for number in range(len(rows)):
            kept.clear()
            sizes.clear()
            rows[number]
            (*asked, chosen), (*again, rejected) = kept
            assert asked == again and sum(text.count("<image>") for text in asked) == len(sizes)
            yield "\n\n".join(asked), chosen, rejected, tuple(sizes)


def _internvl_classes(package: str, preprocess: Callable[..., Any]) -> dict[str, Any]:
    """Execute the parts of the trainer's code that read rows, and return their names."""
    train = Path(os.environ["INTERNVL"], package, "internvl/train")
    torch, image = importlib.import_module("torch"), importlib.import_module("PIL.Image")
    known: dict[str, Any] = {
        **{name: importlib.import_module(name) for name in ("json", "os", "random", "traceback", "copy", "math")},
        "np": importlib.import_module("numpy"),
        "torch": torch,
        "Image": image,
        "Dict": dict,
        "Dataset": importlib.import_module("torch.utils.data").Dataset,
        "UnidentifiedImageError": importlib.import_module("PIL").UnidentifiedImageError,
        "deepcopy": importlib.import_module("copy").deepcopy,
        "logger": importlib.import_module("logging").getLogger("internvl"),
        "IGNORE_INDEX": -100,
        "build_transform": lambda **_: lambda tile: torch.zeros(1),
        **{f"preprocess{name}": preprocess for name in ("", "_mpt", "_internlm", "_phi3", "_internvl2_5")},
        **{f"preprocess_{name}": preprocess for name in ("internvl3_5_gpt_oss", "internvl2_5_gpt_oss", "pretrain")},
    }
    cutting = ("find_closest_aspect_ratio", "dynamic_preprocess")
    for file, names in (("dataset.py", cutting), ("internvl_chat_mpo.py", ("LazySupervisedDataset",))):
        tree = ast.parse((train / file).read_text(encoding="utf-8"))
        tree.body = [node for node in tree.body if getattr(node, "name", "") in names]
        exec(compile(tree, file, "exec"), known)
    return known


# -- OpenRLHF ----------------------------------------------------------------------------------------------------------


def read_openrlhf(folder: str) -> Iterator[Read]:
    """Read by OpenRLHF's schema (`load_dataset("json")`, `input`, `label`, `images`): it needs CUDA to be installed."""
    datasets, image = importlib.import_module("datasets"), importlib.import_module("PIL.Image")
    rewards = importlib.import_module("mmpr.rewards")
    answers = _answers(folder)
    for row in datasets.load_dataset("json", data_files=f"{folder}/train.jsonl")["train"]:
        text = "\n\n".join(turn["content"] for turn in row["input"])
        assert text.count("<image>") == len(row["images"]) and all(turn["role"] for turn in row["input"])
        found = [rewards.compute_score("", said, row["label"])["score"] for said in answers[row["question_id"]]]
        yield text, row["label"], _rounded(found), tuple(image.open(path).size for path in row["images"])


# -- ms-swift ----------------------------------------------------------------------------------------------------------


def read_swift_grpo(folder: str) -> Iterator[Read]:
    """Read as `swift rlhf --rlhf_type grpo` does; the reward is found by its name, from `--external_plugins`."""
    importlib.import_module("swift.utils").import_external_file(f"{folder}/reward.py")
    reward = importlib.import_module("swift.rewards").orms["mmpr"](args=None)
    answers = _answers(folder)
    for row, text, shown in _swift_rows(folder):
        said = answers[row["question_id"]]
        found = reward(completions=said, solution=[row["solution"]] * len(said), question_id=[""] * len(said))
        yield text(row["messages"]), row["solution"], _rounded(found), shown


def read_swift_sft(folder: str) -> Iterator[Read]:
    """Read the rows as `swift sft` does."""
    for row, text, shown in _swift_rows(folder):
        *asked, answer = row["messages"]
        assert answer["role"] == "assistant"
        yield text(asked), answer["content"], "", shown


def _swift_rows(folder: str) -> Iterator[tuple[Any, Callable[[Sequence[Mapping[str, str]]], str], tuple[Any, ...]]]:
    os.environ["ROOT_IMAGE_DIR"] = folder
    load_dataset = importlib.import_module("swift.dataset").load_dataset
    inputs = importlib.import_module("swift.template.template_inputs").TemplateInputs
    load_image = importlib.import_module("swift.template.vision_utils").load_image
    rows, _ = load_dataset([f"{folder}/train.jsonl"], strict=True, remove_unused_columns=False)  # as `swift rlhf` does
    for row in rows:
        template = inputs.from_dict({**row}).chosen
        shown = tuple(load_image(image["path"]).size for image in template.images)
        yield row, lambda turns: "\n\n".join(turn["content"] for turn in turns), shown


# -- LLaMA-Factory -----------------------------------------------------------------------------------------------------


def llamafactory_rows(folder: str, stage: str) -> Iterator[tuple[dict[str, Any], tuple[tuple[int, int], ...]]]:
    """Yield the rows of LLaMA-Factory's loader and converter, after its own checks of images, and the images' sizes."""
    # transformers caches here that torchaudio is missing, before the stub below would look like a real one.
    importlib.import_module("transformers.utils.import_utils").is_torchaudio_available()
    sys.modules["torchaudio"] = types.ModuleType("torchaudio")  # LLaMA-Factory imports it, and needs it for sound only
    hparams = importlib.import_module("llamafactory.hparams")
    merged = importlib.import_module("llamafactory.data.loader")._get_merged_dataset
    plugin = importlib.import_module("llamafactory.data.mm_plugin").get_mm_plugin("base", image_token="<image>")
    settings = hparams.DataArguments(dataset="mmpr", dataset_dir=folder, template="empty")
    model = hparams.ModelArguments(model_name_or_path="none")
    training = types.SimpleNamespace(local_process_index=0, seed=0)
    for row in merged(settings.dataset, model, settings, training, stage=stage):
        images = row["_images"] or []
        for answers in [[one] for one in row["_response"]] if stage == "rm" else [row["_response"]]:
            plugin._validate_messages([*row["_prompt"], *answers], images, [], [])
        regular = plugin._regularize_images(images, image_max_pixels=10**8, image_min_pixels=1)["images"]
        yield row, tuple(decoded.size for decoded in regular)


def read_llamafactory_sft(folder: str) -> Iterator[Read]:
    """Read the rows that `llamafactory-cli train` with `stage: sft` gets."""
    for row, sizes in llamafactory_rows(folder, "sft"):
        texts = [row["_system"]] if row["_system"] else []
        texts += [message["content"] for message in row["_prompt"]]
        yield "\n\n".join(texts), row["_response"][0]["content"], "", sizes


# -- TRL ---------------------------------------------------------------------------------------------------------------


def train_grpo(folder: str) -> Iterator[Read]:
    """Run a step of `GRPOTrainer` with `mmpr.rewards.reward_func` on the CPU; then read its rewards of responses."""
    datasets, torch = importlib.import_module("datasets"), importlib.import_module("torch")
    trl, tiny = importlib.import_module("trl"), importlib.import_module("consumer_trl")
    prepare = importlib.import_module("trl.data_utils").prepare_multimodal_messages
    reward_func = importlib.import_module("mmpr.rewards").reward_func
    rows = datasets.load_dataset("parquet", data_files=f"{folder}/train.parquet", split="train")
    shown = rows.filter(lambda row: len(row["images"]) == 1)
    torch.manual_seed(0)
    processor = tiny._processor()
    model = tiny._model(processor)
    settings = trl.GRPOConfig(
        output_dir="grpo",
        max_steps=1,
        per_device_train_batch_size=4,
        num_generations=4,
        max_completion_length=32,
        **tiny.ON_A_CPU,
    )
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    trainer = trl.GRPOTrainer(
        model=model, reward_funcs=[reward_func, _spread], args=settings, train_dataset=shown, processing_class=processor
    )
    trainer.train()
    (logged,) = [log for log in trainer.state.log_history if "loss" in log]
    moved = sum(not bool((old == dict(model.named_parameters())[name]).all()) for name, old in before.items())
    assert moved, "the step changed nothing"
    share = logged["mmpr/undecided"]
    print(f"note: one step of GRPO: {moved} of {len(before)} tensors changed, {share:.0%} of its completions undecided")
    answers = _answers(folder)
    for row in rows:
        said = answers[row["question_id"]]
        completions = [[{"role": "assistant", "content": one}] for one in said]
        prompt = prepare(row["prompt"], row["images"])
        batch = [{name: value for name, value in row.items() if name != "images"}] * len(said)
        found = trainer._calculate_rewards(batch, [prompt] * len(said), completions, [[0]] * len(said))[:, 0].tolist()
        text = "".join(_rendered(turn) for turn in prompt)
        yield text, row["reference"], _rounded(found), tuple(image.size for image in row["images"])


def _spread(completions: Sequence[Any], **_: object) -> list[float]:
    """Return a second reward, the length: with random weights no completion is right, so the first never differs."""
    return [float(len(completion[0]["content"])) for completion in completions]


def read_kto(folder: str) -> Iterator[Read]:
    """Read with `KTOTrainer`'s own collator for images, and decode its tokens; the label is with each text."""
    datasets, tiny = importlib.import_module("datasets"), importlib.import_module("consumer_trl")
    collate = importlib.import_module("trl.trainer.kto_trainer").DataCollatorForVisionUnpairedPreference
    processor = tiny._processor()
    collator = collate(processor, max_length=None)
    for row in datasets.load_dataset("parquet", data_files=f"{folder}/train.parquet", split="train"):
        sizes = tuple(image.size for image in row["images"])
        batch = collator([dict(row)])
        prompt, completion = tiny._split(batch, 0, processor)
        yield prompt, completion, str(bool(batch["label"][0])), sizes


def _rendered(turn: Mapping[str, Any]) -> str:
    content = "".join("<image>" if part["type"] == "image" else part["text"] for part in turn["content"])
    return f"<|{turn['role']}|>{content}<|end|>"
