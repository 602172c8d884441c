"""MPO: each loss term against its formula in float64, the checkpoint both ways, what the trainer sees of a pair."""

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from datasets import Image as ImageColumn
from peft import LoraConfig
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from trl import DPOConfig

import pipelines.mpo
from mmpr.errors import MmprError
from mmpr.pocket import checkpoint_path
from mmpr.run.columns import content_parts
from pipelines.mpo import experiment as mpo_experiment
from pipelines.mpo.checkpoint import Layout, layout_of, load_model, save_model
from pipelines.mpo.experiment import Answers, measured, table
from pipelines.mpo.held_out import HeldOut, read_held_out
from pipelines.mpo.processor import load_processor
from pipelines.mpo.train import TrainingRecipe, Weights, load_pairs, load_recipe, train
from pipelines.mpo.trainer import MPOTrainer, RewardShift, length_normalised_nll
from pipelines.pocket.checkpoint import write_random_checkpoint
from pipelines.pocket.model import Shape
from pipelines.pocket.questions import write_questions

pytestmark = pytest.mark.filterwarnings("ignore")  # of TRL, transformers and accelerate

POCKET = checkpoint_path()
RECIPES = Path(pipelines.mpo.__file__).parent
BETA = 0.1
SIDES = (
    ("Row 1: column 2 a red circle.\nFinal Answer: red", "Final Answer: blue"),
    ("Final Answer: 3", "Row 1: column 1 a blue square, column 3 a red star.\nRow 2: nothing.\nFinal Answer: 4"),
    ("Yes.", "No, it is not there.\nFinal Answer: no"),
)


def loaded(folder=POCKET, **options):
    return load_model(folder, trust_remote_code=True, **options)


def processor_of(folder=POCKET):
    return load_processor(folder, trust_remote_code=True)


def turn(role, text, *, images=0):
    return [{"role": role, "content": [{"type": "image"}] * images + [{"type": "text", "text": text}]}]


@pytest.fixture(scope="module")
def pairs():
    """One question with a wide image, one with a small one, one without; sides of unequal lengths."""
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 255, (64, wide, 3), dtype=np.uint8)) for wide in (128, 64)]
    rows = [
        {
            "images": [images[i]] if i < 2 else [],
            "prompt": turn("user", f"Question {i}?", images=int(i < 2)),
            "chosen": turn("assistant", chosen),
            "rejected": turn("assistant", rejected),
        }
        for i, (chosen, rejected) in enumerate(SIDES)
    ]
    return Dataset.from_list(rows).cast_column("images", [ImageColumn()])


def perturbed(seed):
    """The pocket model in float64, with noise on its weights: a policy that is not its reference."""
    model = loaded(dtype=torch.float64)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    return model


def trainer_of(pairs, tmp_path, losses, *, seed=1, lora=None, **arguments):
    settings = {
        "output_dir": str(tmp_path / "trainer"), "beta": BETA, "loss_type": list(losses), "max_length": None,
        "loss_weights": list(losses.values()), "per_device_train_batch_size": 3, "use_cpu": True, "bf16": False,
        "gradient_checkpointing": False, "report_to": "none", "save_strategy": "no", "remove_unused_columns": False,
        "disable_tqdm": True, "logging_steps": 1, **arguments,
    }  # fmt: skip
    return MPOTrainer(
        model=perturbed(seed),
        ref_model=None if lora else loaded(dtype=torch.float64),
        args=DPOConfig(**settings),
        train_dataset=pairs,
        processing_class=processor_of(),
        peft_config=lora,
    )


def log_probs_by_hand(model, batch):
    """log π of each whole response, (2 pairs,), and its length: from logits, with nothing of TRL's."""
    mask = batch["completion_mask"][:, 1:]
    given = {name: batch[name] for name in ("input_ids", "attention_mask", "pixel_values")}
    logits = model(**given).logits[:, :-1].double().log_softmax(-1)
    found = logits.gather(-1, batch["input_ids"][:, 1:, None])[..., 0]
    return (found * mask).sum(1), mask.sum(1)


def formulas(policy, reference, lengths, *, delta):
    """L_p, L_q, L_g of arXiv 2411.10442 as they are printed."""
    (chosen, rejected), (chosen_0, rejected_0) = policy.chunk(2), reference.chunk(2)
    r_c, r_r = BETA * (chosen - chosen_0), BETA * (rejected - rejected_0)
    sigma = torch.sigmoid
    preference = -torch.log(sigma(r_c - r_r))
    quality = -torch.log(sigma(r_c - delta)) - torch.log(sigma(-(r_r - delta)))
    generation = -chosen / lengths.chunk(2)[0]
    return {"sigmoid": preference.mean(), "bco_pair": quality.mean(), "sft": generation.mean()}


COMBINATIONS = [
    {"sigmoid": 1.0}, {"bco_pair": 1.0}, {"sft": 1.0}, {"sigmoid": 0.8, "bco_pair": 0.2, "sft": 1.0}
]  # fmt: skip


@pytest.fixture(scope="module", params=COMBINATIONS, ids="+".join)
def weighed(request, pairs, tmp_path_factory):
    """The losses with their weights, and a trainer of them that takes no step."""
    return request.param, trainer_of(pairs, tmp_path_factory.mktemp("weighed"), request.param)


@pytest.mark.parametrize("delta", [0.0, -0.37, 1.4])
def test_loss_and_gradient_are_the_formulas(weighed, delta):
    losses, trainer = weighed
    trainer.shift.total, trainer.shift.count = 0.0, 0
    trainer.shift.learn(delta, 10)
    trainer.model.zero_grad()
    batch = next(iter(trainer.get_train_dataloader()))
    batch["pixel_values"] = batch["pixel_values"].double()
    model = trainer.model.train()
    loss = trainer.compute_loss(model, batch)
    loss.backward()
    got = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}

    model.zero_grad()
    policy, lengths = log_probs_by_hand(model, batch)
    with torch.no_grad():
        reference, _ = log_probs_by_hand(trainer.ref_model, batch)
    terms = formulas(policy, reference, lengths, delta=delta)
    wanted = sum(weight * terms[name] for name, weight in losses.items())
    wanted.backward()
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-6)
    assert len({length.item() for length in lengths}) > 3  # a mean over tokens would be another number
    wanted_of = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    largest = max(gradient.abs().max().item() for gradient in wanted_of.values())
    assert got.keys() == wanted_of.keys() and largest > 0
    for name, gradient in wanted_of.items():  # TRL's fused head counts in float32
        assert torch.allclose(got[name], gradient, rtol=1e-4, atol=1e-5 * largest), name


def eyes_of(model):
    inner = (model.get_base_model() if hasattr(model, "get_base_model") else model).model
    return nn.ModuleList([inner.vision_tower, inner.multi_modal_projector])


@pytest.mark.parametrize("lora", [None, LoraConfig(target_modules=r".*language_model.*q_proj")], ids=["full", "lora"])
def test_a_frozen_vision_part_looks_once_and_the_loss_is_the_same(pairs, tmp_path, lora):
    losses, loss, tiles = {"sigmoid": 0.8, "bco_pair": 0.2, "sft": 1.0}, {}, {}
    looked = []
    for frozen in (False, True):
        trainer = trainer_of(pairs, tmp_path, losses, lora=lora)
        eyes = eyes_of(trainer.model.train())
        sights = {eyes, eyes_of(trainer.ref_model) if trainer.ref_model else eyes}
        eyes.load_state_dict(eyes_of(loaded()).state_dict())  # as the reference's are when a training begins
        eyes.requires_grad_(not frozen)
        batch = next(iter(trainer.get_train_dataloader()))
        batch["pixel_values"] = batch["pixel_values"].double()
        for one in sights:
            one[0].register_forward_hook(lambda _, given, output: looked.append(len(output.last_hidden_state)))
        looked.clear()
        found = trainer.compute_loss(trainer.model, batch)
        found.backward()
        loss[frozen], tiles[frozen] = found.item(), sum(looked)
        assert all((parameter.grad is None) == frozen for parameter in eyes.parameters())
    assert loss[True] == pytest.approx(loss[False], rel=1e-9)
    assert tiles[False] == 4 * tiles[True] > 0


def test_the_shift_is_the_mean_of_the_rewards_before_and_is_kept(pairs, tmp_path):
    trainer = trainer_of(pairs, tmp_path, {"bco_pair": 1.0}, learning_rate=1e-3, max_steps=3, save_strategy="steps",
                         save_steps=2, num_train_epochs=3)  # fmt: skip
    trainer.train()
    steps = [log for log in trainer.state.log_history if "reward_shift" in log]
    rewards = [(log["rewards/chosen"] + log["rewards/rejected"]) / 2 for log in steps]
    assert steps[0]["reward_shift"] == 0
    assert steps[1]["reward_shift"] == pytest.approx(rewards[0])
    assert steps[2]["reward_shift"] == pytest.approx((rewards[0] + rewards[1]) / 2)
    assert len(set(rewards)) == 3
    state = json.loads((tmp_path / "trainer" / "checkpoint-2" / "trainer_state.json").read_text())
    kept = RewardShift.from_state(state["stateful_callbacks"]["RewardShift"])
    assert kept.mean == pytest.approx(steps[2]["reward_shift"])

    again = trainer_of(pairs, tmp_path, {"bco_pair": 1.0}, learning_rate=1e-3, max_steps=3,
                       restore_callback_states_from_checkpoint=True)  # fmt: skip
    again.train(resume_from_checkpoint=str(tmp_path / "trainer" / "checkpoint-2"))
    last = [log for log in again.state.log_history if "reward_shift" in log][-1]
    assert last["reward_shift"] == pytest.approx(steps[2]["reward_shift"])


def test_every_response_counts_alike_however_long():
    log_probs = torch.tensor([[-1.0, -1.0, -1.0, 0.0], [-4.0, 0.0, 0.0, 0.0]] * 2)
    mask = torch.tensor([[0, 1, 1, 1, 0], [0, 1, 0, 0, 0]] * 2)
    assert length_normalised_nll(log_probs, mask).item() == pytest.approx((1 + 4) / 2)


# -- the checkpoint ----------------------------------------------------------------------------------------------------


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    save_model(loaded(), POCKET, tmp_path / "back")
    before, after = load_file(POCKET / "model.safetensors"), load_file(tmp_path / "back" / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert json.loads((tmp_path / "back" / "config.json").read_text()) == json.loads(
        (POCKET / "config.json").read_text()
    )


def test_the_layout_of_internvl2_8b_comes_back(tmp_path):
    shape = Shape(image_size=448, patch_size=14, vision_width=128, layers=2, heads=8, kv_heads=2, width=512)
    write_random_checkpoint(tmp_path / "random", shape=shape)
    model = loaded(tmp_path / "random")
    assert model.config.image_seq_length == 256
    save_model(model, tmp_path / "random", tmp_path / "back")
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("random", "back"))
    assert all(torch.equal(before[name], after[name]) for name in before) and before.keys() == after.keys()


def qwen2_config(**changes):
    config = json.loads((POCKET / "config.json").read_text())
    language = config["llm_config"] | {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}
    return config | {"llm_config": language} | changes


def test_a_qwen2_language_model_keeps_its_names_and_gains_none():
    layout = Layout(qwen2_config())
    names = [f"language_model.model.layers.0.self_attn.q_proj.{kind}" for kind in ("weight", "bias")]
    names += ["language_model.model.embed_tokens.weight", "language_model.lm_head.weight", "mlp1.3.bias"]
    weights = {name: torch.randn(4) for name in names}
    there = layout.to_transformers(weights)
    assert "model.language_model.layers.0.self_attn.q_proj.bias" in there and "lm_head.weight" in there
    assert layout.to_internvl(there).keys() == weights.keys()
    assert layout.config(7).text_config.model_type == "qwen2"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"llm_config": {"architectures": ["Phi3ForCausalLM"]}}, "Phi3ForCausalLM"),
        ({"ps_version": "v1"}, "ps_version 'v1'"),
    ],
)
def test_what_transformers_has_not_is_refused_by_name(changes, words):
    with pytest.raises(MmprError, match=words):
        Layout(qwen2_config(**changes))


def test_a_weight_without_a_place_is_named():
    with pytest.raises(MmprError, match="lora_a"):
        layout_of(POCKET).to_transformers({"language_model.lora_a": torch.zeros(1)})


def test_a_folder_without_a_checkpoint_is_named(tmp_path):
    with pytest.raises(MmprError, match=r"no config\.json"):
        loaded(tmp_path)


# -- what is seen of a pair --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(64, 64), (128, 64), (64, 128), (128, 128), (300, 90), (31, 200), (500, 480), (1, 1)])
def test_tiles_are_those_of_the_engine(size):
    from vllm.transformers_utils.processors.internvl import InternVLImageProcessor

    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    config = json.loads((POCKET / "config.json").read_text())
    names = ("min_dynamic_patch", "max_dynamic_patch", "dynamic_image_size", "use_thumbnail")
    served = InternVLImageProcessor(image_size=64, **{name: config[name] for name in names})([image])
    trained = processor_of().image_processor([image], return_tensors="pt")
    assert trained["pixel_values"].shape == served["pixel_values_flat"].shape
    assert torch.allclose(trained["pixel_values"], served["pixel_values_flat"], atol=1e-5)


@pytest.mark.parametrize(
    "text",
    [
        "<image>\nHow many?",
        "<image>\n<image>\nWhich is larger?",
        "Image-1: <image>\nImage-2: <image>\nWhich is larger?\n\nA. the first",
        "Look at it.\n<image>",
        "How many?",
    ],
)
def test_the_prompt_of_a_row_is_the_one_that_the_engine_saw(text):
    rendered = processor_of().apply_chat_template([{"role": "user", "content": content_parts(text)}])
    assert text.replace("<image>", "<IMG_CONTEXT>") in rendered


def test_an_answer_ends_with_its_end_of_turn():
    processor = processor_of()
    asked = turn("user", "How many?", images=1)
    found = processor.apply_chat_template(asked + turn("assistant", "Two.\n"))
    assert found.endswith("<|im_start|>assistant\nTwo.\n<|im_end|>")
    assert processor.apply_chat_template(asked, add_generation_prompt=True).endswith("<|im_start|>assistant\n")
    assert found.count("<IMG_CONTEXT>") == 1


# -- the program -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lora", [None, {"r": 4, "target_modules": "all-linear"}], ids=["full", "lora"])
def test_training_changes_the_model_and_leaves_a_checkpoint_of_the_same_layout(pairs, tmp_path, lora):
    recipe = load_recipe(RECIPES / "pocket.yaml").model_copy(update={"lora": lora})
    recipe = recipe.model_copy(update={"training": {**recipe.training, "max_steps": 3, "learning_rate": 1e-3,
                                                    "warmup_steps": 0, "logging_steps": 1}})  # fmt: skip
    logged = train(recipe, pairs, tmp_path / "out")
    losses = [step["loss"] for step in logged if "loss" in step]
    assert len(losses) == 3 and all(map(math.isfinite, losses)) and losses[-1] < losses[0]
    before, after = load_file(POCKET / "model.safetensors"), load_file(tmp_path / "out" / "model.safetensors")
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    loaded(tmp_path / "out")


@pytest.mark.parametrize("lora", [None, {"r": 4, "target_modules": "all-linear"}], ids=["full", "lora"])
def test_the_average_of_the_steps_is_written_also_by_a_training_that_was_resumed(pairs, tmp_path, lora):
    recipe = load_recipe(RECIPES / "pocket.yaml").model_copy(update={"lora": lora, "average_steps": 4})
    arguments = {**recipe.training, "num_train_epochs": 4, "learning_rate": 1e-3, "warmup_steps": 0,
                 "lr_scheduler_type": "constant", "save_strategy": "steps", "save_steps": 1}  # fmt: skip
    recipe = recipe.model_copy(update={"training": arguments})
    train(recipe, pairs, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole" / "trainer" / "checkpoint-2", tmp_path / "cut" / "trainer" / "checkpoint-2")
    train(recipe, pairs, tmp_path / "cut", resume=True)
    whole, cut = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.allclose(whole[name], cut[name], atol=1e-6) for name in whole)

    def trained(step, file):
        return load_file(tmp_path / "whole" / "trainer" / f"checkpoint-{step}" / file)

    of_steps = [trained(step, "adapter_model.safetensors" if lora else "model.safetensors") for step in (3, 4)]
    before, after = trained(3, "average.safetensors"), trained(4, "average.safetensors")
    assert before.keys() == after.keys()
    changed = [name for name in after if not torch.equal(before[name], after[name])]
    assert changed
    for name in changed:  # each step enters by a quarter
        (stored,) = (one for one in of_steps[1] if one.replace(".weight", "") in name.replace(".default", ""))
        assert torch.allclose(after[name], 0.75 * before[name] + 0.25 * of_steps[1][stored].float(), atol=1e-6)


@pytest.mark.parametrize("lora", [None, {"r": 4, "target_modules": "all-linear"}], ids=["full", "lora"])
def test_a_share_of_the_initial_model_is_in_the_weights_that_are_written(pairs, tmp_path, lora):
    exact = shutil.copytree(POCKET, tmp_path / "exact")  # in float32: bfloat16 rounds by more than these steps change
    before = {name: weight.float() for name, weight in load_file(POCKET / "model.safetensors").items()}
    save_file(before, exact / "model.safetensors", metadata={"format": "pt"})
    recipe = load_recipe(RECIPES / "pocket.yaml").model_copy(
        update={"lora": lora, "model": str(exact), "average_steps": None}
    )
    recipe = recipe.model_copy(update={"training": {**recipe.training, "max_steps": 2, "learning_rate": 1e-3,
                                                    "warmup_steps": 0}})  # fmt: skip
    for name, share in (("none", 0.0), ("quarter", 0.25)):
        train(recipe.model_copy(update={"initial_share": share}), pairs, tmp_path / name)
    trained, mixed = (load_file(tmp_path / name / "model.safetensors") for name in ("none", "quarter"))
    assert any(not torch.allclose(before[name], trained[name], atol=1e-4) for name in before)
    for name, weight in before.items():
        assert torch.allclose(mixed[name], 0.25 * weight + 0.75 * trained[name], atol=1e-6)


def test_the_recipe_of_internvl2_5_8b_is_one_that_trl_takes(tmp_path):
    recipe = load_recipe(RECIPES / "internvl2_5-8b.yaml")
    assert recipe.weights == Weights() and recipe.weights.losses() == {"sigmoid": 0.8, "bco_pair": 0.2, "sft": 1.0}
    known = set(DPOConfig.__dataclass_fields__)
    assert recipe.training.keys() <= known
    assert recipe.training["per_device_train_batch_size"] * recipe.training["gradient_accumulation_steps"] * 8 == 256


def test_a_weight_of_nothing_is_no_loss():
    assert Weights(preference=0, quality=0).losses() == {"sft": 1.0}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model: pocket\nbeta: -1\n", "beta"),
        ("model: pocket\nsteps: 3\n", "steps"),
        ("beta: 0.1\n", "model"),
        ("model: pocket\ntraining: {learning_rat: 1}\n", r"training: .*learning_rat is no field .*; learning_rate\?"),
    ],
)
def test_a_fault_of_a_recipe_names_file_and_field(tmp_path, text, words):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(MmprError, match=rf"recipe\.yaml: {words}"):
        load_recipe(path)


def test_a_rate_as_people_write_it_is_a_number(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("model: pocket\ntraining: {learning_rate: 1e-4, lr_scheduler_type: cosine}\nlora: {r: 4}\n")
    recipe = load_recipe(path)
    assert recipe.training == {"learning_rate": 1e-4, "lr_scheduler_type": "cosine"} and recipe.lora == {"r": 4}


def test_a_folder_without_pairs_is_named(tmp_path):
    with pytest.raises(MmprError, match="no data/train-"):
        load_pairs([tmp_path])


def test_recipe_defaults_are_the_papers():
    recipe = TrainingRecipe(model="pocket")
    assert (recipe.beta, recipe.weights.preference, recipe.weights.quality) == (0.1, 0.8, 0.2)
    assert recipe.weights.generation == 1


def test_a_training_is_watched_by_questions_held_out_and_stops_where_answers_lose_their_form(pairs, tmp_path, capsys):
    write_questions(tmp_path / "asked", n=12, open_fraction=0.3, seed=41)
    recipe = load_recipe(RECIPES / "pocket.yaml")
    # a rate that ruins any model within some steps
    recipe = recipe.model_copy(update={"training": {**recipe.training, "max_steps": 12, "learning_rate": 0.05,
                                                    "warmup_steps": 0, "logging_steps": 1}})  # fmt: skip
    asked = HeldOut(str(tmp_path / "asked" / "vqa.jsonl"), n=6, every=2)
    logged = train(recipe, pairs, tmp_path / "out", held_out=asked)
    said = capsys.readouterr().out.splitlines()
    shown = [line for line in said if line.startswith("held-out, step ")]
    assert shown[0].startswith("held-out, step 0: ") and shown[0].endswith(" 100.0% parsable")
    assert max(step["step"] for step in logged) < 12 and (tmp_path / "out" / "model.safetensors").exists()
    assert any("of the held-out answers are parsable" in line and "stops here" in line for line in said)


def test_a_watched_training_ends_with_the_weights_of_one_that_is_not(pairs, tmp_path):
    write_questions(tmp_path / "asked", n=6, open_fraction=0.0, seed=42)
    recipe = load_recipe(RECIPES / "pocket.yaml")
    recipe = recipe.model_copy(update={"training": {**recipe.training, "max_steps": 2}})
    watched = HeldOut(str(tmp_path / "asked" / "vqa.jsonl"), n=4, every=1)
    for name, held_out in (("plain", None), ("watched", watched)):
        train(recipe, pairs, tmp_path / name, held_out=held_out)
    plain, after = (load_file(tmp_path / name / "model.safetensors") for name in ("plain", "watched"))
    assert all(torch.equal(plain[name], after[name]) for name in plain)


def test_a_source_without_a_reference_answer_cannot_watch(tmp_path):
    write_questions(tmp_path, n=3, open_fraction=1.0, seed=43)
    with pytest.raises(MmprError, match="no question with a reference answer"):
        read_held_out(str(tmp_path / "vqa.jsonl"), 4)


# -- the experiment ----------------------------------------------------------------------------------------------------


def test_a_rows_figures_are_means_over_questions_and_seeds():
    def said(right, false):
        return [
            Answers("a", "count", 10, right=right, parsed=1.0),
            Answers("b", "colour", 20, right=1.0, parsed=0.5),
            Answers("c", "open", 30, false=false, stated=10),
            Answers("d", "open", 40, false=0, stated=10),
        ]

    found = measured("mpo", {7: said(0.0, 4), 8: said(0.5, 2)})
    assert found.right[0] == pytest.approx((0.0 + 1.0 + 0.5 + 1.0) / 4)
    assert [(one.seed, one.right, one.parsable, one.false_per_description) for one in found.seeds] == [
        (7, 0.5, 0.75, 2.0),
        (8, 0.75, 0.75, 1.0),
    ]
    assert found.deviation == pytest.approx(0.125 * 2**0.5) and found.seeds[0].by_kind == {"colour": 1.0, "count": 0.0}
    assert found.parsable[0] == pytest.approx(0.75)
    assert found.false_per_description[0] == pytest.approx((4 + 0 + 2 + 0) / 4)
    assert found.false_share[0] == pytest.approx(6 / 40)
    assert found.by_kind == {"colour": 1.0, "count": 0.25}
    assert found.tokens == 25
    low, high = found.right[1:]
    assert low < found.right[0] < high
    assert (low, high) == (0.25, 1.0)  # either question alone, drawn twice
    line = "| mpo | 2 | 62.5 (25.0 to 100.0) | 17.7 | 50.0 | 100.0 | 25.0 | 75.0 (75.0) | 1.50 (0.00 to 3.00) |"
    assert line in table([found])
    before = measured("before", {7: said(0.0, 4)})
    assert "| 100.0 (+0.0) | 25.0 (+25.0) |" in table([before, found]) and "(+" not in table([before])


def test_a_results_file_gives_the_same_table_again(tmp_path, capsys, monkeypatch):
    answers = [Answers("a", "count", 10, right=0.5, parsed=1.0), Answers("c", "open", 30, false=1, stated=10)]
    monkeypatch.setattr(mpo_experiment.Experiment, "answers", lambda *_: answers)
    monkeypatch.setattr(mpo_experiment.Experiment, "questions", lambda *_, **__: None)
    for given in (["--out", str(tmp_path), "--rows", "mpo", "before"], ["--table", str(tmp_path / "results.json")]):
        monkeypatch.setattr(sys, "argv", ["experiment", *given])
        mpo_experiment.main()
    *_, first, again = capsys.readouterr().out.split("| row |")
    assert first == again and "| before | 3 |" in again


def test_the_row_across_policies_merges_the_policy_with_its_trained_self(tmp_path, monkeypatch):
    row = next(one for one in mpo_experiment.ROWS if one.across)
    commands = []

    def run(*command):
        """In place of minutes of an engine and of torch: each step leaves what the next one looks for."""
        commands.append(command[2:])
        verb = command[3] if command[2] == "mmpr" else "train"
        out = Path(command[command.index("--out") + 1])
        out.mkdir(parents=True, exist_ok=True)
        (out / ("model.safetensors" if verb == "train" else "report.json")).write_text("")

    monkeypatch.setattr(mpo_experiment, "_run", run)
    made = mpo_experiment.Experiment(tmp_path, train_questions=12, test_questions=4)
    pairs = made.pairs(row, 0)
    steps = [command[1] if command[0] == "mmpr" else command[0] for command in commands]
    assert steps == ["build", "pipelines.mpo.train", "build", "merge"]
    policy, trained, answers, merged = commands
    assert merged[2:] == (policy[5], answers[5], "--out", str(pairs), "--pair-across")
    assert f"model={trained[-1]}" in answers and "model=pocket" in policy
    asked = [json.loads(line) for line in Path(answers[3]).read_text().splitlines()]
    assert asked and all("answer" in row for row in asked)
    made.pairs(row, 0)
    assert len(commands) == 4


@pytest.mark.slow
def test_the_experiment_goes_through_on_a_few_questions_and_does_nothing_twice(tmp_path):
    command = [sys.executable, "-m", "pipelines.mpo.experiment", "--out", str(tmp_path), "--seeds", "0"]
    command += ["--rows", "before", "mpo", "mpo, hardest", "mpo, second round"]
    command += ["--train-questions", "40", "--test-questions", "16"]
    first = subprocess.run(command, capture_output=True, text=True, check=True)
    assert first.stdout.count("pipelines.mpo.train") == 3
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["before", "mpo", "mpo, hardest", "mpo, second round"]
    assert rows[0]["right"] != rows[1]["right"] or rows[0]["tokens"] != rows[1]["tokens"]
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "$" not in again.stdout and again.stdout.splitlines()[-1] == first.stdout.splitlines()[-1]
