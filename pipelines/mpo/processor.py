"""Prepare pairs for the trainer as the engine saw them: the same tiles, the same chat template, one end of turn."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from transformers import InternVLProcessor, PreTrainedTokenizerBase
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.processing_utils import ProcessorMixin

from mmpr.run.columns import text_of_parts
from pipelines.mpo.checkpoint import CONTEXT, layout_of, load_tokenizer

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, which InternVL uses
_START, _END, _VIDEO = "<img>", "</img>", "<video>"


class PairProcessor(InternVLProcessor):  # type: ignore[misc]
    """transformers' `InternVLProcessor` with the checkpoint's own chat template, whose contents are texts, not parts.

    It supports no videos: in the pairs of a run, their frames are images.
    """

    def __init__(
        self, image_processor: GotOcr2ImageProcessorPil, tokenizer: PreTrainedTokenizerBase, image_seq_length: int
    ) -> None:
        ProcessorMixin.__init__(self, image_processor, tokenizer)
        self.image_seq_length = image_seq_length
        self.start_image_token, self.end_image_token, self.image_token = _START, _END, CONTEXT
        names = (_START, _END, CONTEXT)
        self.start_image_token_id, self.end_image_token_id, self.image_token_id = tokenizer.convert_tokens_to_ids(names)
        self.video_token = _VIDEO
        self.multimodal_pattern = re.compile(f"(?P<image>{re.escape(CONTEXT)})|(?P<video>{re.escape(_VIDEO)})")

    def apply_chat_template(self, conversation: Any, chat_template: str | None = None, **options: Any) -> Any:  # noqa: ANN401
        """Return the conversation as text, with `CONTEXT` for each image.

        A final answer ends with its end of turn. The engine stops there, so the line break that a template adds after
        it is not a part of a response.
        """
        turns = [{"role": turn["role"], "content": _text_of(turn["content"])} for turn in conversation]
        options = {**options, "tokenize": False}
        rendered: str = self.tokenizer.apply_chat_template(turns, chat_template=chat_template, **options)
        return rendered.rstrip("\n") if turns[-1]["role"] == "assistant" else rendered


def _text_of(content: str | list[dict[str, Any]]) -> str:
    """Return a turn's text as in a build's prompt; a row has no line break after an image, for templates add theirs."""
    return content if isinstance(content, str) else text_of_parts(content, CONTEXT)


def load_processor(folder: Path, *, max_tiles: int | None = None, trust_remote_code: bool = False) -> PairProcessor:
    """Return a checkpoint's processor.

    Args:
        folder: of the checkpoint.
        max_tiles: an image is cut into at most so many tiles and a thumbnail; None: the checkpoint's own limit.
        trust_remote_code: run the checkpoint's own code for its tokenizer.

    Raises:
        MmprError: the folder has no InternVLChatModel; names the folder.
    """
    layout = layout_of(folder)
    side = layout.values["vision_config"]["image_size"]
    images = GotOcr2ImageProcessorPil(
        size={"height": side, "width": side},
        crop_to_patches=True,
        min_patches=layout.values["min_dynamic_patch"],
        max_patches=max_tiles or layout.values["max_dynamic_patch"],
        image_mean=_MEAN,
        image_std=_STD,
    )
    return PairProcessor(images, load_tokenizer(folder, trust_remote_code=trust_remote_code), layout.tile_tokens)
