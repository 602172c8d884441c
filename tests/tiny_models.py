"""Checkpoints of a few kilobytes in the very classes of model families: a configuration, a tokenizer with the family's
special tokens, an image processor. Their weights are vLLM's own random ones (`load_format: dummy`)."""

import json

TEXTS = ["A red circle stands beside a blue square.", "<think>\nTwo and two.\n</think>\n\nFinal Answer: 4"]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
)
PLAIN, OPENS = CHATML + "{% endif %}", CHATML + "<think>\n{% endif %}"
SWITCHED = (
    CHATML + "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{{ m['content'] }}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
PARTS = (
    "{% for m in messages %}{{ m['role'] | upper }}: "
    "{% for part in m['content'] | selectattr('type', 'equalto', 'text') %}{{ part['text'] }}{% endfor %}{{ '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
_ENDS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_THINK = ("<think>", "</think>")
_LANGUAGE = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 64,
    "max_position_embeddings": 4096,
}
_CONFIGURATION = '''"""The configuration of a tiny InternVLChatModel."""

from transformers import PreTrainedConfig, Qwen3Config


class VisionConfig(PreTrainedConfig):
    model_type = "intern_vit_6b"


class TinyConfig(PreTrainedConfig):
    model_type = "internvl_chat"
    sub_configs = {"vision_config": VisionConfig, "llm_config": Qwen3Config}

    def __init__(self, vision_config=None, llm_config=None, **others):
        self.vision_config = VisionConfig(**(vision_config or {}))
        self.llm_config = Qwen3Config(**(llm_config or {}))
        super().__init__(**others)

    def get_text_config(self, decoder=None, encoder=None):
        return self.llm_config
'''


def write_tokenizer(folder, specials, template, *, end="<|im_end|>", pad="<|endoftext|>", plain=(), **tokens):
    """A byte-level tokenizer; `plain` are tokens of their own that are no special ones, as `<think>` is."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = bytes_, decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=list(specials), initial_alphabet=bytes_.alphabet())
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.add_tokens([AddedToken(text, special=False) for text in plain])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=end,
        pad_token=pad,
        extra_special_tokens=tokens,
        additional_special_tokens=[text for text in specials if text not in (end, pad)],
    )
    fast.chat_template = template
    fast.save_pretrained(folder)
    return fast


def write_internvl3_5(folder, template=PLAIN):
    """InternVLChatModel with a Qwen3 language model: InternVL3.5's own classes."""
    tokenizer = write_tokenizer(folder, (*_ENDS, "<img>", "</img>", "<IMG_CONTEXT>"), template, plain=_THINK)
    vision = {
        "architectures": ["InternVisionModel"],
        "hidden_size": 64,
        "image_size": 64,
        "patch_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
        "intermediate_size": 128,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-6,
        "norm_type": "layer_norm",
        "num_channels": 3,
        "qkv_bias": True,
        "qk_normalization": False,
        "use_flash_attn": False,
        "initializer_factor": 1.0,
        "attention_dropout": 0.0,
        "dropout": 0.0,
        "drop_path_rate": 0.0,
    }
    language = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "vocab_size": len(tokenizer)}
    config = {
        "architectures": ["InternVLChatModel"],
        "model_type": "internvl_chat",
        "auto_map": {"AutoConfig": "configuration_tiny.TinyConfig"},
        "downsample_ratio": 0.5,
        "ps_version": "v2",
        "select_layer": -1,
        "force_image_size": 64,
        "dynamic_image_size": True,
        "use_thumbnail": True,
        "min_dynamic_patch": 1,
        "max_dynamic_patch": 12,
        "template": "internvl2_5",
        "vision_config": vision,
        "llm_config": {**language, **_LANGUAGE, "tie_word_embeddings": False},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "configuration_tiny.py").write_text(_CONFIGURATION)


def write_internvl_hf(folder, template=PLAIN):
    """InternVLForConditionalGeneration, the class of the `-HF` checkpoints."""
    from transformers import GotOcr2ImageProcessor, InternVLConfig, InternVLProcessor, InternVLVideoProcessor

    images = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>"}
    specials = (*_ENDS, *images.values(), "<video>")
    tokenizer = write_tokenizer(folder, specials, template, plain=_THINK, **images, video_token="<video>")
    ends = {"bos_token_id": 0, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": 0}
    config = InternVLConfig(
        text_config={"model_type": "qwen3", "vocab_size": len(tokenizer), **_LANGUAGE, **ends},
        vision_config={
            "hidden_size": 64,
            "image_size": [64, 64],
            "patch_size": [8, 8],
            "num_hidden_layers": 2,
            "num_attention_heads": 1,
            "intermediate_size": 128,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=16,
        architectures=["InternVLForConditionalGeneration"],
    )
    config.save_pretrained(folder)
    size = {"height": 64, "width": 64}
    processor = InternVLProcessor(
        GotOcr2ImageProcessor(size=size, crop_to_patches=True, min_patches=1, max_patches=12),
        tokenizer,
        InternVLVideoProcessor(size=size),
        image_seq_length=16,
        chat_template=template,
    )
    processor.save_pretrained(folder)


def write_qwen3_vl(folder, template=PLAIN):
    """Qwen3VLForConditionalGeneration."""
    from transformers import Qwen2VLImageProcessor, Qwen3VLConfig, Qwen3VLProcessor, Qwen3VLVideoProcessor

    pads = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    tokenizer = write_tokenizer(folder, (*_ENDS, *pads), template, plain=_THINK)
    ids = dict(zip(pads, tokenizer.convert_tokens_to_ids(list(pads)), strict=True))
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [12, 10, 10], "mrope_interleaved": True}
    ends = {"bos_token_id": 0, "eos_token_id": tokenizer.eos_token_id}
    config = Qwen3VLConfig(
        text_config={"vocab_size": len(tokenizer), **_LANGUAGE, "rope_parameters": rope, **ends},
        vision_config={
            "depth": 2,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_heads": 1,
            "out_hidden_size": 128,
            "patch_size": 16,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "num_position_embeddings": 256,
            "deepstack_visual_indexes": [0],
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=False,
        architectures=["Qwen3VLForConditionalGeneration"],
    )
    config.save_pretrained(folder)
    shape = {"patch_size": 16, "temporal_patch_size": 2, "merge_size": 2}
    size = {"shortest_edge": 32 * 32, "longest_edge": 512 * 512}
    images = Qwen2VLImageProcessor(size=size, **shape)
    processor = Qwen3VLProcessor(images, tokenizer, Qwen3VLVideoProcessor(size=size, **shape), chat_template=template)
    processor.save_pretrained(folder)


def write_gemma3(folder, template=GEMMA):
    """Gemma3ForConditionalGeneration."""
    from transformers import Gemma3Config, Gemma3ImageProcessor, Gemma3Processor

    images = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
    specials = ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>", *images.values())
    lines = tuple("\n" * n for n in range(1, 5))
    names = {"end": "<eos>", "pad": "<pad>", "bos_token": "<bos>", **images}
    tokenizer = write_tokenizer(folder, specials, template, plain=lines, **names)
    ids = tokenizer.convert_tokens_to_ids(list(specials))
    config = Gemma3Config(
        text_config={
            "vocab_size": len(tokenizer),
            **_LANGUAGE,
            "sliding_window": 64,
            "query_pre_attn_scalar": 64,
            "bos_token_id": ids[2],
            "eos_token_id": ids[1],
            "pad_token_id": ids[0],
        },
        vision_config={
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 1,
            "image_size": 64,
            "patch_size": 8,
            "vision_use_head": False,
        },
        mm_tokens_per_image=16,
        boi_token_index=tokenizer.convert_tokens_to_ids("<start_of_image>"),
        eoi_token_index=tokenizer.convert_tokens_to_ids("<end_of_image>"),
        image_token_index=tokenizer.convert_tokens_to_ids("<image_soft_token>"),
        architectures=["Gemma3ForConditionalGeneration"],
    )
    config.save_pretrained(folder)
    processor = Gemma3Processor(
        Gemma3ImageProcessor(size={"height": 64, "width": 64}), tokenizer, chat_template=template, image_seq_length=16
    )
    processor.save_pretrained(folder)


def write_llava(folder):
    """LlavaForConditionalGeneration, of no family here; its template is the processor's and takes parts."""
    from transformers import CLIPImageProcessor, LlavaConfig, LlavaProcessor

    specials = ("<pad>", "<s>", "</s>", "<image>")
    tokenizer = write_tokenizer(folder, specials, None, end="</s>", pad="<pad>", bos_token="<s>")
    config = LlavaConfig(
        text_config={"model_type": "llama", "vocab_size": len(tokenizer), **_LANGUAGE, "eos_token_id": 2},
        vision_config={
            "model_type": "clip_vision_model",
            "hidden_size": 64,
            "intermediate_size": 128,
            "image_size": 64,
            "patch_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 1,
            "projection_dim": 64,
        },
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        architectures=["LlavaForConditionalGeneration"],
    )
    config.save_pretrained(folder)
    images = CLIPImageProcessor(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64})
    strategy = {"patch_size": 16, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    LlavaProcessor(images, tokenizer, **strategy).save_pretrained(folder)
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": PARTS}))
