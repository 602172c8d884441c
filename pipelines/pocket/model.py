"""The pocket model in torch, for training: our own InternViT and projector, and transformers' Llama as InternLM2.

InternLM2 is a Llama with fused query, key and value; `checkpoint` renames and fuses the weights when it writes them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a model; the defaults are those of the pocket model.

    `image_size` and `patch_size` are in pixels; a tile becomes (image_size / patch_size / 2)² tokens. Attention heads
    have 64 dimensions, because vLLM's CPU kernels do not support 16.
    """

    image_size: int = 64
    patch_size: int = 8
    vision_width: int = 128
    vision_layers: int = 3
    vision_heads: int = 2
    vision_ffn: int = 256
    width: int = 256
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    ffn: int = 512
    vocabulary: int = 768
    context_tokens: int = 1024

    @property
    def tile_tokens(self) -> int:
        return (self.image_size // self.patch_size // 2) ** 2


class VisionLayer(nn.Module):
    """One pre-norm layer of InternViT with layer scales: (n, tokens, width) -> (n, tokens, width)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.vision_width
        self.heads = shape.vision_heads
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, shape.vision_ffn), nn.Linear(shape.vision_ffn, width)
        self.ls1, self.ls2 = nn.Parameter(torch.ones(width)), nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, width = x.shape
        split = self.qkv(self.norm1(x)).view(n, tokens, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(n, tokens, width)
        x = x + self.ls1 * self.proj(mixed)
        widened: Tensor = x + self.ls2 * self.fc2(F.gelu(self.fc1(self.norm2(x))))
        return widened


class Vision(nn.Module):
    """InternViT, pixel shuffle with factor 0.5 and the projector: (n, 3, size, size) -> (n, tile tokens, width)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.vision_width
        self.side = shape.image_size // shape.patch_size
        self.class_embedding = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.position_embedding = nn.Parameter(torch.randn(1, self.side**2 + 1, width) * 0.02)
        self.patch_embedding = nn.Conv2d(3, width, shape.patch_size, shape.patch_size)
        self.layers = nn.ModuleList(VisionLayer(shape) for _ in range(shape.vision_layers))
        self.projector = nn.Sequential(
            nn.LayerNorm(4 * width), nn.Linear(4 * width, shape.width), nn.GELU(), nn.Linear(shape.width, shape.width)
        )

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.patch_embedding(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(len(x), -1, -1), x], 1) + self.position_embedding
        for layer in self.layers:
            x = layer(x)
        projected: Tensor = self.projector(pixel_shuffle(x[:, 1:], self.side))
        return projected


def pixel_shuffle(x: Tensor, side: int) -> Tensor:
    """Apply InternVL's pixel shuffle (`ps_version` v2, factor 0.5): (n, side², width) -> (n, side²/4, 4 width)."""
    n, _, width = x.shape
    x = x.reshape(n, side, side // 2, 2 * width).permute(0, 2, 1, 3)
    x = x.reshape(n, side // 2, side // 2, 4 * width).permute(0, 2, 1, 3)
    return x.reshape(n, (side // 2) ** 2, 4 * width)


def make_language(shape: Shape) -> LlamaForCausalLM:
    """Return the language part with random weights."""
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.ffn,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=64,
        max_position_embeddings=shape.context_tokens,
        rms_norm_eps=1e-5,
        tie_word_embeddings=False,
        attn_implementation="sdpa",
    )
    return LlamaForCausalLM(config)


def hidden_states(language: LlamaForCausalLM, seen: Tensor, ids: Tensor, image_id: int) -> Tensor:
    """Return the last hidden states (batch, tokens, width) of token ids, with image features in the image tokens.

    Args:
        language: the language part.
        seen: image features of all tiles (tiles, tile tokens, width), in the order of the image tokens.
        ids: token ids (batch, tokens).
        image_id: id of the image token.
    """
    embedded = language.model.embed_tokens(ids)
    here = (ids == image_id).unsqueeze(-1)
    embedded = embedded.masked_scatter(here, seen.reshape(-1, seen.shape[-1]).to(embedded.dtype))
    states: Tensor = language.model(inputs_embeds=embedded, use_cache=False).last_hidden_state
    return states
